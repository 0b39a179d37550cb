"""Folds: every sample held out once, classes and groups as they should be, scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mynn.data import GroupKFold, KFold, StratifiedKFold
from mynn.errors import ArgumentError, DataError, ShapeError, UsageError

DRAW = np.random.default_rng(0)
LABELS = DRAW.choice(["b", "a", "c"], 53, p=[0.6, 0.3, 0.1])
GROUPS = DRAW.integers(0, 9, 53)
X = np.zeros((53, 2))
KINDS = {"KFold": KFold, "StratifiedKFold": StratifiedKFold, "GroupKFold": GroupKFold}
OPTIONS: list[dict[str, Any]] = [
    {"n_splits": 2},
    {"n_splits": 4},
    {"n_splits": 5, "shuffle": True, "random_state": 3},
]


@pytest.mark.parametrize("given", OPTIONS)
@pytest.mark.parametrize("name", KINDS)
def test_every_sample_is_held_out_once(name: str, given: dict[str, Any]) -> None:
    kind = KINDS[name](**given)
    parts = list(kind.split(X, LABELS, GROUPS))
    assert len(parts) == kind.get_n_splits() == given["n_splits"]
    held = np.concatenate([test for _, test in parts])
    np.testing.assert_array_equal(np.sort(held), np.arange(53))
    for train, test in parts:
        np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(53))
        if name == "GroupKFold":
            assert not {*GROUPS[train]} & {*GROUPS[test]}
        else:
            assert len(test) in (53 // len(parts), 53 // len(parts) + 1)
        if name == "StratifiedKFold":
            for label in "abc":
                own = (label == LABELS).sum() / len(parts)
                assert abs((LABELS[test] == label).sum() - own) < 1


@pytest.mark.parametrize("given", OPTIONS)
@pytest.mark.parametrize("name", KINDS)
def test_folds_are_scikit_learns(name: str, given: dict[str, Any]) -> None:
    """The same ones, also shuffled."""
    reason = "scikit-learn is not installed"
    selection = pytest.importorskip("sklearn.model_selection", reason=reason)
    for labels, groups in ((LABELS, GROUPS), (np.arange(53) % 3, GROUPS.astype(str))):
        grouped = groups if name == "GroupKFold" else None
        ours = KINDS[name](**given).split(X, labels, grouped)
        theirs = getattr(selection, name)(**given).split(X, labels, grouped)
        for (a, b), (c, d) in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, c)
            np.testing.assert_array_equal(b, d)


def test_what_is_wrong_is_refused() -> None:
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: KFold(1), ArgumentError, "n_splits must be at least 2, it is 1"),
        (lambda: KFold(3, random_state=0), ArgumentError, "no meaning without shuffle=True"),
        (lambda: KFold(54).split(X), DataError, "54 folds of 53 samples leave an empty fold"),
        (lambda: KFold(2).split(3), TypeError, "samples along its first axis"),
        (lambda: GroupKFold(10).split(X, groups=GROUPS), DataError, "10 folds of 9 groups"),
        (lambda: GroupKFold(2).split(X), UsageError, "split needs groups"),
        (lambda: StratifiedKFold(2).split(X), UsageError, "split needs y"),
        (lambda: StratifiedKFold(2).split(X, LABELS[:5]), ShapeError, r"y has shape \(5,\)"),
        (lambda: StratifiedKFold(2).split(X, X[:, 0] + 0.5), DataError, "must be labels.*0.5"),
        (lambda: StratifiedKFold(3).split("ab" * 2, [*"aabb"]), DataError, "the largest has 2"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
    with pytest.warns(UserWarning, match="a class has 1 samples, fewer than n_splits=2"):
        list(StratifiedKFold(2).split("abc", [*"aab"]))
