"""The artifact of a program: all that is needed to run it, besides its machine code and its memory.

Lowering makes one, and the cache on disk keeps it, so that a program that was compiled before is
bound to memory (`mynn.runtime.binding`) without being lowered again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.ir import Buffer, Kernel
from mynn.compiler.memory.plan import Plan
from mynn.core.graph import Node
from mynn.core.types import Array, Shape, Type


@dataclass(frozen=True)
class Slot:
    """An entry of the table of addresses: the buffer, and what lies in it.

    `role` is "input", "constant", "result", "arena", "scratch" or "view"; `number` says which
    input, constant or result it is, its offset in bytes in the arena, or for how many workers there
    is scratch memory, each with a share of `elements` bytes. A view has no memory: a loop sets its
    address in each step.
    """

    name: str
    type: str
    elements: int
    role: str
    number: int


@dataclass(frozen=True)
class KernelSummary:
    """A kernel as `Program.kernels` tells of it."""

    name: str
    operations: int
    nbytes: int
    comment: str

    @property
    def line(self) -> str:
        """The kernel on one line."""
        return f"{self.name:8} {self.operations:>10} ops {self.nbytes:>10} bytes  {self.comment}"


def summary(kernel: Kernel) -> KernelSummary:
    """What is told of a kernel."""
    return KernelSummary(kernel.name, kernel.operations, kernel.nbytes, kernel.comment)


@dataclass(frozen=True, eq=False)
class Artifact:
    """What binding a program needs.

    `types` are those of the results, with their `strides` in elements, of which the last one may be
    the `status` word; `object_key`
    is the name of the object code in the cache on disk, and `threads` the number that its machine
    code was made for. `stack_bytes` is what a run takes of the stack of a thread at most.
    """

    slots: tuple[Slot, ...]
    arena_bytes: int
    constants: tuple[Array, ...]
    types: tuple[Type, ...]
    strides: tuple[Shape, ...]
    kernels: tuple[KernelSummary, ...]
    threads: int = 1
    object_key: str = ""
    status: bool = False
    stack_bytes: int = 0

    def slot(self, role: str, number: int) -> int | None:
        """The place in the table of an input or a result; None where no kernel touches it."""
        return next(
            (i for i, s in enumerate(self.slots) if s.role == role and s.number == number), None
        )

    def to_bytes(self) -> bytes:
        """As a line of JSON, followed by the elements of the constants."""
        head = {
            "slots": [asdict(slot) for slot in self.slots],
            "arena_bytes": self.arena_bytes,
            "constants": [_as_json(Type.of(value)) for value in self.constants],
            "types": [_as_json(type) for type in self.types],
            "strides": self.strides,
            "kernels": [asdict(kernel) for kernel in self.kernels],
            "threads": self.threads,
            "object_key": self.object_key,
            "status": self.status,
            "stack_bytes": self.stack_bytes,
        }
        elements = [np.ascontiguousarray(value).tobytes() for value in self.constants]
        return b"\n".join([json.dumps(head).encode(), b"".join(elements)])

    @staticmethod
    def from_bytes(data: bytes) -> Artifact | None:
        """What `to_bytes` wrote; None for anything else."""
        text, _, payload = data.partition(b"\n")
        try:
            head = json.loads(text)
            constants = []
            for type in map(_from_json, head["constants"]):
                array = np.frombuffer(payload, type.dtype, type.size).reshape(type.shape)
                constants.append(array)
                payload = payload[type.nbytes :]
            return Artifact(
                tuple(Slot(**slot) for slot in head["slots"]),
                int(head["arena_bytes"]),
                tuple(constants),
                tuple(map(_from_json, head["types"])),
                tuple(tuple(map(int, strides)) for strides in head["strides"]),
                tuple(KernelSummary(**kernel) for kernel in head["kernels"]),
                int(head["threads"]),
                str(head["object_key"]),
                bool(head["status"]),
                int(head["stack_bytes"]),
            )
        except (ValueError, TypeError, KeyError):
            return None


def _as_json(type: Type) -> list[Any]:
    return [type.dtype.name, *type.shape]


def _from_json(words: Sequence[Any]) -> Type:
    return Type(tuple(map(int, words[1:])), np.dtype(str(words[0])))


def make_artifact(
    plan: Plan,
    table: Sequence[Buffer],
    inputs: Sequence[Node],
    threads: int = 1,
    object_key: str = "",
    stack_bytes: int = 0,
) -> Artifact:
    """The artifact of a plan; `table` lists the buffers that its kernels touch."""
    known = {buffer: ("arena", offset) for buffer, offset in plan.arena.items()}
    known.update(plan.lasting(inputs))
    if plan.scratch is not None:
        known[plan.scratch] = ("scratch", threads)
    return Artifact(
        tuple(Slot(b.name, b.type, b.elements, *known[b]) for b in table),
        plan.arena_bytes,
        tuple(plan.constants.values()),
        tuple(result.node.type for result in plan.results),
        tuple(result.place.strides for result in plan.results),
        tuple(map(summary, plan.kernels)),
        threads,
        object_key,
        plan.status is not None,
        stack_bytes,
    )
