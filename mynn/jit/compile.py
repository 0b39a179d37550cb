"""`mynn.compile`: a Python function that runs as a native program."""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from mynn import debug
from mynn.base import forks, notices, recording
from mynn.base.arguments import check_call, flag
from mynn.base.cycles import WAITING, undisturbed
from mynn.base.structure import flatten
from mynn.core.graph import Graph
from mynn.errors import ArgumentError, MynnError
from mynn.jit import native_available, stage, unrolled
from mynn.jit.known import Beside, Known
from mynn.jit.known import stage as stage_known
from mynn.jit.ready import Ready, ReadyForMany, ReadyForSeveral
from mynn.runtime.threads import Threads, check_threads
from mynn.tensor import as_array
from mynn.trace import tracing

if TYPE_CHECKING:
    from mynn.jit.lengths.calls import Calls
    from mynn.jit.lengths.lookup import Lengths

BACKENDS = ("native", "interpreter")
# What is looked at in every call, under short names.
activity, waiting = tracing.activity, recording.waiting
# After so many programs for one value that changes, a warning.
_OFTEN = 5
# What was called so often, again and again, is worth an entry of its own (`mynn.jit.entry`).
_OFTEN_CALLED = 50


class Compiled:
    """A function that is traced once for each signature of its arguments and runs as a program.

    Call it with NumPy arrays (or tensors, or numbers); the results are NumPy arrays in the form
    that the function returns. Tensors that the function reads and assigns, such as parameters and
    the state of optimisers, are the program's state and are changed in place.

    Threads may call it at once: each call has memory of its own, and calls that write the same
    state take turns. One thread traces, while others that need the same program wait.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        backend: str = "native",
        threads: Threads | None = None,
        dynamic: bool = False,
    ) -> None:
        if backend not in BACKENDS:
            raise ArgumentError(f"backend must be one of {BACKENDS}, it is {backend!r}")
        if not callable(function):
            raise ArgumentError(
                f"compile takes a function, it was given {type(function).__name__}; give a "
                "function of tensors, or a module"
            )
        self.function = function
        self.backend = backend
        self.threads = None if threads is None else check_threads(threads)
        self._programs: dict[Any, list[tuple[stage.Staged, Any]]] = {}
        self._entry: ReadyForMany | None = None
        self._calls = 0  # of what is ready, until there is an entry
        self._direct: Ready | None = None
        self._several: ReadyForSeveral | None = None
        self.prediction: Ready | None = None
        self._changes: dict[str, int] = {}
        self.lock = forks.register(threading.RLock())
        self.lengths: Lengths | None = None
        self.calls: Calls | None = None
        if flag("compile: dynamic", dynamic):
            from mynn.jit.lengths.calls import Calls

            self.calls = Calls(self.sized())
        functools.update_wrapper(self, function, updated=())

    def __get__(self, instance: Any, owner: type | None = None) -> Compiled:
        """As a method: each instance has programs of its own, which live as long as it does."""
        if instance is None or not hasattr(self.function, "__get__"):
            return self
        methods = _kept_with(instance)
        bound = methods.get(self.function)
        if bound is None or getattr(bound.function, "__self__", instance) is not instance:
            function = self.function.__get__(instance, owner)
            bound = methods[self.function] = Compiled(function, *self._options)
        return bound

    def __reduce__(self) -> Any:
        """Copies make programs of their own."""
        return Compiled, (self.function, *self._options)

    @property
    def _options(self) -> tuple[str, Threads | None, bool]:
        return self.backend, self.threads, self.calls is not None

    def lookup(
        self,
        arguments: tuple[Any, ...],
        thoroughly: bool = False,
        check: Callable[[stage.Staged], None] | None = None,
        beside: Beside | None = None,
    ) -> tuple[stage.Staged, Any]:
        """The staged function and the program for these arguments, made now if need be.

        There may be several for one signature: the mode of modules (training or evaluation), frozen
        parameters, options of optimisers and plain values decide what is traced. Large arrays among
        these are looked at where it is asked for. `check(staged)` may raise, before a program is
        made. `beside`: what was found for other arguments just before.
        """
        signature = stage.signature_of(arguments)
        found = self.find(signature, thoroughly)
        if found is None:
            with self.lock:  # one thread traces
                found = self.find(signature, thoroughly)
                if found is None:
                    return undisturbed(
                        lambda: self._made(signature, arguments, check, beside or Beside())
                    )
        if check is not None:
            check(found[0])
        return found

    def _made(
        self,
        signature: Any,
        arguments: tuple[Any, ...],
        check: Callable[[stage.Staged], None] | None,
        beside: Beside,
    ) -> tuple[stage.Staged, Any]:
        """What `lookup` makes where it finds nothing."""
        return self.keep(signature, *self.traced(signature, arguments, check, beside), beside)

    def traced(
        self,
        signature: Any,
        arguments: tuple[Any, ...],
        check: Callable[[stage.Staged], None] | None,
        beside: Beside,
    ) -> tuple[stage.Staged, Known | None]:
        """The staged function for such arguments, traced or known, and what is known of it."""
        found = None if self.lengths is None else self.lengths.take(signature)
        if found is None:
            self._note_change(signature)
            found = stage_known(self.function, arguments, lambda: self._stage(arguments), beside)
        if check is not None:
            check(found[0])
        return found

    def keep(
        self, signature: Any, staged: stage.Staged, known: Known | None, beside: Beside
    ) -> tuple[stage.Staged, Any]:
        """A program of a staged function, which `lookup` finds from now on."""
        made = staged, self.make(staged, None if known is None else known.code, beside.program)
        beside.program = made[1]
        if known is not None and known.code is not made[1].code:
            known.keep(made[1].code)
        self._programs.setdefault(signature, []).append(made)
        self.hold(staged, made[1].code)
        return made

    def hold(self, staged: stage.Staged, code: Any) -> None:
        """A program was made of the code."""
        if not staged.complete:
            _let_go(self)
        WAITING.add(self, 2 * staged.state_bytes)  # with the copies that `fit` keeps
        code.holders.add(self)
        if code.dropped:
            self.forget(code)

    @property
    def has_programs(self) -> bool:
        """Whether a program was made for some signature."""
        return bool(self._programs)

    def sized(self) -> Lengths:
        """Its programs for batches of several sizes."""
        if self.lengths is None:
            from mynn.jit.lengths.lookup import Lengths

            with self.lock:
                self.lengths = self.lengths or Lengths(self)
        return self.lengths

    def find(self, signature: Any, thoroughly: bool) -> tuple[stage.Staged, Any] | None:
        """What was made for such arguments, while nothing that decided it is another."""
        if recording.waiting:
            recording.settle()
        for staged, program in reversed(self._programs.get(signature, [])):
            if staged.valid(thoroughly):
                return staged, program
        return None

    def _note_change(self, signature: Any) -> None:
        """Say which value from outside makes the function be compiled again and again."""
        made = self._programs.get(signature)
        name = made[-1][0].trace.guards.stale() if made else None
        if name is None:
            return
        self._changes[name] = self._changes.get(name, 0) + 1
        if self._changes[name] == _OFTEN:
            notices.warn(
                f"changes {name}",
                f"{name} was changed {_OFTEN} times, and the function compiled again for each new "
                f"value. Make it a tensor, {name} = mynn.Tensor(value), and change it with "
                f"{name}.assign(value): then one program does for all",
            )

    def _stage(self, arguments: tuple[Any, ...]) -> stage.Staged:
        """Trace the function; where it does not take so many arguments, say so."""
        try:
            staged = stage.stage(self.function, arguments)
        except TypeError as error:
            if not isinstance(error, MynnError):
                name = getattr(self.function, "__name__", type(self.function).__name__)
                function = getattr(self.function, "forward", self.function)
                check_call(name, function, arguments, {})
            raise
        unrolled.warn_of_unrolled(staged)
        return staged

    def make(
        self,
        staged: stage.Staged,
        code: Any = None,
        twin: Any = None,
        graph: Graph | None = None,
    ) -> Any:
        """A program for a staged function. The first one loads the compiler.

        `code` is that of an earlier program of the same graph, which it takes if it can; `twin` a
        program of the function for other arguments. `graph` stands in place of the staged one, with
        further arguments.
        """
        with forks.loading:
            from mynn.jit.interpreted import InterpretedProgram
            from mynn.jit.program import Program

        native = self.backend == "native" and native_available()
        kind = Program if native else InterpretedProgram
        graph = staged.graph if graph is None else graph
        program = kind(
            graph,
            len(graph.inputs) - len(staged.state),
            staged.writes,
            staged.state,
            self.threads,
            getattr(self.function, "__qualname__", type(self.function).__name__),
            code,
            twin,
        )
        if debug.level():
            seconds = {"trace": staged.seconds, **program.seconds}
            debug.report(f"{program.code.signature}: {program}", seconds)
        return program

    def forget(self, code: Any) -> None:
        """The store of programs drops this code (`mynn.programs`): so do we."""
        entry, prediction = self._entry, self.prediction
        direct, several = self._direct, self._several
        if entry is not None and entry.code is code:
            self._entry = None
        if direct is not None and direct.code is code:
            self._direct = None
        if several is not None and several.code is code:
            self._several = None
        if prediction is not None and prediction.code is code:
            self.prediction = None
        for signature, made in list(self._programs.items()):
            kept = [pair for pair in made if pair[1].code is not code]
            if not kept:
                self._programs.pop(signature, None)
            elif len(kept) < len(made):
                self._programs[signature] = kept
        if self.lengths is not None:
            self.lengths.forget(code)
        if self.calls is not None:
            self.calls.forget(code)

    def program(self, *arguments: Any) -> Any:
        """The `Program` for arguments of these shapes and dtypes."""
        return self.lookup(arguments)[1]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        entry = self._entry
        if entry is not None and not named and not waiting:
            edits, same, enter, _ = entry
            if activity.watch == edits and (same is None or same()):
                result = enter(arguments)
                if result is not None:
                    return result
        direct = self._direct
        if direct is not None and len(arguments) == 1 and not named:
            array = arguments[0]
            shape, dtype, edits, same, run, _ = direct
            if (
                type(array) is np.ndarray
                and array.dtype is dtype
                and array.shape == shape
                and activity.watch == edits
                and not waiting
                and (same is None or same())
            ):
                self._calls += 1
                if self._calls == _OFTEN_CALLED:
                    self._enter(arguments, edits, same)
                return run(array)
        several = self._several
        if several is not None and not named and not waiting and several.fits(arguments):
            self._calls += 1
            if self._calls == _OFTEN_CALLED:
                self._enter(arguments, several.edits, several.same)
            results = several.run(arguments)
            return results[0] if several.bundle is None else several.bundle(results)
        if tracing.active() is not None:
            return self.function(*arguments, **named)
        return self._call(stage.positional(self.function, arguments, named) if named else arguments)

    def _call(self, arguments: tuple[Any, ...]) -> Any:
        """Look the program up; one from array to array, without conditions, is kept ready."""
        if self.calls is not None and self.backend == "native" and native_available():
            run = self.calls(arguments)
            if run is not None:
                return run()
        edits = tracing.activity.edits()
        staged, program = self.lookup(arguments)
        arrays: list[Any] = [
            x if type(x) is np.ndarray else as_array(x)
            for x in (arguments if stage.is_flat(arguments) else flatten(arguments))
        ]
        results = program(arrays)
        structure, guards = staged.structure, staged.trace.guards
        simple = arguments and all(type(x) is np.ndarray for x in arguments)
        ready = simple and program.backend == "native" and not program.code.dropped
        if ready and staged.valid():
            same = guards.same_names if guards.by_name else None
            same = guards.unchanged if guards.each_time else same
            shapes, dtypes = tuple(x.shape for x in arrays), tuple(x.dtype for x in arrays)
            code = program.code
            self._entry, self._calls = None, 0
            if len(arrays) > 1 or structure != 0:
                bundle: Callable[[list[Any]], Any] | None
                bundle = None if structure == 0 else staged.bundle
                if type(structure) is tuple and all(type(part) is int for part in structure):
                    bundle = tuple
                fixed = shapes, dtypes, edits, same, program.several(), code, bundle
                self._several = ReadyForSeveral(*fixed)
            else:
                run = program.direct()
                self._direct = Ready(shapes[0], dtypes[0], edits, same, run, code)
        return results[0] if structure == 0 else staged.bundle(results)

    def _enter(
        self, arguments: tuple[Any, ...], edits: int, same: Callable[[], bool] | None
    ) -> None:
        """Make an entry into the program that is ready for such arguments, if it can have one."""
        with forks.loading:
            from mynn.jit.entry import entry

        staged, program = self.lookup(arguments)
        run = entry(program, arguments) if staged.structure == 0 else None
        if run is not None and not program.code.dropped:
            self._entry = ReadyForMany(edits, same, run, program.code)


def _kept_with(owner: Any) -> dict[Any, Compiled]:
    """What is compiled of an object: it lives as long as the object does.

    A shallow copy of the object has the same table: who takes from it looks whose it is.
    """
    methods: dict[Any, Compiled] = vars(owner).setdefault("_compiled_methods", {})
    return methods


def compiled_of(function: Any) -> Compiled:
    """`function` compiled, if it is not yet.

    That of a Python function or a module is kept with it for the next time, unless it may read what
    no trace of it can see.
    """
    if isinstance(function, Compiled):
        return function
    if not isinstance(function, types.FunctionType) and not hasattr(function, "_modules"):
        return Compiled(function)
    methods = _kept_with(function)
    compiled = methods.get(None)
    if compiled is None or compiled.function is not function:
        compiled = methods[None] = Compiled(function)
    return compiled


def _let_go(compiled: Compiled) -> None:
    """The next `compiled_of` of its function begins anew."""
    methods = getattr(compiled.function, "__dict__", {}).get("_compiled_methods", {})
    if methods.get(None) is compiled:
        methods.pop(None, None)


@overload
def compile(
    function: Callable[..., Any],
    *,
    backend: str = ...,
    threads: Threads | None = ...,
    dynamic: bool = ...,
) -> Compiled: ...
@overload
def compile(
    function: None = None,
    *,
    backend: str = ...,
    threads: Threads | None = ...,
    dynamic: bool = ...,
) -> Callable[[Callable[..., Any]], Compiled]: ...
def compile(
    function: Any = None,
    *,
    backend: str = "native",
    threads: Threads | None = None,
    dynamic: bool = False,
) -> Any:
    """Compile a function of tensors; also a decorator, and for modules: `mynn.compile(net)`.

    The function is traced once for every new combination of shapes and dtypes, so Python in it runs
    then and not again. What it reads from tensors made outside is state: a later change of their
    values is seen.

    Args:
        function: takes and returns tensors, in tuples, lists and dicts if need be.
        backend: "native" (LLVM) or "interpreter" (NumPy, every step visible).
        threads: how many threads `fit`, `evaluate` and `predict` run a step with: a number, or
            "auto", which finds the fastest number while it runs; by default what the environment
            variable MYNN_THREADS says, or "auto". The results are the same bits for every number.
            A single call has several only where it is large.
        dynamic: whether calls may have any number of rows, or steps, without a program for each:
            there is one for up to 2, 3, 4, 6, 8, 12... of them. They lie along the axis in which
            the arguments differ from those of an earlier call (texts [32, 20], then [32, 17]), in a
            first call along the first axis of all. Recurrent layers and `mynn.scan` may go along
            them: steps that a call does not have are not run. What a function combines of rows
            otherwise must be sums, means, products, extrema, or the last row, y[:, -1]; another
            one has a program for each number of rows.

    Safe from several threads, and so is what it returns.

    Example:
        >>> import numpy as np
        >>> import mynn
        >>> double = mynn.compile(lambda x: x + x)
        >>> double(np.array([1.0, 2.0], np.float32))
        array([2., 4.], dtype=float32)
    """
    if function is None:
        return functools.partial(Compiled, backend=backend, threads=threads, dynamic=dynamic)
    return Compiled(function, backend, threads, dynamic)
