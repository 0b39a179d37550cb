"""Known calls that are run as soon as they are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mynn
import mynn.functional as F
from mynn import Tensor, nn
from mynn.base import recording, sharing
from mynn.core.types import Array
from mynn.errors import MynnError
from mynn.jit import native_available
from mynn.jit.program import Program
from mynn.tape.pieces import look, waiting
from mynn.tape.pieces.waiting import Waiting
from tests.fuzz.tape_signals import check_tape
from tests.helpers import own_tape

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(40, 1, 4)).astype(np.float32)
LABELS = np.array([1])

pytestmark = pytest.mark.skipif(not native_available(), reason="no native code")


@pytest.fixture
def general(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """On a tape: how many calls waited each time that one was run in the general way."""
    found: list[int] = []
    flush = Waiting._flush

    def counted(self: Any, last: Any, known: object) -> bool:
        if self.position is not self.root:
            found.append(len(self.position.calls))
        return flush(self, last, known)

    monkeypatch.setattr(Waiting, "_flush", counted)
    with mynn.eager("tape"):
        yield found


def network() -> nn.Module:
    """The same one each time."""
    mynn.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def episode(net: nn.Module, steps: int = 40) -> list[Array]:
    """Actions, each looked at, with what learning needs kept, and the gradients of all of it."""
    kept, seen = [], []
    for x in X[:steps]:
        log_probs = F.log_softmax(net(Tensor(x)), dim=-1)
        seen.append(np.array(log_probs.detach().exp()[0, 1].item()))
        kept.append(log_probs[0, int(seen[-1] > 0.5)])
    net.zero_grad()
    mynn.stack(kept).sum().backward()
    return [*seen, *[one.numpy() for one in kept], *gradients_of(net)]


def gradients_of(net: nn.Module) -> list[Array]:
    """Of all parameters."""
    return [p.grad.numpy() for p in net.parameters() if p.grad is not None]


def test_actions_and_their_gradients_are_those_of_calls_at_once(general: list[int]) -> None:
    net = network()
    for _ in range(6):
        found = episode(net)
    general.clear()
    again = episode(net)
    assert len(general) < len(X) / 2, "most looks run a known piece"
    with mynn.eager("at once"):
        expected = episode(network())
    assert len(found) == len(expected) == 84
    for one, other, right in zip(found, again, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, right, rtol=2e-5, atol=2e-6)


def test_weights_that_change_in_between_are_seen(general: list[int]) -> None:
    net, found = network(), []

    def looked() -> float:
        return net(Tensor(X[0])).tanh().sum().item()

    for number in range(40):
        before = looked()
        if number % 3 == 0:
            with mynn.no_grad():
                net[0].weight.copy_(net[0].weight * 0.9)  # type: ignore[index]
            found.append((before, looked()))
    with mynn.eager("at once"):
        other = network()
        for number, (before, after) in enumerate(found):
            y = [float(other(Tensor(X[0])).tanh().sum().item())]
            with mynn.no_grad():
                other[0].weight.copy_(other[0].weight * 0.9)  # type: ignore[index]
            y.append(other(Tensor(X[0])).tanh().sum().item())
            np.testing.assert_allclose((before, after), y, rtol=1e-5, err_msg=str(number))


def test_what_was_kept_has_the_gradient_of_the_weights_that_it_read(general: list[int]) -> None:
    """Its weights are written before `backward`."""
    net = network()
    for _ in range(30):
        kept = F.log_softmax(net(Tensor(X[0])), dim=-1)
        kept.detach().exp()[0, 1].item()
    with mynn.no_grad():
        net[2].weight.copy_(net[2].weight * 2.0)  # type: ignore[index]
    with pytest.raises(MynnError, match="changed"):
        kept.sum().backward()


def test_a_short_chain_is_one_run(general: list[int]) -> None:
    """Also of more calls than a loop has rounds that is run in parts."""
    x, y = Tensor(X[0]), Tensor(X[1])
    expected = X[0]
    for _ in range(20):
        expected = expected + X[1]

    def chain() -> Array:
        z = x
        for _ in range(20):
            z = z + y
        return z.numpy()

    for _ in range(20):
        np.testing.assert_array_equal(chain(), expected)
    general.clear()
    z = x
    for _ in range(20):
        z = z + y
    assert own_tape().position.slots == 20
    np.testing.assert_array_equal(z.numpy(), expected)
    assert general == []


def test_a_call_that_goes_one_of_two_ways_needs_no_key(
    general: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that goes a third one has its own, as ever."""
    recording.arrays.clear()  # while somebody holds memory, views take the long way
    x, found = Tensor(X[0]), own_tape()._found
    keys: list[Any] = []

    def counted(*arguments: Any) -> Any:
        keys.append(arguments)
        return found(*arguments)

    def run(number: int) -> Any:
        y = (x * 2.0)[0, number]
        return (y.exp() if number else y.tanh()).item()

    for _ in range(30):
        expected = [run(0), run(1), run(2)]
        run(0), run(1)
    monkeypatch.setattr(own_tape(), "_found", counted)
    order = [0, 1, 1, 0, 0, 1, 0, 1, 1]
    assert [run(number) for number in order] == [expected[number] for number in order]
    assert keys == []
    assert run(2) == expected[2]
    assert len(keys) == 1
    for number, value in enumerate(np.exp(X[0, 0] * 2)[1:3], 1):
        assert expected[number] == pytest.approx(value, rel=1e-6)


def test_a_check_that_fails_says_what_it_says(general: list[int]) -> None:
    net = network()

    def loss(labels: Any) -> Any:
        return F.cross_entropy(net(Tensor(X[0])), Tensor(labels))

    for _ in range(30):
        good = loss(LABELS).item()
    wrong = loss(LABELS + 7)
    with pytest.raises(MynnError, match="label"):
        wrong.item()
    with pytest.raises(MynnError, match="label"):
        wrong.item()
    check_tape(own_tape())
    assert loss(LABELS).item() == good


def test_a_program_that_is_dropped_is_made_again(general: list[int]) -> None:
    net = network()

    def looked() -> Array:
        with mynn.no_grad():
            return F.softmax(net(Tensor(X[0])), 1).numpy()

    for _ in range(30):
        expected = looked()
    y = F.softmax(net(Tensor(X[0])), 1)
    with mynn.no_grad():
        y = F.softmax(net(Tensor(X[0])), 1)
        (known,) = own_tape().position.known.values()
    y.numpy()
    known.piece.forget(None)
    general.clear()
    np.testing.assert_array_equal(looked(), expected)
    assert general == [2]
    np.testing.assert_array_equal(looked(), expected)
    assert general == [2]


def test_state_that_is_being_written_is_waited_for(general: list[int]) -> None:
    w = nn.Parameter(np.ones((1, 4), np.float32))
    program = mynn.compile(lambda x: x * w).program(X[0])
    writes = mynn.compile(lambda x: w.assign(x)).program(X[1])  # type: ignore[attr-defined]
    assert isinstance(program, Program)
    quick = program.quick()
    assert quick is not None
    assert writes.quick() is None
    found: Any = quick((X[0],))
    np.testing.assert_array_equal(found[0], X[0])
    domain = sharing.domain_of(w)
    assert domain is not None
    before, domain.mark = domain.mark, None
    assert quick((X[0],)) is None
    domain.mark = before
    found = quick((X[0],))
    np.testing.assert_array_equal(found[0], X[0])


@pytest.mark.parametrize("place", ["give_values", "give_views", "count_run"])
def test_an_exception_as_results_are_given_leaves_them_made(
    general: list[int], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """As one of a handler of signals."""
    net = network()

    def looked() -> tuple[Any, Any]:
        log_probs = F.log_softmax(net(Tensor(X[0])), dim=-1)
        return log_probs, log_probs.detach().exp()[0, 1]

    for _ in range(30):
        kept, chosen = looked()
        expected = chosen.item()
    kept, chosen = looked()
    real, times = getattr(look, place), [0]

    def raises(*arguments: Any) -> Any:
        times[0] += 1
        if times[0] == 1:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(look, place, raises)
        with pytest.raises(KeyboardInterrupt):
            chosen.item()
    check_tape(own_tape())
    assert general == [] or max(general) <= 5
    assert chosen.item() == expected
    kept[0, 1].backward()
    found = gradients_of(net)
    with mynn.eager("at once"):
        other = network()
        F.log_softmax(other(Tensor(X[0])), dim=-1)[0, 1].backward()
        for one, right in zip(found, gradients_of(other), strict=True):
            np.testing.assert_allclose(one, right, rtol=2e-5, atol=2e-6)


def test_an_exception_before_that_leaves_the_calls_waiting(
    general: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = Tensor(X[0])
    for _ in range(30):
        expected = (x * 2.0).tanh().exp().numpy()
    y = (x * 2.0).tanh().exp()

    def raises(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Waiting, "alive", raises)
        with pytest.raises(KeyboardInterrupt):
            y.numpy()
    assert own_tape().position.slots == 3
    np.testing.assert_array_equal(y.numpy(), expected)
    check_tape(own_tape())


def test_what_changes_state_goes_the_general_way(general: list[int]) -> None:
    """Statistics, draws and updates."""
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    batch = X.reshape(40, 4)
    for _ in range(30):
        net(Tensor(batch)).sum().item()
    general.clear()
    mean = net[1].running_mean.numpy()  # type: ignore[union-attr]
    net(Tensor(batch)).sum().item()
    assert general == [2]
    assert (mean != net[1].running_mean.numpy()).any()  # type: ignore[union-attr]


def test_results_that_nobody_holds_are_not_made(general: list[int]) -> None:
    """And those that somebody holds now and then are."""
    x = Tensor(X[0])
    for _ in range(30):
        (x * 2.0).tanh().exp().numpy()
        middle = (x * 2.0).tanh()
        middle.exp().numpy()
    middle = (x * 2.0).tanh()
    general.clear()
    middle.exp().numpy()
    assert general == []
    assert middle.pending is None
    np.testing.assert_allclose(middle.numpy(), np.tanh(X[0] * 2), rtol=1e-6)
    assert waiting.look is look.look
