"""Gradients through many runs of a tape, and numbers that change from call to call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mynn
import mynn.functional as F
from mynn import Tensor, nn
from mynn.errors import UsageError
from mynn.tape.gradients import back
from mynn.tape.gradients.derivative import Derivative
from mynn.tape.pieces.trial import PATIENCE
from tests.fuzz.eager.compare import program_problems
from tests.fuzz.eager.statements import parsed


@pytest.fixture(autouse=True)
def at_first_sight(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Programs are made as soon as calls come again."""
    monkeypatch.setattr(PATIENCE, "piece", 0.0)
    monkeypatch.setattr(PATIENCE, "call", 0.0)
    with mynn.eager("tape"):
        yield


def episode(net: nn.Module, xs: np.ndarray[Any, Any]) -> Tensor:
    """The loss of a few steps, each of which was looked at."""
    kept = []
    for x in xs:
        log_probs = F.log_softmax(net(Tensor(x)), dim=-1)
        float(log_probs.detach().exp()[0, 1])
        kept.append(log_probs[0, 1])
    return -mynn.stack(kept).sum()


def gradients(net: nn.Module) -> list[np.ndarray[Any, Any]]:
    found = []
    for parameter in net.parameters():
        assert parameter.grad is not None
        found.append(parameter.grad.numpy())
        parameter.grad = None
    return found


def test_gradients_through_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of the walk over nodes, and no node is made."""
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    xs = np.random.default_rng(0).standard_normal((6, 1, 3)).astype(np.float32)
    answers: list[bool] = []
    real = back.backward

    def watched(loss: Tensor) -> bool:
        answers.append(real(loss))
        return answers[-1]

    monkeypatch.setattr(back, "backward", watched)
    for _ in range(6):
        episode(net, xs).backward()
        found = gradients(net)
    assert answers[-1]
    with mynn.eager("at once"):
        episode(net, xs).backward()
        wanted = gradients(net)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_what_was_changed_since() -> None:
    """A parameter that the programs need was changed between the looks and `backward`: in place its
    values are kept, by a program they are gone.
    """
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    xs = np.random.default_rng(0).standard_normal((4, 1, 3)).astype(np.float32)
    for _ in range(6):
        episode(net, xs).backward()
        wanted = gradients(net)
    loss, bias = episode(net, xs), net[0].bias
    float(loss.detach())
    with mynn.no_grad():
        bias += 1.0
    loss.backward()
    for one, other in zip(gradients(net), wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    loss = episode(net, xs)
    float(loss.detach())
    mynn.compile(lambda: bias.assign(bias + 1.0))()
    with pytest.raises(UsageError, match="modified by"):
        loss.backward()


def test_numbers_that_are_always_new() -> None:
    """They are no part of the key after a while, and their values count."""
    x = Tensor(np.arange(3, dtype=np.float32), requires_grad=True)
    rng = np.random.default_rng(1)
    for number in rng.uniform(0.5, 2.0, 120).tolist():
        waits = (x * number).pending is not None
        y = (2.5 - ((x * number - number / 3) / (number + 1) + number)).sum()
        y.backward()
        value = np.arange(3) * number - number / 3
        assert y.dtype == np.float32
        assert y.item() == pytest.approx((2.5 - (value / (number + 1) + number)).sum(), rel=1e-4)
        assert x.grad is not None
        np.testing.assert_allclose(x.grad.numpy(), -number / (number + 1), rtol=1e-5)
        x.grad = None
    assert waits  # it was recorded


@np.errstate(all="ignore")
def test_numbers_where_tensors_were() -> None:
    """One call with a number, a tensor, a tensor that was there before, and another number."""
    x, other = Tensor(np.arange(3, dtype=np.float32)), Tensor(np.ones(3, np.float32))
    numbers = np.random.default_rng(2).uniform(1.0, 2.0, 40).tolist()
    for number in [*numbers, float("nan"), 1e300, -0.0, *numbers[:5]]:
        single = np.array(number, np.float32)
        for second, value in (
            (number, single),
            (other, other.numpy()),
            (x, x.numpy()),
            (number, single),
            (single, single),
        ):
            y = x * second
            z = (y - number) * 2.0
            wanted = x.numpy() * value
            np.testing.assert_array_equal(y.numpy(), wanted)
            np.testing.assert_allclose(z.numpy(), (wanted - single) * 2, rtol=1e-5, atol=1e-5)


def test_another_default_dtype_is_noticed() -> None:
    """Calls that were recorded before have the new one."""
    whole = Tensor(np.arange(3))
    for _ in range(4):
        assert (whole / 2.0).sum().dtype == np.float32
    mynn.set_default_dtype(mynn.float64)
    try:
        assert (whole / 2.0).sum().dtype == np.float64
    finally:
        mynn.set_default_dtype(mynn.float32)


def many_results(net: nn.Module, xs: np.ndarray[Any, Any]) -> Tensor:
    """A loss of many results of one piece, in which one of them was looked at."""
    rows = [net(Tensor(x)) for x in xs]
    kept = [row[0, 1] * 2.0 for row in rows] + [row.exp().sum() for row in rows]
    float(kept[-1].detach())
    return mynn.stack([one * one for one in kept]).sum()


def test_one_program_for_all_results_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    xs = np.random.default_rng(0).standard_normal((5, 1, 3)).astype(np.float32)
    runs: list[int] = []
    real = Derivative.run

    def watched(self: Derivative, run: Any, cotangents: Any) -> Any:
        runs.append(len(cotangents))
        return real(self, run, cotangents)

    monkeypatch.setattr(Derivative, "run", watched)
    for _ in range(8):
        runs.clear()
        many_results(net, xs).backward()
        found = gradients(net)
    assert sorted(runs) == [1, 10]
    with mynn.eager("at once"):
        many_results(net, xs).backward()
        wanted = gradients(net)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


CHECKED = """
net = fill(nn.Sequential(nn.Linear(2, 6)), 1200)
for i in range(5):
    x = tensor(draw(1400 + i, (4, 2)))
    other = tensor(draw(1450 + i, (4, 3)))
    y = net(x)
    loss = F.binary_cross_entropy_with_logits(other, other.detach() * 0.0 + 1.0)
    loss = F.binary_cross_entropy_with_logits(y, y.detach() * 0.0 + 1.0)
    loss.backward()
"""


@pytest.mark.one_in(3)
@pytest.mark.parametrize("seed", [2068, 2072], ids=["interpreted", "native"])
def test_what_is_checked_elsewhere_asks_for_no_value(seed: int) -> None:
    """A check of a value that no gradient needs is none of the gradient program's."""
    assert not program_problems(parsed(seed, "float32", 0, False, CHECKED), ["tape"])


# -- many runs of one gradient program -------------------------------------------------------------


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs each call of a program for several has been given; it is made for four."""
    sizes: list[int] = []
    real = Derivative.run_several

    def watched(self: Derivative, runs: Any, cotangents: Any) -> Any:
        sizes.append(len(runs))
        return real(self, runs, cotangents)

    monkeypatch.setattr(Derivative, "together", 4)
    monkeypatch.setattr(Derivative, "run_several", watched)
    return sizes


def compared(make: Any, loss_of: Any, times: int = 6) -> None:
    """The gradients of what `loss_of(nets, k)` gives in round k are those of calls at once."""
    nets = make()
    found = []
    for k in range(times):
        loss_of(nets, k).backward()
        found.append(gradients(nets))
    with mynn.eager("at once"):
        for k in range(times):
            loss_of(nets, k).backward()
            for one, other in zip(found[k], gradients(nets), strict=True):
                np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


def policy() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


def observations(k: int, count: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(k).standard_normal((count, 1, 3)).astype(np.float32)


def test_runs_of_one_program_go_back_together(batches: list[int]) -> None:
    """Episodes of other lengths too: four at a time, what is left one by one."""
    compared(policy, lambda net, k: episode(net, observations(k, 9 + k % 2)), times=10)
    assert batches
    assert set(batches) == {4}


def test_runs_of_two_programs_by_turns(batches: list[int]) -> None:
    """An actor's and a critic's, and a value that nobody uses."""

    def loss(nets: Any, k: int) -> Tensor:
        kept = []
        for i, x in enumerate(observations(k, 9)):
            log_probs = F.log_softmax(nets[0](Tensor(x)), dim=-1)
            action = int(log_probs.detach()[0, 0].item() < 0.0) * (i % 2)
            value = nets[1](Tensor(x))
            won = Tensor(x[0, 0])
            advantage = won - value.mean().item()
            if i % 4 == 3:
                continue
            kept.append(-log_probs[0, action] * advantage)
            kept.append((value[0, 1] - won).square())
        return mynn.stack(kept).sum()

    compared(lambda: nn.ModuleList([policy(), policy()]), loss, times=10)
    assert batches


def test_runs_that_depend_on_each_other(batches: list[int]) -> None:
    """A hidden state goes from run to run: these go back one after the other."""

    def loss(cell: Any, k: int) -> Tensor:
        state, kept = mynn.zeros(1, 3), []
        for x in observations(k, 6):
            state = cell(Tensor(x), state)
            kept.append(state[0, 0] * (1.0 if state.mean().item() > 0 else 2.0))
        return mynn.stack(kept).sum()

    compared(lambda: nn.GRUCell(3, 3), loss)


def test_runs_that_read_one_leaf(batches: list[int]) -> None:
    """What all runs read beside parameters gets the sum of what comes from each."""

    def loss(both: Any, k: int) -> Tensor:
        scale, net, kept = both[1].weight * 2.0, both[0], []
        float(scale.sum())
        for x in observations(k, 8):
            y = net(Tensor(x) * scale)
            float(y.detach().sum())
            kept.append(y[0, 1])
        return mynn.stack(kept).sum()

    compared(lambda: nn.ModuleList([policy(), nn.Linear(3, 1, bias=False)]), loss)


def test_views_of_results_are_looked_back_through() -> None:
    """Slices, turned and reshaped, of what one run made, taken in another one, and of a parameter
    too; the same element twice.
    """

    def loss(net: Any, k: int) -> Tensor:
        y = net(Tensor(observations(k, 4)[:, 0]))
        float(y.detach().sum())
        turned, picked = y.T[1:], net[2].weight[0]
        float((turned * 2.0).sum())
        parts = [turned.reshape(-1)[::2].sum(), y[1, 1], y[1, 1] * 2, y.flip(0)[0, 1], picked[1]]
        float(parts[1])
        return mynn.stack(parts).sum()

    compared(policy, loss)


def test_parameters_that_changed_in_the_middle(batches: list[int]) -> None:
    """By a program, between the runs and the way back: refused, and nothing has got a gradient."""
    net = policy()
    for k in range(6):
        episode(net, observations(k, 8)).backward()
        gradients(net)
    assert batches
    loss = episode(net, observations(7, 8))
    float(loss.detach())
    bias = net[0].bias
    mynn.compile(lambda: bias.assign(bias + 1.0))()
    with pytest.raises(UsageError, match="modified by"):
        loss.backward()
    assert all(parameter.grad is None for parameter in net.parameters())


def test_an_interrupted_way_back_has_changed_nothing(
    batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be gone once more."""
    net = policy()
    for k in range(6):
        episode(net, observations(k, 8)).backward()
        gradients(net)
    loss = episode(net, observations(7, 8))
    real = Derivative.run_several

    def interrupted(self: Derivative, runs: Any, cotangents: Any) -> Any:
        real(self, runs, cotangents)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Derivative, "run_several", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loss.backward()
    assert all(parameter.grad is None for parameter in net.parameters())
    loss.backward()
    found = gradients(net)
    with mynn.eager("at once"):
        episode(net, observations(7, 8)).backward()
    for one, other in zip(found, gradients(net), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)
