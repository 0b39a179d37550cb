"""One call of `fit`: the executor, and what happens between its turns.

Python hands the native loop a budget of steps, about 1/25 of a second's worth, and gets control
back when it is spent: to move the progress bar, call callbacks, write checkpoints and notice
Ctrl-C. Between two returns the state is always that of whole steps.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mynn import random
from mynn.base import notices, sharing
from mynn.core.types import Array
from mynn.jit.stage import Staged
from mynn.tensor import Parameter, Tensor
from mynn.train.callbacks.base import Callback
from mynn.train.callbacks.progress import progress_bar
from mynn.train.checkpoint import Keeper, named_state
from mynn.train.engine.base import Executor
from mynn.train.history import History
from mynn.train.nan_guard import NanGuard
from mynn.train.validation import Validation

if TYPE_CHECKING:
    from mynn.train.criteria import Criteria


def drawn_seed() -> int:
    """64 bits from the default generator."""
    high, low = random.default_generator().words(2)
    return high << 32 | low


def check_training(staged: Staged) -> None:
    """Say where the step reads parameters and changes none."""
    if any(t.requires_grad or isinstance(t, Parameter) for t in staged.written):
        return
    parameters = [t for t in staged.state if t.requires_grad or isinstance(t, Parameter)]
    updated = any(name == "signature" for _, name in staged.trace.guards.properties)
    trainable = any(t.requires_grad for t in parameters)
    if trainable or (parameters and updated):
        remedy = "is loss.backward() or optimizer.step() missing, or the optimizer another net's?"
        if not trainable:
            remedy = "all of them are frozen; net.requires_grad_() releases them"
        notices.warn("untrained", f"the step changes no parameter, so nothing is trained; {remedy}")


class Training:
    """One call of `fit`, which its callbacks have as `self.run`.

    - `epoch`, `steps`: epochs that are complete, steps that have run; `epochs`, `batches`: how many
      there are to be, and batches in each.
    - `weights()`, `load_weights(weights)`: the parameters and buffers that the step uses.
    - `save(path)`: all of the run in a file, from which `fit(resume=path)` goes on.
    """

    def __init__(
        self,
        executor: Executor,
        callbacks: list[Callback],
        seed: int | None,
        verbose: bool,
        validation: Validation | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.executor, run = executor, executor.run
        if run.record is not None:
            self.executor.recorder(run.whole.rows)
        check_training(run.staged)
        if run.shuffle:
            self.executor.seed(drawn_seed() if seed is None else seed)
        self.validation = validation
        self.keeper = keeper
        apart = validation is not None and not validation.inside
        self.criteria = None if apart or not callbacks else _criteria(callbacks, executor)
        self.by_epoch = apart or (bool(callbacks) and self.criteria is None)
        self.by_progress = any(map(_follows, callbacks))
        self.callbacks = callbacks + (progress_bar() if verbose else [])
        self.followers = [callback for callback in self.callbacks if _follows(callback)]
        self.guard = NanGuard(self.executor) if run.check_finite else None
        self.history = History()
        self.began = time.perf_counter()
        self.before = 0.0
        self.kept: list[dict[str, Any]] = []  # what a checkpoint has of callbacks
        self.measured: list[dict[str, Any]] = []
        self.reported = 0

    # -- what callbacks find -----------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Epochs that are complete."""
        return self.executor.epoch

    @property
    def steps(self) -> int:
        """Steps that have run."""
        return self.executor.steps

    @property
    def epochs(self) -> int:
        """Epochs that there are to be."""
        return self.executor.run.epochs

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return self.executor.run.batches

    @property
    def seconds(self) -> float:
        """Wall time of the training so far, before a resumption too."""
        return self.before + time.perf_counter() - self.began

    def _weights(self) -> dict[str, Tensor]:
        modules = self.executor.run.staged.trace.observer.modules
        own = {
            id(tensor)
            for module in modules
            for table in (module._parameters, module._buffers)
            for tensor in table.values()
        }
        named = named_state(self.executor.run)
        return {name: t for name, t in named.items() if id(t) in own or isinstance(t, Parameter)}

    def weights(self) -> dict[str, Array]:
        """Copies of the parameters and buffers that the step uses, by name."""
        tensors = self._weights()
        natives = self.executor.run.natives

        def taken() -> dict[str, Array]:
            return {name: natives[tensor].copy() for name, tensor in tensors.items()}

        return sharing.run_whole(taken, tuple(tensors.values()))

    def load_weights(self, weights: dict[str, Array]) -> None:
        """Give them these values, which `weights` gave."""
        tensors = self._weights()

        def put() -> None:
            for name, value in weights.items():
                tensors[name].to_native()[...] = value

        sharing.run_whole(put, tuple(tensors.values()), write=True)

    def save(self, path: Any) -> None:
        """Write all of the run to a file, from which `fit(resume=path)` goes on."""
        Keeper(path).save(self)

    # -- the run -----------------------------------------------------------------------------------

    def go(self) -> History:
        """Train until the last epoch, an error, or Ctrl-C."""
        executor = self.executor
        for callback in self.callbacks:
            callback.stop = False
            callback.run = self
            callback.on_train_begin(self.epochs, self.batches)
        for callback, kept in zip(self.callbacks, self.kept, strict=False):
            callback.load_state_dict(kept)
        if self.keeper is not None:
            self.keeper.begin(self)
        self.began = time.perf_counter()
        try:
            budget = executor.first_budget()
            while not executor.over and not self.stopped():
                budget = self.turn(budget)
                self.report()
                if self.keeper is not None:
                    self.keeper.keep(self)
            if self.guard is not None:
                # After callbacks that are told of epochs, its steps have been looked at.
                self.guard.check_outside() if self.by_epoch else self.guard.check()
            if self.keeper is not None:
                self.keeper.end(self)
        except KeyboardInterrupt:
            if self.keeper is not None:
                self.keeper.end(self)
            raise
        finally:
            self.history.seconds = self.seconds
            try:
                self.finish()
            finally:
                executor.finish()
                if self.validation is not None:
                    self.validation.finish()
                if self.guard is not None:
                    self.guard.finish()
                if self.keeper is not None:
                    self.keeper.wait()
        return self.history

    def stopped(self) -> bool:
        """Whether a callback has stopped the training, and the epoch is over."""
        return self.executor.batch == 0 and any(c.stop for c in self.callbacks)

    def turn(self, budget: int) -> int:
        """Run steps until Python is to have control again; returns a budget for the next turn."""
        executor, record = self.executor, self.executor.run.record
        at_epoch = self.by_epoch and executor.batch == 0
        if at_epoch:
            executor.refresh()
            if self.validation is not None and self.validation.inside:
                self.validation.refresh()
        if self.guard is not None:
            self.guard.keep(at_epoch or self.by_progress)
        due = None if record is None else record.next_due(executor.steps)
        most = [] if due is None else [due - executor.steps]
        if self.by_epoch or any(callback.stop for callback in self.callbacks):
            most.append(executor.left)
        if self.criteria is not None:
            self.criteria.tell()
        if self.keeper is not None:
            most += self.keeper.most(self)
        if due == executor.steps:
            if executor.ready():
                self.history.records.append(executor.record_step())
        else:
            budget = executor.advance_for_a_turn(budget, min(most, default=None))
        if self.guard is not None:
            if executor.stopped:
                self.guard.explain()
            if self.by_progress or (self.by_epoch and executor.batch == 0):
                self.guard.check()
        return budget

    def report(self) -> None:
        """Measure what is not trained on, and tell the callbacks, where an epoch is over."""
        if not self.callbacks and not self.by_epoch:
            self.reported = self.executor.epoch
            return
        executor = self.executor
        while self.reported < executor.epoch:
            logs = executor.means(self.reported)
            if self.validation is not None:
                self.catch_up(self.reported + 1)
                logs |= self.measured[self.reported]
            for callback in self.callbacks:
                callback.on_epoch_end(self.reported, logs)
            self.reported += 1
        if self.followers:
            logs = {} if executor.over else executor.means(executor.epoch)
            for callback in self.followers:
                callback.on_progress(executor.epoch, executor.batch, logs)

    def catch_up(self, epochs: int) -> None:
        """Have what was measured after so many epochs."""
        while self.validation is not None and len(self.measured) < epochs:
            self.measured.append(self.validation.measure(len(self.measured)))

    def finish(self) -> None:
        """Fill in the history, and tell every callback that training is over."""
        executor, history = self.executor, self.history
        history.epochs = executor.epoch
        history.steps = executor.steps
        history.compile_seconds = executor.compile_seconds
        history.metrics = executor.columns() | self._validated()
        _end(self.callbacks, history)

    def _validated(self) -> dict[str, Array]:
        """What was measured after each epoch."""
        rows, epochs, validation = self.measured, self.executor.epoch, self.validation
        if validation is None or not validation.inside or len(rows) >= epochs:
            return {name: np.array([row[name] for row in rows]) for name in (rows or [{}])[0]}
        found = validation.columns(len(rows), epochs)
        if not rows:
            return found
        return {name: np.array([*(row[name] for row in rows), *found[name]]) for name in found}


def _criteria(callbacks: list[Callback], executor: Executor) -> Criteria | None:
    """What the loop compares for the callbacks; None where they are told of each epoch."""
    from mynn.train.criteria import Criteria

    found = Criteria(callbacks, executor)
    return found if found.inside else None


def _follows(callback: Callback) -> bool:
    """Whether it is told between epochs too."""
    return type(callback).on_progress is not Callback.on_progress


def _end(callbacks: Sequence[Callback], history: History) -> None:
    """Call `on_train_end` of all, of the others too where one of them raises."""
    if callbacks:
        try:
            callbacks[0].on_train_end(history)
        finally:
            _end(callbacks[1:], history)
