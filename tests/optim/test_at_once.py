"""Steps at once as straight programs, against steps of tensors: bit by bit."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import optim
from mynn.optim import at_once
from mynn.tensor import Parameter, Tensor
from tests.registry import OPTIMIZERS
from tests.registry.entries import all_cases

CASES = all_cases(OPTIMIZERS)
SHAPES = ((3, 5), (5,), (2, 2, 2), ())


@pytest.fixture(autouse=True)
def _at_once() -> Iterator[None]:
    at_once._patterns.clear()
    with mynn.eager("at once"):
        yield


def parameters(dtype: str = "float32") -> list[Parameter]:
    generator = np.random.default_rng(1)
    return [Parameter(generator.normal(size=shape).astype(dtype)) for shape in SHAPES]


def slopes(params: list[Parameter], number: int) -> None:
    """Other gradients in each step."""
    generator = np.random.default_rng(number)
    for p in params:
        p.grad = Tensor(generator.uniform(-1, 2, p.shape).astype(p.dtype))


def state_of(params: list[Parameter], chosen: Any) -> list[bytes]:
    slots = [one for slots in chosen.state.values() for one in slots.values()]
    return [one.numpy().tobytes() for one in (*params, *slots)]


def both(
    run: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, programs: int | None = None
) -> None:
    """`run` gives the same with and without programs; so many steps are programs."""
    taken = []
    take = at_once.Update.take
    with monkeypatch.context() as patch:
        patch.setattr(at_once.Update, "take", lambda self: (taken.append(1), take(self))[1])
        got = run()
    with monkeypatch.context() as patch:
        patch.setattr(at_once, "update_of", lambda chosen, tensors: None)
        assert got == run()
    if programs is not None:
        assert len(taken) == programs


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_every_optimiser(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> Any:
        params = parameters(dtype)
        chosen = CASES[name].call(optim, params)
        found = []
        for number in range(8):
            slopes(params, number)
            chosen.step()
            found.append(state_of(params, chosen))
        return found

    both(run, monkeypatch)


def test_plain_ones_are_programs_from_the_second_step_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for make in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad):

        def run(make: Any = make) -> Any:
            params = parameters()
            chosen = make(params, lr=0.1)
            for number in range(6):
                slopes(params, number)
                chosen.step()
            return state_of(params, chosen)

        both(run, monkeypatch, 5)


def test_others_that_are_alike_take_the_same_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(share: bool = False, **options: Any) -> Any:
        params = parameters()
        given = {"lr": 0.1, "weight_decay": 0.0, **options}
        groups = [{"params": params[:1]}, {"params": params[1:]}] if share else params
        chosen = optim.Adam(groups, **given)
        for number in range(6):
            slopes(params, number)
            chosen.step()
        return state_of(params, chosen)

    both(run, monkeypatch, 5)
    both(lambda: run(lr=0.3), monkeypatch, 6)  # the rate is no part of it
    both(lambda: run(share=True), monkeypatch, 5)
    both(lambda: run(weight_decay=0.1), monkeypatch, 5)
    both(lambda: run(betas=(0.9, 0.9)), monkeypatch, 5)
    both(lambda: run(weight_decay=0.1), monkeypatch, 6)


def test_what_changes_between_steps_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> Any:
        params = parameters()
        chosen = optim.AdamW(params[:3], lr=0.1, weight_decay=0.1)
        schedule = optim.lr_scheduler.ExponentialLR(chosen, 0.9)
        found = []

        def steps(count: int = 3) -> None:
            for number in range(count):
                slopes(params, number)
                chosen.step()
                schedule.step()
                found.append(state_of(params, chosen))

        steps()
        chosen.param_groups[0]["betas"] = (0.5, 0.9)
        steps()
        params[1].requires_grad = False
        steps()
        params[1].requires_grad = True
        steps()
        chosen.add_param_group({"params": [params[3]], "lr": 0.5})
        steps()
        kept = copy.deepcopy(chosen.state_dict())
        steps()
        chosen.load_state_dict(kept)
        steps()
        chosen.state[params[0]]["exp_avg"] = Tensor(np.full(params[0].shape, 2, np.float32))
        steps()
        params[0].data = np.ones(params[0].shape, np.float32)
        steps()
        slopes(params, 9)
        params[2].grad = None  # left out: it has a count of its own from here on
        chosen.step()
        found.append(state_of(params, chosen))
        steps()
        return found

    both(run, monkeypatch)


def test_a_sparse_gradient_is_told_from_a_dense_one() -> None:
    table = mynn.nn.Embedding(4, 2, sparse=True)
    dense = optim.SGD(table.parameters(), lr=1.0)
    for _ in range(4):
        dense.zero_grad()
        before = table.weight.numpy()
        table(mynn.tensor([1, 1])).sum().backward()
        dense.step()
        change = before - table.weight.numpy()
        np.testing.assert_allclose(change, [[0, 0], [2, 2], [0, 0], [0, 0]], rtol=1e-6)


def test_an_optimiser_of_the_users_is_called_each_time() -> None:
    calls = []

    class Own(optim.Optimizer):
        def update(self, group: Any, params: list[Parameter]) -> None:
            calls.append(len(params))
            for p in params:
                assert p.grad is not None
                p.assign(p.detach() - p.grad)

    params = parameters()
    chosen = Own(params, {"lr": 0.1, "weight_decay": 0.0})
    for number in range(5):
        slopes(params, number)
        chosen.step()
    assert calls == [4] * 5


def test_results_from_before_a_step_say_that_values_were_changed() -> None:
    p = Parameter(np.ones(2, np.float32))
    chosen = optim.SGD([p], lr=0.1)
    for _ in range(4):
        p.grad = Tensor(np.ones(2, np.float32))
        loss = (p * p).sum()
        chosen.step()
        with pytest.raises(mynn.errors.UsageError, match="modified by an inplace operation"):
            loss.backward()


def test_an_optimiser_that_is_gone_leaves_nothing() -> None:
    params = parameters()
    chosen = optim.Adam(params)
    for number in range(3):
        slopes(params, number)
        chosen.step()
    known = weakref.ref(chosen)
    assert chosen in at_once._latest
    del chosen
    gc.collect()
    assert known() is None


def test_nobody_waits_for_himself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write within a step is no other thread's."""
    slept = []
    monkeypatch.setattr(mynn.base.sharing.time, "sleep", slept.append)
    params = parameters()
    chosen = optim.Adam(params)
    monkeypatch.setattr(at_once, "update_of", lambda chosen, tensors: None)
    for number in range(4):
        slopes(params, number)
        chosen.step()
    assert slept == []
