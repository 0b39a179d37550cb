"""Folds for cross-validation: parts of the samples that are held out in turn.

They are those of scikit-learn's classes of the same names, also where they are shuffled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mynn.base.arguments import flag, shown, whole_number
from mynn.base.notices import warn
from mynn.core.types import Array
from mynn.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError, UsageError


class KFold:
    """Folds of consecutive samples, or of shuffled ones.

    Args:
        n_splits: how many folds, at least 2; each holds at least one sample.
        shuffle: whether the samples are shuffled first.
        random_state: a whole number: the same folds each time.

    `split(x)` gives pairs of arrays: the indices to train on, and those of the fold.

    Raises:
        ArgumentError: fewer than 2 folds; `random_state` without `shuffle`.
        DataError: more folds than samples, so that one is empty.

    Example:
        >>> for train, test in KFold(3).split(range(5)):
        ...     print(train, test)
        [2 3 4] [0 1]
        [0 1 4] [2 3]
        [0 1 2 3] [4]
    """

    def __init__(
        self, n_splits: int = 5, *, shuffle: bool = False, random_state: int | None = None
    ) -> None:
        owner = type(self).__name__
        self.n_splits = whole_number(f"{owner}: n_splits", n_splits)
        if self.n_splits < 2:
            raise ArgumentError(
                f"{owner}: n_splits must be at least 2, it is {n_splits}: what is held out must "
                "leave something to train on"
            )
        self.shuffle = flag(f"{owner}: shuffle", shuffle)
        if random_state is not None:
            random_state = whole_number(f"{owner}: random_state", random_state)
            if not shuffle:
                raise ArgumentError(
                    f"{owner}: random_state={random_state} has no meaning without shuffle=True"
                )
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """How many folds there are."""
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Array, Array]]:
        """Pairs of indices, int64: those to train on, and those of the fold, both in order.

        Args:
            X: the samples along its first axis, or anything with a length.
            y: labels, for `StratifiedKFold`; groups: for `GroupKFold`; both [samples].
        """
        count = _length(type(self).__name__, X)
        if self.n_splits > count:
            raise DataError(
                f"{type(self).__name__}: {self.n_splits} folds of {count} samples leave an empty "
                "fold; give more samples, or a smaller n_splits"
            )
        folds = self._folds(count, y, groups)
        return (
            (np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(self.n_splits)
        )

    def _folds(self, count: int, y: Any, groups: Any) -> Array:
        """The fold of each sample."""
        order = np.arange(count)
        if self.shuffle:
            self._random().shuffle(order)
        folds = np.empty(count, np.int64)
        for number, part in enumerate(np.array_split(order, self.n_splits)):
            folds[part] = number
        return folds

    def _random(self) -> np.random.RandomState:
        """NumPy's older generator, as scikit-learn draws with it."""
        return np.random.RandomState(self.random_state)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(n_splits={self.n_splits}, shuffle={self.shuffle}, "
            f"random_state={self.random_state})"
        )


class StratifiedKFold(KFold):
    """Folds with the same share of every class.

    Args:
        n_splits, shuffle, random_state: as for `KFold`.

    `split(x, y)` takes the labels y [samples].

    Raises:
        DataError: every class has fewer samples than there are folds. A warning says so of one.

    Example:
        >>> y = ["a", "a", "a", "a", "b", "b"]
        >>> for train, test in StratifiedKFold(2).split(y, y):
        ...     print(test)
        [0 1 4]
        [2 3 5]
    """

    def _folds(self, count: int, y: Any, groups: Any) -> Array:
        labels = _column("StratifiedKFold", "y", y, count)
        if labels.dtype.kind == "f" and (broken := labels != np.floor(labels)).any():
            raise DataError(
                f"StratifiedKFold: y must be labels, it holds {labels[broken][0]}; for numbers "
                "there is KFold"
            )
        _, first, number = np.unique(labels, return_index=True, return_inverse=True)
        # Classes by their first sample, as they come.
        rank = np.argsort(np.argsort(first))
        number = rank[number.reshape(-1)]
        sizes = np.bincount(number)
        if (sizes < self.n_splits).all():
            raise DataError(
                f"StratifiedKFold: n_splits={self.n_splits}, and no class has so many samples "
                f"(the largest has {sizes.max()}); give a smaller n_splits"
            )
        if sizes.min() < self.n_splits:
            warn(
                "strata",
                f"StratifiedKFold: a class has {sizes.min()} samples, fewer than "
                f"n_splits={self.n_splits}: some folds hold none of it",
                category=UserWarning,
            )
        # How many of each class a fold gets: as if sorted by class, and dealt out by turns.
        dealt = np.sort(number)
        shares = np.array(
            [
                np.bincount(dealt[k :: self.n_splits], minlength=len(sizes))
                for k in range(self.n_splits)
            ]
        )
        draw = self._random()
        folds = np.empty(count, np.int64)
        for label in range(len(sizes)):
            own = np.arange(self.n_splits).repeat(shares[:, label])
            if self.shuffle:
                draw.shuffle(own)
            folds[number == label] = own
        return folds


class GroupKFold(KFold):
    """Folds that no group is divided among: patients, sessions, series.

    Groups go to the fold that holds the fewest samples by then, the largest groups first; with
    `shuffle` they are dealt out in random order.

    Args:
        n_splits, shuffle, random_state: as for `KFold`.

    `split(x, groups=groups)` takes the groups [samples].

    Raises:
        DataError: fewer groups than folds, so that one is empty.

    Example:
        >>> groups = ["a", "b", "a", "c", "a"]
        >>> for train, test in GroupKFold(2).split(groups, groups=groups):
        ...     print(test)
        [0 2 4]
        [1 3]
    """

    def _folds(self, count: int, y: Any, groups: Any) -> Array:
        given = _column("GroupKFold", "groups", groups, count)
        names, number = np.unique(given, return_inverse=True)
        number = number.reshape(-1)
        if self.n_splits > len(names):
            raise DataError(
                f"GroupKFold: {self.n_splits} folds of {len(names)} groups leave an empty fold; "
                "give a smaller n_splits"
            )
        fold = np.empty(len(names), np.int64)
        if self.shuffle:
            order = self._random().permutation(len(names))
            for k, part in enumerate(np.array_split(order, self.n_splits)):
                fold[part] = k
            return fold[number]
        sizes, held = np.bincount(number), np.zeros(self.n_splits, np.int64)
        for group in np.argsort(sizes, kind="stable")[::-1]:
            fold[group] = np.argmin(held)
            held[fold[group]] += sizes[group]
        return fold[number]


def _length(owner: str, x: Any) -> int:
    shape = getattr(x, "shape", None)
    try:
        return int(shape[0]) if shape else len(x)
    except TypeError:
        raise ArgumentTypeError(
            f"{owner}: X must have samples along its first axis, it is {shown(x)}"
        ) from None


def _column(owner: str, name: str, given: Any, count: int) -> Array:
    """What is given for each sample."""
    if given is None:
        raise UsageError(
            f"{owner}: split needs {name}, one value for each sample: split(x, {name}={name})"
        )
    array = np.asarray(given)
    if array.shape != (count,):
        raise ShapeError(
            f"{owner}: {name} has shape {array.shape}, it must be one value for each of {count} "
            "samples"
        )
    return array
