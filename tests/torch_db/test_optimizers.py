"""PyTorch's own samples of optimisers: the same steps, and refusals, for the same arguments.

What is there and what is not stands in one table, which is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import optim
from mynn.core.types import Array
from mynn.errors import MynnError
from tests.registry.running import pytorch
from tests.subset import count
from tests.torch_db import databases

pytest.importorskip("torch", reason="PyTorch is not installed")

LEFT_OUT = {"SparseAdam": "only layers make sparse gradients: tests/optim/test_sparse.py"}
# PyTorch's samples of what it refuses because of how it computes. Here they have a meaning.
TAKEN = (
    "lr as Tensor doesn't work with foreach",
    "betas must be either both floats or both Tensors",
    "as a Tensor is not supported for capturable=False",
)
STEPS = count(6, 4)
SHAPES = ((3, 4), (4, 2), (4,), (2, 1, 3), ())


def database() -> dict[str, Any]:
    return {info.optim_cls.__name__: info for info in databases("common_optimizers").optim_db}


NAMES = tuple(database())


def variants(info: Any) -> Iterator[dict[str, Any]]:
    """The arguments of its samples, and the first ones with what says how it is computed."""
    found = [sample.kwargs for sample in info.optim_inputs_func(device="cpu")]
    yield from found
    for way in ("foreach", "fused"):
        if way in info.supported_impls:
            yield {**found[-1], way: True} if way == "foreach" else {way: True}


def start(name: str, dtype: str) -> tuple[list[Array], list[Array]]:
    generator = np.random.default_rng(5)
    shapes = [shape for shape in SHAPES if name != "Muon" or len(shape) == 2]
    values = [generator.normal(size=shape).astype(dtype) for shape in shapes]
    return values, [generator.uniform(0.5, 2, shape).astype(dtype) for shape in shapes]


def run(kind: Any, params: list[Any], factors: list[Any], options: dict[str, Any]) -> list[Any]:
    """The losses of some steps, which leave the parameters changed."""
    optimizer = kind(params, **options)

    def closure() -> Any:
        optimizer.zero_grad()
        terms = [((p * a).sin() + p * p * a).sum() for p, a in zip(params, factors, strict=True)]
        loss = sum(terms[1:], start=terms[0])
        loss.backward()
        return loss

    return [optimizer.step(closure).item() for _ in range(STEPS)]


def test_what_is_there() -> None:
    assert not [name for name in NAMES if not hasattr(optim, name)]


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in LEFT_OUT])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_trajectories(name: str, dtype: str) -> None:
    torch = pytorch()
    before = torch.get_default_dtype()
    info = database()[name]
    tolerance = {"float32": 2e-5, "float64": 1e-9}[dtype]
    if name == "Muon":  # PyTorch computes its matrices in bfloat16
        tolerance = 2e-3
    if name == "LBFGS" and dtype == "float32":  # where it stops hangs on the last bit of the loss
        tolerance = 2e-3
    for options in variants(info):
        values, factors = start(name, dtype)
        ours = [mynn.Parameter(value) for value in values]
        theirs = [torch.nn.Parameter(torch.tensor(value)) for value in values]
        torch.set_default_dtype(getattr(torch, dtype))
        try:
            expected = run(
                getattr(torch.optim, name), theirs, [*map(torch.tensor, factors)], options
            )
        finally:
            torch.set_default_dtype(before)
        found = run(getattr(optim, name), ours, factors, options)
        np.testing.assert_allclose(found, expected, rtol=10 * tolerance, err_msg=str(options))
        for p, q in zip(ours, theirs, strict=True):
            assert p.dtype == dtype
            other = q.detach().numpy()
            np.testing.assert_allclose(
                p.numpy(), other, rtol=tolerance, atol=tolerance, err_msg=f"{name} {options}"
            )


def converted(given: Any, known: dict[int, Any]) -> Any:
    """PyTorch's tensors, in whatever they lie, as parameters of ours: the same for the same."""
    if isinstance(given, dict):
        return {k: converted(v, known) if k == "params" else v for k, v in given.items()}
    if isinstance(given, list):
        return [converted(one, known) for one in given]
    if isinstance(given, tuple):
        return given[0], converted(given[1], known)
    if id(given) not in known:
        known[id(given)] = mynn.Parameter(given.detach().numpy())
    return known[id(given)]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LEFT_OUT])
def test_what_pytorch_refuses(name: str) -> None:
    torch = pytorch()
    info = database()[name]
    count = 0
    for sample in info.optim_error_inputs_func(device="cpu", dtype=torch.float32):
        given = sample.optimizer_error_input
        params = given.params
        whole = params if isinstance(params, list) else [params]
        if any(getattr(one, "is_complex", bool)() for one in whole):
            continue  # there are no complex tensors
        if any(part in given.desc or part in sample.error_regex for part in TAKEN):
            continue
        params = [mynn.Parameter([[1.0]])] if params is None else converted(params, {})
        with pytest.raises(MynnError):
            getattr(optim, name)(params, **given.kwargs)
        count += 1
    assert count >= 4
