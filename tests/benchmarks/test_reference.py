"""The NumPy reference of works with images against PyTorch in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import reference
from benchmarks.works import Conv, Pool, Work, data

SMALL = Work(
    "small",
    (3 * 2 * 2, 5, 4),
    "relu",
    "cross-entropy",
    4,
    8,
    0.05,
    0.9,
    image=(2, 10, 10),
    front=(Conv(2, 3, 3, 1), Pool(), Conv(3, 3, 2), Pool()),
)


@pytest.mark.parametrize("work", [SMALL, replace(SMALL, sizes=(12, 4))], ids=["two", "one"])
def test_images_agree_with_torch(work: Work) -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.peers import torch_eager

    trainer = torch_eager.Trainer(work)
    trainer.net.double()
    trainer.batches = [(x.double(), t) for x, t in trainer.batches]
    trainer.optimizer = torch.optim.SGD(trainer.net.parameters(), lr=work.lr, momentum=0.9)
    loss = trainer.train(1)
    assert reference.deviation(loss, trainer.weights(), reference.trained(work)) < 1e-12
    assert data(work)[0].shape == (8, 2, 10, 10)
