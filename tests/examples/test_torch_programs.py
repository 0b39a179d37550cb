"""Programs written for PyTorch run with their import lines changed, and compute the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from examples.torch_programs.loading import PROGRAMS, copy_weights, load, with_imports_of
from tests.subset import count

STEPS = count(6, 4)


def test_only_the_import_lines_differ() -> None:
    source = (
        "import torch\nimport torch.nn as nn\nfrom torch.utils.data import Dataset\ntorch.ones(2)"
    )
    assert with_imports_of("mynn", source) == (
        "import mynn as torch\nimport mynn.nn as nn\nfrom mynn.utils.data import Dataset\n"
        "torch.ones(2)"
    )


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", PROGRAMS)
def test_losses_are_those_of_pytorch(name: str) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.set_num_threads(1)
    theirs, ours = load(name, "torch"), load(name, "mynn")
    networks, own = theirs.networks(), ours.networks()
    copy_weights(networks, own)
    expected = theirs.train(networks, STEPS)
    found = ours.train(own, STEPS)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4)
    for key, network in networks.items():
        for part, value in network.state_dict().items():
            mine = np.array(own[key].state_dict()[part])
            np.testing.assert_allclose(mine, value.numpy(), rtol=1e-2, atol=1e-3, err_msg=part)
