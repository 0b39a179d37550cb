"""The plan of a run: what is trained, on which data, in which batches, by which programs; and how
it comes from what the user gave.
"""

from __future__ import annotations

import inspect
import math
import operator
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, NamedTuple

import numpy as np

from mynn.base import sharing
from mynn.base.arguments import shown
from mynn.base.dataclass import dataclass
from mynn.base.lazy import lazy
from mynn.base.structure import flatten, rebuild
from mynn.core.types import Array
from mynn.data import arrays as data_arrays
from mynn.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    DTypeError,
    MynnError,
    ShapeError,
    UsageError,
)
from mynn.jit import native_available
from mynn.jit.compile import Compiled
from mynn.jit.known import Beside
from mynn.jit.stage import Staged, is_flat, signature_of
from mynn.metrics.metric import Metric
from mynn.tensor import Tensor, as_array
from mynn.trace import tracing
from mynn.train.record import Record, Recorder

Check = Callable[[Staged], None]


class Step(NamedTuple):
    """The step on batches of so many rows: its trace, and the program made of it.

    Where the program is one for batches of several sizes (`mynn.jit.lengths`), `further` are its
    last arguments for this one; batches have room for `room` rows then.
    """

    staged: Staged
    program: Any
    rows: int
    further: tuple[Array, ...] = ()
    room: int = 0


@dataclass(frozen=True, eq=False)
class Run:
    """What does not change while steps run. Where they are is told by a `Cursor`.

    - `arguments`: of the step, in their nested form, for which `arrays` hold all samples.
    - `check(staged)` raises where a trace of the step will not do.
    - `whole`, `last`: the step on a whole batch, and on the last one of an epoch, which is the
      same where no rows are left over for it.
    - `remainder`: rows of a smaller last batch, 0 where there is none.
    - `epochs`, `shuffle`, `check_finite`, `record`: as `fit` takes them.
    - `metrics`: measures whose parts the step returns, by their names.
    - `outputs`: where a row of the results is kept for each sample, instead of adding them up.
    """

    compiled: Compiled
    arguments: tuple[Any, ...]
    arrays: tuple[Array, ...]
    check: Check
    whole: Step
    last: Step
    remainder: int = 0
    epochs: int = 1
    shuffle: bool = False
    check_finite: bool = False
    record: Record | None = None
    outputs: tuple[Array, ...] = ()
    metrics: Mapping[str, Metric] = field(default_factory=dict)

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
        programs = dict.fromkeys(step.program for step in self.steps)
        return float(sum(program.compile_seconds for program in programs))

    @lazy
    def names(self) -> list[str]:
        """Names of the results that are added up."""
        return [] if self.outputs else self.staged.result_names

    @lazy
    def columns(self) -> dict[str, slice]:
        """Where the results that are added up stand in a row of sums."""
        found, end = {}, 0
        for name, node in zip(self.names, self.staged.graph.outputs, strict=False):
            found[name] = slice(end, end + node.type.size)
            end += node.type.size
        return found

    @property
    def width(self) -> int:
        """The length of a row of sums."""
        return max((column.stop for column in self.columns.values()), default=0)

    def measured(self, means: Array, samples: int) -> dict[str, Any]:
        """What means over so many samples, [width], stand for: numbers by name, measures."""
        found: dict[str, Any] = {}
        for name, column in self.columns.items():
            owner = name.partition(".")[0]
            if owner not in self.metrics:
                found[name] = float(means[column.start])
            elif owner not in found:
                found[owner] = self.metrics[owner].value(self._parts(owner, means), samples)
        return found

    def _parts(self, owner: str, means: Array) -> dict[str, Array]:
        return {
            name.partition(".")[2]: means[column]
            if column.stop - column.start > 1
            else means[column.start]
            for name, column in self.columns.items()
            if name.partition(".")[0] == owner
        }

    @lazy
    def apart(self) -> tuple[int | None, ...]:
        """Bytes from one row of an array to the next where they do not lie side by side."""
        return tuple(
            None if array.flags.c_contiguous else array.strides[0] for array in self.arrays
        )

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
        return self._all("state")

    @lazy
    def written(self) -> tuple[Tensor, ...]:
        """Those that steps change."""
        return self._all("written")

    @lazy
    def generators(self) -> tuple[Tensor, ...]:
        """Those that are keys of random numbers."""
        return self._all("generators")

    @lazy
    def values(self) -> tuple[Tensor, ...]:
        """Those that are not: parameters, running means, slots of optimisers."""
        return self._all("values")

    def _all(self, name: str) -> tuple[Tensor, ...]:
        """Those of the steps on all batches."""
        first: tuple[Tensor, ...] = getattr(self.whole.staged, name)
        if not self.remainder:
            return first
        last: tuple[Tensor, ...] = getattr(self.last.staged, name)
        same = first is last or _alike(first, last)
        return first if same else tuple(dict.fromkeys((*first, *last)))

    @lazy
    def natives(self) -> dict[Tensor, Array]:
        """The state where it lies."""
        found: dict[Tensor, Array] = {}
        for step in self.steps:
            arrays = step.program.state_arrays
            if arrays is not self.whole.program.state_arrays or not found:
                found.update(zip(step.staged.state, arrays, strict=True))
        return found

    @property
    def access(self) -> sharing.Access:
        """How steps get at the state: as the program for whole batches does, where the other one
        uses the same.
        """
        access: sharing.Access | None = self.whole.program.access
        if access is not None and access is self.last.program.access:
            return access
        same = self.state is self.staged.state and self.written is self.staged.written
        return access if same and access else sharing.join(self.state, self.written)

    def for_epochs(self, epochs: int) -> Run:
        """The same for so many epochs, for which the last batch may be worth another program."""
        fixed = self.compiled, self.arguments, self.arrays
        whole, last = steps_for(*fixed, self.whole.rows, self.remainder, self.check, epochs)
        return replace(self, epochs=epochs, whole=whole, last=last)

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
        run = self.for_epochs(self.epochs)
        if run.names != self.names:
            raise UsageError(
                f"the step returned {self.names}, and now that something was changed while it "
                f"trains, {run.names}"
            )
        return run


def first_rows(arguments: tuple[Any, ...], arrays: tuple[Array, ...], rows: int) -> tuple[Any, ...]:
    """The arguments of a step on so many rows."""
    if is_flat(arguments):
        return tuple([array[:rows] for array in arrays])
    example: tuple[Any, ...] = rebuild(arguments, (array[:rows] for array in arrays))
    return example


def step_for(
    compiled: Compiled,
    arguments: tuple[Any, ...],
    arrays: tuple[Array, ...],
    rows: int,
    check: Check,
    beside: Beside | None = None,
) -> Step:
    """The step on so many rows, traced and compiled where it is not yet."""
    example = first_rows(arguments, arrays, rows)
    return Step(*compiled.lookup(example, thoroughly=True, check=check, beside=beside), rows)


def steps_for(
    compiled: Compiled,
    arguments: tuple[Any, ...],
    arrays: tuple[Array, ...],
    rows: int,
    remainder: int,
    check: Check,
    epochs: int | None,
    beside: Beside | None = None,
) -> tuple[Step, Step]:
    """The steps on batches of so many rows, and on those that remain for the last one: of one
    program, unless the smaller batches are worth one of their own in so many epochs (None: one now,
    and others at other times).
    """
    fixed, beside = (compiled, arguments, arrays), beside or Beside()
    if not remainder:
        whole = step_for(*fixed, rows, check, beside)
        return whole, whole
    first, second = (first_rows(arguments, arrays, count) for count in (rows, remainder))
    native = compiled.backend == "native" and native_available()
    joined = compiled.sized().lookup(first, second, check, beside) if native else None
    if joined is None:
        return step_for(*fixed, rows, check, beside), step_for(*fixed, remainder, check, beside)
    whole = Step(joined.whole, joined.program, rows, joined.further[0], rows)
    if not joined.is_worth(epochs):
        return whole, step_for(*fixed, remainder, check, beside)
    return whole, Step(joined.fewer, joined.program, remainder, joined.further[1], rows)


def _alike(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether these are the same tensors in the same order."""
    return len(first) == len(second) and all(map(operator.is_, first, second))


def checked_metrics(given: Any) -> dict[str, Metric]:
    """What was given for `metrics`: measures by the names that the step returns their parts under.

    Raises:
        ArgumentTypeError: something else.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ArgumentTypeError(
            "metrics must be a dict of names and measures of mynn.metrics, it is "
            f'{shown(given)}; write for example metrics={{"f1": mynn.metrics.F1()}}'
        )
    for name, metric in given.items():
        if not isinstance(metric, Metric):
            raise ArgumentTypeError(
                f"metrics: {name!r} must be a measure of mynn.metrics, it is {shown(metric)}; what "
                "is a mean over samples needs only to be returned by the step"
            )
        if not isinstance(name, str) or "." in name or not name:
            raise ArgumentError(f"metrics: a name must be a text without dots, it is {name!r}")
    return dict(given)


def check_measures(
    name: str, staged: Staged, metrics: Mapping[str, Metric], kind: type[MynnError] = ShapeError
) -> None:
    """Raise `kind` where results are neither single numbers nor parts of measures."""
    found = set()
    for result, node in zip(staged.result_names, staged.graph.outputs, strict=False):
        owner, dot, _ = result.partition(".")
        if owner in metrics and dot and len(node.shape) <= 1:
            found.add(owner)
        elif node.type.size != 1:
            raise kind(
                f"{name} returns {result} of shape {node.shape}; single numbers are needed, reduce "
                "it to a single number with .mean() or .sum()"
            )
    for owner in metrics.keys() - found:
        raise UsageError(
            f"{name} returns no parts of the measure {owner!r}; return "
            f"{{{owner!r}: metric.parts(outputs, targets)}} in its dict, where metric is the one "
            "that metrics= has"
        )


def check_outside(name: str) -> None:
    """Raise `UsageError` inside a compiled function."""
    if tracing.active() is not None:
        raise UsageError(
            f"{name} is called inside a compiled function, where it would run once, while that is "
            f"traced; call {name} outside"
        )


def check_count(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Raise `ArgumentError` where the data does not fit the parameters of the function."""
    if _fits(function, len(arguments)):
        return
    try:
        signature = inspect.signature(function)
    except ValueError:  # built in, without a signature
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        count = len(arguments)
        raise ArgumentError(
            f"the data is {count} array{'s' * (count != 1)} or structure{'s' * (count != 1)}, one "
            f"for each argument of the step, which does not fit: {error}; give as many as the step "
            "takes"
        ) from None


def _fits(function: Any, count: int) -> bool:
    """Whether a plain function, method or module takes so many arguments; False where it is not so
    simple to say.
    """
    if isinstance(function, types.MethodType):
        function, count = function.__func__, count + 1
    elif not isinstance(function, types.FunctionType):
        if getattr(function, "__dict__", _DISGUISES).keys() & _DISGUISES:
            return False
        function, count = type(function).__call__, count + 1
    if not isinstance(function, types.FunctionType) or vars(function).keys() & _DISGUISES:
        return False
    code, optional = function.__code__, len(function.__defaults__ or ())
    most = math.inf if code.co_flags & inspect.CO_VARARGS else code.co_argcount
    return code.co_argcount - optional <= count <= most and (
        code.co_kwonlyargcount == len(function.__kwdefaults__ or ())
    )


# What `inspect.signature` looks at before the code.
_DISGUISES = dict.fromkeys(("__wrapped__", "__signature__", "__text_signature__"))


def load(data: Any, check_finite: bool) -> tuple[tuple[Any, ...], list[Array]]:
    """The arguments as given (a tuple), and their arrays, checked."""
    arguments = tuple(data) if isinstance(data, tuple | list) else (data,)
    leaves = [_array(number, leaf) for number, leaf in enumerate(flatten(arguments))]
    nested = any(isinstance(argument, list | tuple) for argument in arguments)
    return arguments, data_arrays.checked(leaves, check_finite, nested)


def _array(number: int, leaf: Any) -> Array:
    try:
        return as_array(leaf)
    except DTypeError as error:
        raise DTypeError(f"data array {number} ({type(leaf).__name__}): {error}") from None
    except ValueError as error:
        raise DataError(f"data array {number} cannot be made into an array: {error}") from None


def plan(
    compiled: Compiled,
    arguments: tuple[Any, ...],
    arrays: list[Array],
    check: Check,
    batch_size: int,
    check_finite: bool,
    drop_last: bool = False,
    options: Mapping[str, Any] | None = None,
    beside: Beside | None = None,
) -> Run:
    """The plan of a run over data that `load` gave: one epoch, unless the `options` say something
    else, as in `Run`.

    `beside`: what plans of the step for other numbers of rows have found out.

    The step is traced once for each size of a batch. `check(staged)` raises where a trace of it
    will not do, before it is compiled.
    """
    rows = len(arrays[0])
    if drop_last and rows < batch_size:
        raise ArgumentError(
            f"drop_last leaves nothing to train on: there are {rows} samples, "
            f"batch_size is {batch_size}"
        )
    batch = min(batch_size, rows)
    remainder = 0 if drop_last else rows % batch
    if any(array.dtype == np.float64 for array in arrays):
        example = first_rows(arguments, tuple(arrays), batch)
        if trains_single(compiled, example, check):
            arrays = data_arrays.to_single(arrays, check_finite)
    fixed = compiled, arguments, tuple(arrays)
    options = options or {}
    whole, last = steps_for(*fixed, batch, remainder, check, options.get("epochs"), beside)
    return Run(*fixed, check, whole, last, remainder, **options)


def trains_single(compiled: Compiled, example: tuple[Any, ...], check: Check) -> bool:
    """Whether float64 data shall be rounded to float32: the step trains float32 parameters alone.

    Which it trains is known once it is traced, for arguments like the `example`. So it is traced as
    if it did, and that is the trace of the run if it does.
    """
    arrays = list(flatten(example))
    if not any(array.dtype == np.float64 for array in arrays):
        return False
    known = compiled.sized().known(signature_of(example))
    if known is not None:
        return _trained(known) == _SINGLE

    def check_single(staged: Staged) -> None:
        if _trained(staged) != _SINGLE:
            raise DTypeError("the parameters are not float32")
        check(staged)

    single = rebuild(example, iter(data_arrays.to_single(arrays)))
    try:
        compiled.sized().trace(single, check_single)
    except DTypeError:
        return False
    return True


_SINGLE = {np.dtype(np.float32)}


def _trained(staged: Staged) -> set[np.dtype[Any]]:
    """The dtypes of the parameters that a step trains."""
    return {tensor.dtype for tensor in staged.state if tensor.requires_grad}
