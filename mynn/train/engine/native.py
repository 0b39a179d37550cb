"""Steps inside the native loop."""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Mapping
from dataclasses import replace

from mynn import debug
from mynn.base import sharing
from mynn.compiler.codegen.function import Module
from mynn.compiler.codegen.host import emit_functions
from mynn.compiler.graph.status import STOPS
from mynn.compiler.host.argument_layout import StepLayout
from mynn.compiler.host.control_block import Control
from mynn.compiler.host.shuffle import SHUFFLE
from mynn.compiler.host.state import COPY_STATE, IS_FINITE
from mynn.compiler.host.train_loop import FIT, Loop, training_loop
from mynn.compiler.host.workers import WORKER_MAIN
from mynn.compiler.loop_ir.format import format_function
from mynn.core.types import Array
from mynn.jit.instance import Instance, explain
from mynn.jit.program import Program
from mynn.runtime.autotune import Autotuner
from mynn.runtime.llvm_jit import NativeModule, build, built_before
from mynn.runtime.llvm_objects import QUICK
from mynn.runtime.store import STORE, Stored
from mynn.runtime.threads import processors
from mynn.runtime.worker_pool import PATIENCE, WorkerPool, worker_function
from mynn.target.target import Target
from mynn.tensor import Tensor
from mynn.train.engine.base import TURN_SECONDS, Executor
from mynn.train.engine.state import ChangingState, Copies
from mynn.train.plan import Run, Step

# Where there are more workers than processors, a step may take a thousand times as long as the one
# before, as the system lets workers wait. A turn has so many steps at most then, so that Ctrl-C is
# answered.
_MOST_AMONG_MANY = 64
_processors = functools.cache(processors)
# Samples after which better code for a loop is worth the time that LLVM takes.
_MANY = 1 << 19


class LoopCode(Stored):
    """The native code of a loop: `fit(control)`, `shuffle(order, rows, random)`, `copy_state` and
    `is_finite` (`mynn.compiler.host.state`), and `worker`, what its threads run, where it has any.

    LLVM is asked to be quick about it at first, which takes a fifth of its time and costs some
    nanoseconds a sample; the steps take longer. After `_MANY` samples the loop is compiled as steps
    are, by `improve`. The earlier code stays: other threads may be in it.
    """

    kind = "loop"

    def __init__(self, loop: Loop, target: Target) -> None:
        super().__init__()
        functions = training_loop(loop, target.is_posix)
        debug.show(4, "training loop", lambda: "\n\n".join(map(format_function, functions)))
        text = emit_functions(Module(target), functions).text()
        debug.show(5, "training loop, LLVM IR", lambda: text)
        self.has_workers = loop.has_workers
        left = loop.remainder.rows if loop.remainder is not None else 0
        self.signature = f"batches of {loop.whole.rows}, {left} left"
        self.samples = 0
        # Threads that improve it at the same time add to it, and lose none.
        self.natives: list[NativeModule] = []
        self._quick: str | None = None
        native = built_before(text, target)
        if native is None:
            native, self._quick = build(text, target, asked=QUICK), text
        self._use(native)

    def _use(self, native: NativeModule) -> None:
        """Have the functions be those of a module."""
        self.natives.append(native)  # before any address of it is known
        address, number = ctypes.c_void_p, ctypes.c_int64
        self.fit = native.function(FIT, address)
        self.fit_address = native.address(FIT)
        self.shuffle = native.function(SHUFFLE, address, number, address)
        self.copy_state = native.function(COPY_STATE, address, address, number, address)
        self.is_finite = native.function(IS_FINITE, address, address, number, result=number)
        self.worker = worker_function(native, WORKER_MAIN) if self.has_workers else None
        self.native = native
        batches = self.signature.partition(",")[0]
        debug.report(f"training loop for {batches}", {"LLVM": native.seconds})

    def improve(self) -> float:
        """Better code, where there were many samples; the seconds that it takes to make."""
        text = self._quick
        if text is None or self.samples < _MANY:
            return 0.0
        native = build(text, self.native.target)
        self._use(native)
        self._quick = None
        return native.seconds

    @property
    def nbytes(self) -> int:
        """Bytes of machine code."""
        return sum(native.nbytes for native in self.natives)


def loop_code_for(loop: Loop, target: Target) -> tuple[LoopCode, float]:
    """The code of a loop, and the seconds that it took to make it now."""
    made: list[LoopCode] = []

    def make() -> LoopCode:
        made.append(LoopCode(loop, target))
        return made[0]

    code = STORE.fetch((loop, target), make)
    return code, made[0].native.seconds if made else 0.0


def layout_of(step: Step, run: Run) -> StepLayout:
    """A step as the loop sees it."""
    program: Program = step.program
    given = program.argument_layouts
    pairs = zip(given[: len(run.apart)], run.apart, strict=True)
    return StepLayout(
        step.rows,
        tuple(own if apart is None else replace(own, apart=apart) for own, apart in pairs),
        program.result_layouts[: len(run.names)],
        program.result_layouts[: len(run.outputs)],
        program.status_slot,
        program.threads > 1,
        given[len(run.apart) :],
        step.room,
    )


def _loop_for(
    run: Run, programs: list[Program], validates: bool, watches: bool
) -> tuple[LoopCode, float]:
    """The loop for a run, and the seconds that it took to make it now. Runs of the same code have
    the same one.
    """
    first, *others = programs
    rows = tuple((step.rows, step.room) for step in run.steps)
    keys = (other.code.key for other in others)
    key = rows, len(run.names), len(run.outputs), run.apart, validates, watches, *keys
    loop: LoopCode | None = first.code.loops.get(key)
    if loop is not None and not loop.dropped:
        loop.touched = True
        return loop, 0.0
    layouts = [layout_of(step, run) for step in run.steps]
    loop, seconds = loop_code_for(
        Loop(*layouts, validates=validates, watches=watches), first.target
    )
    if all(isinstance(program.code.key, tuple) for program in programs):  # code of its own
        first.code.loops[key] = loop
    return loop, seconds


class NativeExecutor(Executor):
    """Runs steps in the native loop; threads for its other workers live until `close`."""

    def __init__(self, run: Run) -> None:
        self.pool: WorkerPool | None = None
        self.autotuner: Autotuner | None = None
        self.instances: dict[Program, Instance] = {}
        self.programs: list[Program] = []
        super().__init__(run)

    def connect(self, run: Run) -> None:
        """Borrow memory of the programs, and write its addresses into the control block."""
        self.finish()
        super().connect(run)
        self.programs = programs = [step.program for step in run.steps]
        self._changing: ChangingState | None = None
        self._make_loop()
        self.control.workers = self.most = max(program.threads for program in programs)
        self._tune(any(program.adaptive for program in programs))
        for number, (step, program) in enumerate(zip(run.steps, programs, strict=True)):
            if program not in self.instances:
                self.instances[program] = program.take()
            address = self.instances[program].address
            self.control.set_step(address, program.code.step_address, number == 1)
            word = Control.FURTHER_REMAINDER if number else Control.FURTHER
            for place, array in enumerate(step.further):
                self.control.point(word + place, array)

    def _make_loop(self) -> None:
        """The code of the loop; what is validated too is state that it reads."""
        run, other = self.run, self.validation
        self.code, seconds = _loop_for(
            run, self.programs, other is not None, self.watches is not None
        )
        self.compile_seconds += seconds
        if other is not None and not set(run.state).issuperset(other.run.state):
            self.access = sharing.join((*run.state, *other.run.state), run.written)

    def validate_with(self, other: Executor) -> bool:
        """It can where the other run needs no workers and writes no state: steps that are repeated
        give what they gave.
        """
        if (
            not isinstance(other, NativeExecutor)
            or other.most > 1
            or other.run.written
            or self.run.record is not None
        ):
            return False
        self.validation = other
        self._make_loop()
        return True

    def watch(self, words: Array) -> bool:
        """It can."""
        first, self.watches = self.watches is None, words
        self.control.point(Control.WATCHES, words)
        self.control.watched = len(words)
        if first:
            self._make_loop()
        return True

    def _point_at_validation(self, other: Executor) -> None:
        """Tell the loop where the other one is now."""
        assert isinstance(other, NativeExecutor)
        words = self.control.words
        words[Control.VALIDATION] = other.control.address
        words[Control.VALIDATION_FIT] = other.code.fit_address
        words[Control.VALIDATION_BATCHES] = other.run.batches

    def _tune(self, adaptive: bool) -> None:
        """Have the fastest number of workers found, where it is left open."""
        if not adaptive:
            self.autotuner = None
        elif self.autotuner is None or self.autotuner.counts[-1] != self.most:
            self.autotuner = Autotuner(self.most)

    def _state(self) -> ChangingState | None:
        """The state that steps change, where it is that of the program for whole batches."""
        if self._changing is None and self.run.values is self.run.staged.values:
            self._changing = ChangingState(self.code, self.run)
        return self._changing

    def copies(self) -> Mapping[Tensor, Array]:
        """Memory for copies of the state that steps change."""
        state = self._state()
        return super().copies() if state is None else state.memory()

    def is_finite(self) -> bool:
        """Whether all state that steps change is; not always where it is."""
        state = self._state()
        return state is not None and state.is_finite()

    def _copy(self, copies: Mapping[Tensor, Array]) -> None:
        if isinstance(copies, Copies) and copies.state is self._state():
            copies.state.copy(copies)
        else:
            super()._copy(copies)

    def first_budget(self) -> int:
        """As many steps as a turn takes, where earlier runs have measured them."""
        return max(1, int(self.programs[0].code.pace * TURN_SECONDS))

    def _advance(self, budget: int) -> None:
        self.control.look = 0
        self.compile_seconds += self.code.improve()  # what is measured below is the steps alone
        if self.autotuner is not None:
            self.autotuner.run(budget, self._run)
            return
        if self.control.workers > 1 and self.control.workers > _processors():
            budget = min(budget, _MOST_AMONG_MANY)
        began = time.perf_counter()
        ran = self._run(self.control.workers, budget)
        if ran > 1:
            self.programs[0].code.pace = ran / max(time.perf_counter() - began, 1e-6)

    def _shuffle(self, order: int, rows: int, random: int) -> None:
        self.code.shuffle(order, rows, random)

    def _run(self, workers: int, budget: int) -> int:
        """Run steps with so many workers, or fewer where threads are missing; how many ran."""
        started = self.code.worker is not None and self._pool().start(workers)
        control, before = self.control, self.steps
        if not self.stopped and not control.look:
            control.workers = workers
            control.patience = PATIENCE if started else 0
            control.budget = budget
            control.status = 0
            if self.validation is not None:
                self._point_at_validation(self.validation)
            self.code.fit(control.address)
            self.code.samples += (self.steps - before) * self.run.whole.rows
        status = control.status
        if status:
            self._explain_status(status)
        if self.validation is not None and self.validation.stopped_by_check():
            self.validation.finish_epoch()
        return self.steps - before

    def stopped_by_check(self) -> bool:
        """Whether a check has ended an epoch that another loop had run; explained here."""
        status, self.control.status = self.control.status, 0
        if status:
            self._explain_status(status)
        return bool(status)

    def _explain_status(self, status: int) -> None:
        """Raise what a check that failed has to say; warn of one that warns, in the step before."""
        self.control.muted |= status & ~STOPS
        last = (self.batch or self.run.batches) - 1
        step, arguments = self.batch_arguments(self.batch if status & STOPS else last)
        if status & STOPS:
            self.explain_check(step.staged, arguments)
        values = [*arguments, *(tensor.to_native() for tensor in step.staged.state)]
        explain(step.staged.graph, values, status)

    def _pool(self) -> WorkerPool:
        """The threads; they hold what the loop works with."""
        if self.pool is None:
            self.pool = WorkerPool(self.code.worker, self.most, self.control, self.instances)
            self.pool.sync.set_control(self.control)
        return self.pool

    def close(self) -> None:
        """Let the threads go."""
        if self.pool is not None:
            self.pool.close()
            self.pool = None

    def finish(self) -> None:
        """Send the threads home, give the memory back."""
        self.close()
        instances, self.instances = self.instances, {}
        for program, instance in instances.items():
            program.give_back(instance)
