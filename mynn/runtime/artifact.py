"""The image of a program: all that is needed to run it, besides its machine code and its memory.

Lowering makes one, and the cache on disk keeps it, so that a program that was compiled before is
bound to memory without being lowered again. `graph_key` names an image by what it was made from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from mynn.compiler.loop_ir.ir import Buffer, Kernel
from mynn.compiler.memory.plan import Plan
from mynn.core.graph import CONSTANT, Graph, Node
from mynn.core.types import Array, Shape, Type
from mynn.target.storage import SLACK, aligned_bytes, allocate


@dataclass(frozen=True)
class Slot:
    """An entry of the table of addresses: the buffer, and what lies in it.

    `role` is "input", "constant", "result", "arena" or "scratch"; `number` says which input,
    constant or result it is, its offset in bytes in the arena, or for how many workers there is
    scratch memory, each with a share of `elements` bytes.
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
class Image:
    """What binding a program needs.

    `types` are those of the results, of which the last one may be the `status` word; `code` is the
    name of the object code in the cache on disk, and `threads` the number that its machine code was
    made for. `stack_bytes` is what a run takes of the stack of a thread at most.
    """

    slots: tuple[Slot, ...]
    arena_bytes: int
    constants: tuple[Array, ...]
    types: tuple[Type, ...]
    kernels: tuple[KernelSummary, ...]
    threads: int = 1
    code: str = ""
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
            "kernels": [asdict(kernel) for kernel in self.kernels],
            "threads": self.threads,
            "code": self.code,
            "status": self.status,
            "stack_bytes": self.stack_bytes,
        }
        elements = [np.ascontiguousarray(value).tobytes() for value in self.constants]
        return b"\n".join([json.dumps(head).encode(), b"".join(elements)])

    @staticmethod
    def from_bytes(data: bytes) -> Image | None:
        """What `to_bytes` wrote; None for anything else."""
        text, _, rest = data.partition(b"\n")
        try:
            head = json.loads(text)
            constants = []
            for type in map(_from_json, head["constants"]):
                array = np.frombuffer(rest, type.dtype, type.size).reshape(type.shape)
                constants.append(array)
                rest = rest[type.nbytes :]
            return Image(
                tuple(Slot(**slot) for slot in head["slots"]),
                int(head["arena_bytes"]),
                tuple(constants),
                tuple(map(_from_json, head["types"])),
                tuple(KernelSummary(**kernel) for kernel in head["kernels"]),
                int(head["threads"]),
                str(head["code"]),
                bool(head["status"]),
                int(head["stack_bytes"]),
            )
        except (ValueError, TypeError, KeyError):
            return None


def _as_json(type: Type) -> list[Any]:
    return [type.dtype.name, *type.shape]


def _from_json(words: Sequence[Any]) -> Type:
    return Type(tuple(map(int, words[1:])), np.dtype(str(words[0])))


def make_image(
    plan: Plan,
    table: Sequence[Buffer],
    inputs: Sequence[Node],
    threads: int = 1,
    code: str = "",
    stack_bytes: int = 0,
) -> Image:
    """The image of a plan; `table` lists the buffers that its kernels touch."""
    known: dict[Buffer, tuple[str, int]] = {}
    for buffer, offset in plan.arena.items():
        known[buffer] = ("arena", offset)
    for number, node in enumerate(inputs):
        known[plan.places[node].buffer] = ("input", number)
    for number, node in enumerate(plan.constants):
        known[plan.places[node].buffer] = ("constant", number)
    for number, result in enumerate(plan.results):
        known[result.buffer] = ("result", number)
    if plan.scratch is not None:
        known[plan.scratch] = ("scratch", threads)
    return Image(
        tuple(Slot(b.name, b.type, b.elements, *known[b]) for b in table),
        plan.arena_bytes,
        tuple(plan.constants.values()),
        tuple(result.node.type for result in plan.results),
        tuple(map(summary, plan.kernels)),
        threads,
        code,
        plan.status is not None,
        stack_bytes,
    )


def bind_constants(image: Image) -> list[Array]:
    """The constants in native storage, for all that is bound."""
    constants = [allocate(value.shape, value.dtype) for value in image.constants]
    for array, value in zip(constants, image.constants, strict=True):
        array[...] = value
    return constants


def bind(
    image: Image, inputs: Sequence[Array], constants: Sequence[Array] | None = None
) -> tuple[Array, list[Array], list[Array]]:
    """Memory for every buffer: the table of addresses, the outputs, and what must be kept alive.

    `inputs` are arrays in native storage for the graph's inputs, `constants` those of
    `bind_constants`, made here where left out; outputs that are written to state lie there.
    """
    if constants is None:
        constants = bind_constants(image)
    arena = aligned_bytes(image.arena_bytes + SLACK)
    outputs = [allocate(type.shape, type.dtype) for type in image.types]
    keep = [arena, *constants]
    arrays = {"input": inputs, "constant": constants, "result": outputs}

    def address(slot: Slot) -> int:
        if slot.role == "arena":
            return int(arena.ctypes.data) + slot.number
        if slot.role == "scratch":
            keep.append(aligned_bytes(slot.elements * slot.number))
            return int(keep[-1].ctypes.data)
        return int(arrays[slot.role][slot.number].ctypes.data)

    addresses = [address(slot) for slot in image.slots]
    return np.array(addresses or [0], np.uint64), outputs, keep


# -- names -----------------------------------------------------------------------------------------


class _Unknown(Exception):
    """A parameter of a kind that has no canonical text, or a primitive that is not mynn's own."""


def _primitive_name(node: Node) -> str:
    """The name of a node's primitive, which stands for its meaning where it is one of mynn's."""
    expand = node.primitive.expand
    if expand is not None and not expand.__module__.startswith("mynn."):
        raise _Unknown(node.primitive.name)
    return node.primitive.name


# Types whose `repr` says all.
_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})


def _canonical(value: Any) -> str:
    """A text that differs wherever values of parameters differ."""
    if type(value) in _PLAIN or (type(value) is tuple and _PLAIN.issuperset(map(type, value))):
        return repr(value)
    if isinstance(value, np.dtype):
        return f"dtype({value.str})"
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind != "O":
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"array({value.dtype.str}, {value.shape}, {digest})"
    if isinstance(value, tuple | list):
        return f"({','.join(map(_canonical, value))})"
    if isinstance(value, Mapping):
        items = (f"{_canonical(k)}:{_canonical(v)}" for k, v in value.items())
        return f"{{{','.join(items)}}}"
    if isinstance(value, slice):
        return f"slice{_canonical((value.start, value.stop, value.step))}"
    if is_dataclass(value) and not isinstance(value, type):
        parts = (f"{f.name}={_canonical(getattr(value, f.name))}" for f in fields(value))
        return f"{type(value).__qualname__}({','.join(parts)})"
    raise _Unknown(type(value).__name__)


def graph_key(
    graph: Graph, writes: Mapping[Node, int], layouts: Mapping[Node, Shape]
) -> bytes | None:
    """A digest of all that lowering goes by: nodes, parameters, constants by their bytes, layouts
    and writes of state. None where a part is of a kind that cannot be told apart by text.
    """
    numbers: dict[Node, int] = {}
    digest = hashlib.sha256()
    try:
        for node in graph.nodes():
            declared = len(numbers) < len(graph.inputs)
            inputs = [] if declared else [numbers[x] for x in node.inputs]
            numbers[node] = len(numbers)
            digest.update(
                f"{_primitive_name(node)} {inputs} {node.type} {node.name!r} "
                f"{_canonical(node.params)} {writes.get(node)} {layouts.get(node)}\n".encode()
            )
            if node.primitive is CONSTANT:
                digest.update(_canonical(node.value).encode())
    except _Unknown:
        return None
    outputs = [numbers[node] for node in graph.outputs]
    checks = [numbers[node] for node in graph.checks]
    digest.update(f"{len(graph.inputs)} {outputs} {checks} {np.__version__}".encode())
    return digest.digest()
