"""What is known of a public name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mynn.core.types import Array

Draw = Callable[[np.random.Generator], Any]

# Changing the attribute has no meaning: only the constructor looks at it, or it has one value.
ONLY_MADE = None
# The parameter is set to None.
DROP = "drop"


@dataclass(frozen=True)
class Case:
    """One way to call a name.

    - `call`: for a layer its constructor, `lambda nn: nn.Linear(3, 4)`; for a function all of it,
      `lambda F, x: F.relu(x)`; for an optimiser `lambda optim, params: optim.SGD(params)`. It runs
      with our namespace and with PyTorch's, so names and arguments are the same.
    - `inputs`: what it is called with: a shape (random normal numbers), a function that draws from
      a generator, or an array.
    - `smooth`: whether differences tell its derivatives: there is no kink and no NaN.
    - `theirs`: what PyTorch computes, where it is written otherwise.
    - `rounded`: how far PyTorch's float64 may be off, where it computes with rounded numbers.
    - `apart`: why PyTorch's gradient is another one.
    """

    call: Callable[..., Any]
    inputs: tuple[Any, ...] = ()
    smooth: bool = True
    theirs: Callable[..., Any] | None = None
    rounded: float = 0.0
    apart: str = ""

    def arrays(self, name: str, dtype: str = "float64") -> list[Array]:
        """The inputs, floats in a dtype; the name makes them what they are."""
        generator = rng(name)
        found = []
        for given in self.inputs:
            if isinstance(given, tuple):
                array = np.asarray(generator.normal(size=given))
            else:
                array = np.asarray(given(generator) if callable(given) else given)
            found.append(array.astype(dtype) if array.dtype.kind == "f" else array)
        return found


@dataclass(frozen=True)
class Entry:
    """A public name with its cases, the plain one first.

    - `options`: each option of the constructor with another value, ONLY_MADE or DROP.
    - `guarded`: the case in which these options change what is computed; the first if None.
    - `twin`: the module of PyTorch that has the name; None where it has not.
    - `indices`: whether the first input holds whole numbers, which have no gradient.
    - `alike`: whether it is another entry's code along more or fewer axes: compiled there.
    - `differs`: PyTorch's arguments that are not there or have another default, with the reason.
    """

    name: str
    cases: Mapping[str, Case]
    options: Mapping[str, Any] = field(default_factory=dict)
    guarded: Case | None = None
    twin: str | None = "torch.nn"
    differs: Mapping[str, str] = field(default_factory=dict)
    indices: bool = False
    alike: bool = False

    @property
    def plain(self) -> Case:
        return next(iter(self.cases.values()))


def rng(name: str) -> np.random.Generator:
    """Random numbers that depend on a name alone."""
    return np.random.default_rng(list(name.encode()))


def all_cases(entries: Iterable[Entry]) -> dict[str, Case]:
    """Every case under a name of its own, such as `Conv2d-groups`."""
    return {
        f"{entry.name}-{label}": case for entry in entries for label, case in entry.cases.items()
    }
