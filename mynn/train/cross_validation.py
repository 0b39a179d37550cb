"""`cross_validate`: one kind of network, trained on each fold of the data from each of some seeds.

A seed's network is made and planned once, for all folds; each begins from a copy of what it was
when it was made. Folds of the same size are gathered into the same memory, so that nothing is bound
anew between them: one training is little more than its native loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from mynn import random
from mynn.base.arguments import explained, flag, positive, shown, whole_number
from mynn.base.dataclass import dataclass
from mynn.base.structure import rebuild
from mynn.core.types import Array
from mynn.data import arrays as data_arrays
from mynn.data.folds import KFold
from mynn.errors import ArgumentError, ArgumentTypeError, DataError, MynnError
from mynn.jit.compile import Compiled, compiled_of
from mynn.jit.known import Beside
from mynn.nn import Module
from mynn.tensor.state_dict import arrays_of
from mynn.train.engine import executor_for
from mynn.train.engine.base import Executor
from mynn.train.engine.cursor import Snapshot
from mynn.train.fit import check_results, check_step, fit
from mynn.train.inference import Evaluation
from mynn.train.nan_guard import may_hold
from mynn.train.plan import check_outside, checked_metrics, load, plan
from mynn.train.training import check_training, drawn_seed

Fold = tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What `cross_validate` measured.

    - `seeds`, `folds`: the seeds; of each fold the indices that were trained on, and those held
      out.
    - `metrics`: of each result of the step, its means over the epochs, [seeds, folds, epochs].
    - `scores`: of each result of `validate`, its mean over the samples held out, [seeds, folds].
    - `weights`: `weights[seed][fold]`, the state dict of the network that was trained, or a list of
      those of several networks; empty where they were not asked for.
    - `seconds`: wall time.

    Example:
        >>> scores = {"accuracy": np.array([[0.5, 1.0], [0.75, 0.75]])}
        >>> CrossValidation((0, 1), [], {}, scores, [], 0.0)
        CrossValidation(2 seeds, accuracy 0.75 +- 0.18)
    """

    seeds: tuple[int, ...]
    folds: list[Fold]
    metrics: dict[str, Array]
    scores: dict[str, Array]
    weights: list[list[Any]]
    seconds: float

    def __repr__(self) -> str:
        count = len(self.seeds)
        parts = [f"{count} seed{'s' * (count != 1)}"]
        for name, values in self.scores.items():
            if values.ndim == 2:
                parts.append(f"{name} {values.mean():.3g} +- {values.std():.2g}")
        return f"CrossValidation({', '.join(parts)})"


@explained
def cross_validate(
    make: Callable[[], Any],
    data: Any,
    *,
    cv: Any = 5,
    seeds: Iterable[int] = (0,),
    groups: Any = None,
    epochs: int = 1,
    batch_size: int = 32,
    shuffle: bool = True,
    drop_last: bool = False,
    check_finite: bool = True,
    metrics: Any = None,
    keep_weights: bool = False,
) -> CrossValidation:
    """Train a network on all folds but one, and measure it on that one; for each fold and seed.

    Each training is the one of `fit` by itself, bit for bit:

        mynn.manual_seed(seed)
        step, validate = make()
        mynn.fit(step, rows to train on, epochs=epochs, ...)
        mynn.evaluate(validate, rows held out)

    but `make` is called once for each seed, and all folds begin from what it gave. So together they
    take about half of the time of single calls where the networks are small.

    Args:
        make: makes a network and its optimizer, and returns the training step, as for `fit`; or
            the step and a function that measures, as `validate` of `fit`: the networks of the step
            are in evaluation mode meanwhile.
        data: a tuple of arrays, one for each argument of the step.
        cv: the number of folds (`KFold`); or what has `split(X, y, groups)`, such as
            `StratifiedKFold`, which is given the first array, the last one and `groups`; or pairs
            of indices, to train on and to hold out.
        seeds: whole numbers, from which the initial values, all draws and the orders come.
        epochs, batch_size, shuffle, drop_last, check_finite, metrics: as for `fit`.
        keep_weights: keep the state dict of each network that was trained.

    The default generator is left as it was; a seed's network as its last fold has left it.

    Returns:
        `CrossValidation`.

    Raises:
        DataError, ArgumentError, ShapeError, UsageError: what `fit` raises; folds or seeds that
            are none, an index that is no sample. A note says with which seed and fold.

    Source: Stone, "Cross-validatory choice and assessment of statistical predictions" (1974).

    Example:
        >>> import numpy as np, mynn
        >>> from mynn import nn, optim
        >>> x = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
        >>> def make():
        ...     net = nn.Linear(2, 1)
        ...     sgd = optim.SGD(net.parameters(), lr=0.1)
        ...     def measure(x, t):
        ...         return {"mse": ((net(x) - t) ** 2).mean()}
        ...     def step(x, t):
        ...         sgd.zero_grad()
        ...         loss = ((net(x) - t) ** 2).mean()
        ...         loss.backward()
        ...         sgd.step()
        ...         return loss
        ...     return step, measure
        >>> found = mynn.cross_validate(make, (x, x[:, :1]), cv=3, seeds=range(2), epochs=20)
        >>> found.scores["mse"].shape, bool(found.scores["mse"].max() < 0.01)
        ((2, 3), True)
    """
    check_outside("cross_validate")
    began = time.perf_counter()
    if not callable(make):
        raise ArgumentTypeError(
            f"make must be a function that makes a network and returns its step, it is "
            f"{shown(make)}"
        )
    drawn = _seeds(seeds)
    arguments, arrays = load(data, flag("check_finite", check_finite))
    folds = _folds(cv, arrays, groups)
    options: dict[str, Any] = {"epochs": positive("epochs", epochs), "check_finite": check_finite}
    options |= {"metrics": checked_metrics(metrics), "shuffle": flag("shuffle", shuffle)}
    size = positive("batch_size", batch_size), flag("drop_last", drop_last)
    trainings = _Trainings(
        arguments, arrays, folds, *size, options, flag("keep_weights", keep_weights)
    )
    with random.fork_rng():
        rows = [trainings.of(seed, make) for seed in drawn]
    trained, scores = _stacked(rows, 0), _stacked(rows, 1)
    kept = [[fold[2] for fold in row] for row in rows] if keep_weights else []
    return CrossValidation(drawn, folds, trained, scores, kept, time.perf_counter() - began)


def _stacked(rows: Sequence[Sequence[Any]], part: int) -> dict[str, Array]:
    """Of each name what was measured, [seeds, folds, ...]."""
    names = rows[0][0][part]
    return {name: np.array([[fold[part][name] for fold in row] for row in rows]) for name in names}


def _seeds(given: Any) -> tuple[int, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ArgumentTypeError(
            f"seeds must be several whole numbers, such as range(10), it is {shown(given)}"
        )
    seeds = tuple([whole_number("seeds", seed) for seed in given])
    if not seeds:
        raise ArgumentError("seeds are none; give at least one, such as seeds=(0,)")
    return seeds


def _folds(cv: Any, arrays: Sequence[Array], groups: Any) -> list[Fold]:
    """The indices of each fold: those to train on, and those held out."""
    rows = len(arrays[0])
    if isinstance(cv, int | np.integer):
        cv = KFold(int(cv))
    if hasattr(cv, "split") and not isinstance(cv, str):
        found = list(cv.split(arrays[0], arrays[-1], groups))
    elif isinstance(cv, Iterable) and not isinstance(cv, str):
        found = list(cv)
    else:
        raise ArgumentTypeError(
            f"cv must be a number of folds, one of mynn.data's such as KFold(5), or pairs of "
            f"indices, it is {shown(cv)}"
        )
    if not found:
        raise ArgumentError("cv has no folds; give at least one pair of indices")
    folds = []
    for number, pair in enumerate(found):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ArgumentTypeError(
                f"cv: fold {number} must be a pair of indices, to train on and to hold out, it is "
                f"{shown(pair)}"
            )
        train, held = (_indices(number, part, rows) for part in pair)
        folds.append((train, held))
    return folds


def _indices(fold: int, given: Any, rows: int) -> Array:
    found = np.asarray(given)
    if found.ndim != 1 or found.dtype.kind not in "iu" or not len(found):
        raise DataError(
            f"cv: fold {fold} must have some indices on either side, [samples] of whole numbers; "
            f"there are {found.dtype} {list(found.shape)}"
        )
    if found.min() < 0 or found.max() >= rows:
        raise DataError(
            f"cv: fold {fold} has indices from {found.min()} to {found.max()}, the samples are 0 "
            f"to {rows - 1}"
        )
    return found.astype(np.int64)


class _Rows:
    """Memory for rows of the data, for each number of them once."""

    def __init__(self, arguments: tuple[Any, ...], arrays: Sequence[Array]) -> None:
        self.arguments = arguments
        self.arrays = arrays
        self._buffers: dict[int, list[Array]] = {}

    def buffers(self, count: int) -> list[Array]:
        """That for so many."""
        found = self._buffers.get(count)
        if found is None:
            found = [np.empty((count, *array.shape[1:]), array.dtype) for array in self.arrays]
            self._buffers[count] = found
        return found

    def gather(self, rows: Array) -> list[Array]:
        """These rows, in that memory."""
        found = self.buffers(len(rows))
        for array, buffer in zip(self.arrays, found, strict=True):
            np.take(array, rows, 0, buffer, "clip")  # without a copy between; they are in range
        return found

    def structured(self, arrays: Sequence[Array]) -> tuple[Any, ...]:
        """As the arguments of the step."""
        found: tuple[Any, ...] = rebuild(self.arguments, iter(arrays))
        return found


class _Trainings:
    """The trainings of `cross_validate`, seed by seed."""

    def __init__(
        self,
        arguments: tuple[Any, ...],
        arrays: list[Array],
        folds: list[Fold],
        batch_size: int,
        drop_last: bool,
        options: Mapping[str, Any],
        keep: bool,
    ) -> None:
        self.rows = _Rows(arguments, arrays)
        self.folds = folds
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.options = options
        self.keep = keep
        self.checked = False

    def of(self, seed: int, make: Callable[[], Any]) -> list[Any]:
        """For each fold what the step returned, what was measured, and the weights."""
        random.manual_seed(seed)
        made = make()
        step, validate = made if isinstance(made, tuple) else (made, None)
        if not callable(step) or not (validate is None or callable(validate)):
            raise ArgumentTypeError(
                f"make must return the training step, or that and a function that measures, it "
                f"returned {shown(made)}"
            )
        one = _Training(self, compiled_of(step), validate)
        found = []
        try:
            one.begin()
            for number, (train, held) in enumerate(self.folds):
                try:
                    found.append(one.fold(train, held))
                except MynnError as error:
                    error.add_note(f"in fold {number} of cross_validate, with seed {seed}")
                    raise
        finally:
            one.finish()
        return found


class _Training:
    """The trainings of one seed's network."""

    def __init__(self, owner: _Trainings, compiled: Compiled, validate: Any) -> None:
        self.owner = owner
        self.compiled = compiled
        self.validate = validate
        self.seed: int | None = None
        self.starts: dict[int, tuple[Executor, Snapshot]] = {}
        self.evaluations: dict[int, Evaluation] = {}
        self.modules: tuple[Any, ...] = ()

    def begin(self) -> None:
        """Plan all sizes of folds, and keep what the network is."""
        owner = self.owner
        if not owner.checked:
            check_step(self.compiled, owner.rows.arguments)
        sizes = dict.fromkeys(len(train) for train, _ in owner.folds)
        beside = Beside()
        executors = {size: self._executor(size, beside) for size in sizes}
        first = next(iter(executors.values()))
        self.modules = tuple(first.run.staged.trace.observer.modules)
        if not owner.checked:
            check_training(first.run.staged)
            owner.checked = True
        self.seed = drawn_seed() if owner.options["shuffle"] else None
        for size, executor in executors.items():
            if self.seed is not None:
                executor.seed(self.seed)
            self.starts[size] = executor, executor.snapshot()

    def _executor(self, size: int, beside: Beside) -> Executor:
        """For folds with so many rows to train on."""
        owner = self.owner
        rows, check = owner.rows, partial(check_results, metrics=owner.options["metrics"])
        buffers = rows.gather(next(train for train, _ in owner.folds if len(train) == size))
        fixed = check, owner.batch_size, owner.options["check_finite"], owner.drop_last
        run = plan(self.compiled, rows.structured(buffers), buffers, *fixed, owner.options, beside)
        if any(one is not buffer for one, buffer in zip(run.arrays, buffers, strict=True)):
            # They are rounded to the dtype of the parameters: once, and not in every fold.
            single = data_arrays.to_single(rows.arrays, owner.options["check_finite"])
            owner.rows = _Rows(rows.arguments, single)
            return self._executor(size, beside)
        return executor_for(run)

    def fold(self, train: Array, held: Array) -> tuple[Any, ...]:
        """Train on some rows, measure on others."""
        owner = self.owner
        arrays = owner.rows.gather(train)
        executor, start = self.starts[len(train)]
        executor.restore(start)
        budget = executor.first_budget()
        while not (executor.over or executor.stopped):
            budget = executor.advance_for_a_turn(budget)
        if owner.options["check_finite"] and (executor.stopped or not _is_finite(executor)):
            executor.restore(start)
            self._fit(arrays)
        return executor.columns(), self._scores(held), self._weights() if owner.keep else None

    def _fit(self, arrays: Sequence[Array]) -> None:
        """By itself the training says what is wrong, and where."""
        owner, options = self.owner, self.owner.options
        fit(
            self.compiled,
            owner.rows.structured(arrays),
            seed=self.seed,
            batch_size=owner.batch_size,
            drop_last=owner.drop_last,
            verbose=False,
            **options,
        )

    def _scores(self, held: Array) -> dict[str, Any]:
        """What is measured on the rows held out."""
        if self.validate is None:
            return {}
        owner, options = self.owner, self.owner.options
        arrays = owner.rows.gather(held)
        evaluation = self.evaluations.get(len(held))
        if evaluation is None:
            size = max(owner.batch_size, 256)
            given = size, options["metrics"], options["check_finite"], self.modules
            data = owner.rows.structured(arrays)
            evaluation = self.evaluations[len(held)] = Evaluation(self.validate, data, *given)
        return evaluation.measure()

    def _weights(self) -> Any:
        """The state dict of the network that the step has, or those of several."""
        found = [arrays_of(net.state_dict()) for net in _outermost(self.modules)]
        return found[0] if len(found) == 1 else found

    def finish(self) -> None:
        """Let go of threads and memory."""
        for executor, _ in self.starts.values():
            executor.finish()


def _is_finite(executor: Executor) -> bool:
    """Whether all that steps have trained is."""
    return executor.is_finite() or all(
        may_hold(tensor) for tensor in executor.run.written if tensor.requires_grad
    )


def _outermost(modules: Sequence[Module]) -> Iterator[Module]:
    """Those that are no part of another one."""
    inner = {id(part) for net in modules for part in net.modules() if part is not net}
    return (net for net in modules if id(net) not in inner)
