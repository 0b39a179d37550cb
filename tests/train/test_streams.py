"""`fit`, `evaluate` and `predict` over iterables of batches: as over arrays, batch by batch."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Callback, Record, nn, optim
from mynn.errors import ArgumentError, DataError, IndexRangeError, NotFiniteError, UsageError
from mynn.runtime.store import STORE
from mynn.train.stream import AHEAD
from mynn.utils.data import DataLoader, RandomSampler
from tests.train.reference import Problem, backends

SIZE = 8


class Batches:
    """Batches of two arrays, anew in every epoch; `before(number)` is called first."""

    def __init__(self, x: Any, t: Any, before: Callable[[int], Any] = lambda number: None) -> None:
        self.x, self.t, self.before = x, t, before

    def __iter__(self) -> Iterator[Any]:
        for number, start in enumerate(range(0, len(self.x), SIZE)):
            self.before(number)
            yield self.x[start : start + SIZE], self.t[start : start + SIZE]


def slowly(number: int) -> None:
    time.sleep(0.001)


@pytest.mark.one_in(3)
@backends
@pytest.mark.parametrize("before", [lambda number: None, slowly], ids=["at once", "on a thread"])
def test_batches_of_an_iterable_are_those_of_its_arrays(backend: str, before: Any) -> None:
    """The last one is smaller: over arrays it runs in the program of whole ones, whose sums may be
    rounded otherwise.
    """
    a, b = Problem(), Problem()
    epochs = 2 if backend == "native" else 1
    options: dict[str, Any] = {"epochs": epochs, "verbose": False}
    first = mynn.fit(a.compiled(backend), a.data, batch_size=SIZE, shuffle=False, **options)
    second = mynn.fit(b.compiled(backend), Batches(*b.data, before), **options)
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(first["loss"], second["loss"], rtol=1e-6)
    assert (first.steps, first.epochs) == (second.steps, second.epochs)


def test_loaders_generators_dicts_and_buffers_that_are_used_again() -> None:
    x, t = Problem().data
    samples = [{"x": a.astype(np.float64), "t": b} for a, b in zip(x, t, strict=True)]

    def step_of(problem: Problem) -> Any:
        return lambda batch: problem.step(batch["x"], batch["t"])

    buffer = np.empty((SIZE, 3), np.float32)

    def filled() -> Iterator[Any]:
        for a, b in Batches(x[:48], t[:48], slowly):
            buffer[...] = a
            yield buffer, b

    found = []
    loader = DataLoader(samples, SIZE, num_workers=2, drop_last=True)
    for data, by_name in ((loader, True), (filled(), False), (Batches(x[:48], t[:48]), False)):
        problem = Problem()
        mynn.fit(step_of(problem) if by_name else problem.step, data, verbose=False)
        found.append(problem.parameters())
    for first, *others in zip(*found, strict=True):
        for other in others:
            np.testing.assert_array_equal(first, other)
    drawn = DataLoader(samples, SIZE, sampler=RandomSampler(samples, True, 16))
    assert mynn.fit(step_of(Problem()), drawn, epochs=2, verbose=False).steps == 4


def test_callbacks_records_and_stopping() -> None:
    seen: list[Any] = []

    class Watch(Callback):
        def on_train_begin(self, epochs: int, steps: int) -> None:
            seen.append((epochs, steps))

        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            seen.append((epoch, round(logs["loss"], 4)))
            problem.optimizer.lr = 0.0
            self.stop = epoch == 1

    problem = Problem()
    record = Record(layers="1", quantities="activations", every=3)
    data = Batches(*problem.data)
    history = mynn.fit(
        problem.step, data, epochs=9, callbacks=[Watch()], record=record, verbose=False
    )
    assert (history.steps, history.epochs) == (14, 2)
    assert seen == [(9, 0), *enumerate(np.round(history["loss"], 4))]
    shapes = [(one.step, one.epoch, len(one.activations["1"])) for one in history.records]
    assert shapes == [(0, 0, 8), (3, 0, 8), (6, 0, 2), (9, 1, 8), (12, 1, 8)]


def test_what_an_iterable_raises_names_the_batch() -> None:
    def broken(number: int) -> None:
        if number == 3:
            raise OSError("the disk is gone")

    first, second = Problem(), Problem()
    with pytest.raises(DataError, match=r"OSError.*batch 3 of epoch 0.*the disk is gone") as caught:
        mynn.fit(first.step, Batches(*first.data, broken), verbose=False)
    assert isinstance(caught.value.__cause__, OSError)
    mynn.fit(second.step, Batches(*(a[:24] for a in second.data)), verbose=False)
    for x, y in zip(first.parameters(), second.parameters(), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    ("data", "epochs", "error", "message"),
    [
        (lambda x, t: iter([]), 1, DataError, "no batch in epoch 0.*at least one"),
        (lambda x, t: iter([(x, t)]), 2, ArgumentError, "epochs is 2.*gives its batches once"),
        (lambda x, t: iter([()]), 1, DataError, "batch 0 of epoch 0: it holds nothing"),
        (lambda x, t: iter([(x[:0], t)]), 1, DataError, "holds no samples"),
        (lambda x, t: iter([(x, "a")]), 1, DataError, "batch 0 of epoch 0: array 1"),
        (lambda x, t: iter([(x,)]), 1, ArgumentError, "the data is 1 array"),
        (lambda x, t: iter([(x, t), (x * np.inf, t)]), 1, DataError, "batch 1.*array 0 holds"),
    ],
)
def test_wrong_batches(data: Any, epochs: int, error: Any, message: str) -> None:
    problem = Problem()
    with pytest.raises(error, match=message):
        mynn.fit(problem.step, data(*problem.data), epochs=epochs, verbose=False)


def test_an_iterable_that_is_empty_the_second_time() -> None:
    class Once:
        def __init__(self, batches: Any) -> None:
            self.batches = iter(batches)

        def __iter__(self) -> Iterator[Any]:
            yield from self.batches

    problem = Problem()
    with pytest.raises(DataError, match=r"no batch in epoch 1.*begin anew"):
        mynn.fit(problem.step, Once([problem.data]), epochs=2, verbose=False)


@backends
def test_a_loss_that_is_not_finite_leaves_the_state_before_it(backend: str) -> None:
    big = np.full((SIZE, 2), 1e30, np.float32)
    first, second = Problem(), Problem()
    batches = list(Batches(*first.data))
    spoiled = [*batches[:5], (batches[5][0], big), batches[6]]
    with pytest.raises(NotFiniteError, match=r"step 5 \(epoch 0, batch 5\)"):
        mynn.fit(first.compiled(backend), iter(spoiled), verbose=False)
    mynn.fit(second.compiled(backend), iter(batches[:5]), verbose=False)
    for x, y in zip(first.parameters(), second.parameters(), strict=True):
        np.testing.assert_array_equal(x, y)


def test_an_index_out_of_range_names_batch_and_row() -> None:
    table = nn.Embedding(4, 2)
    optimizer = optim.SGD(table.parameters(), lr=0.1)

    def step(index: Any) -> Any:
        loss = (table(index) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    batches = [np.array([0, 1, 2]), np.array([3, 9, 0])]
    with pytest.raises(IndexRangeError, match="batch 1 of epoch 0, row 1 of the batch"):
        mynn.fit(step, iter(batches), verbose=False)


def test_a_thread_fetches_ahead_and_leaves() -> None:
    problem, ahead = Problem(), []
    data = Batches(*(np.repeat(a, 4, 0) for a in problem.data))

    def note(number: int) -> None:
        slowly(number)
        ahead.append(number)

    data.before = note

    class Stop(Callback):
        def on_progress(self, epoch: int, step: int, logs: dict[str, float]) -> None:
            if step > 5:
                until = time.perf_counter() + 5
                while len(ahead) < min(step + AHEAD, 25) and time.perf_counter() < until:
                    time.sleep(0.01)
                time.sleep(0.05)
                counts.append((step, len(ahead)))
                raise RuntimeError("enough")

    counts: list[tuple[int, int]] = []
    with pytest.raises(RuntimeError, match="enough"):
        mynn.fit(problem.step, data, callbacks=[Stop()], verbose=False)
    step, fetched = counts[0]
    assert fetched == min(step + AHEAD, 25)
    until = time.perf_counter() + 5
    while any(t.name == "mynn batches" for t in threading.enumerate()):
        assert time.perf_counter() < until
        time.sleep(0.01)


def test_ctrl_c_leaves_whole_steps() -> None:
    def pressed(number: int) -> None:
        if number == 4:
            signal.raise_signal(signal.SIGINT)

    first, second = Problem(), Problem()
    with pytest.raises(KeyboardInterrupt):
        mynn.fit(first.step, Batches(*first.data, pressed), verbose=False)
    mynn.fit(second.step, Batches(*(a[:32] for a in second.data)), verbose=False)
    for x, y in zip(first.parameters(), second.parameters(), strict=True):
        np.testing.assert_array_equal(x, y)


def test_results_must_have_the_same_names() -> None:
    def step(x: Any) -> dict[str, Any]:
        return {f"loss{x.shape[0]}": x.mean()}

    with pytest.raises(UsageError, match=r"returned.*loss2.*and now.*loss3"):
        mynn.fit(step, iter([np.ones((2, 1)), np.ones((3, 1))]), verbose=False)


def test_evaluate_and_predict() -> None:
    problem = Problem()
    data = Batches(*problem.data)

    def measured(x: Any, t: Any) -> Any:
        return {"mse": ((problem.net(x) - t) ** 2).mean()}

    expected = mynn.evaluate(measured, problem.data, batch_size=SIZE)
    assert mynn.evaluate(measured, data) == pytest.approx(expected, rel=1e-6)
    outputs = mynn.predict(problem.net, (x for x, _ in data))
    np.testing.assert_allclose(outputs, mynn.predict(problem.net, problem.x), rtol=1e-6)
    with pytest.raises(UsageError, match="changes"):
        mynn.evaluate(problem.step, data)


def test_measures_and_validation() -> None:
    a, b = Problem(), Problem()
    parts = mynn.metrics.F1(average=None)
    found = []
    for problem, data in ((a, a.data), (b, Batches(*b.data))):

        def measured(x: Any, t: Any, problem: Problem = problem) -> Any:
            outputs = problem.net(x)
            loss = ((outputs - t) ** 2).mean()
            return {"loss": loss, "f1": parts.parts(outputs, (t[:, 0] > 0).astype(np.int64))}

        def step(x: Any, t: Any, problem: Problem = problem, measured: Any = measured) -> Any:
            return {**measured(x, t), "loss": problem.step(x, t)}

        options: dict[str, Any] = {"epochs": 2, "verbose": False, "metrics": {"f1": parts}}
        if isinstance(data, tuple):
            options |= {"batch_size": SIZE, "shuffle": False}
        held = (Batches(*problem.data), measured)
        history = mynn.fit(step, data, validation_data=held[0], validate=held[1], **options)
        found.append(history.metrics)
    assert found[0].keys() == found[1].keys() >= {"loss", "f1", "val_loss", "val_f1"}
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": "run.safetensors"}, "checkpoint and resume need arrays"),
        ({"validate": lambda x, t: x.mean(), "validation_split": 0.2}, "cannot be split"),
    ],
)
def test_what_needs_all_data_at_once_is_refused(options: dict[str, Any], message: str) -> None:
    problem = Problem()
    with pytest.raises(UsageError, match=message):
        mynn.fit(problem.step, Batches(*problem.data), verbose=False, **options)


@pytest.mark.parametrize("threads", [1, 2])
def test_sequences_of_any_length_in_few_programs(threads: int) -> None:
    """A step that is `dynamic` trains on ragged batches as one that is not."""
    rng = np.random.default_rng(0)
    lengths = (12, 9, 11, 10, 12, 9, 10)
    batches = [
        (rng.normal(size=(4, n, 3)).astype(np.float32), rng.integers(0, 2, 4)) for n in lengths
    ]

    class Ragged:
        def __iter__(self) -> Iterator[Any]:
            return iter(batches)

    found = []
    for dynamic in (True, False):
        mynn.manual_seed(0)
        layer, head = nn.GRU(3, 5, batch_first=True), nn.Linear(5, 2)
        optimizer = optim.Adam([*layer.parameters(), *head.parameters()], lr=0.01, eps=1e-3)

        def step(x: Any, t: Any, layer: Any = layer, head: Any = head, o: Any = optimizer) -> Any:
            o.zero_grad()
            loss = nn.functional.cross_entropy(head(layer(x)[0][:, -1]), t)
            loss.backward()
            o.step()
            return loss

        options: dict[str, Any] = {"dynamic": dynamic, "threads": threads}
        compiled = mynn.compile(lambda x, t, step=step: step(x, t), **options)
        STORE.clear()
        history = mynn.fit(compiled, Ragged(), epochs=3, verbose=False)
        codes = sum(info.kind == "program" for info in STORE.infos())
        found.append((history["loss"], layer.weight_hh_l0.numpy(), codes))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)
    assert (found[0][2], found[1][2]) == (2, 4)  # one for the first batch, one for all others
