"""Scalers and encoders: scikit-learn's numbers, layers of networks, saved with them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.core.types import Array
from mynn.data import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler, Table
from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError, UsageError


def numbers(dtype: Any = np.float64) -> Array:
    x = np.random.default_rng(0).normal([5, 0, 1e6], [1, 100, 3], (50, 3))
    return np.column_stack([x, np.full(50, 0.1)]).astype(dtype)


SCALERS: dict[str, dict[str, Any]] = {
    "StandardScaler": {},
    "StandardScaler without mean": {"with_mean": False},
    "StandardScaler without std": {"with_std": False},
    "MinMaxScaler": {},
    "MinMaxScaler to a range": {"feature_range": (-1, 2)},
    "MinMaxScaler clipped": {"clip": True},
}


def scaler(name: str) -> Any:
    kind = {"StandardScaler": StandardScaler, "MinMaxScaler": MinMaxScaler}[name.split()[0]]
    return kind(**SCALERS[name])


@pytest.mark.parametrize("name", SCALERS)
def test_scalers_are_those_of_their_definitions(name: str) -> None:
    x = numbers()
    found = scaler(name).fit_transform(x)
    low, high = SCALERS[name].get("feature_range", (0, 1))
    if name.startswith("MinMax"):
        span = np.where(np.ptp(x, 0) == 0, 1, np.ptp(x, 0))
        expected = (x - x.min(0)) / span * (high - low) + low
    else:
        expected = x - x.mean(0) * SCALERS[name].get("with_mean", True)
        if SCALERS[name].get("with_std", True):
            expected = expected / np.where(np.ptp(x, 0) == 0, 1, x.std(0))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
@pytest.mark.parametrize("name", SCALERS)
def test_scalers_are_scikit_learns(name: str, dtype: str) -> None:
    sklearn = pytest.importorskip("sklearn.preprocessing", reason="scikit-learn is not installed")
    x, new = numbers(dtype), (numbers(dtype) * 1.5).astype(dtype)
    ours = scaler(name).fit(x)
    theirs = getattr(sklearn, name.split()[0])(**SCALERS[name]).fit(x)
    # scikit-learn computes in float32 then: 1e6 with a deviation of 3.
    tolerance = 0.05 if dtype == "float32" else 1e-9
    for fresh in (x, new):
        found, expected = ours.transform(fresh), theirs.transform(fresh)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
        assert found.dtype == expected.dtype
        back = ours.inverse_transform(found)
        other = theirs.inverse_transform(expected)
        np.testing.assert_allclose(back, other, rtol=1e-6, atol=tolerance * 10)
    for attribute in ("mean_", "var_", "scale_", "min_", "data_min_", "data_max_"):
        if getattr(theirs, attribute, None) is not None and hasattr(ours, attribute):
            mine, other = getattr(ours, attribute), getattr(theirs, attribute)
            np.testing.assert_allclose(mine, other, rtol=tolerance, atol=1e-6)
    assert ours.n_features_in_ == theirs.n_features_in_


@pytest.mark.one_in(3)
@pytest.mark.parametrize("backend", ["native", "interpreter"])
@pytest.mark.parametrize("name", SCALERS)
def test_layers_compute_what_transform_does(name: str, backend: str) -> None:
    for dtype in ("float32", "float64", "int32"):
        x = numbers(dtype)
        own = scaler(name).fit(x)
        found = np.array(mynn.compile(own, backend=backend)(x))
        expected = own.transform(x).astype(found.dtype)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
        assert found.dtype == (np.float64 if dtype == "float64" else np.float32)
        np.testing.assert_allclose(np.array(own(x)), expected, rtol=1e-6, atol=1e-6)


class Network(nn.Module):
    """Takes numbers as they are in the table, and the numbers of the texts."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = StandardScaler()
        self.codes = OneHotEncoder(handle_unknown="ignore")
        self.words = OrdinalEncoder()
        self.out = nn.Linear(9, 1)

    def forward(self, x: Any, code: Any, word: Any) -> Any:
        words = mynn.one_hot(word[:, 0], 3).astype(np.float32)
        return self.out(mynn.concatenate([self.scale(x), self.codes(code), words], 1))


def test_a_saved_network_predicts_from_raw_data(tmp_path: Path) -> None:
    """In a network that was never fitted, from the file alone."""
    rng = np.random.default_rng(0)
    x, code = rng.normal(3, 2, (40, 3)).astype(np.float32), rng.choice([3, 17, 40], (40, 1))
    word = np.array(["Ulm", "Bonn", "Zürich"], object)[rng.integers(0, 3, (40, 1))]
    first = Network()
    first.scale.fit(x)
    first.codes.fit(code)
    first.words.fit(word)
    expected = mynn.predict(first, (x, code, first.words.transform(word)))
    mynn.save(first.state_dict(), tmp_path / "net.safetensors")
    other = Network()
    with pytest.raises(UsageError, match=r"StandardScaler is not fitted: call fit\(x\)"):
        mynn.predict(other, (x, code, first.words.transform(word)))
    assert not any(other.load_state_dict(mynn.load(tmp_path / "net.safetensors")))
    found = mynn.predict(other, (x, code, other.words.transform(word)))
    np.testing.assert_array_equal(found, expected)
    assert other.words.categories_[0].tolist() == ["Bonn", "Ulm", "Zürich"]
    # Another number of categories takes the place of what was there.
    bigger = Network()
    bigger.codes.fit(np.arange(9).reshape(-1, 1))
    bigger.load_state_dict(mynn.load(tmp_path / "net.safetensors"))
    assert bigger.codes.categories_[0].tolist() == [3, 17, 40]


def test_what_does_not_load_changes_nothing() -> None:
    first, other = Network(), Network()
    for one in (first, other):
        one.scale.fit(numbers()[:, :3])
    before = copy.deepcopy(other.state_dict())
    state = first.state_dict() | {"scale.mean": np.zeros(5), "out.weight": np.zeros((2, 2))}
    with pytest.raises(ShapeError, match=r"out.weight has shape \(1, 9\)"):
        other.load_state_dict(state)
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


TABLE = Table(
    {
        "city": ["Ulm", "Bonn", "Ulm", "Köln", "Bonn"],
        "size": [3, 5, 3, 7, 7],
        "rate": [0.5, 0.25, 0.5, 0.5, 1.0],
    }
)


def rows(table: Table) -> list[list[Any]]:
    """As a list of rows, which scikit-learn takes."""
    return [list(row) for row in zip(*(table[n].tolist() for n in table.columns), strict=True)]


def test_encoders_are_scikit_learns() -> None:
    sklearn = pytest.importorskip("sklearn.preprocessing", reason="scikit-learn is not installed")
    data = np.array(rows(TABLE), object)
    for given in ({}, {"drop": "first"}):
        ours, theirs = OneHotEncoder(**given), sklearn.OneHotEncoder(sparse_output=False, **given)
        np.testing.assert_array_equal(ours.fit_transform(TABLE), theirs.fit_transform(data))
        names = ours.get_feature_names_out(TABLE.columns)
        assert names == theirs.get_feature_names_out(TABLE.columns).tolist()
    ours, theirs = (
        OneHotEncoder(handle_unknown="ignore"),
        sklearn.OneHotEncoder(sparse_output=False, handle_unknown="ignore"),
    )
    ours.fit(TABLE), theirs.fit(data)
    new = [["Rom", 3, 0.5], ["Ulm", 4, 0.25]]
    np.testing.assert_array_equal(ours.transform(new), theirs.transform(np.array(new, object)))
    way = {"handle_unknown": "use_encoded_value", "unknown_value": -1}
    ours, theirs = OrdinalEncoder(**way), sklearn.OrdinalEncoder(**way)
    np.testing.assert_array_equal(ours.fit_transform(TABLE), theirs.fit_transform(data))
    found, expected = ours.transform(new), theirs.transform(np.array(new, object))
    np.testing.assert_array_equal(found, expected)
    assert ours.inverse_transform(found).tolist() == theirs.inverse_transform(expected).tolist()
    for mine, other in zip(ours.categories_, theirs.categories_, strict=True):
        assert mine.tolist() == other.tolist()


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_encoders_as_layers(backend: str) -> None:
    x = np.array([[3, 0], [17, 1], [40, 0], [17, 1]])
    new = np.array([[17, 1], [5, 0]])
    cases = [
        (OneHotEncoder(), None),
        (OneHotEncoder(drop="first", handle_unknown="ignore"), new),
        (OrdinalEncoder(), None),
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=3), new),
    ]
    for encoder, unknown in cases:
        encoder.fit(x)
        given = x if unknown is None else unknown
        compiled = mynn.compile(encoder, backend=backend)
        np.testing.assert_array_equal(np.array(compiled(given)), encoder.transform(given))
        for dtype in (np.float32, np.int32):
            found = np.array(encoder(given.astype(dtype)))
            np.testing.assert_array_equal(found, encoder.transform(given))
        if unknown is None:
            for call in (encoder, compiled):
                with pytest.raises(DataError, match=r"column 0: 5 at \(1,\) is none of the values"):
                    call(new)


def test_given_categories_have_their_order() -> None:
    encoder = OrdinalEncoder(categories=[["low", "middle", "high"]])
    data = [["high"], ["low"]]
    assert encoder.fit(data).transform(data).tolist() == [[2], [0]]
    with pytest.raises(DataError, match="column 0 holds 'huge' in row 1"):
        encoder.fit([["low"], ["huge"]])


def test_what_is_wrong_is_refused() -> None:
    fitted = StandardScaler().fit(numbers())
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: StandardScaler().transform(numbers()), UsageError, "StandardScaler is not fitted"),
        (lambda: OneHotEncoder()(numbers()), UsageError, "OneHotEncoder is not fitted"),
        (lambda: fitted.transform(numbers()[:, :2]), ShapeError, "on 4 columns, the input has 2"),
        (lambda: fitted(numbers()[:, :2]), ShapeError, "on 4 columns, the input has 2"),
        (lambda: StandardScaler().fit(np.zeros(5)), ShapeError, r"reshape\(-1, 1\)"),
        (lambda: StandardScaler().fit(np.zeros((0, 2))), DataError, r"no values.*\(0, 2\)"),
        (lambda: StandardScaler().fit([[1.0], [np.nan]]), DataError, "column 0 holds nan in row 1"),
        (lambda: StandardScaler().fit(TABLE), DTypeError, "'city' holds texts such as 'Ulm'"),
        (lambda: StandardScaler(with_mean=3), ArgumentError, "with_mean"),
        (lambda: MinMaxScaler((1, 0)), ArgumentError, "feature_range"),
        (lambda: OneHotEncoder(handle_unknown="drop"), ArgumentError, "'error', 'ignore'"),
        (lambda: OneHotEncoder(drop="last"), ArgumentError, "'last'"),
        (lambda: OrdinalEncoder(unknown_value=-1), ArgumentError, "belong together"),
        (lambda: OrdinalEncoder(categories="all"), ArgumentError, '"auto" or a list'),
        (
            lambda: OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=1).fit(TABLE),
            ArgumentError,
            "unknown_value=1 is the number of a category",
        ),
        (
            lambda: OrdinalEncoder().fit(TABLE[["city"]]).transform([["Rom"]]),
            DataError,
            "column 0 holds 'Rom' in row 0, which is none of the 3 values",
        ),
        (
            lambda: OrdinalEncoder().fit(TABLE[["city"]]).transform([[3]]),
            DTypeError,
            "holds numbers, its categories are texts",
        ),
        (
            lambda: OrdinalEncoder().fit(TABLE[["city"]])(np.zeros((2, 1))),
            UsageError,
            "call transform",
        ),
        (lambda: OneHotEncoder().fit([["a"], [None]]), DTypeError, "holds None in row 1"),
        (lambda: OrdinalEncoder(categories=[["a", "a"]]).fit([["a"]]), ArgumentError, "twice"),
        (
            lambda: OrdinalEncoder().fit([["a"]]).inverse_transform([[2]]),
            DataError,
            r"2 in row 0 of column 0",
        ),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
