"""Steps that evaluate a closure: those of L-BFGS, and of all others."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.errors import ArgumentError, ShapeError, UsageError
from mynn.tensor import Parameter
from tests.optim.test_optimizers import loss_of, slopes, start
from tests.registry import OPTIMIZERS, SOLVERS
from tests.registry.entries import all_cases
from tests.registry.running import pytorch

CASES = all_cases(SOLVERS)
every_case = pytest.mark.parametrize("name", CASES)


def closure_of(optimizer: Any, params: Any, factors: Any) -> Callable[[], Any]:
    def closure() -> Any:
        optimizer.zero_grad()
        loss = loss_of(params, factors)
        loss.backward()
        return loss

    return closure


def trained(name: str, count: int, params: Any = None) -> tuple[list[Parameter], Any]:
    params = params or [Parameter(value) for value in start("float64")]
    chosen = CASES[name].call(optim, params)
    for _ in range(count):
        chosen.step(closure_of(chosen, params, slopes("float64")))
    return params, chosen


def theirs_trained(torch: Any, name: str, count: int) -> tuple[list[Any], Any]:
    params = [torch.nn.Parameter(torch.tensor(value)) for value in start("float64")]
    chosen = CASES[name].call(torch.optim, params)
    for _ in range(count):
        chosen.step(closure_of(chosen, params, list(map(torch.tensor, slopes("float64")))))
    return params, chosen


def assert_same(params: Any, others: Any, tolerance: float) -> None:
    for p, q in zip(params, others, strict=True):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.one_in(3)
@every_case
def test_steps_are_those_of_pytorch(name: str) -> None:
    torch = pytorch()
    params, ours = trained(name, 3)
    others, theirs = theirs_trained(torch, name, 3)
    assert_same(params, others, 1e-9)
    kept, expected = ours.state_dict()["state"][0], theirs.state_dict()["state"][0]
    assert set(expected) - set(kept) <= {"al"}
    assert kept["func_evals"] == expected["func_evals"]
    assert kept["n_iter"] == expected["n_iter"]
    assert len(kept["old_dirs"]) == len(expected["old_dirs"])


@pytest.mark.one_in(3)
@every_case
def test_states_continue_a_run(name: str) -> None:
    torch = pytorch()
    expected, _ = trained(name, 4)
    for way in ("own", "deepcopy", "pickle", "PyTorch"):
        params, first = trained(name, 2)
        if way == "PyTorch":
            others, first = theirs_trained(torch, name, 2)
            params = [Parameter(p.detach().numpy()) for p in others]
        if way in ("own", "PyTorch"):
            chosen = CASES[name].call(optim, params)
            chosen.load_state_dict(copy.deepcopy(first.state_dict()))
        elif way == "deepcopy":
            params, chosen = copy.deepcopy((params, first))
        else:
            params, chosen = pickle.loads(pickle.dumps((params, first)))
        for _ in range(2):
            chosen.step(closure_of(chosen, params, slopes("float64")))
        assert_same(params, expected, 1e-9)


# At the end of a run a line search finds nothing better.
@pytest.mark.one_in(3)
@pytest.mark.parametrize("option", [o for o in SOLVERS[0].options if o != "line_search_fn"])
def test_options_change_what_is_computed(option: str) -> None:
    expected, _ = trained("LBFGS-plain", 2)
    params, chosen = trained("LBFGS-plain", 1)
    chosen.param_groups[0][option] = SOLVERS[0].options[option]
    chosen.step(closure_of(chosen, params, slopes("float64")))
    assert any(
        not np.array_equal(p.numpy(), q.numpy()) for p, q in zip(params, expected, strict=True)
    )


def test_lbfgs_on_a_tape() -> None:
    """Rosenbrock's valley, to its end."""

    def run() -> Any:
        p = Parameter(np.array([-1.5, 2.0]))
        chosen = optim.LBFGS([p], max_iter=60, line_search_fn="strong_wolfe")

        def closure() -> Any:
            chosen.zero_grad()
            loss = (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2
            loss.backward()
            return loss

        chosen.step(closure)
        return p.numpy()

    with mynn.eager("tape"):
        np.testing.assert_allclose(run(), [1, 1], rtol=1e-5)
    with mynn.eager("at once"):
        np.testing.assert_allclose(run(), [1, 1], rtol=1e-5)


def test_a_closure_that_fails_leaves_the_parameters_where_the_search_began() -> None:
    params, chosen = trained("LBFGS-wolfe", 1)
    before = [p.numpy() for p in params]
    closure, calls = closure_of(chosen, params, slopes("float64")), []

    def failing() -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("data")
        return closure()

    with pytest.raises(KeyError):
        chosen.step(failing)
    for p, value in zip(params, before, strict=True):
        np.testing.assert_array_equal(p.numpy(), value)


def test_what_lbfgs_refuses() -> None:
    p, q = Parameter([1.0]), Parameter([[1.0, 2.0]])
    chosen = optim.LBFGS([p])
    with pytest.raises(ArgumentError, match=r"closure.*optimizer.step\(closure\)"):
        chosen.step()
    with pytest.raises(UsageError, match=r"left no gradient.*backward"):
        chosen.step(lambda: (p * p).sum())
    with pytest.raises(ArgumentError, match="one group"):
        optim.LBFGS([{"params": [p]}, {"params": [q]}])
    with pytest.raises(ArgumentError, match="line_search_fn must be one of None, 'strong_wolfe'"):
        optim.LBFGS([p], line_search_fn="armijo")
    with pytest.raises(UsageError, match=r"call optimizer.step"):
        mynn.compile(lambda x: chosen.step(lambda: (p * x).sum()))(np.ones(1, np.float32))
    _, other = trained("LBFGS-plain", 1)
    with pytest.raises(ArgumentError, match="4 parameters, there are 1"):
        chosen.load_state_dict(other.state_dict())
    state = copy.deepcopy(other.state_dict())
    state["state"][0]["d"] = state["state"][0]["d"][:3]
    before = copy.deepcopy(vars(other._memory))
    with pytest.raises(ShapeError, match=r"LBFGS: d"):
        other.load_state_dict(state)
    state = copy.deepcopy(other.state_dict())
    state["state"][0]["exp_avg"] = np.zeros(3)
    with pytest.raises(ArgumentError, match=r"exp_avg.*another class"):
        other.load_state_dict(state)
    state = copy.deepcopy(other.state_dict())
    del state["state"][0]["ro"][:1]
    with pytest.raises(ShapeError, match="equally long"):
        other.load_state_dict(state)
    assert before.keys() == vars(other._memory).keys()
    np.testing.assert_array_equal(before["d"], other._memory.d)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("entry", OPTIMIZERS, ids=lambda entry: entry.name)
def test_closures_of_all_others(entry: Any) -> None:
    def run(way: str) -> Any:
        params = [Parameter(value) for value in start("float32")]
        chosen = entry.plain.call(optim, params)
        closure = closure_of(chosen, params, slopes("float32"))
        for _ in range(2):
            if way == "closure":
                with mynn.no_grad():
                    assert chosen.step(closure).requires_grad
            else:
                closure()
                assert chosen.step() is None
        return [p.numpy() for p in params]

    for a, b in zip(run("closure"), run("plain"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_closure_in_a_compiled_step_and_one_that_is_none() -> None:
    net = nn.Linear(2, 1)
    chosen = optim.SGD(net.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        def closure() -> Any:
            chosen.zero_grad()
            loss = (net(x) ** 2).mean()
            loss.backward()
            return loss

        return chosen.step(closure)

    x = np.ones((3, 2), np.float32)
    losses = [float(mynn.compile(step)(x)) for _ in range(3)]
    assert losses[2] < losses[1] < losses[0]
    with pytest.raises(ArgumentError, match=r"closure must be a function.*3"):
        chosen.step(3)  # type: ignore[arg-type]


def test_differentiable_steps_and_two_ways_at_once_are_refused() -> None:
    p = [Parameter([1.0])]
    with pytest.raises(UsageError, match="create_graph"):
        optim.Adam(p, differentiable=True)
    with pytest.raises(UsageError, match="foreach and fused"):
        optim.SGD(p, foreach=True, fused=True)
    optim.RMSprop(p, foreach=True, capturable=True)


def test_names_of_parameters() -> None:
    net = nn.Linear(2, 1)
    chosen = optim.Adam(net.named_parameters())
    assert chosen.param_groups[0]["param_names"] == ["weight", "bias"]
    assert chosen.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ArgumentError, match="pairs"):
        chosen.add_param_group({"params": [Parameter([1.0])]})
    with pytest.raises(ArgumentError, match="pairs"):
        optim.Adam([("a", Parameter([1.0])), Parameter([1.0])])
    with pytest.raises(ArgumentError, match="one tensor"):
        optim.Adam(Parameter([1.0]))


def test_rates_that_change_before_the_first_step() -> None:
    """What is made from the rate is made at the first step, as in PyTorch."""
    torch = pytorch()
    for name in ("Rprop", "ASGD"):
        p, q = Parameter(np.ones(2)), torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
        for one, kind in ((p, getattr(optim, name)), (q, getattr(torch.optim, name))):
            chosen = kind([one], lr=0.1)
            chosen.param_groups[0]["lr"] = 0.02
            for _ in range(3):
                chosen.zero_grad()
                (one * one).sum().backward()
                chosen.step()
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-6)
