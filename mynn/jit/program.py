"""A program: a staged function that can run, natively.

The glass box: a program prints its graph, kernels, loop IR, LLVM IR and assembly, and says what it
costs.
"""

from __future__ import annotations

import operator
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mynn import debug
from mynn.base import forks, recording, sharing
from mynn.base.dataclass import dataclass
from mynn.base.lazy import lazy
from mynn.compiler.compilation import Compilation
from mynn.compiler.host.argument_layout import ArgumentLayout
from mynn.compiler.pipeline import show_kernels
from mynn.core.graph import Graph, Node, format_graph
from mynn.core.types import Array
from mynn.errors import ArgumentError
from mynn.jit.code import Code, CompileRequest, code_again, code_of, signature_text
from mynn.jit.direct import direct_call, quick_call, several_call
from mynn.jit.instance import Instance
from mynn.runtime import parallel_call
from mynn.runtime import threads as bounds
from mynn.runtime.llvm_jit import assembly
from mynn.runtime.threads import Threads, default_threads
from mynn.target.storage import address_of
from mynn.target.target import host, named

if TYPE_CHECKING:
    from mynn.jit.profile import Profile


def _same(first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Whether these are the same objects in the same order."""
    return len(first) == len(second) and all(map(operator.is_, first, second))


class StateTensor(Protocol):
    """What a program needs of a state tensor."""

    shared: Any

    def to_native(self) -> Array:
        """Its value in storage that native code can use, which stays where it is."""
        ...


@dataclass(frozen=True)
class BufferInfo:
    """A buffer of a program: name, dtype, elements with padding, and what it is for."""

    name: str
    dtype: str
    elements: int
    role: str


class Notes(Protocol):
    """What is noted of a run: its results, and whether it may have begun to change state."""

    results: list[Array] | None
    begun: bool


class Program:
    """A graph bound to state, ready to run, in several threads at once.

    Each run has arguments, results and intermediate values of its own. Runs that write the same
    state, or read what another one writes, take turns (`mynn.base.sharing`).

    Args:
        graph: inputs are arguments, then state; outputs are results, then new values of state.
        arguments: how many of the inputs are arguments.
        writes: for each state input that changes, the number of the output that is its new value.
        state: the tensors behind the state inputs.
        threads: how many threads `fit` runs a step with: a number, "auto" (the fastest,
            found while it runs), None for what `MYNN_THREADS` says, or `CALLS` where it never does.
        name: of the function, for the list of programs.
        code: of an earlier program of the same graph, which may do for this one too.
        twin: a program for other shapes of the arguments, mostly of the same state.

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
        writes: dict[Node, int],
        state: Sequence[StateTensor],
        threads: Threads | None = None,
        name: str = "",
        code: Code | None = None,
        twin: Program | None = None,
    ) -> None:
        start = time.perf_counter()
        shown = debug.level() > 0
        if shown:
            debug.show(2, "traced graph", lambda: format_graph(graph))
        self.source = graph
        self.state = list(state)
        state_arrays: list[Array]
        if twin is not None and _same(twin.state, self.state):
            state_arrays = twin.state_arrays
        else:
            state_arrays = [tensor.to_native() for tensor in state]
        known = code_again(code, state_arrays, threads)
        found = known is not None
        if known is None:
            layouts = [
                tuple([step // array.itemsize for step in array.strides]) for array in state_arrays
            ]
            by_node = dict(zip(graph.inputs[arguments:], layouts, strict=True))
            request = CompileRequest(graph, dict(writes), by_node, host())
            known = code_of(request, threads, signature_text(name, graph.inputs[:arguments]))
            found = known.request is not request
        self.code = known
        self.artifact, self.native = self.code.artifact, self.code.native
        if shown:
            debug.show(6, "LLVM IR after its passes", lambda: self.native.optimized)
            debug.show(7, "machine code", lambda: self.assembly)
        self.target = self.code.request.target
        self.threads = self.artifact.threads
        wanted = default_threads() if threads is None else threads
        self.adaptive = self.threads > 1 and wanted == "auto"
        self.state_arrays: list[Array] = state_arrays
        self._runs = 1  # whose memory is counted at least: 0 where that of the code is enough
        self._muted = [0]  # bits of checks that have warned
        written = [self.state[number] for number in self.code.written]
        self.access: sharing.Access | None
        self.addresses: Array
        if twin is not None and state_arrays is twin.state_arrays and _same(twin._written, written):
            self.access, self.addresses = twin.access, twin.addresses
        else:
            self.access = sharing.join(state, written) if state else None
            self.addresses = np.array([address_of(array) for array in state_arrays], np.uint64)
        self._written: list[StateTensor] = written
        self._lent: Callable[[Sequence[Any]], list[Array]] | None = None
        if self.access is None and self.code.is_large:
            from mynn.jit.lending import lending

            self._lent = lending(self)
        # Those that no run has. Memory for as many runs as there are processors is kept.
        self.free: deque[Instance] = deque(maxlen=self.code.kept)
        self.code.programs.add(self)
        self.seconds: Mapping[str, float] = (
            {"store": time.perf_counter() - start} if found else self.code.seconds
        )
        self.compile_seconds = time.perf_counter() - start

    def __del__(self) -> None:
        """The memory of its runs is there for the next program of the same code."""
        for instance in vars(self).get("free", ()):
            self.code.leave(instance.memory)

    def new_instance(self) -> Instance:
        """Memory for a run."""
        function: Callable[[int], Any] = (
            parallel_call.SharedCall(self.native, self.threads)
            if self.threads > 1 and self.operations >= bounds.LEAST_OPERATIONS
            else self.code.step
        )
        memory = self.code.memory(self.state_arrays, self.addresses)
        state, muted = self.state_arrays, self._muted
        return Instance(self.code, self.source, function, memory, state, muted)

    def take(self) -> Instance:
        """Memory for a run, which nobody else has until `give_back`."""
        try:
            return self.free.pop()
        except IndexError:
            return self.new_instance()

    @property
    def nbytes(self) -> int:
        """Bytes of the memory that is kept for runs."""
        return self.code.run_bytes * max(self._runs, len(self.free))

    def give_back(self, instance: Instance) -> None:
        """For the next run, of this program or another one of the same code."""
        if self.code.leave(instance.memory):
            self._runs = 0
        else:
            self.free.append(instance)

    @lazy
    def _first(self) -> Instance:
        """The memory of who runs it by hand; calls of one thread have it too."""
        try:
            instance = self.free.pop()
        except IndexError:
            instance = self.new_instance()
        self.free.append(instance)
        return instance

    def __call__(self, arguments: Sequence[Any]) -> list[Array]:
        """Copy the arguments in, run, copy the results out."""
        if recording.waiting:
            recording.settle(self.state)
        return self.values(arguments)

    def values(self, arguments: Sequence[Any]) -> list[Array]:
        """The same, where nothing is put off that the program reads."""
        if self._lent is not None:
            return self._lent(arguments)
        self.code.touched = True
        try:
            instance = self.free.pop()
        except IndexError:
            instance = self.new_instance()
        try:
            places = instance.arguments
            if len(places) != len(arguments):
                raise ValueError(f"{len(places)} arguments are needed, there are {len(arguments)}")
            number = 0
            for value in arguments:  # `enumerate` and `zip` take longer
                places[number][...] = value
                number += 1  # noqa: SIM113
            access = self.access
            if access is None:
                instance.function(instance.address)
                if instance.status is not None and instance.status.item():
                    instance.explain(instance.status.item())
            elif access.written:
                access.alone(instance.run)
            else:
                access.run(instance.run)
            outputs = instance.outputs
            if len(outputs) == 1:
                return [outputs[0].copy()]
            return [place.copy() for place in outputs]
        finally:
            self.free.append(instance)

    def call_noting(self, arguments: Sequence[Any], notes: Notes) -> None:
        """The same, with the results noted even where a signal handler raises after the run.

        Where it raises before, nothing has `begun`.
        """
        access = self.access
        if access is None or not access.written:  # it changes nothing
            notes.results = self.values(arguments)
            return
        self.code.touched = True
        instance = self.take()
        instance.ran = done = False
        try:
            for place, value in zip(instance.arguments, arguments, strict=True):
                place[...] = value
            access.alone(instance.run)
            done = True
        finally:
            if instance.ran and isinstance(instance.function, parallel_call.SharedCall):
                notes.begun = True  # as far as we know
            elif instance.ran:
                done = done or instance.status is None or not instance.status.item()
                notes.begun = True
            if done:
                try:
                    notes.results = [place.copy() for place in instance.outputs]
                except BaseException:  # a handler has raised in between, or again
                    notes.results = [place.copy() for place in instance.outputs]
                    raise
            self.free.append(instance)

    def direct(self) -> Callable[[Array], Array]:
        """For one argument and one result: a function with as little around the run as can be."""
        return direct_call(self)

    def several(self) -> Callable[[Sequence[Any]], list[Array]]:
        """The same for any number of them; the caller has looked at the arguments."""
        return several_call(self)

    def quick(self) -> Callable[[Sequence[Any]], list[Array] | None] | None:
        """`values` of what writes no state, in less time; None where it does. It gives None where
        `values` has to be asked: another thread writes what is read, or a check has failed.
        """
        return quick_call(self)

    # -- by hand, for one thread -------------------------------------------------------------------

    @property
    def arguments(self) -> list[Array]:
        """The memory that `run` takes the arguments from; calls of one thread use it too."""
        self._first.memory.lent = True
        return self._first.arguments

    @property
    def outputs(self) -> list[Array]:
        """The memory that `run` leaves the results in."""
        self._first.memory.lent = True
        return self._first.outputs

    @property
    def table(self) -> Array:
        """The table of addresses that `run` works with."""
        self._first.memory.lent = True
        return self._first.memory.table

    def run(self) -> None:
        """Run once on what lies in `arguments`; the results lie in `outputs` afterwards.

        For one thread, while nothing else runs the program.
        """
        self._first.run()

    @property
    def argument_layouts(self) -> tuple[ArgumentLayout, ...]:
        """Where the arguments lie."""
        return self.code.layouts("input")

    @property
    def result_layouts(self) -> tuple[ArgumentLayout, ...]:
        """Where the results lie."""
        return self.code.layouts("result")

    @property
    def status_slot(self) -> int | None:
        """The place of the status word in the table, where the program has checks."""
        return self.code.status_slot

    # -- the glass box -----------------------------------------------------------------------------

    @property
    def lowered(self) -> Compilation:
        """The kernels and the plan of the memory; after a hit in the cache, made when asked for."""
        return self.code.request.lowered

    @property
    def stages(self) -> list[str]:
        """The names of the compiler's passes that were run, in order."""
        return list(self.code.request.stages(self.threads))

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
        stages = self.code.request.stages(self.threads)
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
        return "\n".join(kernel.line for kernel in self.artifact.kernels)

    @property
    def loop_ir(self) -> str:
        """The kernels in the loop IR as they run, with shares and barriers, printed."""
        return show_kernels(self.code.request.finished(self.threads))

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
            >>> program = mynn.compile(lambda x: x + 1.0).program(np.ones(4, np.float32))
            >>> "fadd" in program.assembly_for("aarch64")
            True
        """
        request = replace(self.code.request, target=named(name))
        return assembly(request.text(self.threads), request.target)

    @property
    def operations(self) -> int:
        """Arithmetic operations of one run; a multiply-add counts as two."""
        return self.code.operations

    @property
    def bytes(self) -> int:
        """Bytes that one run reads and writes, each buffer once for each kernel."""
        return sum(kernel.nbytes for kernel in self.artifact.kernels)

    @property
    def stack_bytes(self) -> int:
        """What a run takes of the stack of each of its threads at most: never more than 32 KB."""
        return self.artifact.stack_bytes

    @property
    def buffers(self) -> list[BufferInfo]:
        """The memory of the program."""
        state = len(self.source.inputs) - len(self.state)
        return [
            BufferInfo(
                slot.name,
                slot.type,
                slot.elements,
                "state" if slot.role == "input" and slot.number >= state else slot.role,
            )
            for slot in self.artifact.slots
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
        with forks.loading:
            from mynn.jit.profile import profile

        instance = self.take()
        try:
            return profile(self.lowered, [*instance.arguments, *self.state_arrays], repeat)
        finally:
            self.give_back(instance)

    def __str__(self) -> str:
        kernels = len(self.artifact.kernels)
        return (
            f"Program of {kernels} kernel{'s' * (kernels != 1)}, {self.operations} operations, "
            f"{self.bytes} bytes, compiled in {1e3 * self.compile_seconds:.0f} ms"
        )
