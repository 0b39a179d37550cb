"""Labels and indices out of range, wherever they come from: one error, the state as it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Callback, Record, Tensor, nn, optim
from mynn import functional as F
from mynn.core.types import Array
from mynn.errors import DataError, DTypeError, IndexRangeError, ShapeError
from tests.train.reference import assert_same_state, shuffle_python

ROWS, BATCH = 50, 16


class Classifier:
    """A network with its optimiser; `place(t)` makes labels 0..2 of what the data holds."""

    def __init__(self, place: Callable[[Any], Any], indexed: bool = False) -> None:
        mynn.manual_seed(5)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        self.table = nn.Parameter(np.ones((3, 4), np.float32))
        self.optimizer = optim.Adam([*self.net.parameters(), self.table], lr=0.01)
        self.place = place
        self.indexed = indexed

    def loss(self, x: Any, t: Any) -> Any:
        if self.indexed:
            return ((self.net(x) ** 2).sum(1) * self.table[self.place(t)].sum(1)).mean()
        return F.cross_entropy(self.net(x + self.table[0]), self.place(t))

    def step(self, x: Any, t: Any) -> Any:
        loss = self.loss(x, t)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def rows(self, x: Any, t: Any) -> Any:
        """A number for each sample."""
        if self.indexed:
            return self.table[self.place(t)].sum(1) + x[:, 0]
        return F.cross_entropy(self.net(x), self.place(t), reduction="none")

    def state(self) -> dict[str, Array]:
        found = {f"net.{k}": np.array(v) for k, v in self.net.state_dict().items()}
        found["table"] = self.table.numpy()
        for number, slots in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{number}.{k}": np.array(v) for k, v in slots.items()}
        return found


def labels() -> Array:
    return np.arange(ROWS) % 3


def spoiled(row: int, value: int = 7) -> Array:
    t = labels()
    t[row] = value
    return t


# What the data holds, as a function of labels; and the labels, as a function of that.
PLACES: dict[str, tuple[Callable[[Array], Array], Callable[[Any], Any]]] = {
    "an argument": (lambda t: t, lambda t: t),
    "int32": (lambda t: t.astype(np.int32), lambda t: t),
    "uint8": (lambda t: t.astype(np.uint8), lambda t: t),
    "t - 1": (lambda t: t + 1, lambda t: t - 1),
    "t[:, 0]": (lambda t: np.stack([t, 0 * t], 1), lambda t: t[:, 0]),
    "t.reshape(-1)": (lambda t: t[:, None], lambda t: t.reshape(-1)),
    "t.flatten()": (lambda t: t[:, None, None], lambda t: t.flatten()),
    "t.astype": (lambda t: t.astype(np.float32), lambda t: t.astype(np.int32)),
    "t.squeeze": (lambda t: t[:, None], lambda t: t.squeeze(1)),
    "where": (lambda t: t + 1, lambda t: F.where(t < 0, 0, t - 1)),
    "t.T[1]": (lambda t: np.stack([0 * t, t], 1), lambda t: t.permute(1, 0)[1]),
}
places = pytest.mark.parametrize("place", PLACES)
# The first and the last row of a batch, the last batch, the last row of all.
ROWS_OF_BATCHES = (0, 15, 17, 48, 49)
rows = pytest.mark.parametrize("row", ROWS_OF_BATCHES)


def text_of(run: Callable[[], Any], kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        repr(run())
    return str(caught.value)


def order_of(shuffle: bool) -> list[int]:
    order = list(range(ROWS))
    if shuffle:
        shuffle_python(order, 0)
    return order


def expected(
    place: str, indexed: bool, row: int, shuffle: bool
) -> tuple[dict[str, Array], str, int, int]:
    """The state before the step that fails, what it says eagerly, its batch and the row in it."""
    given, find = PLACES[place]
    problem = Classifier(find, indexed)
    data = given(spoiled(row))
    x = inputs()
    step = mynn.compile(problem.step)
    order = order_of(shuffle)
    failing = order.index(row) // BATCH
    for start in range(0, failing * BATCH, BATCH):
        picked = order[start : start + BATCH]
        step(x[picked], data[picked])
    picked = order[failing * BATCH : (failing + 1) * BATCH]
    kind = IndexRangeError if indexed else DataError
    text = text_of(lambda: problem.step(Tensor(x[picked]), Tensor(data[picked])), kind)
    return problem.state(), text, failing, picked.index(row)


def inputs() -> Array:
    return np.random.default_rng(3).normal(size=(ROWS, 4)).astype(np.float32)


def check_fit(
    place: str,
    row: int,
    shuffle: bool = False,
    indexed: bool = False,
    record: Record | None = None,
    **options: Any,
) -> None:
    given, find = PLACES[place]
    state, text, batch, at = expected(place, indexed, row, shuffle)
    assert f"7 at ({at},)" in text
    problem = Classifier(find, indexed)
    step = mynn.compile(problem.step, **options)
    data = given(spoiled(row))
    kind = IndexRangeError if indexed else DataError
    run: dict[str, Any] = {"batch_size": BATCH, "shuffle": shuffle, "seed": 0, "record": record}
    got = text_of(lambda: mynn.fit(step, (inputs(), data), epochs=2, **run), kind)
    assert got == (
        f"{text}, in batch {batch} of epoch 0, row {at} of the batch: sample {row} of the data. "
        "The state is as it was before this step"
    )
    assert_same_state(state, problem.state())
    history = mynn.fit(step, (inputs(), given(labels())), epochs=1, **run)
    assert np.isfinite(history["loss"]).all()


@pytest.mark.one_in(7)
@places
@pytest.mark.parametrize("indexed", [False, True])
def test_fit_native(place: str, indexed: bool) -> None:
    check_fit(place, 33, indexed=indexed)


@pytest.mark.one_in(3)
@places
@pytest.mark.parametrize("indexed", [False, True])
def test_fit_interpreted(place: str, indexed: bool) -> None:
    """The reference is native: the state may differ in the last bit, so only the first batch."""
    check_fit(place, 3, indexed=indexed, backend="interpreter")


@pytest.mark.one_in(5)
@rows
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads(row: int, shuffle: bool, threads: int) -> None:
    check_fit("t - 1", row, shuffle, threads=threads)


@pytest.mark.one_in(3)
@rows
@pytest.mark.parametrize("shuffle", [False, True])
def test_indices(row: int, shuffle: bool) -> None:
    check_fit("t - 1", row, shuffle, indexed=True, threads=2)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("row", [0, 49])
@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_recorded_steps(row: int, indexed: bool, backend: str) -> None:
    place = PLACES["t - 1"]
    problem = Classifier(place[1], indexed)
    step = mynn.compile(problem.step, backend=backend)
    data = inputs(), place[0](spoiled(row))
    kind = IndexRangeError if indexed else DataError
    record = Record(layers=(), quantities=["gradients"])

    def run() -> Any:
        return mynn.fit(step, data, batch_size=BATCH, shuffle=False, record=record)

    plain = Classifier(place[1], indexed)
    other = mynn.compile(plain.step, backend=backend)
    text = text_of(run, kind)
    assert f"sample {row} of the data" in text
    assert text == text_of(lambda: mynn.fit(other, data, batch_size=BATCH, shuffle=False), kind)
    for key, value in plain.state().items():
        np.testing.assert_allclose(value, problem.state()[key], rtol=1e-5, atol=1e-6)


@pytest.mark.one_in(3)
@places
@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_a_compiled_call(place: str, indexed: bool, backend: str) -> None:
    given, find = PLACES[place]
    problem = Classifier(find, indexed)
    kind = IndexRangeError if indexed else DataError
    x, t = inputs()[:BATCH], given(spoiled(3))[:BATCH]
    text = text_of(lambda: problem.step(Tensor(x), Tensor(t)), kind)
    step = mynn.compile(problem.step, backend=backend)
    step(x, given(labels())[:BATCH])
    before = problem.state()
    for _ in range(2):
        assert text_of(lambda: step(x, t), kind) == text
        assert_same_state(before, problem.state())
    step(x, given(labels())[:BATCH])
    assert (problem.state()["net.0.weight"] != before["net.0.weight"]).any()


@pytest.mark.one_in(7)
@places
@pytest.mark.parametrize("indexed", [False, True])
def test_evaluate_and_predict(place: str, indexed: bool) -> None:
    given, find = PLACES[place]
    problem = Classifier(find, indexed)
    kind = IndexRangeError if indexed else DataError
    loss, each = mynn.compile(problem.loss), mynn.compile(problem.rows)
    for row in ROWS_OF_BATCHES:
        data = inputs(), given(spoiled(row))
        start = row // BATCH * BATCH
        x, t = (array[start : start + BATCH] for array in data)
        text = text_of(lambda x=x, t=t: problem.loss(Tensor(x), Tensor(t)), kind)
        where = (
            f", in batch {row // BATCH} of epoch 0, row {row % BATCH} of the batch: sample {row} "
            "of the data. The state is as it was before this step"
        )
        got = text_of(lambda data=data: mynn.evaluate(loss, data, batch_size=BATCH), kind)
        assert got == text + where
        got = text_of(lambda data=data: mynn.predict(each, data, batch_size=BATCH), kind)
        assert got.endswith(where)
    fine = inputs(), given(labels())
    assert np.isfinite(mynn.predict(each, fine, batch_size=BATCH)).all()


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_labels_that_a_callback_changes(backend: str) -> None:
    problem = Classifier(lambda t: t)
    t = labels()

    class Spoil(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            if epoch == 2:
                t[20] = -1
                self.state = problem.state()

    spoil = Spoil()
    step = mynn.compile(problem.step, backend=backend)
    run: Any = {"epochs": 5, "batch_size": ROWS, "callbacks": [spoil], "shuffle": False}
    with pytest.raises(DataError, match=r"there is -1 at \(20,\).*batch 0 of epoch 3.*sample 20"):
        mynn.fit(step, (inputs(), t), **run)
    assert_same_state(spoil.state, problem.state())


def test_one_array_to_another() -> None:
    """The short way from one array to another looks too."""
    table = Tensor(np.arange(12, dtype=np.float32).reshape(4, 3))
    pick = mynn.compile(lambda i: table[i])
    for _ in range(3):
        np.testing.assert_array_equal(pick(np.array([0, -1, 3])), table.value[[0, -1, 3]])
        for wrong in (4, -5, 2**62, -(2**63)):
            with pytest.raises(IndexRangeError, match=rf"index {wrong} at \(1,\).*extent 4: .*-4"):
                pick(np.array([0, wrong, 1]))
            with pytest.raises(IndexError):
                pick(np.array([0, wrong, 1]))


def test_the_ends_of_every_dtype() -> None:
    for dtype in (np.int32, np.int64, np.uint32, np.uint8):
        info = np.iinfo(dtype)
        table = Tensor(np.arange(200, dtype=np.float32))
        pick = mynn.compile(lambda i, table=table: table[i] * 2.0)
        for good in (0, 199, *((-1, -200) if info.min else ())):
            pick(np.full(21, good, dtype))
        for wrong in {info.max, info.min or info.max, 200, *((-201,) if info.min else ())}:
            index = np.zeros(21, dtype)
            index[20] = wrong
            with pytest.raises(IndexRangeError, match=rf"index {wrong} at \(20,\)"):
                pick(index)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_large_call_on_several_threads(threads: int) -> None:
    """More than 20 million operations: the workers that share the call stop together."""
    weight = Tensor(np.ones((400, 400), np.float32))
    total = Tensor(np.zeros((1,), np.float32))

    def step(x: Any, t: Any) -> Any:
        y = x @ weight
        loss = F.cross_entropy(y, t - 1)
        total.assign(total + 1)
        return loss

    compiled = mynn.compile(step, threads=threads)
    x = np.zeros((200, 400), np.float32)
    for good, value in ((400, True), (401, False), (0, False), (1, True)):
        before = total.numpy()
        t = np.full(200, 5)
        t[199] = good
        if value:
            compiled(x, t)
            assert total.numpy() == before + 1
            continue
        with pytest.raises(DataError, match=rf"there is {good - 1} at \(199,\)"):
            compiled(x, t)
        assert total.numpy() == before


def test_what_a_step_throws_away_is_checked() -> None:
    """As it is eagerly."""

    def step(x: Any, t: Any) -> Any:
        F.cross_entropy(x, t)
        return x.sum()

    compiled = mynn.compile(step)
    x = np.zeros((2, 3), np.float32)
    compiled(x, np.array([0, 2]))
    with pytest.raises(DataError, match="there is 3"):
        compiled(x, np.array([0, 3]))


def test_ignored_labels_and_weights() -> None:
    x = np.zeros((3, 4, 5), np.float32)
    loss = mynn.compile(lambda x, t: F.cross_entropy(x, t, ignore_index=-100))
    t = np.full((3, 5), -100)
    t[0, 0] = 3
    assert loss(x, t) == pytest.approx(np.log(4))
    t[2, 4] = -1
    with pytest.raises(DataError, match=r"there is -1 at \(2, 4\)"):
        loss(x, t)


def test_a_constant_out_of_range_is_found_by_the_trace() -> None:
    with pytest.raises(IndexRangeError, match="index 5"):
        mynn.compile(lambda x: x[np.array([0, 5])])(np.zeros(3, np.float32))


def test_what_cannot_fail_costs_nothing() -> None:
    x = np.zeros((4, 3), np.float32)
    program = mynn.compile(lambda x: x[np.array([0, 2, -1])]).program(x)
    assert program.status_slot is None
    assert "i32[]" not in program.graph


def test_checks_that_depend_on_new_state() -> None:
    """A counter that is raised by the step picks a row: the state is written after the check."""
    count = Tensor(np.zeros(1, np.int32))
    table = Tensor(np.arange(3, dtype=np.float32))

    def step(x: Any) -> Any:
        count.assign(count + 1)
        return table[count].sum() + x.sum()

    for backend in ("native", "interpreter"):
        count.assign(np.zeros(1, np.int32))
        compiled = mynn.compile(step, backend=backend)
        assert [float(compiled(np.zeros(1, np.float32))) for _ in range(2)] == [1.0, 2.0]
        with pytest.raises(IndexRangeError, match="index 3"):
            compiled(np.zeros(1, np.float32))
        assert count.numpy().tolist() == [2]


def test_the_line_of_the_user() -> None:
    problem = Classifier(lambda t: t)
    text = text_of(lambda: mynn.fit(problem.step, (inputs(), spoiled(2)), batch_size=8), DataError)
    found = re.search(r"cross_entropy: .*called at (.*):(\d+)\)", text)
    assert found is not None
    with open(found[1]) as source:
        assert "F.cross_entropy(" in source.readlines()[int(found[2]) - 1]


def _set(x: Any, i: Any) -> None:
    x[i] = 1.0


# What takes indices: a value, or a change of x.
TAKERS: dict[str, Callable[[Any, Any], Any]] = {
    "x[index]": lambda x, i: x[i],
    "x[:, index]": lambda x, i: x[:, i],
    "x[index] = value": _set,
    "take": lambda x, i: x.take(i),
    "index_select": lambda x, i: x.index_select(1, i),
    "index_add_": lambda x, i: x.index_add_(0, i, np.ones((2, 4), np.float32)),
    "index_copy_": lambda x, i: x.index_copy_(0, i, np.ones((2, 4), np.float32)),
    "index_fill_": lambda x, i: x.index_fill_(1, i, 2.0),
    "scatter_add": lambda x, i: x.scatter_add(0, i.reshape(1, 2), np.ones((1, 2), np.float32)),
}


@pytest.mark.one_in(3, each="name")
@pytest.mark.parametrize("name", TAKERS)
@pytest.mark.parametrize("wrong", [16, -17])
@pytest.mark.parametrize("backend", ["eager", "native", "interpreter"])
def test_whatever_takes_indices(name: str, wrong: int, backend: str) -> None:
    """The state is changed by all of them, and not at all where an index is wrong."""
    state = Tensor(np.zeros((4, 4), np.float32))
    runs = Tensor(np.zeros((), np.float32))

    def step(i: Any) -> Any:
        runs.assign(runs + 1)
        result = TAKERS[name](state, i - 1)
        return state.sum() if result is None else result.sum()

    run = step if backend == "eager" else mynn.compile(step, backend=backend)
    run(Tensor([1, 3]))
    before = state.numpy()
    with pytest.raises(IndexRangeError, match=rf"index {wrong} .*is out of (range|bounds)"):
        repr(run(Tensor([2, wrong + 1])))
    np.testing.assert_array_equal(state.numpy(), before)
    if backend != "eager":
        assert runs.item() == 1


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda x, t: F.cross_entropy(x, t[:1]), ShapeError, r"target must have shape \(2,\)"),
        (lambda x, t: F.cross_entropy(x, t[:, None]), ShapeError, r"target\.reshape\(\(2,\)\)"),
        (lambda x, t: F.nll_loss(x, t * 1.0), DTypeError, r"target must hold integer labels"),
        (lambda x, t: F.cross_entropy(x, t * 1.0), DTypeError, r"astype\(np.int64\)"),
        (
            lambda x, t: F.cross_entropy(x, np.zeros((2, 3), int)),
            DTypeError,
            r"target .* probabilities.*Labels need the shape \(2,\)",
        ),
        (lambda x, t: F.one_hot(t * 1.0, 3), DTypeError, "one_hot: input must hold integer"),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_labels_of_another_kind(call: Any, kind: Any, words: str, compiled: bool) -> None:
    run = mynn.compile(call) if compiled else call
    with pytest.raises(kind, match=words):
        run(np.zeros((2, 3), np.float32), np.array([0, 1]))
