"""Code: what programs that compute the same share, and the request that it is compiled from."""

from __future__ import annotations

import ctypes
import functools
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from mynn import debug
from mynn.base.dataclass import dataclass
from mynn.base.lazy import lazy
from mynn.compiler.compilation import Compilation
from mynn.compiler.host.argument_layout import ArgumentLayout
from mynn.compiler.host.state import PIECE
from mynn.compiler.host.step import SPLIT_STEP, STEP
from mynn.compiler.pipeline import Pass, every_pass, finish, lower, show_kernels
from mynn.core.graph import Graph, Node, format_graph
from mynn.core.types import Array, Shape, Type
from mynn.errors import ArgumentError
from mynn.runtime import cache, store
from mynn.runtime.artifact import Artifact, make_artifact, summary
from mynn.runtime.binding import Memory, StatePlaces, bind_constants
from mynn.runtime.graph_key import graph_key
from mynn.runtime.llvm_jit import NativeModule, build, load
from mynn.runtime.threads import (
    CALLS,
    Threads,
    choose_threads,
    default_threads,
    is_for_one_thread,
    processors,
    wanted_threads,
)
from mynn.target.storage import dense_strides, padded_strides
from mynn.target.target import Target, host

# Memory of a run that the store of programs looks at at once.
_NOTABLE_BYTES = 2**20
# Memory of a run that is larger goes with its program: touching it is little of what a run takes.
_SPARE_BYTES = 16 * 2**20

# From so many bytes on a result that native code is entered for is memory of the caller's
# (`mynn.jit.entry`): a block around a smaller one would be as large as itself.
LEAST_LENT = 1 << 10
# Arrays of so many bytes are read and written where they lie (`mynn.jit.lending`).
LARGE = 1 << 14

PASS_NAMES = tuple(each.name for each in every_pass())


@dataclass(frozen=True)
class CompileRequest:
    """What code is made from: a graph, where its state lies, and for which processor.

    - `writes`: for each state input that changes, the number of the output that is its new value.
    - `layouts`: for each state input its strides in elements.
    """

    graph: Graph
    writes: Mapping[Node, int]
    layouts: Mapping[Node, Shape]
    target: Target

    @lazy
    def lowered(self) -> Compilation:
        """The kernels, and where everything lies; made where the cache does not know enough."""
        return self._lower(debug.checking())

    def _lower(
        self, check: bool = False, observe: Callable[[Pass, Compilation], None] | None = None
    ) -> Compilation:
        arguments = [node for node in self.graph.inputs if node not in self.layouts]
        given = {**{x: self.strides(x.type) for x in arguments}, **self.layouts}
        outputs = enumerate(self.graph.outputs) if not self.writes else ()
        wanted = {number: self.strides(node.type) for number, node in outputs}
        return lower(self.graph, self.target, self.writes, given, check, observe, wanted)

    def strides(self, type: Type) -> Shape:
        """Of an argument or a result, in elements. A program that changes no state reads and writes
        all but what is small where callers have it, so that nothing lies between the rows; a
        training loop puts rows where steps want them.
        """
        if not self.writes and type.nbytes >= LEAST_LENT:
            return dense_strides(type.shape)
        return padded_strides(type.shape, type.dtype.itemsize)

    def finished(self, threads: int) -> Compilation:
        """All passes, for so many threads."""
        return finish(self.lowered, threads > 1, debug.checking())

    def text(self, threads: int) -> str:
        """LLVM IR for so many threads."""
        return self.finished(threads).text

    def stages(self, threads: int) -> dict[str, Callable[[], str]]:
        """The printers of what came out of each pass, for so many threads."""
        printers: dict[str, Callable[[], str]] = {}

        def observe(step: Pass, c: Compilation) -> None:
            printers[step.name] = lambda: step.show(c)

        lowered = self._lower(observe=observe)
        finish(lowered, threads > 1, observe=observe)
        return printers

    def show(self, threads: int) -> None:
        """The debug output of what comes before machine code."""
        names = debug.stages()
        if debug.level() < 3 and not names:
            return
        if not set(names) <= set(PASS_NAMES):
            raise ArgumentError(
                f"MYNN_DEBUG must be a number from 0 to {debug.LEVELS}, or names out of "
                f"{', '.join(PASS_NAMES)} with commas between them, it is {','.join(names)!r}"
            )
        for name, text in self.stages(threads).items() if names else ():
            if name in names:
                debug.section(name, text())
        made = self.finished(threads)
        debug.show(3, "simplified graph", lambda: format_graph(made.graph))
        debug.show(3, "kernels", lambda: "\n".join(k.line for k in map(summary, made.kernels)))
        debug.show(4, "loop IR", lambda: show_kernels(made))
        debug.show(5, "LLVM IR", lambda: made.text)


def made_for(target: Target, requested: Threads | None) -> str:
    """What code depends on besides the graph: the processor, and how many threads there may be."""
    wanted = wanted_threads(requested)
    return _made_for(target, wanted, default_threads() if wanted == CALLS else "", processors())


@functools.cache
def _made_for(target: Target, wanted: Threads, most: Threads, processors: int) -> str:
    return f"{target} {wanted} {most} {processors}"


class Code(store.Stored):
    """Kernels, machine code and constants. `seconds` says what making them took, by stages.

    `digest` is the graph's, if it has one (`graph_key`): then the cache on disk keeps the code.
    """

    def __init__(
        self, request: CompileRequest, requested: Threads | None, digest: bytes | None
    ) -> None:
        super().__init__()
        self.request = request
        self.wanted = wanted_threads(requested)
        self.key: Hashable = None
        # Loops of `fit` that run it, and how many steps a second they took.
        self.loops: dict[Any, Any] = {}
        self.pace = 0.0
        self._layouts: dict[str, tuple[ArgumentLayout, ...]] = {}
        self.seconds: dict[str, float] = {}
        key = None
        if digest is not None and cache.enabled():
            key = cache.key_of("artifact", digest, made_for(request.target, requested))
        found = None if key is None or debug.checking() else self._load(key)
        self.artifact, self.native = found or self._compile(requested, key)
        self.constants = bind_constants(self.artifact)
        self.kernels = len(self.artifact.kernels)
        self.programs: weakref.WeakSet[Any] = weakref.WeakSet()
        inputs = request.graph.inputs
        count = len(inputs) - len(request.layouts)
        self._types = [node.type for node in inputs[:count]]
        self._given = [(type, request.strides(type)) for type in self._types]
        self._places = StatePlaces(self.artifact, len(self._types))
        # Of so many runs.
        self.kept = max(2, processors())
        self._copies: deque[Array] = deque(maxlen=1)
        self._spare: deque[Memory] = deque(maxlen=self.kept)
        nodes = inputs[count:]
        # The numbers of the state that changes, and the strides of all state in bytes.
        self.written = [number for number, node in enumerate(nodes) if node in request.writes]
        self.strides = [
            tuple(step * node.type.dtype.itemsize for step in request.layouts[node])
            for node in nodes
        ]

    # -- what the runs of its programs share -------------------------------------------------------

    @lazy
    def step(self) -> Any:
        """The function that runs the program once, on the address of a table."""
        return self.native.function(STEP, ctypes.c_void_p)

    @lazy
    def step_address(self) -> int:
        """The address of the step that a training loop calls."""
        return self.native.address(SPLIT_STEP if self.artifact.threads > 1 else STEP)

    @lazy
    def status_slot(self) -> int | None:
        """The place of the status word in the table, where the program has checks."""
        results = len(self.artifact.types) - 1
        return self.artifact.slot("result", results) if self.artifact.status else None

    @lazy
    def is_large(self) -> bool:
        """Whether an argument or a result is large."""
        sizes = [slot.elements for slot in self.artifact.slots if slot.role in ("input", "result")]
        return 4 * max(sizes, default=0) >= LARGE

    @lazy
    def is_for_one_thread(self) -> bool:
        """Whether it has so few operations that the number of processors does not matter."""
        return is_for_one_thread(self.operations)

    @lazy
    def operations(self) -> int:
        """Arithmetic operations of one run; a multiply-add counts as two."""
        return sum(kernel.operations for kernel in self.artifact.kernels)

    @lazy
    def run_bytes(self) -> int:
        """Bytes of the memory of a run."""
        types = *self._types, *self.artifact.types
        return self.artifact.arena_bytes + sum(type.nbytes for type in types)

    def memory(self, state: Sequence[Array], addresses: Array) -> Memory:
        """Memory for a run, with state that lies at these addresses."""
        try:
            memory = self._spare.pop()
        except IndexError:
            if self.run_bytes > _NOTABLE_BYTES:
                store.STORE.grew(self.run_bytes)
            return Memory(self.artifact, self._given, state, self.constants)
        memory.table[self._places.places] = addresses[self._places.numbers]
        return memory

    def leave(self, memory: Memory) -> bool:
        """Keep the memory of a run for the next one, of whatever program; whether it is kept."""
        kept = not memory.lent and self.run_bytes <= _SPARE_BYTES and not self.dropped
        if kept:
            self._spare.append(memory)
        return kept

    @lazy
    def written_state(self) -> tuple[Array, Array]:
        """The numbers of the state that changes, and its sizes as `mynn.compiler.host.state` takes
        them, [tensors, 2].
        """
        nodes, sizes = self.request.graph.inputs[len(self._types) :], []
        for number in self.written:
            shape, dtype = nodes[number].shape, nodes[number].dtype
            steps = zip(shape, self.strides[number], strict=True)
            span = sum((extent - 1) * step for extent, step in steps) + dtype.itemsize
            nbytes = -(-span // PIECE) * PIECE if all(shape) else 0
            sizes.append((nbytes, dtype.itemsize if dtype.kind == "f" else 0))
        return np.array(self.written, np.intp), np.array(sizes, np.int64).reshape(-1, 2)

    def take_copies(self, nbytes: int) -> Array:
        """So many bytes for copies of that state, or more, which nobody else has until
        `leave_copies`. Memory that is new costs more than the copying.
        """
        try:
            memory = self._copies.pop()
        except IndexError:
            memory = np.empty(0, np.uint8)
        return memory if len(memory) >= nbytes else np.empty(nbytes, np.uint8)

    def leave_copies(self, memory: Array) -> None:
        """The memory is there for the next run, of whatever program."""
        if not self.dropped:
            self._copies.append(memory)

    @property
    def counts(self) -> tuple[int, int]:
        """How many arguments and results there are."""
        return len(self._types), len(self.artifact.types) - self.artifact.status

    def layouts(self, role: str) -> tuple[ArgumentLayout, ...]:
        """Where the arguments (`role` is "input") or the results of a program lie."""
        layouts = self._layouts.get(role)
        if layouts is None:
            found = self._given
            if role == "result":
                results = len(self.artifact.types) - self.artifact.status
                every = zip(self.artifact.types, self.artifact.strides, strict=True)
                found = [*every][:results]
            layouts = self._layouts[role] = tuple(
                ArgumentLayout(
                    self.artifact.slot(role, number),
                    type.short,
                    type.dtype.itemsize,
                    type.shape,
                    tuple([step * type.dtype.itemsize for step in strides]),
                )
                for number, (type, strides) in enumerate(found)
            )
        return layouts

    # -- how it is made ----------------------------------------------------------------------------

    def _load(self, key: str) -> tuple[Artifact, NativeModule] | None:
        """The artifact and its code from the cache on disk, if they are there."""
        start = time.perf_counter()
        request = self.request
        artifact = Artifact.from_bytes(cache.load(key) or b"")
        if artifact is None:
            return None
        threads = artifact.threads
        native = load(artifact.object_key, request.target, lambda: request.text(threads))
        if native is None:
            return None
        self.seconds["cache"] = time.perf_counter() - start
        request.show(threads)
        return artifact, native

    def _compile(self, requested: Threads | None, key: str | None) -> tuple[Artifact, NativeModule]:
        """The artifact and its code, made now and put into the cache."""
        request = self.request
        lowered = request.lowered
        threads = choose_threads(requested, sum(k.operations for k in lowered.kernels))
        made = request.finished(threads)
        self.seconds.update(made.seconds)
        request.show(threads)
        native = build(made.text, request.target, lambda: request.text(threads))
        self.seconds["LLVM"] = native.seconds
        known = threads, native.key, made.stack_bytes
        artifact = make_artifact(lowered.plan, lowered.table, request.graph.inputs, *known)
        if key is not None:
            cache.store(key, artifact.to_bytes())
        vars(request).pop("lowered")  # several times the size of the code; made again if looked at
        return artifact, native

    @property
    def nbytes(self) -> int:
        """Bytes of machine code, constants, and the memory that programs keep for their runs."""
        constants = sum(value.nbytes for value in self.artifact.constants)
        runs: int = sum(program.nbytes for program in list(self.programs))
        spare = self.run_bytes * len(self._spare) + sum(map(len, list(self._copies)))
        return self.native.nbytes + constants + runs + spare


def code_of(request: CompileRequest, requested: Threads | None, signature: str) -> Code:
    """The code for a request, from the store if it is there."""

    def make() -> Code:
        code = Code(request, requested, digest)
        code.signature = signature
        code.key = key
        return code

    key: Any = None
    digest = graph_key(request.graph, request.writes, request.layouts)
    if digest is None:
        return store.STORE.fetch(object(), make)
    key = digest, made_for(request.target, requested), debug.checking()
    found = store.STORE.find(key) or _of_others(key, request.target, requested)
    return found or store.STORE.fetch(key, make)


def _of_others(
    key: tuple[bytes, str, bool], target: Target, requested: Threads | None
) -> Code | None:
    """What loops may have of single calls, if that is kept, or the other way round: of small
    programs the code is the same, and a call can run that of a loop.
    """
    wanted = wanted_threads(requested)
    if wanted not in ("auto", CALLS):
        return None
    other = made_for(target, "auto" if wanted == CALLS else CALLS)
    found: Code | None = store.STORE.find(
        (key[0], other, key[2]), lambda code: wanted == CALLS or code.is_for_one_thread
    )
    return found


def code_again(code: Any, state: Sequence[Array], requested: Threads | None) -> Code | None:
    """The code of an earlier program of the same graph, if it is the one for state that lies so,
    and is still kept.
    """
    if not isinstance(code, Code) or not isinstance(code.key, tuple):
        return None
    if code.is_for_one_thread and code.request.target is host():
        wanted = wanted_threads(requested)
        alike = wanted == code.wanted or {wanted, code.wanted} == {"auto", CALLS}
        found = alike and code.key[2] == debug.checking()
    else:
        found = code.key[1:] == (made_for(host(), requested), debug.checking())
    if not found or code.strides != [array.strides for array in state]:
        return None
    kept: Code | None = store.STORE.find(code.key)
    return kept


def signature_text(name: str, arguments: Sequence[Node]) -> str:
    """The function and the types of its arguments."""
    return f"{name or 'graph'}({', '.join(str(node.type) for node in arguments)})"
