"""One program for whole batches and the last one: in `fit`, `evaluate` and `predict`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.core.types import Array
from mynn.errors import DataError
from mynn.jit.lengths import program as program_module
from mynn.runtime.store import STORE
from mynn.train.plan import Run, load, plan

BATCH = 8


def data(rows: int, width: int = 5) -> tuple[Array, Array]:
    rng = np.random.default_rng(rows)
    return rng.normal(size=(rows, width)).astype(np.float32), rng.integers(0, 4, rows)


class Training:
    """A small network with a normalisation and dropout."""

    def __init__(self, backend: str = "native", threads: int = 1, width: int = 5) -> None:
        mynn.manual_seed(0)
        self.net = nn.Sequential(
            *(nn.Linear(width, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2)),
            nn.Linear(16, 4),
        )
        self.optimizer = optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9)
        self.compiled = mynn.compile(self.step, backend=backend, threads=threads)

    def step(self, x: Any, t: Any) -> Any:
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.net(x), t)
        loss.backward()
        self.optimizer.step()
        return loss

    def fit(self, rows: int, width: int = 5, **options: Any) -> Array:
        mynn.manual_seed(5)
        options = {"epochs": 3, "batch_size": BATCH, "verbose": False, "seed": 1, **options}
        losses: Array = mynn.fit(self.compiled, data(rows, width), **options)["loss"]
        return losses

    def plan(self, rows: int, **options: Any) -> Run:
        arguments, arrays = load(data(rows), True)
        check = lambda staged: None  # noqa: E731
        return plan(self.compiled, arguments, arrays, check, BATCH, True, options=options)

    def state(self) -> list[Array]:
        return [value.numpy() for value in self.net.state_dict().values()]


def assert_close(a: list[Array], b: list[Array]) -> None:
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("rows", "width"), [(20, 5), (29, 5), (20, 1100)])
def test_fit_is_what_the_interpreter_does(
    rows: int, width: int, shuffle: bool, threads: int
) -> None:
    """Rows of 1100 numbers are read where they lie in the data, where they are in order."""
    one, other = Training(threads=threads, width=width), Training("interpreter", width=width)
    losses, expected = (each.fit(rows, width, shuffle=shuffle) for each in (one, other))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert_close(one.state(), other.state())


def test_one_program_runs_both_sizes() -> None:
    one = Training()
    run = one.plan(20)
    assert run.whole.program is run.last.program
    assert (run.whole.rows, run.last.rows, run.last.room) == (8, 4, 8)
    again = one.plan(22)
    assert again.whole.program.code is run.whole.program.code
    assert again.last.rows == 6
    assert one.plan(24).whole.further == ()


def test_whole_batches_have_the_bits_of_their_own_program() -> None:
    one, other = Training(), Training()
    x, t = data(20)
    step = one.plan(20).whole
    for start in (0, 8):
        batch = [x[start : start + 8], t[start : start + 8]]
        mynn.manual_seed(start)
        (loss,) = step.program([*batch, *step.further])
        mynn.manual_seed(start)
        np.testing.assert_array_equal(loss, other.compiled(*batch))
    for a, b in zip(one.state(), other.state(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_where_the_smaller_batch_takes_too_long_it_has_a_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(program_module, "_WORTH_SECONDS", 0.0)
    one, other = Training(), Training("interpreter")
    run = one.plan(20)
    assert run.whole.program is not run.last.program
    assert run.whole.further
    assert run.last.further == ()
    np.testing.assert_allclose(one.fit(20), other.fit(20), rtol=1e-4)
    assert_close(one.state(), other.state())


def test_many_epochs_of_a_smaller_batch_are_worth_a_program() -> None:
    run = Training().plan(20)
    operations = run.whole.program.operations
    few = run.for_epochs(2)
    assert few.last.program is few.whole.program
    many = run.for_epochs(int(1e10 // operations) + 1)  # half of each last batch is not there
    assert many.last.program is not many.whole.program
    assert many.epochs > 2


def test_single_passes_add_up_and_trainings_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a training computes does not depend on what was computed before it."""
    one = Training()
    operations = one.plan(20, epochs=1).whole.program.operations
    monkeypatch.setattr(program_module, "_WORTH_SECONDS", 3.2 * 0.5 * operations / 2e10)
    passes = [one.plan(20) for _ in range(4)]
    assert [run.last.program is run.whole.program for run in passes] == [True, True, True, False]
    for _ in range(4):
        run = one.plan(20, epochs=3)
        assert run.last.program is run.whole.program


def test_inference_and_validation() -> None:
    one, other = Training(), Training("interpreter")
    held, x = data(13), data(43)[0]

    def loss_of(each: Training) -> Any:
        return lambda x, t: {"loss": nn.functional.cross_entropy(each.net(x), t)}

    options: dict[str, Any] = {"epochs": 2, "batch_size": BATCH, "verbose": False, "seed": 1}
    measured = []
    for each in (one, other):
        mynn.manual_seed(5)
        history = mynn.fit(
            each.compiled, data(20), validate=loss_of(each), validation_data=held, **options
        )
        measured.append(history["val_loss"])
    np.testing.assert_allclose(*measured, rtol=1e-3)
    one.net.eval()
    with mynn.eager("at once"):
        expected = one.net(mynn.tensor(x)).numpy()
    found = mynn.predict(one.net, x, batch_size=BATCH)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    means = [mynn.evaluate(loss_of(one), held, batch_size=size)["loss"] for size in (BATCH, 13)]
    np.testing.assert_allclose(*means, rtol=1e-5)


def test_results_of_rows_do_not_depend_on_how_many_there_are() -> None:
    net = Training().net.eval()
    x = data(60)[0]
    expected = mynn.predict(net, x[:56], batch_size=BATCH)
    for rows in (10, 15, 22, 52):
        np.testing.assert_array_equal(
            mynn.predict(net, x[:rows], batch_size=BATCH), expected[:rows]
        )


def test_a_label_out_of_range_in_the_last_batch_is_named() -> None:
    one = Training()
    x, t = data(20)
    t[18] = 7
    with pytest.raises(DataError, match=r"batch 2 of epoch 0, row 2 .* sample 18"):
        mynn.fit(one.compiled, (x, t), epochs=1, batch_size=BATCH, shuffle=False, verbose=False)


def test_the_store_drops_it() -> None:
    one, other = Training(), Training("interpreter")
    for number in range(2):
        losses, expected = one.fit(20), other.fit(20)
        np.testing.assert_allclose(losses, expected, rtol=1e-3)
        if number == 0:
            code = one.plan(20).whole.program.code
            STORE.clear()
            assert code.dropped
            assert len(one.compiled.sized()) == 0
