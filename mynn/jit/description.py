"""`Description`: what a walk over a function has found (`mynn.jit.likeness`)."""

from __future__ import annotations

import enum
import operator
import types
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from mynn.base import hooks
from mynn.base.dataclass import dataclass
from mynn.core.types import Array
from mynn.tensor import Tensor

# So many objects at most: what has more is traced.
MOST = 20_000
# What is asked of tensors, and of their arrays.
_VALUE, _VIEW = operator.attrgetter("_value"), operator.attrgetter("_view")
_NODE, _NAME = operator.attrgetter("node"), operator.attrgetter("name")
_ASKS = operator.attrgetter("_requires_grad")
_LAYOUT = operator.attrgetter("shape", "dtype", "strides")
_NONE = frozenset({None})
_NOTHING: Mapping[int, Array] = types.MappingProxyType({})


class Unknown(Exception):
    """Something has no description."""


class Mark(enum.Enum):
    """What no value of the user's equals."""

    AGAIN = enum.auto()
    NONE = enum.auto()
    EMPTY = enum.auto()
    CLASS = enum.auto()

    __hash__ = object.__hash__  # that of `Enum` takes ten times as long


@dataclass
class Description:
    """What a walk found.

    - `told`: what was written down; `names`: those of tensors, which a trace may set.
    - `objects`: in the order of their numbers.
    - `numbers`: of objects, and of the dicts that hold their attributes, by `id`.
    - `edits`: how often parts of modules had been replaced, by number.
    - `constants`: what is the same object in every description that is equal, by `id`.
    """

    told: tuple[Any, ...] = ()
    names: list[str | None] = field(default_factory=list)
    objects: list[Any] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)
    edits: dict[int, int] = field(default_factory=dict)
    constants: set[int] = field(default_factory=set)

    def tell_tensors(self, out: list[Any], put_off: Mapping[int, Array] = _NOTHING) -> None:
        """Write down what the tensors are, but for their values. Functions of Python's own go over
        all of them, which takes a small part of what a method for each would.

        `put_off` has by `id` the memory of those whose values are still to be made, which nobody
        makes for this.

        Raises:
            Unknown: one is no state, or has hooks; or there are too many objects.
        """
        tensors = self.tensors
        if len(self.objects) > MOST:
            raise Unknown
        if put_off:
            known = map(put_off.get, map(id, tensors))
            arrays = [
                x._value if found is None else found
                for x, found in zip(tensors, known, strict=True)
            ]
        else:
            arrays = list(map(_VALUE, tensors))
        views, nodes = set(map(_VIEW, tensors)), set(map(_NODE, tensors))
        if types.NoneType in set(map(type, arrays)) or not views <= _NONE:
            raise Unknown
        if any(node.inputs for node in nodes - _NONE):
            raise Unknown
        if hooks.exist() and any(map(hooks.signature, tensors)):
            raise Unknown
        self.names += map(_NAME, tensors)
        out += map(_ASKS, tensors)
        out += map(_LAYOUT, arrays)
