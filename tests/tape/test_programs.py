"""Programs on the tape give what they give at once, whatever stands between their calls."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
import mynn.functional as F
from mynn import Tensor, nn, optim
from mynn.errors import DataError, ShapeError, UsageError
from mynn.tape.gradients.training import Training
from tests.tape.test_tape import T, X, network, usual

Program = Callable[[int], Any]


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
    """What has no gradient is needed for those of others: a program has written it."""
    net[-1].requires_grad_(False)
    optimizer.zero_grad()
    loss = net(Tensor(X[number % 6])).exp().sum()
    if number % 2:
        loss.item()
    weight = net[-1].weight
    mynn.compile(lambda: weight.assign(weight * 0.9), backend="interpreter")()
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


def scaled_gradients(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    optimizer.zero_grad()
    loss = F.cross_entropy(net(Tensor(X[number % 6])), Tensor(T[number % 6]))
    loss.backward()
    for p in net.parameters():
        p.grad = p.grad * 0.5
    optimizer.step()
    return [loss.item()]


def clipped_gradients(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    optimizer.zero_grad()
    loss = F.cross_entropy(net(Tensor(X[number % 6])), Tensor(T[number % 6]))
    loss.backward()
    norm = nn.utils.clip_grad_norm_(net.parameters(), 0.1)
    optimizer.step()
    return [loss.item(), norm.item(), *(p.grad.numpy() for p in net.parameters())]


def several_results(net: nn.Module, optimizer: Any, number: int) -> list[Any]:
    """Functions and layers that give more than one tensor."""
    x = Tensor(X[number % 6])
    scores = net(x)
    best = scores.max(1)
    ordered, order = mynn.sort(scores, dim=1)
    first, rest = scores.split([1, 2], dim=1)
    loss = best.values.sum() + (ordered * order).sum() * 0.1 + (first * rest).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return [loss.item(), best.indices.numpy(), rest.detach().numpy()]


PROGRAMS = [
    scaled_gradients,
    clipped_gradients,
    several_results,
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


@pytest.mark.one_in(9)
@pytest.mark.filterwarnings("ignore::mynn.TraceWarning")
@pytest.mark.parametrize(
    ("program", "network"),
    # The other networks with what trains them, copies them and changes their modes.
    [(program, network) for program in PROGRAMS for network in ("plain", "batch norm")]
    + [(program, network) for program in (usual, modes, copies) for network in ("dropout", "flat")],
)
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


@pytest.mark.parametrize("program", [scaled_gradients, clipped_gradients])
def test_an_update_with_other_gradients_is_a_program(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network()
    optimizer = optim.Adam(net.parameters())
    with mynn.eager("tape"):
        for number in range(6):
            program(net, optimizer, number)
        monkeypatch.setattr(type(optimizer), "update", None)  # nothing may call it
        program(net, optimizer, 6)


RECURRENT: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: nn.LSTM(4, 5, batch_first=True),
    "GRU": lambda: nn.GRU(4, 5, batch_first=True),
    "attention": lambda: nn.MultiheadAttention(4, 2, batch_first=True),
    "without weights": lambda: nn.MultiheadAttention(4, 2, batch_first=True),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", RECURRENT)
def test_layers_of_several_results(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are recorded: nothing of a step runs as it comes once it is a program."""
    rng = np.random.default_rng(3)
    batches = rng.normal(size=(6, 2, 7, 4)).astype(np.float32)
    found: dict[str, list[Any]] = {}
    for mode in ("at once", "tape"):
        with mynn.eager(mode):  # type: ignore[arg-type]
            mynn.manual_seed(1)
            layer = RECURRENT[name]()
            optimizer = optim.Adam(layer.parameters(), lr=0.01)
            found[mode] = []
            for number, batch in enumerate(batches):
                x = Tensor(batch)
                optimizer.zero_grad()
                if name in ("LSTM", "GRU"):
                    y, state = layer(x)
                    last = state[0] if name == "LSTM" else state
                    loss = (y * y).mean() + last.sum() * 0.1
                else:
                    y, shares = layer(x, x, x, need_weights=name == "attention")
                    assert (shares is None) == (name != "attention")
                    loss = (y * y).mean()
                    loss = loss if shares is None else loss + (shares * shares).sum()
                loss.backward()
                optimizer.step()
                found[mode].append(loss.item())
                if mode == "tape" and number == 3:
                    monkeypatch.setattr(type(layer), "forward", None)  # nothing may call it
            monkeypatch.undo()
    np.testing.assert_allclose(found["tape"], found["at once"], rtol=2e-4)


def test_the_number_of_results_may_change() -> None:
    """A layer that gives another number of results for an attribute that was set since."""
    with mynn.eager("tape"):
        pair = mynn.compile(lambda x: x)  # a program of its own stays what it is

        class Split(nn.Module):
            parts = 2

            def forward(self, x: Tensor) -> Any:
                return x.split(4 // self.parts, dim=1)

        net = Split()
        x = np.arange(8, dtype=np.float32).reshape(2, 4)
        for parts in (2, 2, 2, 4, 4, 2, 2):
            net.parts = parts
            results = net(Tensor(pair(x)))
            assert len(results) == parts
            np.testing.assert_array_equal(np.concatenate([r.numpy() for r in results], 1), x)


def test_batches_drawn_from_a_memory_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which values come twice in a long list, and which one was made last, is no other sequence."""
    rng = np.random.default_rng(5)
    memory = [Tensor(rng.normal(size=(4,)).astype(np.float32)).unsqueeze(0) for _ in range(12)]
    net = network()
    at_once: list[Any] = []
    now = Training._now

    def counted(self: Any, *args: Any) -> Any:
        at_once.append(args[0])
        return now(self, *args)

    monkeypatch.setattr(Training, "_now", counted)
    with mynn.eager("tape"):
        for number in range(40):
            memory[number % 12] = Tensor(rng.normal(size=(4,)).astype(np.float32)).unsqueeze(0)
            drawn = [memory[i] for i in rng.integers(0, 12, 10)]
            together = mynn.cat(drawn)
            scores = net(together)
            expected = np.concatenate([one.numpy() for one in drawn])
            np.testing.assert_array_equal(together.numpy(), expected)
            assert scores.shape == (10, 3)
    others = [one for one in at_once if one is not mynn.cat]  # which NumPy joins
    assert len(others) < 10, "first calls, and where one value comes often that was made last"
