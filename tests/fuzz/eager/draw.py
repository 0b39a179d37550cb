"""What a program is made with: choices, names, and what is known of the values behind them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.fuzz.eager.statements import Block, Statement


@dataclass
class Known:
    """A tensor of a program. `leaf`: one that asks for a gradient; `grad`: whether it has one."""

    name: str
    shape: tuple[int, ...]
    leaf: bool = False
    grad: bool = False


@dataclass
class Net:
    """A network of a program: the shape of a sample, how many values come out of it.

    `own`: with a class of its own; `keeps`: which keeps a tensor between calls.
    """

    name: str
    shape: tuple[int, ...]
    out: int
    optimizer: str = ""
    own: bool = False
    keeps: bool = False


class Draw:
    """A program that grows; statements go into the innermost block.

    `rows`: names of what was taken from a network in a round of a loop, for a look after it.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 11])
        self.statements: list[Statement] = []
        self.tensors: list[Known] = []
        self.nets: list[Net] = []
        self.draws = False
        self.rows: list[str] = []
        self._counts: dict[str, int] = {}
        self._numbers = 0

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, items: Any) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def some(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def name(self, letter: str) -> str:
        number = self._counts[letter] = self._counts.get(letter, 0) + 1
        return f"{letter}{number}"

    def number(self) -> int:
        """A number for `draw` and `labels`, with room after it for rounds of a loop."""
        self._numbers += 100
        return self._numbers

    def add(self, *lines: Statement) -> None:
        self.statements.extend(lines)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        outer, self.statements = self.statements, []
        yield
        outer.append(Block(head, tuple(self.statements)))
        self.statements = outer

    def look(self, name: str, shape: tuple[int, ...] | None = None) -> None:
        """A look at a tensor."""
        kinds = ["log({})", "log({}.numpy())", "log({}.tolist())", "show({})", "log({}.detach())"]
        kinds += ["log(numbers({}))", "log({}.sum().item())", "log(np.asarray({}.detach()))"]
        if shape == ():
            kinds = ["log({}.item())", "log(float({}))", "log({})", "log(f'{{{}:.1f}}' != '')"]
            kinds += ["log({}.numpy())", "log(bool({} > 0.5))"]
        self.add(self.pick(kinds).format(name))
