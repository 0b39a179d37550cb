"""The plan of a run: what is trained, on which data, in which batches, by which programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from mynn.base import sharing
from mynn.base.lazy import lazy
from mynn.core.types import Array
from mynn.errors import UsageError
from mynn.jit.compile import Compiled
from mynn.jit.stage import Staged
from mynn.jit.structure import rebuild
from mynn.tensor import Tensor
from mynn.train.record import Record, Recorder


class Step(NamedTuple):
    """The step on batches of so many rows: its trace, and the program made of it."""

    staged: Staged
    program: Any
    rows: int


@dataclass(frozen=True, eq=False)
class Run:
    """What does not change while steps run. Where they are is told by a `Cursor`.

    - `arguments`: of the step, in their nested form, for which `arrays` hold all samples.
    - `check(staged)` raises where a trace of the step will not do.
    - `whole`, `last`: the step on a whole batch, and on the last one of an epoch, which is the
      same where no rows are left over for it.
    - `remainder`: rows of a smaller last batch, 0 where there is none.
    - `epochs`, `shuffle`, `check_finite`, `record`: as `fit` takes them.
    - `outputs`: where a row of the results is kept for each sample, instead of adding them up.
    """

    compiled: Compiled
    arguments: tuple[Any, ...]
    arrays: tuple[Array, ...]
    check: Callable[[Staged], None]
    whole: Step
    last: Step
    remainder: int = 0
    epochs: int = 1
    shuffle: bool = False
    check_finite: bool = False
    record: Record | None = None
    outputs: tuple[Array, ...] = ()

    @property
    def staged(self) -> Staged:
        """The traced step for a whole batch."""
        return self.whole.staged

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps on batches of different sizes."""
        return (self.whole, self.last) if self.remainder else (self.whole,)

    @property
    def compile_seconds(self) -> float:
        """What it took to make the programs."""
        return float(sum(step.program.compile_seconds for step in self.steps))

    @lazy
    def names(self) -> list[str]:
        """Names of the results that are added up."""
        return [] if self.outputs else self.staged.result_names

    @property
    def rows(self) -> int:
        """Rows of the data."""
        return len(self.arrays[0])

    @property
    def whole_batches(self) -> int:
        """Whole batches in an epoch."""
        return self.rows // self.whole.rows

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return self.whole_batches + bool(self.remainder)

    @property
    def samples(self) -> int:
        """Rows that take part in an epoch."""
        return self.whole_batches * self.whole.rows + self.remainder

    @lazy
    def state(self) -> tuple[Tensor, ...]:
        """The tensors that steps read or change."""
        return tuple(dict.fromkeys(tensor for step in self.steps for tensor in step.staged.state))

    @lazy
    def written(self) -> tuple[Tensor, ...]:
        """Those that steps change."""
        return tuple(dict.fromkeys(t for step in self.steps for t in step.staged.written))

    @lazy
    def generators(self) -> tuple[Tensor, ...]:
        """Those that are keys of random numbers."""
        return tuple(t for t in self.written if is_drawn(t))

    def step(self, batch: int) -> tuple[Step, slice]:
        """The step for a batch of an epoch, and the rows of the batch in their order."""
        step = self.whole if batch < self.whole_batches else self.last
        start = batch * self.whole.rows
        return step, slice(start, start + step.rows)

    def recorder(self, rows: int) -> tuple[Recorder, Any]:
        """The step that records, for so many rows, and its program."""
        assert self.record is not None
        example = first_rows(self.arguments, self.arrays, rows)
        recorder = Recorder(self.record, self.compiled.function, example)
        return recorder, self.compiled.make(recorder.staged)

    def refreshed(self) -> Run:
        """This run, with other programs where a mode, an option or a part of the network was
        changed since they were made.

        Raises:
            UsageError: the step returns something else than before.
        """
        if all(step.staged.valid(thoroughly=True) for step in self.steps):
            return self
        steps = [
            step_for(self.compiled, self.arguments, self.arrays, step.rows, self.check)
            for step in self.steps
        ]
        run = replace(self, whole=steps[0], last=steps[-1])
        if run.names != self.names:
            raise UsageError(
                f"the step returned {self.names}, and now that something was changed while it "
                f"trains, {run.names}"
            )
        return run


def first_rows(arguments: tuple[Any, ...], arrays: tuple[Array, ...], rows: int) -> tuple[Any, ...]:
    """The arguments of a step on so many rows."""
    example: tuple[Any, ...] = rebuild(arguments, (array[:rows] for array in arrays))
    return example


def step_for(
    compiled: Compiled,
    arguments: tuple[Any, ...],
    arrays: tuple[Array, ...],
    rows: int,
    check: Callable[[Staged], None],
) -> Step:
    """The step on so many rows, traced and compiled where it is not yet."""
    example = first_rows(arguments, arrays, rows)
    return Step(*compiled.lookup(example, thoroughly=True, check=check), rows)


def is_drawn(tensor: Tensor) -> bool:
    """Whether a tensor is the key of random numbers."""
    domain = sharing.domain_of(tensor)
    return domain is not None and domain.drawn
