"""Memory for an artifact: every buffer of a program gets an address."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mynn.core.types import Array
from mynn.runtime.artifact import Artifact, Slot
from mynn.target.storage import SLACK, aligned_bytes, allocate


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
    outputs = [allocate(type.shape, type.dtype) for type in artifact.types]
    keep = [arena, *constants]
    arrays = {"input": inputs, "constant": constants, "result": outputs}

    def address(slot: Slot) -> int:
        if slot.role == "arena":
            return int(arena.ctypes.data) + slot.number
        if slot.role == "scratch":
            keep.append(aligned_bytes(slot.elements * slot.number))
            return int(keep[-1].ctypes.data)
        return int(arrays[slot.role][slot.number].ctypes.data)

    addresses = [address(slot) for slot in artifact.slots]
    return np.array(addresses or [0], np.uint64), outputs, keep
