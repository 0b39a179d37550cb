"""Programs on the tape give what they give at once, whatever stands between their calls."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
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
from mynn.tape.piece import Piece

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(6, 12, 4)).astype(np.float32)
T = DRAW.integers(0, 3, (6, 12))


@pytest.fixture
def tape() -> Iterator[Any]:
    with mynn.eager("tape"):
        yield recording.current.tape


def network(*between: nn.Module) -> nn.Module:
    mynn.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), *between, nn.Tanh(), nn.Linear(8, 3))


def steps(tape: Any) -> list[Any]:
    """All steps that a tape has come to."""
    found, waiting = [], [tape.root]
    while waiting:
        step = waiting.pop()
        found.append(step)
        waiting += [one for one in step.children.values() if hasattr(one, "pieces")]
    return found


Program = Callable[[int], Any]


def usual(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    optimizer.zero_grad()
    loss = F.cross_entropy(net(Tensor(X[number % 6])), Tensor(T[number % 6]))
    loss.backward()
    optimizer.step()
    return [loss.item()]


def look_before_backward(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    loss = F.cross_entropy(net(Tensor(X[number % 6])), Tensor(T[number % 6]))
    value = loss.item()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return [value, loss.item()]


def gradients_looked_at(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    optimizer.zero_grad()
    F.cross_entropy(net(Tensor(X[number % 6])), Tensor(T[number % 6])).backward()
    found = [p.grad.numpy() for p in net.parameters()]
    for p in net.parameters():
        p.grad *= 0.5
    optimizer.step()
    return found


def two_batches_a_step(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    optimizer.zero_grad()
    total = 0.0
    for part in (number, number + 1):
        loss = F.cross_entropy(net(Tensor(X[part % 6])), Tensor(T[part % 6])) / 2
        loss.backward()
        total += loss.item()
    optimizer.step()
    return [total]


def arrays_of_the_user(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    x = X[number % 6].copy()
    y = net(x)
    x[...] = 0  # y is of what was there
    optimizer.zero_grad()
    loss = (y * y).mean()
    loss.backward()
    optimizer.step()
    return [loss.item(), y.numpy()]


def views(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    with mynn.no_grad():
        y = net(Tensor(X[number % 6]))
        row = y.reshape(-1)[2:5]
        before = row.numpy()
        y[0] = 7.0
        row.mul_(2.0)
    return [before, row.numpy(), y.numpy(), y.T.numpy()]


def memory_in_hands(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    x = Tensor(X[number % 6])
    inside = x.value[1:3]
    y = x * 2.0
    inside[...] = 5.0
    z = x * 2.0
    inside[...] = 6.0
    return [y.numpy(), z.numpy(), x.numpy()]


def changes_between(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    y = net(Tensor(X[number % 6]))
    with mynn.no_grad():
        next(net.parameters()).mul_(0.9)
    z = net(Tensor(X[number % 6]))
    optimizer.lr = 0.1 / (number + 1)
    return [y.numpy(), z.numpy(), *usual(net, optimizer, number)]


def modes(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    net.train(number % 2 == 0)
    found = usual(net, optimizer, number)
    net.eval()
    with mynn.no_grad():
        out = net(Tensor(X[0]))
    assert not out.requires_grad
    return [*found, out.numpy(), *(b.numpy() for b in net.buffers())]


def frozen(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    if number == 3:
        next(net.parameters()).requires_grad = False
    usual(net, optimizer, number)
    return [p.numpy() for p in net.parameters()]


def compiled_between(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    y = net(Tensor(X[number % 6]))

    @mynn.compile
    def step(x: Tensor, t: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    return [step(X[0], T[0]), y.numpy(), net(Tensor(X[1])).numpy()]


def another_thread(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    y = net(Tensor(X[number % 6]))
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append((y + 1.0).numpy()))
    thread.start()
    thread.join()
    return [*found, y.numpy()]


def copies(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    y = net(Tensor(X[number % 6]))
    other = copy.deepcopy(net)
    again = pickle.loads(pickle.dumps(y))
    usual(net, optimizer, number)
    return [again.numpy(), other(Tensor(X[0])).numpy(), net(Tensor(X[0])).numpy()]


def gradients_of_inputs(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    x = Tensor(X[number % 6], requires_grad=True)
    net(x).exp().sum().backward()
    assert x.grad is not None
    return [x.grad.numpy()]


def errors(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    y = net(Tensor(X[number % 6]))
    with pytest.raises(ShapeError):
        net(Tensor(X[0, :, :3]))
    wrong = Tensor(np.where(T[0] == 0, 3 + number, T[0]))
    with pytest.raises(DataError):
        F.cross_entropy(y, wrong).item()
    return [y.numpy(), *usual(net, optimizer, number)]


def toggled_before_backward(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    optimizer.zero_grad()
    weight = next(net.parameters())
    weight.requires_grad = number % 3 > 0
    loss = F.cross_entropy(net(Tensor(X[number % 6])), Tensor(T[number % 6]))
    if number % 2:
        loss.item()
    weight.requires_grad = not weight.requires_grad
    loss.backward()
    found = [0.0 if p.grad is None else p.grad.numpy() for p in net.parameters()]
    optimizer.step()
    return found


def detached_in_place(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    optimizer.zero_grad()
    y = net[0](Tensor(X[number % 6])) * 2.0
    if number % 2:
        y.numpy()
    z = y.tanh()
    if number % 3:
        z.numpy()
    y.detach_()
    y.mul_(2.0)
    (z + y).sum().backward()
    return [y.numpy(), *(p.grad.numpy() for p in net[0].parameters())]


def changed_by_a_program(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    """Gradients that need what was changed are refused, others are not; views count as well."""
    optimizer.zero_grad()
    weight, twin = (next(part.parameters()) for part in (net[0], net[-1]))
    part, same = weight[0], twin.detach()
    needed = [(weight * weight).sum(), (part * part).sum(), (weight[0] * same[0, :4]).sum()]
    other = (weight * 3.0).sum()
    if number % 2:
        _ = [one.item() for one in (*needed, other)]

    @mynn.compile
    def scale() -> None:
        with mynn.no_grad():
            weight.mul_(0.5)
            twin.mul_(0.5)

    scale()
    for one in needed:
        with pytest.raises(UsageError, match="modified by an inplace operation"):
            one.backward()
    other.backward()
    return [weight.grad.numpy()]


def frozen_and_changed(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    """What has no gradient is needed for those of others."""
    net[-1].requires_grad_(False)
    optimizer.zero_grad()
    loss = net(Tensor(X[number % 6])).exp().sum()
    if number % 2:
        loss.item()
    with mynn.no_grad():
        net[-1].weight.mul_(0.9)
    with pytest.raises(UsageError, match="modified by an inplace operation"):
        loss.backward()
    return [loss.item()]


def modes_after_calls(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    """A call is run in the mode that its modules had then, and so is the way back."""
    optimizer.zero_grad()
    net.eval()
    y = net(Tensor(X[number % 6]))
    net.train()
    z = net(Tensor(X[number % 6]))
    net.eval()
    if number % 2:
        z.numpy()
    (y * z).sum().backward()
    found = [p.grad.numpy() for p in net.parameters()]
    if number % 3:
        optimizer.step()
    return [*found, y.numpy(), z.numpy(), *(b.numpy() for b in net.buffers())]


ACTIVATION = nn.LeakyReLU()


def edits_after_calls(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    """A call is of the parts and the attributes that its modules had then."""
    optimizer.zero_grad()
    ACTIVATION.negative_slope = 0.1
    last, head = len(list(net.children())) - 1, net[-1]
    y = ACTIVATION(net(Tensor(X[number % 6])))
    if number % 2:
        y.numpy()
    ACTIVATION.negative_slope = 0.9
    net[last] = nn.Linear(8, 3)
    z = net(Tensor(X[number % 6]))
    (y * z).sum().backward()
    net[last] = head
    return [y.numpy(), z.numpy(), *(p.grad.numpy() for p in net.parameters())]


PROGRAMS = [
    usual,
    look_before_backward,
    gradients_looked_at,
    two_batches_a_step,
    arrays_of_the_user,
    views,
    memory_in_hands,
    changes_between,
    modes,
    frozen,
    compiled_between,
    another_thread,
    copies,
    gradients_of_inputs,
    errors,
    toggled_before_backward,
    detached_in_place,
    changed_by_a_program,
    frozen_and_changed,
    modes_after_calls,
    edits_after_calls,
]
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": network,
    "batch norm": lambda: network(nn.BatchNorm1d(8)),
    "dropout": lambda: network(nn.Dropout(0.3)),
    "flat": lambda: network(nn.Flatten(), nn.Identity()),
}


@pytest.mark.filterwarnings("ignore::mynn.TraceWarning")
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_programs(program: Any, network: str) -> None:
    found: dict[str, list[Any]] = {}
    for mode in ("at once", "tape"):
        with mynn.eager(mode):  # type: ignore[arg-type]
            net = NETWORKS[network]()
            optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
            mynn.manual_seed(2)
            found[mode] = [program(net, optimizer, number) for number in range(6)]
            found[mode].append([p.numpy() for p in net.parameters()])
    for once, taped in zip(found["at once"], found["tape"], strict=True):
        for one, other in zip(once, taped, strict=True):
            np.testing.assert_allclose(other, one, rtol=2e-4, atol=2e-5)


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
    assert (w - z).tolist() == (X[0] * X[1] - X[2]).tolist()


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
