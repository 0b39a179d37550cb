"""`Model`: what it does beside `fit`, which it calls."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import functional as F
from mynn import nn, optim
from mynn.errors import ArgumentError, DataError, UsageError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 3)).astype(np.float32)
T = (X @ [1, -2, 0.5] > 0).astype(np.int64)


def network(dropout: float = 0.0) -> nn.Module:
    mynn.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 2))


def test_it_trains_as_fit_does() -> None:
    one, two = network(), network()
    model = mynn.Model(one, "cross_entropy", optim.SGD(one.parameters(), lr=0.1), ["accuracy"])
    history = model.fit(X, T, epochs=3, batch_size=20, seed=5)
    optimizer = optim.SGD(two.parameters(), lr=0.1)

    def step(x: Any, t: Any) -> Any:
        y = two(x)
        loss = F.cross_entropy(y, t)
        loss.backward()
        optimizer.step()
        return {"loss": loss, "accuracy": F.accuracy(y, t)}

    expected = mynn.fit(step, (X, T), epochs=3, batch_size=20, seed=5)
    for name in ("loss", "accuracy"):
        np.testing.assert_array_equal(history[name], expected[name])
    np.testing.assert_array_equal(model.predict(X), mynn.predict(two, X))


def test_validation_is_measured_in_evaluation_mode_and_seen_by_callbacks() -> None:
    seen: list[dict[str, float]] = []

    class Watch(mynn.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            seen.append(dict(logs))
            self.stop = epoch == 1

    net = network(dropout=0.5).eval()
    model = mynn.Model(net, nn.CrossEntropyLoss(), optim.Adam, {"right": F.accuracy})
    history = model.fit(X, T, epochs=9, validation_split=0.3, callbacks=[Watch()], seed=0)
    assert set(history.metrics) == {"loss", "right", "val_loss", "val_right"}
    assert len(history["val_loss"]) == history.epochs == len(seen) == 2
    assert not net.training
    last = model.evaluate(X[63:], T[63:])
    assert last["loss"] == pytest.approx(seen[-1]["val_loss"], rel=1e-6)
    assert last["right"] == seen[-1]["val_right"] == history["val_right"][-1]
    other = model.fit(X[:63], T[:63], validation_data=(X[63:], T[63:]), seed=1)
    assert other["val_loss"][0] == pytest.approx(model.evaluate(X[63:], T[63:])["loss"], rel=1e-6)


def test_the_last_samples_are_held_back() -> None:
    marked = np.zeros(10, np.float32)
    marked[7:] = 100

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(np.ones(1, np.float32))

        def forward(self, x: Any) -> Any:
            return self.weight * x

    model = mynn.Model(Scale(), "mse", "SGD")
    history = model.fit(marked, np.zeros(10, np.float32), validation_split=0.3)
    assert history["loss"][0] == 0
    assert history["val_loss"][0] == 10_000


def test_balanced_classes_weigh_the_same() -> None:
    labels = np.repeat([0, 1], (60, 30))
    one, two = (mynn.Model(network(), "cross_entropy", "sgd") for _ in range(2))
    options: dict[str, Any] = {"epochs": 2, "seed": 1, "validation_split": 0.2}
    # The last 18 of the second class are not trained on.
    balanced = one.fit(X, labels, class_weight="balanced", **options)
    expected = two.fit(X, labels, class_weight={0: 72 / 120, 1: 72 / 24}, **options)
    np.testing.assert_array_equal(balanced["loss"], expected["loss"])


def test_a_model_is_called_summed_up_and_written(tmp_path: Path) -> None:
    model, other = (mynn.Model(network(), "cross_entropy") for _ in range(2))
    with pytest.raises(UsageError, match="has seen no data yet; give x"):
        model.summary()
    history = model.fit(X, T, epochs=2, class_weight={1: 2.0})
    assert history.history == history.to_dict()
    assert [row.shape for row in model.summary().rows] == [(1, 8), (1, 8), (1, 8), (1, 2)]
    np.testing.assert_array_equal(model(mynn.tensor(X)).numpy(), model.network(X).numpy())
    model.save_weights(tmp_path / "weights.safetensors")
    other.load_weights(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_train_by_themselves(again: Callable[[Any], Any]) -> None:
    model = mynn.Model(network(), "cross_entropy", "adam")
    model.fit(X, T, sample_weight=np.ones(90), seed=1)
    before = model.predict(X)
    other = again(model)
    other.fit(X, T, sample_weight=np.ones(90), seed=2)
    np.testing.assert_array_equal(model.predict(X), before)
    model.fit(X, T, sample_weight=np.ones(90), seed=2)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


def test_several_inputs() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, x: Any, z: Any) -> Any:
            return self.inner(x + z)

    model = mynn.Model(Sum(), "cross_entropy", "adam", "accuracy")
    model.fit((X, X), T, epochs=2, validation_split=0.2)
    assert model.predict((X, X)).shape == (90, 2)
    assert set(model.evaluate((X, X), T)) == {"loss", "accuracy"}


Wrong = tuple[Callable[[], Any], type[Exception], str]
WRONG: dict[str, Wrong] = {
    "loss": (lambda: mynn.Model(network(), "cross_entropie"), ArgumentError, "cross_entropy"),
    "loss class": (lambda: mynn.Model(network(), nn.MSELoss), ArgumentError, "loss"),
    "network": (lambda: mynn.Model(lambda x: x, "mse"), ArgumentError, "network"),
    "optimizer": (lambda: mynn.Model(network(), "mse", "adamm"), ArgumentError, "adam"),
    "other net": (
        lambda: mynn.Model(network(), "mse", optim.SGD(network().parameters(), lr=0.1)),
        UsageError,
        "none of the network's parameters",
    ),
    "metric twice": (
        lambda: mynn.Model(network(), "mse", "adam", ["mse", "mse"]),
        ArgumentError,
        "same name",
    ),
    "metric loss": (
        lambda: mynn.Model(network(), "mse", "adam", {"loss": F.mse_loss}),
        ArgumentError,
        "another",
    ),
    "share": (
        lambda: mynn.Model(network(), "cross_entropy").fit(X[:3], T[:3], validation_split=0.9),
        DataError,
        "3 samples",
    ),
    "share above": (
        lambda: mynn.Model(network(), "cross_entropy").fit(X, T, validation_split=1.5),
        ArgumentError,
        "1.5",
    ),
    "pair": (
        lambda: mynn.Model(network(), "cross_entropy").fit(X, T, validation_data=X),
        ArgumentError,
        "validation_data",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name: str) -> None:
    use, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        use()
