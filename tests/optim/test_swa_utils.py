"""Mean weights: PyTorch's, eagerly and in compiled steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.errors import ArgumentError, ArgumentTypeError, ShapeError
from mynn.optim import swa_utils as ours

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)


def pair() -> tuple[Any, Any, Any]:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    mynn.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    other = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)
    )
    other.load_state_dict({k: torch.tensor(v) for k, v in net.state_dict().items()})
    return torch, net, other


OPTIONS = {
    "mean": lambda u: {},
    "moving": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.9), "use_buffers": True},
    "single": lambda u: {"avg_fn": u.get_ema_avg_fn(0.7)},
    "own": lambda u: {"avg_fn": lambda mean, new, n: (mean * n + new) / (n + 1)},
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("way", ["eager", "compiled", "fit"])
@pytest.mark.parametrize("option", OPTIONS)
def test_mean_weights_are_pytorchs(option: str, way: str) -> None:
    torch, net, other = pair()
    means = ours.AveragedModel(net, **OPTIONS[option](ours))
    sgd = optim.SGD(net.parameters(), lr=0.1)
    schedule = ours.SWALR(sgd, 0.02, anneal_epochs=3)

    def step(x: Any) -> Any:
        sgd.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        sgd.step()
        means.update_parameters(net)
        schedule.step()
        return loss

    if way == "fit":
        mynn.fit(step, X, batch_size=8, shuffle=False, verbose=False)
    else:
        run = mynn.compile(step) if way == "compiled" else lambda x: step(mynn.Tensor(x))
        for part in np.split(X, 5):
            run(part)
    swa = torch.optim.swa_utils
    their_means = swa.AveragedModel(other, **OPTIONS[option](swa))
    their_sgd = torch.optim.SGD(other.parameters(), lr=0.1)
    their_schedule = swa.SWALR(their_sgd, 0.02, anneal_epochs=3)
    for part in torch.tensor(X).split(8):
        their_sgd.zero_grad()
        (other(part) ** 2).mean().backward()
        their_sgd.step()
        their_means.update_parameters(other)
        their_schedule.step()
    assert sgd.lr == pytest.approx(their_sgd.param_groups[0]["lr"], rel=1e-12)
    found, expected = means.state_dict(), their_means.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value.numpy(), rtol=2e-4, atol=1e-6, err_msg=name)
    update_both(torch, means, their_means)


def update_both(torch: Any, means: Any, their_means: Any) -> None:
    """The statistics anew, from batches and from tuples."""
    ours.update_bn(((part, 0) for part in np.split(X, 5)), means)
    torch.optim.swa_utils.update_bn(torch.tensor(X).split(8), their_means)
    np.testing.assert_allclose(
        means.module[1].running_var.numpy(),
        their_means.module[1].running_var.numpy(),
        rtol=1e-3,
    )
    assert means.module[1].momentum == 0.1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("epochs", [0, 1, 7])
def test_the_rates_are_pytorchs(epochs: int, strategy: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rows = []
    for library, utils, parameter in (
        (optim, ours, mynn.Parameter(np.ones(2, np.float32))),
        (torch.optim, torch.optim.swa_utils, torch.nn.Parameter(torch.ones(2))),
    ):
        sgd = library.SGD([parameter], lr=0.3)
        before = library.lr_scheduler.ExponentialLR(sgd, 0.9)
        after = utils.SWALR(sgd, 0.05, epochs, strategy)
        row = []
        for number in range(20):
            (before if number < 5 else after).step()
            row.append(sgd.param_groups[0]["lr"])
        rows.append(row)
    assert rows[0] == rows[1]


def test_what_is_wrong_is_refused() -> None:
    net = nn.Linear(2, 1)
    with pytest.raises(ArgumentError, match="decay must lie in"):
        ours.get_ema_multi_avg_fn(1.5)
    with pytest.raises(ArgumentError, match="not both"):
        ours.AveragedModel(net, avg_fn=max, multi_avg_fn=max)
    with pytest.raises(ArgumentTypeError, match="model must be a network"):
        ours.AveragedModel(3)
    with pytest.raises(ShapeError, match="give the network that it was made from"):
        ours.AveragedModel(net).update_parameters(nn.Linear(3, 1))
    with pytest.raises(ArgumentError, match="anneal_strategy must be one of"):
        ours.SWALR(optim.SGD(net.parameters(), lr=0.1), 0.1, anneal_strategy="up")
