"""What is recorded, when it runs, and what becomes of errors."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
import mynn.functional as F
from mynn import Tensor, nn, optim
from mynn.base import recording
from mynn.errors import ArgumentError, DataError, MynnError, ShapeError, UsageError
from mynn.tape.pieces import waiting
from mynn.tape.pieces.piece import Piece
from mynn.tape.pieces.trial import PATIENCE
from mynn.tape.tape import Tape
from tests.helpers import own_tape

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(6, 12, 4)).astype(np.float32)
T = DRAW.integers(0, 3, (6, 12))


@pytest.fixture
def tape() -> Iterator[Any]:
    with mynn.eager("tape"):
        yield own_tape()


def network(*between: nn.Module) -> nn.Module:
    mynn.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), *between, nn.Tanh(), nn.Linear(8, 3))


def usual(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    optimizer.zero_grad()
    loss = F.cross_entropy(net(Tensor(X[number % 6])), Tensor(T[number % 6]))
    loss.backward()
    optimizer.step()
    return [loss.item()]


def steps(tape: Any) -> list[Any]:
    """All steps that a tape has come to."""
    found, waiting = [], [tape.root]
    while waiting:
        step = waiting.pop()
        found.append(step)
        waiting += [one for one in step.children.values() if hasattr(one, "pieces")]
    return found


def test_a_loop_becomes_one_program(tape: Any) -> None:
    net = network()
    optimizer = optim.Adam(net.parameters())
    for number in range(5):
        usual(net, optimizer, number)
    last = list(optimizer.__dict__["_recorded"].values())[-1]
    (piece,) = last.pieces.values()
    assert isinstance(piece, Piece)
    assert str(last).splitlines() == [
        "%0 = Sequential(%arg0)",
        "%1 = cross_entropy(%0, %arg1)",
        "backward(%1)",
        "step()",
    ]


def test_nothing_runs_before_a_look(tape: Any) -> None:
    x = Tensor(X[0])
    for _ in range(3):
        y = (x * 2.0 + 1.0).sum(1)
        if y.pending is not None:
            assert (y.shape, y.dtype, y.ndim, y.requires_grad) == ((12,), np.float32, 1, False)
            assert y.pending.tape is tape
        y.numpy()
        assert y.pending is None


def test_shapes_that_do_not_fit_are_refused_at_the_call(tape: Any) -> None:
    x = Tensor(X[0])
    for _ in range(3):
        y = x * 2.0
        with pytest.raises(ShapeError, match="do not fit together"):
            y + Tensor(X[0, :5])
        np.testing.assert_array_equal(y.numpy(), X[0] * 2)


def test_errors_name_the_line_of_the_call(tape: Any) -> None:
    net = network()
    for number in range(4):
        y = net(Tensor(X[0]))
        line = 2 + _line()
        with pytest.raises(DataError, match=f"test_tape.py:{line}"):
            F.cross_entropy(y, Tensor(T[0] + number + 3)).item()


def _line() -> int:
    import sys

    return sys._getframe(1).f_lineno


def test_a_tensor_whose_call_failed_says_so_each_time(tape: Any) -> None:
    net = network()
    for _ in range(3):
        net(Tensor(X[0])).numpy()
        F.cross_entropy(Tensor(X[0]), Tensor(T[0])).item()
    loss = F.cross_entropy(Tensor(X[0]), Tensor(T[0] + 5))
    for _ in range(2):
        with pytest.raises(DataError):
            loss.item()


def test_what_changed_since_is_refused(tape: Any) -> None:
    net = network()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    for number in range(4):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(Tensor(X[number])), Tensor(T[number]))
        loss.backward()
        optimizer.step()
        with pytest.raises(UsageError, match="modified by an inplace operation"):
            loss.backward()


class Functional(nn.Module):
    """Gives its parameters to functions."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(np.ones((3, 4), np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


@pytest.mark.parametrize("make", [network, Functional])
def test_networks_that_nobody_has_go(tape: Any, make: Callable[[], nn.Module]) -> None:
    def train() -> weakref.ref[Any]:
        net = make()
        optimizer = optim.SGD(net.parameters(), lr=0.1)
        for number in range(4):
            usual(net, optimizer, number)
        return weakref.ref(next(net.parameters()))

    gone = [train() for _ in range(4)]
    gc.collect()
    assert not any(reference() is not None for reference in gone)


def test_what_runs_while_another_call_is_traced_writes_its_state(tape: Any) -> None:
    """Batches of another shape are traced while the statistics of the last one are not written."""
    net = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5))
    mynn.manual_seed(0)
    for rows in (4, 5, 4, 5, 6, 4, 6):
        net(Tensor(X[0, :rows]))
    assert net[0].num_batches_tracked.item() == 7
    key = mynn.random.default_generator().get_state().tolist()
    assert key[1] == 7


def test_statistics_that_change_leave_what_was_recorded_of_weights(tape: Any) -> None:
    """A compiled step has made one domain of both."""
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    optimizer = optim.SGD(net.parameters())

    def step(x: Any, t: Any) -> Any:
        loss = F.cross_entropy(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    mynn.compile(step, backend="interpreter")(X[0], T[0])
    kept = []
    for x in X:
        p = F.softmax(net(Tensor(x)), dim=1)
        p.numpy()
        kept.append(p[0, 0].log())
    F.stack(kept).mean().backward()
    gradient = net[2].weight.grad
    assert gradient is not None
    net.zero_grad()
    with mynn.eager("at once"):
        F.stack([F.softmax(net(Tensor(x)), dim=1)[0, 0].log() for x in X]).mean().backward()
    np.testing.assert_allclose(gradient.numpy(), net[2].weight.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_detach_is_recorded_and_shares_memory(tape: Any) -> None:
    w = Tensor(X[0][:2, :3], requires_grad=True)
    for turn in range(5):
        y = w * 2.0
        d = y.detach()
        row, flat = d[1], d.reshape(-1)
        if turn > 2:
            assert tape is y.pending.tape is d.pending.tape is row.pending.tape
            assert flat.pending.tape is tape
        assert not d.requires_grad
        assert not (d * w.detach()).requires_grad
        assert row.tolist() == (2 * X[0][1, :3]).tolist()
        d[1] = 7.0
        assert y.tolist()[1] == row.tolist() == flat.tolist()[3:] == [7.0, 7.0, 7.0]
        (y.detach().sum() + (w * 3.0).sum()).backward()
        assert w.grad is not None
        assert w.grad.tolist() == [[3.0] * 3] * 2
        w.grad = None


def test_a_call_that_is_always_looked_at_runs_at_once(tape: Any) -> None:
    x, y = Tensor(X[0]), Tensor(X[1])
    for _ in range(20):
        z = x + y
        assert z.tolist() == (X[0] + X[1]).tolist()
    z = x + y
    assert z.pending is None
    assert z.tolist() == (X[0] + X[1]).tolist()
    x[0] = 5.0
    z = x + y
    assert z.pending is None
    assert z.tolist()[0] == (5.0 + X[1][0]).tolist()
    found = set()
    for _ in range(600):  # now and then it is recorded, to see what comes after it
        z = x + y
        found.add(z.pending is None)
        z = z + y
        z.tolist()
    assert found == {True, False}
    assert (x + y).pending is not None


def test_an_error_in_a_call_that_is_always_looked_at_names_its_line(tape: Any) -> None:
    x, t = Tensor(X[0]), Tensor(T[0])
    for _ in range(20):
        good = F.cross_entropy(x, t).item()
    assert F.cross_entropy(x, t).pending is None
    loss = F.cross_entropy(x, Tensor(np.full_like(T[0], 9)))
    with pytest.raises(MynnError):
        loss.item()
    assert F.cross_entropy(x, t).item() == good


def test_a_call_that_was_interrupted_leaves_nothing(tape: Any) -> None:
    x, y, z = (Tensor(one) for one in X[:3])
    for _ in range(4):
        (x * y - z).tolist()
    w = x * y
    tape.externals.append(y)  # as far as the call came
    tape.outputs.append(tape.outputs[0])
    tape.tidied = None
    assert (w - z).tolist() == (X[0] * X[1] - X[2]).tolist()


def test_what_never_repeats_is_mostly_run_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mynn.tape.pieces.credit.CREDIT", 100.0)  # also with --first-calls
    found = []
    search = Tape._found
    monkeypatch.setattr(Tape, "_found", lambda *args: found.append(0) or search(*args))
    with mynn.eager("at once"), mynn.eager("tape"):
        for size in range(1, 2001):
            (Tensor(np.ones(size, np.float32)) + 1.0).tolist()
        assert len(found) < 400
        net = network()
        optimizer = optim.Adam(net.parameters())
        for number in range(200):  # what repeats after that is a program all the same
            usual(net, optimizer, number)
        assert any(type(p) is Piece for p in pieces(optimizer))


class Deep(nn.Module):
    """As many calls as layers, or more, each of them of a kind of its own."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3) for _ in range(layers)])

    def forward(self, x: Any) -> Any:
        for one in self.layers:
            x = x + one(x).relu() * 0.1
        return x


def test_a_step_of_many_calls_is_soon_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a tape may spend on new calls is enough for 440 of them."""
    monkeypatch.setattr("mynn.tape.pieces.piece.native_available", lambda: False)
    with mynn.eager("at once"), mynn.eager("tape"):
        net = Deep(110)
        optimizer = optim.SGD(net.parameters(), lr=0.1)
        x = Tensor(np.ones((2, 3), np.float32))
        at_once: list[Any] = []
        now = Tape._now
        monkeypatch.setattr(Tape, "_now", lambda *args: at_once.append(args) or now(*args))
        for _ in range(6):
            at_once.clear()
            optimizer.zero_grad()
            (net(x) ** 2).mean().backward()
            optimizer.step()
        assert any(type(piece) is Piece for piece in pieces(optimizer))
        assert all(one[1].__class__ is Deep for one in at_once)  # whose calls are recorded


def test_no_clock_decides_when_a_loop_becomes_a_program(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Where it did, last bits would be others in each run."""
    if request.config.getoption("--first-calls"):
        pytest.skip("there it is one from the first call on")
    monkeypatch.setattr(PATIENCE, "piece", 0.02)
    monkeypatch.setattr(PATIENCE, "call", 0.001)
    calls, first = waiting.call_by_call, []
    for pause in (0.0, 0.002):

        def slow(*args: Any, pause: float = pause) -> None:
            time.sleep(pause)
            calls(*args)

        monkeypatch.setattr(waiting, "call_by_call", slow)
        with mynn.eager("at once"), mynn.eager("tape"):
            net = network()
            optimizer = optim.Adam(net.parameters())
            for number in range(60):
                usual(net, optimizer, number)
                if any(type(piece) is Piece for piece in pieces(optimizer)):
                    first.append(number)
                    break
    assert len(first) == 2
    assert first == [2, 2]


def test_a_tape_forgets_steps_when_they_are_many(
    tape: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mynn.tape.pieces.waiting.MOST", 1000)
    root = weakref.ref(tape.root)
    x, net = Tensor(X[0]), network()
    for size in range(1, 40):
        for _ in range(3):
            y = net(x) * float(size)
            z = y.sum() + Tensor(np.ones(size, np.float32)).sum()
            assert z.item() == pytest.approx(float(y.numpy().sum()) + size, abs=1e-4)
        assert sum(step.size for step in steps(tape)) < 1500
    assert tape.root is not root()


def pieces(optimizer: Any) -> list[Any]:
    """The programs of updates."""
    recorded = optimizer.__dict__.get("_recorded", {})
    return [piece for step in recorded.values() for piece in step.pieces.values()]


def test_a_tape_holds_no_more_than_some_tensors(tape: Any) -> None:
    """What nobody else has is let go, also where nobody looks."""
    found = []
    sums: list[Any] = []
    for _ in range(40):
        x = mynn.zeros(1024, 1024)
        sums.append(x.sum())
        found.append(weakref.ref(x))
        del x
        assert sum(one() is not None for one in found) < 20
    assert tape.position is not tape.root
    assert [one.item() for one in sums] == [0.0] * 40
    large, waits = mynn.zeros(3000, 4000), False  # a few large ones are no reason
    for _ in range(5):
        y = large.sum() + large.mean()
        waits = y.pending is not None
        y.item()
    assert waits


def test_modes_are_checked() -> None:
    with pytest.raises(ArgumentError, match="'later'"):
        mynn.eager("later")  # type: ignore[arg-type]


def test_new_threads_record_too(tape: Any) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(recording.current.tape))
    thread.start()
    thread.join()
    assert found[0] is not None
    assert found[0] is not tape


def test_a_view_of_what_has_got_a_history_in_place() -> None:
    """It was recorded before, and nobody had looked at it: gradients go through it all the same."""
    for mode in ("at once", "tape"):
        with mynn.eager(mode):
            for _ in range(4):
                p = nn.Parameter(np.array([1.0, 2.0], np.float32))
                x = Tensor([1.0, 1.0])
                q, seen = p * 1, x.reshape(2, 1)
                x.add_(q, alpha=0.5)
                assert seen.requires_grad
                assert not seen.is_leaf
                seen.copy_(seen * 3)
                x.sum().backward()
                assert p.grad is not None
                assert p.grad.tolist() == [1.5, 1.5], mode


def test_heads_of_attention_are_recorded() -> None:
    """Views of views, here of slices, and what is made contiguous again, wait like all else."""

    def train(mode: Any) -> list[Any]:
        mynn.manual_seed(1)
        net = nn.Linear(4, 12)
        optimizer = optim.SGD(net.parameters(), lr=0.1)
        found: list[Any] = []
        with mynn.eager(mode):
            for x in X:
                heads = net(Tensor(x)).view(2, 6, 12).split(4, dim=2)
                q, k, v = [one.view(2, 6, 2, 2).transpose(1, 2) for one in heads]
                y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
                loss = (y.transpose(1, 2).contiguous().view(2, 6, 4) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                waits = loss.pending is not None and loss.pending.tape is not None
                optimizer.step()
                found.append(loss.item())
            assert waits is (mode == "tape")
        return found

    np.testing.assert_allclose(train("tape"), train("at once"), rtol=1e-5)


@pytest.mark.parametrize("inner", [False, True], ids=["from before", "of the tape"])
def test_views_that_cannot_be_are_refused_on_a_tape_too(tape: Any, inner: bool) -> None:
    x = Tensor(np.arange(24.0, dtype=np.float32).reshape(4, 6))
    for _ in range(4):
        y = (x + 0).T if inner else x.T
        with pytest.raises(ShapeError, match=r"view: \(6, 4\) in this order"):
            y.view(24)
        assert y[1:3, :1].T.view(2).tolist() == [1, 2]
        assert y[1:3].T.reshape(8).tolist() == [1, 2, 7, 8, 13, 14, 19, 20]
        assert y.reshape(24).tolist()[:4] == [0, 6, 12, 18]
        assert y.unfold(0, 2, 2).transpose(0, 1).shape == (4, 3, 2)


@pytest.mark.parametrize("known", [False, True], ids=["of the tape", "from before"])
def test_what_is_changed_in_place_again_and_again(
    known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tensor itself is changed, also where the call is the one that always comes."""
    monkeypatch.setattr(PATIENCE, "piece", 0.0)
    monkeypatch.setattr(PATIENCE, "call", 0.0)

    def run(mode: Any) -> list[Any]:
        mynn.manual_seed(1)
        net, found = nn.Linear(4, 3), []
        with mynn.eager(mode):
            for x in [*X, *X]:
                h = net(Tensor(x))
                if known:
                    h.tolist()
                y = F.relu(h, inplace=True)
                assert y is h
                loss = (h * h).mean()
                net.weight.grad = None
                loss.backward()
                assert net.weight.grad is not None
                found += [loss.item(), h.tolist(), net.weight.grad.tolist()]
        return [np.asarray(one) for one in found]

    for got, wanted in zip(run("tape"), run("at once"), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_a_number_where_an_array_of_whole_numbers_was(tape: Any) -> None:
    """It is no number of those: 2.7 is not 2, and -0.3 is not too small."""
    x = Tensor(np.arange(4, dtype=np.uint8))
    for _ in range(4):
        assert ((x * 2) + np.array(3, np.uint8)).tolist() == [3, 5, 7, 9]
    for number in (2.7, 2.7, -0.3, -0.3):
        np.testing.assert_allclose(((x * 2) + number).numpy(), np.arange(0.0, 8.0, 2) + number)
