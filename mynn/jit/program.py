"""A program: a staged function that can run, natively or by interpretation.

The glass box: a program prints its graph, kernels, loop IR, LLVM IR and assembly, and says what it
costs.
"""

from __future__ import annotations

import ctypes
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from mynn import debug
from mynn.base import sharing
from mynn.base.lazy import lazy
from mynn.compiler.graph.status import STOPS
from mynn.compiler.host.argument_layout import ArgumentLayout
from mynn.compiler.host.step import STEP
from mynn.compiler.pipeline import (
    Compilation,
    Pass,
    every_pass,
    finish,
    lower,
    show_kernels,
)
from mynn.core import interpreter
from mynn.core.graph import Graph, Node, format_graph
from mynn.core.types import Array, Shape, Type
from mynn.errors import ArgumentError, DataError, UsageError
from mynn.jit.profile import Profile, profile
from mynn.runtime import cache, parallel_call, store
from mynn.runtime.artifact import Image, bind, bind_constants, graph_key, make_image, summary
from mynn.runtime.llvm_jit import NativeModule, assembly, build, load
from mynn.runtime.signals import uninterrupted
from mynn.runtime.threads import Threads, choose_threads, default_threads, processors
from mynn.target.storage import allocate
from mynn.target.target import Target, host, named

# Bytes of memory that the store of programs looks at at once.
_LARGE = 2**20
PASS_NAMES = tuple(each.name for each in every_pass())


class StateTensor(Protocol):
    """What a program needs of a state tensor."""

    shared: Any

    def home(self) -> Array:
        """Its value in storage that native code can use, which stays where it is."""
        ...


@dataclass(frozen=True)
class BufferInfo:
    """A buffer of a program: name, dtype, elements with padding, and what it is for."""

    name: str
    dtype: str
    elements: int
    role: str


@dataclass(frozen=True)
class Recipe:
    """What a program is made from; lowered where the cache on disk does not know enough."""

    graph: Graph
    writes: Mapping[Node, int]
    layouts: Mapping[Node, Shape]
    target: Target
    seconds: dict[str, float] = field(default_factory=dict)

    @lazy
    def lowered(self) -> Compilation:
        """The kernels, and where everything lies."""
        return lower(self.graph, self.target, self.writes, self.layouts, debug.checking())

    def finished(self, threads: int) -> Compilation:
        """All passes, for so many threads."""
        return finish(self.lowered, threads > 1, debug.checking())

    def text(self, threads: int) -> str:
        """LLVM IR for so many threads."""
        return self.finished(threads).text

    def stages(self, threads: int) -> dict[str, Callable[[], str]]:
        """The printers of what came out of each pass, for so many threads."""
        found: dict[str, Callable[[], str]] = {}

        def observe(step: Pass, c: Compilation) -> None:
            found[step.name] = lambda: step.show(c)

        lowered = lower(self.graph, self.target, self.writes, self.layouts, observe=observe)
        finish(lowered, threads > 1, observe=observe)
        return found

    def make(self, requested: Threads | None, digest: bytes | None) -> tuple[Image, NativeModule]:
        """The image and its code: from the cache on disk, or made now and kept there.

        `digest` is the graph's, if it has one (`graph_key`).
        """
        start = time.perf_counter()
        key = None
        if digest is not None and cache.enabled():
            key = cache.key_of("image", digest, target_text(self.target, requested))
        if key is not None and not debug.checking():
            image = Image.from_bytes(cache.load(key) or b"")
            native = None if image is None else self._load(image)
            if image is not None and native is not None:
                self.seconds["cache"] = time.perf_counter() - start
                threads = image.threads
                self._show(threads)
                return image, native
        lowered = self.lowered
        threads = choose_threads(requested, sum(k.operations for k in lowered.kernels))
        made = self.finished(threads)
        text = made.text
        self.seconds.update(made.seconds)
        self._show(threads)
        native = build(text, self.target, lambda: self.text(threads))
        self.seconds["LLVM"] = native.seconds
        known = threads, native.key, made.stack_bytes
        image = make_image(lowered.plan, lowered.table, self.graph.inputs, *known)
        if key is not None:
            cache.store(key, image.to_bytes())
        vars(self).pop("lowered")  # several times the size of the code; made again for who looks
        return image, native

    def _show(self, threads: int) -> None:
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

    def _load(self, image: Image) -> NativeModule | None:
        return load(image.code, self.target, lambda: self.text(image.threads))


def target_text(target: Target, requested: Threads | None) -> str:
    """What code is made for, besides the graph."""
    wanted = default_threads() if requested is None else requested
    return f"{target} {wanted} {processors()}"


class Code(store.Stored):
    """What programs that compute the same have in common: kernels, machine code, constants."""

    def __init__(self, recipe: Recipe, requested: Threads | None, digest: bytes | None) -> None:
        super().__init__()
        self.recipe = recipe
        self.image, self.native = recipe.make(requested, digest)
        self.constants = bind_constants(self.image)
        self.kernels = len(self.image.kernels)
        self.programs: weakref.WeakSet[Program] = weakref.WeakSet()

    @property
    def nbytes(self) -> int:
        """Bytes of machine code, constants, and the memory that programs keep for their runs."""
        constants = sum(value.nbytes for value in self.image.constants)
        return self.native.nbytes + constants + sum(p.nbytes for p in list(self.programs))


def code_of(recipe: Recipe, requested: Threads | None, signature: str) -> Code:
    """The code for a recipe, from the store if it is there."""

    def make() -> Code:
        code = Code(recipe, requested, digest)
        code.signature = signature
        return code

    digest = graph_key(recipe.graph, recipe.writes, recipe.layouts)
    made_for = target_text(recipe.target, requested), debug.checking()
    key = (digest, *made_for) if digest is not None else object()
    return store.STORE.fetch(key, make)


class Instance:
    """The memory of one run: arguments, results, arena, and the table of all addresses.

    One thread at a time has it; `Program.take` lends it.
    """

    __slots__ = (
        "address",
        "arguments",
        "function",
        "keep",
        "muted",
        "outputs",
        "source",
        "state",
        "status",
        "table",
    )

    def __init__(
        self,
        code: Code,
        source: Graph,
        function: Callable[[int], Any],
        arguments: list[Array],
        state: list[Array],
        muted: list[int],
    ) -> None:
        self.source = source
        self.muted = muted
        self.function = function
        self.arguments = arguments
        self.state = state
        bound = bind(code.image, [*arguments, *state], code.constants)
        self.table, self.outputs, self.keep = bound
        self.status = self.outputs.pop() if code.image.status else None
        self.address = self.table.ctypes.data

    def run(self) -> None:
        """Run on what lies in `arguments`; the results lie in `outputs` afterwards.

        Raises `DataError` or `IndexRangeError` where a check fails; the state is not changed then.
        """
        self.function(self.address)
        if self.status is not None and self.status.item():
            self.explain(self.status.item())

    def explain(self, status: int) -> None:
        """Raise what the check that failed has to say; or warn, once for each check."""
        if status & ~self.muted[0]:
            explain(self.source, [*self.arguments, *self.state], status)
            self.muted[0] |= status


def explain(graph: Graph, values: Sequence[Array], status: int) -> None:
    """Raise what the check that failed natively says where the inputs of the graph are `values`, or
    warn.
    """
    stops = status & STOPS
    for found in interpreter.failures(graph, interpreter.bound(graph, values)):
        if not found.warns:
            raise found.error()
        if not stops:
            found.warn()
    if stops:
        raise DataError(
            "a label or an index is out of range natively, and in range where the step is "
            "interpreted: it comes from rounded numbers at the edge of what it may be"
        )


class Program:
    """A graph bound to state, ready to run, in several threads at once.

    Each run has arguments, results and intermediate values of its own. Runs that write the same
    state, or read what another one writes, take turns (`mynn.base.sharing`).

    Args:
        graph: inputs are arguments, then state; outputs are results, then new values of state.
        arguments: how many of the inputs are arguments.
        results: how many of the outputs are results.
        writes: for each state input that changes, the number of the output that is its new value.
        state: the tensors behind the state inputs.
        threads: how many threads `fit` runs a step with: a number, "auto" (the fastest,
            found while it runs), or None for what `MYNN_THREADS` says.
        name: of the function, for the list of programs.

    Example:
        >>> import numpy as np, mynn
        >>> program = mynn.compile(lambda x: x.tanh() * 2).program(np.zeros((2, 3), np.float32))
        >>> print(program.graph)
        graph(%arg0: f32[2,3]) {
          %0: f32[2,3] = tanh(%arg0)
          %1: f32[1,1] = constant [[2.0]]
          %2: f32[2,3] = broadcast_to(%1) shape=(2, 3)
          %3: f32[2,3] = mul(%0, %2)
          return %3
        }
    """

    backend = "native"

    def __init__(
        self,
        graph: Graph,
        arguments: int,
        results: int,
        writes: dict[Node, int],
        state: Sequence[StateTensor],
        threads: Threads | None = None,
        name: str = "",
    ) -> None:
        start = time.perf_counter()
        debug.show(2, "traced graph", lambda: format_graph(graph))
        self.source = graph
        self.state = list(state)
        state_arrays = [tensor.home() for tensor in state]
        state_nodes = graph.inputs[arguments:]
        layouts = {
            node: tuple(step // array.itemsize for step in array.strides)
            for node, array in zip(state_nodes, state_arrays, strict=True)
        }
        recipe = Recipe(graph, dict(writes), layouts, host())
        self.code = code_of(recipe, threads, signature_text(name, graph.inputs[:arguments]))
        self.recipe, self.image, self.native = self.code.recipe, self.code.image, self.code.native
        debug.show(6, "LLVM IR after its passes", lambda: self.native.optimized)
        debug.show(7, "machine code", lambda: self.assembly)
        self.target = recipe.target
        self.threads = self.image.threads
        wanted = default_threads() if threads is None else threads
        self.adaptive = self.threads > 1 and wanted == "auto"
        self._types = [node.type for node in graph.inputs[:arguments]]
        self._state_arrays = state_arrays
        self._muted = [0]  # bits of checks that have warned
        written = [
            tensor for tensor, node in zip(state, state_nodes, strict=True) if node in writes
        ]
        self.access = sharing.join(state, written) if state else None
        # Those that no run has. Memory for as many runs as there are processors is kept.
        self._free: deque[Instance] = deque(maxlen=max(2, processors()))
        self._first = self._instance()
        self.code.programs.add(self)
        if self.nbytes > _LARGE:
            store.STORE.make_room()
        found = self.recipe is not recipe
        self.seconds: Mapping[str, float] = (
            {"store": time.perf_counter() - start} if found else recipe.seconds
        )
        self._free.append(self._first)
        self.compile_seconds = time.perf_counter() - start

    def _instance(self) -> Instance:
        function: Callable[[int], Any] = (
            parallel_call.SharedCall(self.native, self.threads)
            if self.threads > 1 and self.operations >= parallel_call.LEAST_OPERATIONS
            else self.native.function(STEP, ctypes.c_void_p)
        )
        arguments = [allocate(type.shape, type.dtype) for type in self._types]
        state, muted = self._state_arrays, self._muted
        return Instance(self.code, self.source, function, arguments, state, muted)

    def take(self) -> Instance:
        """Memory for a run, which nobody else has until `give_back`."""
        try:
            return self._free.pop()
        except IndexError:
            return self._instance()

    @property
    def nbytes(self) -> int:
        """Bytes of the memory that is kept for runs."""
        arrays = *self._first.arguments, *self._first.outputs
        one = self.image.arena_bytes + sum(array.nbytes for array in arrays)
        return one * max(1, len(self._free))

    def give_back(self, instance: Instance) -> None:
        """For the next run."""
        self._free.append(instance)

    def __call__(self, arguments: Sequence[Any]) -> list[Array]:
        """Copy the arguments in, run, copy the results out."""
        self.code.touched = True
        try:
            instance = self._free.pop()
        except IndexError:
            instance = self._instance()
        try:
            for place, value in zip(instance.arguments, arguments, strict=True):
                place[...] = value
            access = self.access
            if access is None:
                instance.run()
            elif access.written:
                access.alone(instance.run)
            else:
                access.run(instance.run)
            return [place.copy() for place in instance.outputs]
        finally:
            self._free.append(instance)

    def direct(self) -> Callable[[Array], Array]:
        """For one argument and one result: a function with as little around the run as can be."""
        if self.access is None:
            return self._direct()
        return (
            self._direct_write(self.access)
            if self.access.written
            else self._direct_read(self.access)
        )

    def _direct(self) -> Callable[[Array], Array]:
        pop, push, new, code = self._free.pop, self._free.append, self._instance, self.code

        def call(array: Array) -> Array:
            code.touched = True
            try:
                instance = pop()
            except IndexError:
                instance = new()
            try:
                instance.arguments[0][...] = array
                instance.function(instance.address)
                if instance.status is not None and instance.status.item():
                    instance.explain(instance.status.item())
                return instance.outputs[0].copy()
            finally:
                push(instance)

        return call

    def _direct_read(self, access: sharing.Access) -> Callable[[Array], Array]:
        """`Access.run` for state that is only read, written out."""
        pop, push, new, code = self._free.pop, self._free.append, self._instance, self.code

        def read(array: Array) -> Array:
            domain = access.sole
            mark = domain.mark
            code.touched = True
            try:
                instance = pop()
            except IndexError:
                instance = new()
            try:
                instance.arguments[0][...] = array
                instance.function(instance.address)
                if instance.status is not None and instance.status.item():
                    instance.explain(instance.status.item())
                if mark is not None and domain.mark is mark and access.sole is domain:
                    return instance.outputs[0].copy()
            except Exception:
                if mark is not None and domain.mark is mark and access.sole is domain:
                    raise
            finally:
                push(instance)
            return self((array,))[0]

        return read

    def _direct_write(self, access: sharing.Access) -> Callable[[Array], Array]:
        """`Access.alone`, written out."""
        pop, push, new, code = self._free.pop, self._free.append, self._instance, self.code

        def write(array: Array) -> Array:
            domain = access.sole
            if domain.wanted or domain is sharing.SEVERAL:
                return self((array,))[0]
            code.touched = True
            try:
                instance = pop()
            except IndexError:
                instance = new()
            try:
                instance.arguments[0][...] = array
                with domain.lock:
                    if access.sole is domain:
                        outer, domain.mark = domain.mark, None
                        try:
                            instance.function(instance.address)
                            if instance.status is not None and instance.status.item():
                                instance.explain(instance.status.item())
                        finally:
                            domain.mark = None if outer is None else object()
                        return instance.outputs[0].copy()
            finally:
                push(instance)
            return self((array,))[0]

        return write

    # -- by hand, for one thread -------------------------------------------------------------------

    @property
    def arguments(self) -> list[Array]:
        """The memory that `run` takes the arguments from; calls of one thread use it too."""
        return self._first.arguments

    @property
    def outputs(self) -> list[Array]:
        """The memory that `run` leaves the results in."""
        return self._first.outputs

    @property
    def table(self) -> Array:
        """The table of addresses that `run` works with."""
        return self._first.table

    def run(self) -> None:
        """Run once on what lies in `arguments`; the results lie in `outputs` afterwards.

        For one thread, while nothing else runs the program.
        """
        self._first.run()

    @lazy
    def argument_layouts(self) -> tuple[ArgumentLayout, ...]:
        """Where the arguments lie."""
        return self._layouts("input", self.arguments)

    @lazy
    def result_layouts(self) -> tuple[ArgumentLayout, ...]:
        """Where the results lie."""
        return self._layouts("result", self.outputs)

    def _layouts(self, role: str, arrays: Sequence[Array]) -> tuple[ArgumentLayout, ...]:
        return tuple(
            ArgumentLayout(
                self.image.slot(role, number),
                Type.of(array).short,
                array.itemsize,
                array.shape,
                array.strides,
            )
            for number, array in enumerate(arrays)
        )

    @property
    def status_slot(self) -> int | None:
        """The place of the status word in the table, where the program has checks."""
        return self.image.slot("result", len(self.outputs)) if self.image.status else None

    # -- the glass box -----------------------------------------------------------------------------

    @property
    def lowered(self) -> Compilation:
        """The kernels and the plan of the memory; after a hit in the cache, made when asked for."""
        return self.recipe.lowered

    @property
    def stages(self) -> list[str]:
        """The names of the compiler's passes that were run, in order."""
        return list(self.recipe.stages(self.threads))

    def stage(self, name: str) -> str:
        """What came out of a pass, printed.

        Raises:
            ArgumentError: no pass of this name was run.

        Example:
            >>> import numpy as np, mynn
            >>> program = mynn.compile(lambda x: (x + 0).tanh()).program(np.zeros(3, np.float32))
            >>> print(program.stage("fuse"))
            group 0 loops 3:
              load %arg0
              store %0[0] = tanh f32[3]   # an output
        """
        stages = self.recipe.stages(self.threads)
        if name not in stages:
            raise ArgumentError(f"stage must be one of {', '.join(stages)}; it is {name!r}")
        return stages[name]()

    @property
    def graph(self) -> str:
        """The simplified graph, from which the kernels were made, printed."""
        return format_graph(self.lowered.graph)

    @property
    def kernels(self) -> str:
        """A line for each kernel: name, what it computes, operations and bytes."""
        return "\n".join(kernel.line for kernel in self.image.kernels)

    @property
    def loop_ir(self) -> str:
        """The kernels in the loop IR as they run, with shares and barriers, printed."""
        return show_kernels(self.recipe.finished(self.threads))

    @property
    def llvm_ir(self) -> str:
        """The LLVM IR as it was generated, before LLVM's passes."""
        return self.native.text

    @property
    def assembly(self) -> str:
        """The machine code as text."""
        return self.native.assembly()

    def assembly_for(self, name: str) -> str:
        """The machine code of the same program for another target, as text.

        - `name`: `x86-64` (SSE2), `x86-64-v3` (AVX2), `x86-64-v4` (AVX-512) or `aarch64` (NEON).

        Raises:
            ArgumentError: there is no target of that name.
            CompileError: this LLVM was built without it.

        Example:
            >>> import numpy as np, mynn
            >>> program = mynn.compile(lambda x: x * 2.0).program(np.ones(4, np.float32))
            >>> "fadd" in program.assembly_for("aarch64")
            True
        """
        recipe = replace(self.recipe, target=named(name), seconds={})
        return assembly(recipe.text(self.threads), recipe.target)

    @property
    def operations(self) -> int:
        """Arithmetic operations of one run; a multiply-add counts as two."""
        return sum(kernel.operations for kernel in self.image.kernels)

    @property
    def bytes(self) -> int:
        """Bytes that one run reads and writes, each buffer once for each kernel."""
        return sum(kernel.nbytes for kernel in self.image.kernels)

    @property
    def stack_bytes(self) -> int:
        """What a run takes of the stack of each of its threads at most: never more than 32 KB."""
        return self.image.stack_bytes

    @property
    def buffers(self) -> list[BufferInfo]:
        """The memory of the program."""
        state = len(self.arguments)
        return [
            BufferInfo(
                slot.name,
                slot.type,
                slot.elements,
                "state" if slot.role == "input" and slot.number >= state else slot.role,
            )
            for slot in self.image.slots
        ]

    def profile(self, repeat: int = 7) -> Profile:
        """Where the time goes: each kernel alone on one thread, beside the limit of the core.

        The kernels run on what `arguments` and the state hold now, in copies: nothing of the
        program changes. `repeat` is how many measurements of a kernel its median is taken of.

        Example:
            >>> import numpy as np, mynn
            >>> program = mynn.compile(lambda x: x @ x).program(np.ones((32, 32), np.float32))
            >>> [(kernel.name, kernel.operations) for kernel in program.profile(repeat=1)]
            [('k0', 65536)]
        """
        instance = self.take()
        try:
            return profile(self.lowered, [*instance.arguments, *self._state_arrays], repeat)
        finally:
            self.give_back(instance)

    def __str__(self) -> str:
        kernels = len(self.image.kernels)
        return (
            f"Program of {kernels} kernel{'s' * (kernels != 1)}, {self.operations} operations, "
            f"{self.bytes} bytes, compiled in {1e3 * self.compile_seconds:.0f} ms"
        )


def signature_text(name: str, arguments: Sequence[Node]) -> str:
    """The function and the types of its arguments."""
    return f"{name or 'graph'}({', '.join(str(node.type) for node in arguments)})"


class InterpretedProgram:
    """The same as `Program`, run by the NumPy interpreter.

    Slow, and what native code is held to.
    """

    backend = "interpreter"
    compile_seconds = 0.0
    threads = 1
    adaptive = False

    def __init__(
        self,
        graph: Graph,
        arguments: int,
        results: int,
        writes: dict[Node, int],
        state: Sequence[StateTensor],
        threads: Threads | None = None,
        name: str = "",
    ) -> None:
        debug.show(2, "traced graph", lambda: format_graph(graph))
        self.source = graph
        self.code = store.Stored()
        self.code.kind = "interpreted"
        self.code.signature = signature_text(name, graph.inputs[:arguments])
        store.STORE.add(object(), self.code)
        self.seconds: Mapping[str, float] = {}
        self.count = results
        self.writes = dict(writes)
        self.state_arrays = [tensor.home() for tensor in state]
        self.state_nodes = graph.inputs[arguments:]
        pairs = zip(state, self.state_nodes, strict=True)
        self.access = sharing.join(state, [tensor for tensor, node in pairs if node in writes])

    def __call__(self, arguments: Sequence[Any]) -> list[Array]:
        """Evaluate the graph, then change the state."""
        self.code.touched = True
        return self.access.run(lambda: self._run(arguments))

    def _run(self, arguments: Sequence[Any]) -> list[Array]:
        values = interpreter.evaluate(self.source, [*arguments, *self.state_arrays])
        results = [np.array(value) for value in values[: self.count]]
        new = [
            np.array(values[self.writes[n]]) if n in self.writes else None for n in self.state_nodes
        ]
        with uninterrupted():
            for array, value in zip(self.state_arrays, new, strict=True):
                if value is not None:
                    array[...] = value
        return results

    @property
    def graph(self) -> str:
        """The graph as it was traced, printed."""
        return format_graph(self.source)

    def __str__(self) -> str:
        return f"InterpretedProgram of {len(self.source.nodes())} nodes"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(Program, name):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        raise UsageError(f"an interpreted program has no {name}; compile with backend='native'")
