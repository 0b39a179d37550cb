"""Pruning against PyTorch's: masks, values, state, training; and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.errors import ArgumentError, ArgumentTypeError, MynnError, ShapeError
from mynn.nn.utils import prune

X = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)

WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "identity": lambda prune, layer: prune.identity(layer, "weight"),
    "l1, a share": lambda prune, layer: prune.l1_unstructured(layer, "weight", amount=0.3),
    "l1, a count": lambda prune, layer: prune.l1_unstructured(layer, "weight", amount=5),
    "channels": lambda prune, layer: prune.ln_structured(layer, "weight", 0.5, n=2, dim=0),
    "inputs": lambda prune, layer: prune.ln_structured(layer, "weight", 2, n=1, dim=1),
    "largest": lambda prune, layer: prune.ln_structured(layer, "weight", 2, float("inf"), dim=-1),
    "bias": lambda prune, layer: prune.l1_unstructured(layer, "bias", 1),
}


def layers() -> tuple[Any, Any, Any]:
    """PyTorch, a layer of ours and one of PyTorch's with the same values."""
    torch = pytest.importorskip("torch")
    prune_of_torch = pytest.importorskip("torch.nn.utils.prune")
    ours, theirs = nn.Linear(6, 4), torch.nn.Linear(6, 4)
    theirs.load_state_dict({k: torch.tensor(np.asarray(v)) for k, v in ours.state_dict().items()})
    return prune_of_torch, ours, theirs


def assert_equal(ours: Any, theirs: Any) -> None:
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    for key, value in ours.state_dict().items():
        assert np.array_equal(np.asarray(value), state[key].numpy()), key
    for name in ("weight", "bias"):
        want = getattr(theirs, name).detach().numpy()
        assert np.array_equal(getattr(ours, name).detach().numpy(), want), name


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("again", WAYS)
def test_like_torch(way: str, again: str) -> None:
    theirs_of, ours, theirs = layers()
    for one in (way, again):
        WAYS[one](prune, ours)
        WAYS[one](theirs_of, theirs)
        assert_equal(ours, theirs)
        assert prune.is_pruned(nn.Sequential(ours))
    for name in ("weight", "bias"):
        if hasattr(ours, f"{name}_mask"):
            prune.remove(ours, name)
            theirs_of.remove(theirs, name)
    assert_equal(ours, theirs)
    assert not prune.is_pruned(ours)


def test_several_together() -> None:
    theirs_of, first, first_theirs = layers()
    _, second, second_theirs = layers()
    for amount in (0.4, 7):
        for module, pairs in (
            (prune, [(first, "weight"), (second, "weight"), (second, "bias")]),
            (
                theirs_of,
                [(first_theirs, "weight"), (second_theirs, "weight"), (second_theirs, "bias")],
            ),
        ):
            module.global_unstructured(pairs, module.L1Unstructured, amount=amount)
        assert_equal(first, first_theirs)
        assert_equal(second, second_theirs)


def test_gradients_and_training() -> None:
    """The mask holds through training, at once, on the tape and compiled; copies are apart."""
    torch = pytest.importorskip("torch")
    theirs_of, ours, theirs = layers()
    WAYS["l1, a share"](prune, ours)
    WAYS["l1, a share"](theirs_of, theirs)
    optimizers = mynn.optim.SGD(ours.parameters(), 0.1), torch.optim.SGD(theirs.parameters(), 0.1)
    for _ in range(6):
        for layer, optimizer, x in zip(
            (ours, theirs), optimizers, (mynn.tensor(X), torch.tensor(X)), strict=True
        ):
            optimizer.zero_grad()
            (layer(x) ** 2).mean().backward()
            optimizer.step()
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(np.asarray(ours.state_dict()[key]), value.numpy(), rtol=1e-5)
    zeros = ours.weight_mask.numpy() == 0
    assert (ours.weight.detach().numpy()[zeros] == 0).all()
    assert zeros.sum() == round(0.3 * 24)
    compiled = mynn.compile(ours)
    np.testing.assert_allclose(compiled(X), ours(X).detach().numpy(), rtol=1e-5)
    apart = copy.deepcopy(ours)
    prune.l1_unstructured(ours, "weight", 0.5)
    np.testing.assert_allclose(compiled(X), ours(X).detach().numpy(), rtol=1e-5)
    assert (apart.weight_mask == 0).sum() == zeros.sum()


def test_at_random() -> None:
    mynn.manual_seed(3)
    layer = prune.random_unstructured(nn.Linear(8, 8), "weight", amount=0.25)
    assert int((layer.weight_mask == 0).sum()) == 16
    prune.random_structured(layer, "weight", amount=2, dim=0)
    assert int((layer.weight_mask.sum(1) == 0).sum()) >= 2


class Checkerboard(prune.BasePruningMethod):
    """Every other one of what is left."""

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        mask = np.array(default_mask)
        mask.reshape(-1)[::2] = 0
        return mask


def test_a_method_of_ones_own() -> None:
    layer = nn.Linear(4, 4)
    method = Checkerboard.apply(layer, "weight")
    assert int((layer.weight_mask == 0).sum()) == 8
    assert int((method.prune(mynn.ones(4)) == 0).sum()) == 2
    Checkerboard.apply(layer, "weight")
    assert int((layer.weight_mask == 0).sum()) == 12
    method.remove(layer)
    assert not prune.is_pruned(layer)
    with pytest.raises(ArgumentError, match="nothing that this method"):
        method.remove(layer)


def test_what_is_refused() -> None:
    layer = nn.Linear(3, 2)
    before = copy.deepcopy(layer.state_dict())
    refused: list[tuple[Any, type[Exception], str]] = [
        (lambda: prune.l1_unstructured(layer, "weight", 1.5), ArgumentError, "share from 0 to 1"),
        (lambda: prune.l1_unstructured(layer, "weight", -1), ArgumentError, "at least 0"),
        (lambda: prune.l1_unstructured(layer, "weight", 7), ArgumentError, "more than the 6"),
        (lambda: prune.l1_unstructured(layer, "weight", "2"), ArgumentTypeError, "amount must be"),
        (lambda: prune.l1_unstructured(layer, "wieght", 1), MynnError, "no parameter 'wieght'"),
        (lambda: prune.ln_structured(layer, "bias", 1, 2, 0), ShapeError, "two axes"),
        (lambda: prune.ln_structured(layer, "weight", 1, 2, 5), ShapeError, "dim 5"),
        (lambda: prune.custom_from_mask(layer, "weight", np.ones(3)), ShapeError, "mask has shape"),
        (
            lambda: prune.l1_unstructured(layer, "weight", 1, importance_scores=np.ones(2)),
            ShapeError,
            "importance_scores has shape",
        ),
        (lambda: prune.remove(layer, "weight"), ArgumentError, "no pruning to remove"),
        (
            lambda: prune.global_unstructured(
                [(layer, "weight")], prune.LnStructured, amount=1, n=1
            ),
            ArgumentError,
            "use an unstructured method",
        ),
        (lambda: prune.global_unstructured([layer], prune.Identity), ArgumentTypeError, "pairs"),
    ]
    for call, error, message in refused:
        with pytest.raises(error, match=message):
            call()
        assert list(layer.state_dict()) == list(before)
