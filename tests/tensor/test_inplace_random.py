"""Random programs of views and in-place operations give what PyTorch gives."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Parameter, Tensor
from mynn.errors import UsageError
from tests.subset import count

torch = pytest.importorskip("torch")

W, B, X = (np.random.default_rng(s).normal(size=(3, 4)).astype(np.float32) for s in (1, 2, 3))


def _row(r: random.Random, t: Any, other: Any) -> Any:
    return t[r.randrange(t.shape[0])] if t.ndim else None


def _columns(r: random.Random, t: Any, other: Any) -> Any:
    start = r.randrange(t.shape[-1]) if t.ndim else 0
    return t[..., start : start + 2] if t.ndim else None


def _assign(r: random.Random, t: Any, other: Any) -> None:
    if t.ndim:
        t[r.randrange(t.shape[0])] = r.choice((0.5, 2.0))


def _add_to_row(r: random.Random, t: Any, other: Any) -> None:
    if t.ndim:
        t[r.randrange(t.shape[0])] += 1.5


def _assign_array(r: random.Random, t: Any, other: Any) -> None:
    if t.ndim:
        places = np.array([0, t.shape[0] - 1])
        t[places if isinstance(t, Tensor) else torch.tensor(places)] = 3.0


def _turned(r: random.Random, t: Any, other: Any) -> Any:
    return t.transpose(0, 1) if t.ndim > 1 else None


def _in_order(t: Any) -> Any:
    """Results lie in the order of their axes; PyTorch's lie as the operands do."""
    return t if isinstance(t, Tensor) else t.contiguous()


# Each gives a further tensor, or changes one in place; `other` has the shape of t.
STEPS: tuple[Callable[[random.Random, Any, Any], Any], ...] = (
    _row,
    _columns,
    _turned,
    lambda r, t, other: t.reshape(-1),
    lambda r, t, other: t.reshape(tuple(reversed(t.shape))),
    lambda r, t, other: _in_order(t * r.choice((2, 0.5))),
    lambda r, t, other: _in_order(t.tanh()),
    lambda r, t, other: _in_order(t * other),
    lambda r, t, other: t.mul_(r.choice((2.0, -0.5))) is None,
    lambda r, t, other: t.add_(1) is None,
    lambda r, t, other: t.add_(other, alpha=0.5) is None,
    lambda r, t, other: t.copy_(other * 1) is None,
    lambda r, t, other: t.tanh_() is None,
    lambda r, t, other: t.zero_() is None,
    _assign,
    _add_to_row,
    _assign_array,
)


def program(seed: int, p: Any, b: Any, x: Any) -> list[Any]:
    """All tensors of a random program and a sum of them; b is there before it, x its argument."""
    r = random.Random(seed)
    made = [b, x, p * 1]
    for _ in range(r.randint(3, 10)):
        t = r.choice(made)
        other = r.choice([o for o in made if tuple(o.shape) == tuple(t.shape)])
        new = r.choice(STEPS)(r, t, other)
        if new is not None and not isinstance(new, bool):
            made.append(new)
    total = (p * 0).sum()
    for number, t in enumerate(made):
        weights = np.cos(np.arange(t.numel(), dtype=np.float32) + number).reshape(tuple(t.shape))
        total = total + (t * (weights if isinstance(t, Tensor) else torch.tensor(weights))).sum()
    total.backward()
    return [*made, total, p.grad]


def run(seed: int, backend: str) -> list[Any] | None:
    """Results and the state afterwards; None where a value that a gradient needs was changed."""
    p: Any
    b: Any
    if backend == "torch":
        p, b, x = torch.nn.Parameter(torch.tensor(W)), torch.tensor(B), torch.tensor(X)
        try:
            return [t.detach().numpy() for t in (*program(seed, p, b, x), b)]
        except RuntimeError:
            return None
    p, b = Parameter(W), Tensor(B)

    def step(x: Any) -> tuple[Any, ...]:
        return tuple(program(seed, p, b, x))

    try:
        eager = backend == "eager"
        results = step(Tensor(X)) if eager else mynn.compile(step, backend=backend)(X)
    except UsageError:
        return None
    return [t.numpy() if isinstance(t, Tensor) else t for t in (*results, b)]


@pytest.mark.one_in(5)
@pytest.mark.parametrize("block", range(5))
def test_random_programs(block: int) -> None:
    for seed in range(50 * block, 50 * block + count(50, 20)):
        theirs, eager, traced = (
            run(seed, backend) for backend in ("torch", "eager", "interpreter")
        )
        assert traced is not None, seed
        # What PyTorch refuses may have a gradient here; then it is that of the trace.
        assert eager is not None or theirs is None, seed
        native = run(seed, "native") if seed % 10 == 0 else None
        for results in (eager, theirs, native):
            for a, c in zip(results or (), traced, strict=results is not None):
                np.testing.assert_allclose(a, c, rtol=2e-4, atol=2e-4, err_msg=str(seed))
