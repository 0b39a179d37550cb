"""Measures: by their definitions, scikit-learn's numbers, and the same from native sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import metrics as M
from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError, UsageError

RNG = np.random.default_rng(0)
N, C = 103, 4
SCORES = RNG.normal(size=(N, C)).astype(np.float32)
LABELS = RNG.integers(0, C - 1, N)  # a class that is nowhere
CHANCES = ((RNG.integers(0, 500, N) * 2 + 0.5) / 1000).astype(np.float32)  # not at ends of bins
BINARY = (CHANCES + RNG.normal(size=N) * 0.5 > 0.5).astype(np.int64)
NUMBERS = RNG.normal(3, 1, (N, 2)).astype(np.float32)
WANTED = (NUMBERS + RNG.normal(size=(N, 2))).astype(np.float32)

KINDS = {"classes": (SCORES, LABELS), "binary": (CHANCES, BINARY), "numbers": (NUMBERS, WANTED)}
CASES: dict[str, tuple[str, M.Metric]] = {
    "accuracy": ("classes", M.Accuracy()),
    "top2": ("classes", M.TopKAccuracy(2)),
    **{
        f"{kind.__name__}-{average}": ("classes", kind(average))
        for kind in (M.Precision, M.Recall, M.F1)
        for average in ("macro", "micro", "weighted", None)
    },
    "precision": ("binary", M.Precision()),
    "recall": ("binary", M.Recall(threshold=0.7)),
    "f1": ("binary", M.F1()),
    "confusion": ("classes", M.ConfusionMatrix()),
    "confusion2": ("binary", M.ConfusionMatrix(threshold=0.3)),
    "auc": ("binary", M.AUC()),
    "perplexity": ("classes", M.Perplexity()),
    "r2": ("numbers", M.R2()),
    "mae": ("numbers", M.MAE()),
    "mse": ("numbers", M.MSE()),
}


def counts(kind: str, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """For each class which samples are taken for it, and which are of it."""
    if kind == "binary":
        return (threshold < CHANCES)[:, None], (BINARY == 1)[:, None]
    return np.eye(C, dtype=bool)[SCORES.argmax(1)], np.eye(C, dtype=bool)[LABELS]


def expected(name: str) -> Any:
    """The measure by its definition, sample by sample."""
    kind, metric = CASES[name]
    if isinstance(metric, M.Precision | M.Recall | M.F1):
        taken, own = counts(kind, metric.threshold)
        if metric.average == "micro":
            taken, own = taken.reshape(-1, 1), own.reshape(-1, 1)
        ratios = []
        for one, other in zip(taken.T, own.T, strict=True):
            hits = (one & other).sum()
            below = {"Precision": one.sum(), "Recall": other.sum()}
            low = below.get(type(metric).__name__, (one.sum() + other.sum()) / 2)
            ratios.append(hits / low if low else 0.0)
        if metric.average is None:
            return np.array(ratios)
        weights = own.sum(0) if metric.average == "weighted" else None
        return np.average(ratios, weights=weights)
    if isinstance(metric, M.ConfusionMatrix):
        binary = kind == "binary"
        found = (metric.threshold < CHANCES).astype(int) if binary else SCORES.argmax(1)
        size = 2 if binary else C
        table = np.zeros((size, size), np.int64)
        np.add.at(table, (BINARY if binary else LABELS, found), 1)
        return table
    chance = np.exp(SCORES.astype(np.float64))
    chance /= chance.sum(1, keepdims=True)
    high, low = CHANCES[BINARY == 1], CHANCES[BINARY == 0]
    order = np.argsort(-SCORES, axis=1)
    residual = ((NUMBERS.astype(float) - WANTED) ** 2).mean(0)
    return {
        "accuracy": (SCORES.argmax(1) == LABELS).mean(),
        "top2": (order[:, :2] == LABELS[:, None]).any(1).mean(),
        "auc": ((high[:, None] > low) + 0.5 * (high[:, None] == low)).mean(),
        "perplexity": np.exp(-np.log(chance[np.arange(N), LABELS]).mean()),
        "r2": (1 - residual / WANTED.astype(float).var(0)).mean(),
        "mae": np.abs(NUMBERS.astype(float) - WANTED).mean(),
        "mse": residual.mean(),
    }[name]


@pytest.mark.parametrize("name", CASES)
def test_measures_are_what_their_definitions_say(name: str) -> None:
    kind, metric = CASES[name]
    np.testing.assert_allclose(metric(*KINDS[kind]), expected(name), rtol=1e-6)


@pytest.mark.parametrize("backend", ["interpreter", "native"])
def test_sums_over_batches_are_the_measures_of_all(backend: str) -> None:
    """The last batch is smaller, and measures are no means of those of batches."""
    for kind, data in KINDS.items():
        own = {name: metric for name, (its, metric) in CASES.items() if its == kind}

        def measured(x: Any, t: Any, own: Any = own) -> Any:
            return {name: metric.parts(x, t) for name, metric in own.items()}

        compiled = mynn.compile(measured, backend=backend)
        found = mynn.evaluate(compiled, data, batch_size=20, metrics=own)
        assert found.keys() == own.keys()
        for name in own:
            np.testing.assert_allclose(found[name], expected(name), rtol=1e-6, err_msg=name)
            assert np.asarray(found[name]).dtype == np.asarray(expected(name)).dtype


def test_functions() -> None:
    np.testing.assert_allclose(M.roc_auc(CHANCES, BINARY), expected("auc"), rtol=1e-12)
    assert M.top_k_accuracy(SCORES, LABELS, k=2) == pytest.approx(expected("top2"))
    assert M.precision(CHANCES, BINARY) == pytest.approx(expected("precision"))
    assert M.recall(CHANCES, BINARY, threshold=0.7) == pytest.approx(expected("recall"))
    assert M.f1_score(SCORES, LABELS, "micro") == pytest.approx(expected("F1-micro"))
    assert (M.confusion_matrix(SCORES, LABELS) == expected("confusion")).all()
    assert M.perplexity(SCORES, LABELS) == pytest.approx(expected("perplexity"))
    assert M.r2_score(NUMBERS, WANTED) == pytest.approx(expected("r2"))
    assert M.mean_absolute_error(NUMBERS, WANTED) == pytest.approx(expected("mae"))
    assert M.mean_squared_error(NUMBERS, WANTED) == pytest.approx(expected("mse"))
    assert np.isnan(M.roc_auc([0.1, 0.2], [1, 1]))
    assert (M.R2()([2.0, 2.0], [2.0, 2.0]), M.R2()([1.0, 3.0], [2.0, 2.0])) == (1.0, 0.0)
    ignored = np.where(np.arange(N) % 3 == 0, -100, LABELS)
    rest = ignored != -100
    np.testing.assert_allclose(
        M.perplexity(SCORES, ignored), M.perplexity(SCORES[rest], LABELS[rest]), rtol=1e-12
    )


def test_numbers_are_scikit_learns() -> None:
    sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    found = SCORES.argmax(1)
    for average in ("macro", "micro", "weighted", None):
        for ours, theirs in (
            (M.precision, sk.precision_score),
            (M.recall, sk.recall_score),
            (M.f1_score, sk.f1_score),
        ):
            wanted = theirs(LABELS, found, average=average, labels=range(C), zero_division=0)
            np.testing.assert_allclose(ours(SCORES, LABELS, average), wanted, rtol=1e-12)
    assert M.roc_auc(CHANCES, BINARY) == pytest.approx(sk.roc_auc_score(BINARY, CHANCES))
    assert M.r2_score(NUMBERS, WANTED) == pytest.approx(sk.r2_score(WANTED, NUMBERS))
    assert (M.confusion_matrix(SCORES, LABELS)[:3] == sk.confusion_matrix(LABELS, found)[:3]).all()


def test_what_is_wrong_is_refused() -> None:
    with pytest.raises(DTypeError, match="Precision: targets must be labels, whole numbers"):
        M.precision(SCORES, SCORES[:, 0])
    with pytest.raises(DTypeError, match="accuracy: labels must be whole numbers"):
        M.Accuracy()(SCORES, NUMBERS[:, 0])
    for wrong, value in ((LABELS + 2, 4), (LABELS - 1, -1)):
        message = rf"accuracy: labels must lie in 0\.\.3.*{value}"
        with pytest.raises(DataError, match=message):
            mynn.functional.accuracy(SCORES, wrong)
        with pytest.raises(DataError, match=message):
            mynn.compile(mynn.functional.accuracy)(SCORES, wrong)
    with pytest.raises(DataError, match=r"F1: labels must lie in 0\.\.3"):
        M.f1_score(SCORES, LABELS + 2)
    with pytest.raises(DataError, match="AUC: labels must lie in"):
        M.AUC()(CHANCES, BINARY + 1)
    with pytest.raises(ShapeError, match="not one score for each sample"):
        M.AUC()(SCORES, LABELS)
    with pytest.raises(ShapeError, match="need a row for each sample"):
        M.r2_score(NUMBERS, WANTED[:5])
    with pytest.raises(ArgumentError, match="k is 9, there are 4 classes"):
        M.top_k_accuracy(SCORES, LABELS, k=9)
    with pytest.raises(ArgumentError, match="average must be one of"):
        M.Precision("mean")
    with pytest.raises(ArgumentError, match="is for two classes, there are 4"):
        M.precision(SCORES, LABELS, "binary")
    with pytest.raises(ShapeError, match="there must be a label for each row of logits"):
        M.perplexity(SCORES, LABELS[:, None])
    with pytest.raises(UsageError, match=r"return its \.parts"):
        mynn.compile(lambda x, t: M.F1()(x, t))(SCORES, LABELS)
    with pytest.raises(UsageError, match="returns no parts of the measure 'f1'"):
        mynn.evaluate(lambda x, t: x.mean(), (SCORES, LABELS), metrics={"f1": M.F1()})
    with pytest.raises(TypeError, match="must be a measure of mynn"):
        mynn.evaluate(lambda x, t: x.mean(), (SCORES, LABELS), metrics={"f1": len})
    metric, labels = M.F1(), np.where(np.arange(N) == 57, 9, LABELS)
    with pytest.raises(DataError, match=r"labels must lie in.*sample 57 of the data"):
        mynn.evaluate(
            lambda x, t: {"f1": metric.parts(x, t)},
            (SCORES, labels),
            batch_size=20,
            metrics={"f1": metric},
        )
