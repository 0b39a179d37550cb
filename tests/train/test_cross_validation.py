"""Folds and seeds together: bit for bit what single calls give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import data, metrics, nn, optim
from mynn import functional as F
from mynn.core.types import Array
from mynn.errors import ArgumentError, ArgumentTypeError, DataError, MynnError, NotFiniteError
from mynn.train.cross_validation import CrossValidation

RNG = np.random.default_rng(0)
X = RNG.normal(size=(61, 4)).astype(np.float32)
T = (X[:, 0] > 0).astype(np.int64)
FOLDS = list(data.KFold(4).split(X))


def make(backend: str = "native", matrix: Any = None, keep: list[Any] | None = None) -> Any:
    """A network with statistics and draws."""
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2))
    adam = optim.Adam(net.parameters(), lr=0.01)
    if keep is not None:
        keep.append(net)

    def step(x: Any, t: Any) -> Any:
        adam.zero_grad()
        y = net(x)
        loss = F.cross_entropy(y, t)
        loss.backward()
        adam.step()
        return {"loss": loss, **({} if matrix is None else {"matrix": matrix.parts(y, t)})}

    def measure(x: Any, t: Any) -> Any:
        y = net(x)
        accuracy = (y.argmax(1) == t).to(mynn.float32).mean()
        parts = {} if matrix is None else {"matrix": matrix.parts(y, t)}
        return {"loss": F.cross_entropy(y, t), "accuracy": accuracy, **parts}

    return mynn.compile(step, backend=backend), measure


def singly(
    factory: Callable[[], Any],
    arrays: Any,
    folds: Any,
    seeds: Any,
    measures: Any = None,
    **given: Any,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The same by `fit` and `evaluate`."""
    trained, scores = [], []
    for seed in seeds:
        for train, held in folds:
            mynn.manual_seed(seed)
            step, measure = factory()
            chosen = tuple(array[train] for array in arrays)
            found = mynn.fit(step, chosen, metrics=measures, verbose=False, **given)
            trained.append(found.metrics)
            modules = step.lookup(tuple(a[:2] for a in chosen))[0].trace.observer.modules
            for module in modules:
                module.eval()
            rest = tuple(array[held] for array in arrays)
            scores.append(mynn.evaluate(measure, rest, metrics=measures))
    shape = len(seeds), len(folds)

    def table(rows: list[Any]) -> dict[str, Array]:
        found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        return {name: array.reshape(*shape, *array.shape[1:]) for name, array in found.items()}

    return table(trained), table(scores)


def assert_equal(found: CrossValidation, expected: tuple[Any, Any]) -> None:
    for got, wanted in zip((found.metrics, found.scores), expected, strict=True):
        assert got.keys() == wanted.keys()
        for name in got:
            np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)


@pytest.mark.parametrize("shuffle", [True, False])
def test_it_gives_what_single_calls_give(shuffle: bool) -> None:
    """Of 45 and 46 rows, in batches of 16 and what is left."""
    given = {"epochs": 3, "batch_size": 16, "shuffle": shuffle}
    found = mynn.cross_validate(make, (X, T), cv=4, seeds=(3, 0, 7), **given)
    assert found.seeds == (3, 0, 7)
    assert {len(train) for train, _ in found.folds} == {45, 46}
    assert found.metrics["loss"].shape == (3, 4, 3)
    assert found.scores["accuracy"].shape == (3, 4)
    assert_equal(found, singly(make, (X, T), FOLDS, (3, 0, 7), **given))
    for number in range(3):  # no two of them are the same training
        assert len(np.unique(found.metrics["loss"][:, :, number])) == 12


def test_by_the_interpreter_too() -> None:
    def interpreted() -> Any:
        return make("interpreter")

    given = {"epochs": 2, "batch_size": 16}
    found = mynn.cross_validate(interpreted, (X, T), cv=FOLDS[:2], seeds=(1,), **given)
    assert_equal(found, singly(interpreted, (X, T), FOLDS[:2], (1,), **given))


def test_measures_and_small_last_batches_left_out() -> None:
    matrix = metrics.ConfusionMatrix()

    def factory() -> Any:
        return make(matrix=matrix)

    given = {"epochs": 2, "batch_size": 16, "drop_last": True}
    measures = {"matrix": matrix}
    stratified = data.StratifiedKFold(3, shuffle=True, random_state=0)
    found = mynn.cross_validate(
        factory, (X, T), cv=stratified, seeds=range(2), metrics=measures, **given
    )
    folds = list(stratified.split(X, T))
    expected = singly(factory, (X, T), folds, range(2), measures, **given)
    assert_equal(found, expected)
    assert found.scores["matrix"].shape == (2, 3, 2, 2)


def test_double_data_is_rounded_as_it_is_by_fit() -> None:
    given = {"epochs": 2, "batch_size": 16}
    x = X.astype(np.float64) * (1 + 1e-12)
    found = mynn.cross_validate(make, (x, T), cv=4, seeds=(0,), **given)
    assert_equal(found, singly(make, (x, T), FOLDS, (0,), **given))


def test_nested_data() -> None:
    def factory() -> Any:
        step, measure = make()
        inner = step.function
        return (lambda pair: inner(pair["x"], pair["t"])), (lambda pair: measure(**pair))

    found = mynn.cross_validate(factory, ({"x": X, "t": T},), cv=4, epochs=2)
    plain = mynn.cross_validate(make, (X, T), cv=4, epochs=2)
    assert_equal(found, (plain.metrics, plain.scores))


def test_the_weights_are_kept_that_were_trained() -> None:
    nets: list[nn.Module] = []
    given = {"epochs": 2, "batch_size": 16}
    found = mynn.cross_validate(
        lambda: make(keep=nets), (X, T), seeds=(5, 6), cv=FOLDS, keep_weights=True, **given
    )
    assert len(nets) == 2
    assert [len(row) for row in found.weights] == [4, 4]
    mynn.manual_seed(6)
    step, _ = make(keep=nets)
    train, held = FOLDS[2]
    mynn.fit(step, (X[train], T[train]), verbose=False, **given)
    for name, tensor in nets[2].state_dict().items():
        np.testing.assert_array_equal(found.weights[1][2][name], tensor, err_msg=name)
    again = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2))
    again.load_state_dict(found.weights[1][2])
    right = mynn.predict(again, X[held]).argmax(1) == T[held]
    assert right.mean() == pytest.approx(found.scores["accuracy"][1, 2])
    assert not mynn.cross_validate(make, (X, T), cv=FOLDS[:1]).weights


def test_a_step_alone_is_trained_without_scores() -> None:
    found = mynn.cross_validate(lambda: make()[0], (X, T), cv=FOLDS[:2])
    assert found.scores == {}
    assert found.metrics["loss"].shape == (1, 2, 1)
    assert repr(found) == "CrossValidation(1 seed)"


def test_random_numbers_go_on_as_if_nothing_had_been() -> None:
    mynn.manual_seed(4)
    expected = [mynn.rand(3).numpy(), nn.Linear(3, 3).weight.numpy()]
    mynn.manual_seed(4)
    mynn.cross_validate(make, (X, T), cv=FOLDS[:1], seeds=(9,))
    found = [mynn.rand(3).numpy(), nn.Linear(3, 3).weight.numpy()]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    mynn.manual_seed(4)
    with pytest.raises(MynnError):
        mynn.cross_validate(lambda: (None, None), (X, T), cv=2)
    np.testing.assert_array_equal(mynn.rand(3).numpy(), expected[0])


def test_what_goes_wrong_says_where(recwarn: Any) -> None:
    def factory(lr: float) -> Any:
        net = nn.Linear(4, 2)
        sgd = optim.SGD(net.parameters(), lr=lr)

        def step(x: Any, t: Any) -> Any:
            sgd.zero_grad()
            loss = F.mse_loss(net(x), x[:, :2])
            loss.backward()
            sgd.step()
            return loss

        return step

    with pytest.raises(NotFiniteError) as wrong:
        mynn.cross_validate(lambda: factory(1e30), (X, T), cv=FOLDS[1:], seeds=(8,), epochs=4)
    assert wrong.value.__notes__ == ["in fold 0 of cross_validate, with seed 8"]
    found = mynn.cross_validate(
        lambda: factory(1e30), (X, T), cv=FOLDS[:1], epochs=4, check_finite=False
    )
    assert not np.isfinite(found.metrics["loss"]).all()

    labels = T.copy()
    labels[FOLDS[3][1][0]] = 5
    with pytest.raises(MynnError, match="label") as wrong:
        mynn.cross_validate(make, (X, labels), cv=FOLDS[::-1], seeds=(8,))
    assert wrong.value.__notes__ == ["in fold 0 of cross_validate, with seed 8"]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"make": 3}, ArgumentTypeError, "make must be a function"),
        ({"make": lambda: 3}, ArgumentTypeError, "make must return the training step"),
        ({"make": lambda: (make()[0], 3)}, ArgumentTypeError, "make must return"),
        ({"seeds": 10}, ArgumentTypeError, "seeds must be several"),
        ({"seeds": ()}, ArgumentError, "seeds are none"),
        ({"seeds": (0.5,)}, ArgumentError, "seeds"),
        ({"cv": "five"}, ArgumentTypeError, "cv must be"),
        ({"cv": 1}, ArgumentError, "n_splits must be at least 2"),
        ({"cv": 100}, DataError, "leave an empty fold"),
        ({"cv": []}, ArgumentError, "no folds"),
        ({"cv": [3]}, ArgumentTypeError, "fold 0 must be a pair"),
        ({"cv": [([0, 1], [])]}, DataError, "some indices on either side"),
        ({"cv": [([0, 1], [61])]}, DataError, "from 61 to 61"),
        ({"cv": [([0, 1], [2]), ([-1, 1], [2])]}, DataError, "fold 1 has indices from -1"),
        ({"epochs": 0}, ArgumentError, "epochs"),
        ({"batch_size": 0}, ArgumentError, "batch_size"),
        ({"data": (X, T[:3])}, DataError, "61"),
        ({"data": (X, T, T)}, ArgumentError, "3 arrays"),
        ({"drop_last": True, "batch_size": 100}, ArgumentError, "drop_last leaves nothing"),
    ],
)
def test_bad_input_is_refused(given: dict[str, Any], error: type[Exception], text: str) -> None:
    whole: dict[str, Any] = {"make": make, "data": (X, T), "cv": FOLDS[:2], **given}
    with pytest.raises(error, match=text):
        mynn.cross_validate(whole.pop("make"), whole.pop("data"), **whole)
