"""Steps in Python, one after the other, through the interpreter."""

from __future__ import annotations

from mynn.train.engine.base import Executor


class InterpretedExecutor(Executor):
    """Does what the native loop does."""

    def _advance(self, budget: int) -> None:
        for _ in range(budget):
            if self.over or self.stopped:
                return
            self.begin_epoch()
            step, arguments = self.batch_arguments(self.batch)
            self.count_step(self.call(step.staged, step.program, arguments))
