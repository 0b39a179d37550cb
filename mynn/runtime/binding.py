"""Memory for an artifact: every buffer of a program gets an address.

What runs need beside state is a `Memory`. It is kept with the code when its program is gone: the
next program of the same code, that of a network like the last one, only writes the addresses of its
own state into the table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mynn.core.types import Array, Shape, Type
from mynn.runtime.artifact import Artifact, Slot
from mynn.target.storage import SLACK, address_of, aligned_bytes, allocate, allocate_strided


def bind_constants(artifact: Artifact) -> list[Array]:
    """The constants in native storage, for all that is bound."""
    constants = [allocate(value.shape, value.dtype) for value in artifact.constants]
    for array, value in zip(constants, artifact.constants, strict=True):
        array[...] = value
    return constants


def bind(
    artifact: Artifact, inputs: Sequence[Array], constants: Sequence[Array] | None = None
) -> tuple[Array, list[Array], list[Array]]:
    """Memory for every buffer: the table of addresses, the outputs, and what must be kept alive.

    `inputs` are arrays in native storage for the graph's inputs, `constants` those of
    `bind_constants`, made here where left out; outputs that are written to state lie there.
    """
    if constants is None:
        constants = bind_constants(artifact)
    arena = aligned_bytes(artifact.arena_bytes + SLACK)
    outputs = [
        allocate_strided(type.shape, type.dtype, strides)
        for type, strides in zip(artifact.types, artifact.strides, strict=True)
    ]
    keep = [arena, *constants]
    arrays = {"input": inputs, "constant": constants, "result": outputs}

    def address(slot: Slot) -> int:
        if slot.role == "arena":
            return address_of(arena) + slot.number
        if slot.role == "scratch":
            keep.append(aligned_bytes(slot.elements * slot.number))
            return address_of(keep[-1])
        if slot.role == "view":
            return 0
        return address_of(arrays[slot.role][slot.number])

    addresses = [address(slot) for slot in artifact.slots]
    return np.array(addresses or [0], np.uint64), outputs, keep


class StatePlaces:
    """Where in the table the addresses of state stand: `places`, of the states of these `numbers`,
    where the first `arguments` inputs are none.
    """

    def __init__(self, artifact: Artifact, arguments: int) -> None:
        found = [
            (place, slot.number - arguments)
            for place, slot in enumerate(artifact.slots)
            if slot.role == "input" and slot.number >= arguments
        ]
        self.places = np.array([place for place, _ in found], np.intp)
        self.numbers = np.array([number for _, number in found], np.intp)


class Memory:
    """What a run needs beside state: arguments, results, arena, and the table of addresses.

    - `lent`: somebody else may hold one of these arrays.
    """

    __slots__ = ("address", "arguments", "keep", "lent", "outputs", "table")

    def __init__(
        self,
        artifact: Artifact,
        types: Sequence[tuple[Type, Shape]],
        state: Sequence[Array],
        constants: Sequence[Array],
    ) -> None:
        """`types` are those of the arguments, with strides in elements."""
        self.arguments = [allocate_strided(type.shape, type.dtype, steps) for type, steps in types]
        bound = bind(artifact, [*self.arguments, *state], constants)
        self.table, self.outputs, self.keep = bound
        self.address = address_of(self.table)
        self.lent = False
