"""Random loops: what their steps write lies in rows of stacks, often no whole vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import mynn
from tests.fuzz.programs import Program
from tests.helpers import f32, graph_of, random_arrays

ROWS = (
    *((), (1,), (7,), (13,), (16,), (17,)),
    *((3, 1), (1, 5), (2, 7), (5, 3), (9, 8), (4, 1, 3), (3, 7, 1)),
)
Step = Callable[[Any, Any], Any]


def _steps(reverse: bool) -> tuple[Step, ...]:
    """What a step makes of the carry and of its row."""
    return (
        lambda c, v: v,
        lambda c, v: v * 2 + c.sum(),
        lambda c, v: c * v,
        lambda c, v: v.tanh(),
        lambda c, v: (c + v).sum(-1) if c.ndim else c,
        lambda c, v: c.flip(0) if c.ndim else c,
        lambda c, v: c @ v.transpose(-1, -2) if c.ndim > 1 else c,
        lambda c, v: mynn.cat([c, v], 0) if c.ndim else v,
        lambda c, v: c[..., :1] if c.ndim else v,
        lambda c, v: c.cumsum(-1) if c.ndim else c,
        lambda c, v: mynn.cond(v.sum() > 0, lambda a, b: a + b, lambda a, b: a - b, (c, v)),
        lambda c, v: mynn.scan(lambda d, _: (d * 0.5 + v, d), c, None, 2, reverse)[0],
        lambda c, v: (
            mynn.scan(lambda d, w: (d + w, d * w), v[0], c, reverse=reverse)[1] if c.ndim else v
        ),
    )


CARRIES: tuple[Step, ...] = (
    lambda c, v: c * 0.5 + v,
    lambda c, v: v,
    lambda c, v: c.flip(-1) + v if c.ndim else c + v,
    lambda c, v: c.tanh() * v.mean(),
)


def loop(seed: int) -> Program:
    """A loop with one to three stacks, which are results, or are computed on."""
    rng = np.random.default_rng(seed)
    row, length, reverse = (
        ROWS[rng.integers(len(ROWS))],
        int(rng.integers(1, 9)),
        rng.random() < 0.7,
    )
    every = _steps(reverse)
    chosen = [every[i] for i in rng.integers(len(every), size=int(rng.integers(1, 4)))]
    carry = CARRIES[rng.integers(len(CARRIES))]
    kind = int(rng.integers(3))

    def function(x: Any, start: Any) -> Any:
        last, stacks = mynn.scan(
            lambda c, v: (carry(c, v), tuple(step(c, v) for step in chosen)),
            start,
            x,
            reverse=reverse,
        )
        further = ((), (last * 2,), tuple(stack + 1 for stack in stacks))[kind]
        return (last, *stacks, *further)

    graph = graph_of(function, f32(length, *row), f32(*row))
    return Program(seed, graph, list(random_arrays(graph)), {})
