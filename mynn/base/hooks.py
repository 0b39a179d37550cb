"""Hooks of tensors, as the walk back over a graph asks for them; handles that take hooks away.

Hooks of a result lie with its node (`hooks`, a field that is mostly not set); those of a leaf with
the tensor, whose node may be made anew.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable
from typing import Any

_numbers = itertools.count()


class RemovableHandle:
    """What registering a hook gives: `remove()` takes the hook away, and so does `with`.

    Args:
        hooks: where the hook stands, by its number.
        number: that number.
        removed: is called when it has been taken away.
    """

    def __init__(self, hooks: dict[int, Any], number: int, removed: Callable[[], None]) -> None:
        self.hooks = hooks
        self.id = number
        self.removed = removed

    def remove(self) -> None:
        """Take the hook away; where that has been done, nothing happens."""
        if self.hooks.pop(self.id, None) is not None:
            self.removed()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class TensorHooks:
    """The hooks of one tensor.

    - `gradient`: called with the gradient, may give another one.
    - `keep`: called with what comes of that; `accumulated`: with the leaf, after `.grad` is set.
    """

    __slots__ = ("__weakref__", "accumulated", "gradient", "keep")

    def __init__(self) -> None:
        self.gradient: dict[int, Callable[[Any], Any]] = {}
        self.keep: Callable[[Any], None] | None = None
        self.accumulated: dict[int, Callable[[Any], None]] = {}


# How many nodes and leaves there are that have had hooks.
_alive: dict[str, dict[int, weakref.ref[Any]]] = {"results": {}, "leaves": {}}


def exist() -> bool:
    """Whether any tensor has had hooks."""
    return bool(_alive["results"]) or bool(_alive["leaves"])


def on_results() -> bool:
    """Whether any result has had hooks."""
    return bool(_alive["results"])


def of(owner: Any) -> TensorHooks | None:
    """The hooks that lie with a node, or with a leaf."""
    return getattr(owner, "hooks", None)


def made(owner: Any, kind: str) -> TensorHooks:
    """The same, made where there are none; `kind` is "results" or "leaves"."""
    found = of(owner)
    if found is None:
        found = owner.hooks = TensorHooks()
        table = _alive[kind]
        # Its own name for the table: when Python ends, globals are gone first.
        table[id(owner)] = weakref.ref(owner, functools.partial(_forget, table, id(owner)))
    return found


def _forget(table: dict[int, Any], number: int, leaf: Any) -> None:
    table.pop(number, None)


def number_of_next() -> int:
    """A number that no hook has had."""
    return next(_numbers)


def signature(leaf: Any) -> tuple[int, ...]:
    """What tells which hooks a leaf has."""
    if not _alive["leaves"]:
        return ()
    found = of(leaf)
    return () if found is None else (*found.gradient, *found.accumulated)
