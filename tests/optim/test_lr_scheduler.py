"""Schedules: PyTorch's numbers eagerly, and the same in compiled steps and in the native loop."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.errors import ArgumentError, ArgumentTypeError, DataError
from mynn.optim import lr_scheduler as ours

STEPS = 300


def sequential(s: Any, o: Any) -> Any:
    warm = s.LinearLR(o, 0.1, total_iters=9)
    return s.SequentialLR(o, [warm, s.CosineAnnealingLR(o, 90, 0.001), s.StepLR(o, 7)], [10, 100])


def restarts_behind(s: Any, o: Any) -> Any:
    parts = [s.ConstantLR(o, 0.5, 3), s.CosineAnnealingWarmRestarts(o, 5, 2)]
    return s.SequentialLR(o, parts, milestones=[6])


def chained(s: Any, o: Any) -> Any:
    return s.ChainedScheduler([s.ConstantLR(o, 0.1, 20), s.ExponentialLR(o, 0.97)], optimizer=o)


def chain_behind(s: Any, o: Any) -> Any:
    both = s.ChainedScheduler([s.ConstantLR(o, 0.1, 20), s.ExponentialLR(o, 0.97)], optimizer=o)
    return s.SequentialLR(o, [both, s.ExponentialLR(o, 0.9)], milestones=[25])


MAKERS: dict[str, Callable[[Any, Any], Any]] = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, [lambda t: 0.97**t, lambda t: 1 / (1 + t // 30)]),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda t: 0.95 + 0.04 / (1 + t)),
    "StepLR": lambda s, o: s.StepLR(o, 30, 0.3),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [5, 80, 80, 200], 0.3),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.25, 40),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.2, 0.9, 70),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.99),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 250, 1.7),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 70, 0.01),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 10, 2, 0.001),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, [0.2, 0.3], 20, 35),
    "CyclicLR-2": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 15, mode="triangular2"),
    "CyclicLR-exp": lambda s, o: s.CyclicLR(
        o, [0.01, 0.02], 0.2, 10, mode="exp_range", gamma=0.99, cycle_momentum=False
    ),
    "CyclicLR-fn": lambda s, o: s.CyclicLR(o, 0.0, 1.0, 10, scale_fn=lambda n: 0.9**n),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, [0.3, 0.4], total_steps=STEPS),
    "OneCycleLR-three": lambda s, o: s.OneCycleLR(
        o, 0.3, epochs=30, steps_per_epoch=10, anneal_strategy="linear", three_phase=True
    ),
    "ReduceLROnPlateau": lambda s, o: s.ReduceLROnPlateau(
        o, patience=3, cooldown=2, factor=0.5, min_lr=[1e-4, 1e-3]
    ),
    "ReduceLROnPlateau-max": lambda s, o: s.ReduceLROnPlateau(
        o, "max", patience=5, threshold=0.01, threshold_mode="abs"
    ),
    "SequentialLR": sequential,
    "SequentialLR-restarts": restarts_behind,
    "ChainedScheduler": chained,
    "SequentialLR-chain": chain_behind,
}
KINDS = ["SGD", "Adam", "RMSprop"]


def measure(step: int) -> float:
    """Something to get better and worse."""
    return 3 / (1 + 0.1 * step) + 0.3 * math.cos(step)


def optimizer_of(library: Any, parameters: list[Any], kind: str) -> Any:
    options = {} if kind == "Adam" else {"momentum": 0.9}
    groups = [{"params": [parameters[0]]}, {"params": [parameters[1]], "lr": 0.05}]
    return getattr(library, kind)(groups, lr=0.1, **options)


def momenta(optimizer: Any) -> list[float]:
    key = "betas" if "betas" in optimizer.defaults else "momentum"
    return [np.ravel(group[key])[0] for group in optimizer.param_groups]


def trace(optimizer: Any, schedule: Any, step: Callable[..., Any], steps: int) -> np.ndarray:
    """The rates, what `get_last_lr` says, and momenta after each step."""
    rows = []
    for number in range(steps):
        step(measure(number))
        rates = [group["lr"] for group in optimizer.param_groups]
        rows.append([*rates, *schedule.get_last_lr(), *momenta(optimizer)])
    return np.array(rows, np.float64)


def stepping(schedule: Any, plateau: bool) -> Callable[[float], None]:
    return (lambda value: schedule.step(value)) if plateau else (lambda value: schedule.step())


def mine(name: str, kind: str = "SGD") -> tuple[Any, Any, list[mynn.Parameter]]:
    parameters = [mynn.Parameter(np.ones(2, np.float32)) for _ in range(2)]
    optimizer = optimizer_of(optim, parameters, kind)
    return optimizer, MAKERS[name](ours, optimizer), parameters


def theirs(name: str, kind: str = "SGD") -> tuple[Any, Any]:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = optimizer_of(torch.optim, [torch.nn.Parameter(torch.ones(2)) for _ in "ab"], kind)
    return optimizer, MAKERS[name](torch.optim.lr_scheduler, optimizer)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MAKERS)
def test_eager_numbers_are_pytorchs(name: str) -> None:
    their_optimizer, their_schedule = theirs(name)
    plateau = "Plateau" in name
    optimizer, schedule, _ = mine(name)
    assert [g["lr"] for g in optimizer.param_groups] == [
        g["lr"] for g in their_optimizer.param_groups
    ]
    steps = STEPS - 1
    expected = trace(their_optimizer, their_schedule, stepping(their_schedule, plateau), steps)
    found = trace(optimizer, schedule, stepping(schedule, plateau), steps)
    np.testing.assert_array_equal(found, expected)
    for group, other in zip(optimizer.param_groups, their_optimizer.param_groups, strict=True):
        for note in ("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum"):
            assert group.get(note) == other.get(note), note


@pytest.mark.one_in(3)
@pytest.mark.parametrize("backend", ["interpreter", "native"])
@pytest.mark.parametrize("name", MAKERS)
def test_compiled_numbers_are_the_eager_ones(name: str, backend: str) -> None:
    kind = KINDS[len(name) % 3]
    plateau = "Plateau" in name
    optimizer, schedule, parameters = mine(name, kind)

    def train(value: Any) -> Any:
        loss = sum(((p - 1) ** 2).sum() for p in parameters)
        loss.backward()
        optimizer.step()
        schedule.step(value) if plateau else schedule.step()
        return loss

    compiled = mynn.compile(train, backend=backend)
    program = compiled.program(np.float64(0))
    steps = STEPS - 1 if backend == "native" else 40
    found = trace(optimizer, schedule, lambda v: compiled(np.float64(v)), steps)
    assert compiled.program(np.float64(0)) is program
    fresh, eager, _ = mine(name, kind)
    expected = trace(fresh, eager, stepping(eager, plateau), steps)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-14)
    assert schedule.state_dict()["_last_lr"] == pytest.approx(eager.state_dict()["_last_lr"])
    assert getattr(schedule, "last_epoch", None) == getattr(eager, "last_epoch", None)


# -- inside the native loop ------------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)


def warm_cosine(s: Any, o: Any, steps: int) -> Any:
    parts = [s.LinearLR(o, 0.1, total_iters=5), s.CosineAnnealingLR(o, steps - 5)]
    return s.SequentialLR(o, parts, milestones=[5])


@pytest.mark.parametrize("make", ["warm_cosine", "one_cycle"])
@pytest.mark.parametrize("kind", KINDS)
def test_fit_runs_the_schedule_in_the_native_loop(kind: str, make: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    weight = np.linspace(-1, 1, 3, dtype=np.float32).reshape(1, 3)
    epochs, batches = 4, 3
    options = {} if kind == "Adam" else {"momentum": 0.9}

    def schedule_of(s: Any, o: Any) -> Any:
        if make == "warm_cosine":
            return warm_cosine(s, o, epochs * batches)
        return s.OneCycleLR(o, 0.05, epochs=epochs, steps_per_epoch=batches + 1)

    net = nn.Linear(3, 1, bias=False)
    net.load_state_dict({"weight": weight})
    optimizer = getattr(optim, kind)(net.parameters(), lr=0.05, **options)
    schedule = schedule_of(ours, optimizer)

    def step(x: Any) -> Any:
        loss = (net(x) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        schedule.step()
        return {"loss": loss, "lr": optimizer.lr}

    history = mynn.fit(step, X, epochs=epochs, batch_size=8, shuffle=False, verbose=False)
    other = torch.nn.Linear(3, 1, bias=False)
    other.load_state_dict({"weight": torch.tensor(weight)})
    their_optimizer = getattr(torch.optim, kind)(other.parameters(), lr=0.05, **options)
    their_schedule = schedule_of(torch.optim.lr_scheduler, their_optimizer)
    losses, rates = [], []
    for _ in range(epochs):
        for part in torch.tensor(X).split(8):
            their_optimizer.zero_grad()
            loss = (other(part) ** 2).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(other.parameters(), 0.5)
            their_optimizer.step()
            their_schedule.step()
            losses.append(loss.item())
            rates.append(their_optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(net.weight.numpy(), other.weight.detach().numpy(), rtol=2e-5)
    means = np.reshape(rates, (epochs, batches)).mean(1)
    np.testing.assert_allclose(history["lr"], means, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(history["loss"], np.reshape(losses, (epochs, -1)).mean(1), rtol=1e-4)
    assert schedule.get_last_lr() == pytest.approx(their_schedule.get_last_lr(), abs=1e-12)
    assert schedule.last_epoch == epochs * batches == their_schedule.last_epoch
    np.testing.assert_allclose(momenta(optimizer), momenta(their_optimizer), rtol=1e-12)


def stepper(schedule: Any) -> Any:
    def step(x: Any) -> Any:
        schedule.step()
        return x.mean()

    return mynn.compile(step)


def test_a_step_after_the_last_one_is_refused_and_changes_nothing() -> None:
    optimizer = optim.SGD([mynn.Parameter(np.ones(2, np.float32))], lr=0.1, momentum=0.9)
    schedule = ours.OneCycleLR(optimizer, 0.3, total_steps=4)
    run = stepper(schedule)
    for _ in range(4):
        run(X)
    rates = schedule.get_last_lr()
    with pytest.raises(DataError, match="OneCycleLR: the schedule has 4 steps, this would be step"):
        run(X)
    with pytest.raises(DataError, match="the schedule has 4 steps"):
        mynn.fit(run, X, verbose=False)
    assert (schedule.last_epoch, schedule.get_last_lr()) == (4, rates)
    with pytest.raises(ArgumentError, match="has 4 steps, this is step 5; give as many"):
        schedule.step()


def test_a_changed_schedule_makes_another_program() -> None:
    optimizer = optim.SGD([mynn.Parameter(np.ones(2, np.float32))], lr=1.0)
    schedule = ours.ExponentialLR(optimizer, 0.5)
    run = stepper(schedule)
    run(X)
    schedule.gamma = 0.25
    run(X)
    assert optimizer.lr == 0.125
    optimizer.lr = 3.0  # state: no other program
    program = run.program(X)
    run(X)
    assert optimizer.lr == 0.75
    assert run.program(X) is program
    top = 0.5
    functional = ours.LambdaLR(optimizer, lambda t: top**t)
    run = stepper(functional)
    run(X)
    top = 0.25
    run(X)
    assert functional.last_epoch == 2
    assert optimizer.lr == 1.0 * 0.25**2


def test_a_schedule_of_ones_own() -> None:
    class Inverse(ours.LRScheduler):
        def __init__(self, optimizer: Any, decay: float) -> None:
            self.decay = decay
            super().__init__(optimizer)

        def get_lr(self) -> list[Any]:
            return [rate / (1 + self.decay * self.last_epoch) for rate in self.base_lrs]

    for compiled in (False, True):
        optimizer = optim.SGD([mynn.Parameter(np.ones(2, np.float32))], lr=1.0)
        schedule = ours.SequentialLR(
            optimizer, [ours.ConstantLR(optimizer, 0.5, 9), Inverse(optimizer, 0.5)], [2]
        )
        run = stepper(schedule) if compiled else lambda x, schedule=schedule: schedule.step()
        rates = []
        for _ in range(5):
            run(X)
            rates.append(optimizer.lr)
        assert rates == pytest.approx([0.5, 1.0, 1 / 1.5, 0.5, 0.4], rel=1e-15)


# -- state dicts -----------------------------------------------------------------------------------


@pytest.mark.one_in(3)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", ["own", "json", "from torch", "to torch"])
@pytest.mark.parametrize("name", MAKERS)
def test_state_dicts_go_on(name: str, way: str) -> None:
    plateau = "Plateau" in name
    first = theirs(name) if way == "from torch" else mine(name)[:2]
    for number in range(30):
        stepping(first[1], plateau)(measure(number))
    state, groups = first[1].state_dict(), first[0].state_dict()
    if way == "json":
        texts = [json.dumps(one, default=lambda value: value.tolist()) for one in (state, groups)]
        state, groups = map(json.loads, texts)
    groups = {**groups, "state": {}} if way == "to torch" else groups  # it takes no arrays
    second = theirs(name) if way == "to torch" else mine(name)[:2]
    second[1].load_state_dict(state)
    second[0].load_state_dict(groups)
    assert list(second[1].get_last_lr()) == list(first[1].get_last_lr())
    for number in range(30, 80):
        for _, schedule in (first, second):
            stepping(schedule, plateau)(measure(number))
        rates = [[g["lr"] for g in optimizer.param_groups] for optimizer, _ in (first, second)]
        assert rates[0] == rates[1]
        assert momenta(first[0]) == momenta(second[0])


@pytest.mark.filterwarnings("ignore")
def test_steps_with_a_number_are_pytorchs() -> None:
    """`step(epoch)`: by the formula that needs no steps before it; fractions for restarts."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    for name in ("StepLR", "MultiStepLR", "LinearLR", "CosineAnnealingLR", "PolynomialLR"):
        rows = []
        for _, schedule in (mine(name)[:2], theirs(name)):
            row = []
            for epoch in (3, 100, 81, 260):
                schedule.step(epoch)
                row += schedule.get_last_lr()
            rows.append(row)
        assert rows[0] == rows[1], name
    rows = []
    restarts = "CosineAnnealingWarmRestarts"
    for _, schedule in (mine(restarts)[:2], theirs(restarts)):
        row = []
        for epoch in (0.5, 9.75, 10.25, 31.0, 70.5, 71.5):
            schedule.step(epoch)
            row += [*schedule.get_last_lr(), schedule.T_cur, schedule.last_epoch]
        rows.append(row)
    assert rows[0] == rows[1]


# -- what is refused -------------------------------------------------------------------------------


def sgd(momentum: float = 0.9) -> Any:
    return optim.SGD([mynn.Parameter(np.ones(2, np.float32))], lr=0.1, momentum=momentum)


REFUSED: dict[str, tuple[Callable[[], Any], type, str]] = {
    "optimizer": (lambda: ours.StepLR(0.1, 3), ArgumentTypeError, "optimizer must be one of"),
    "step_size": (lambda: ours.StepLR(sgd(), 0), ArgumentError, "step_size must be at least 1"),
    "gamma": (lambda: ours.StepLR(sgd(), 3, math.nan), ArgumentError, "gamma must be finite"),
    "word": (lambda: ours.StepLR(sgd(), 3, gama=1), ArgumentTypeError, "did you mean 'gamma'"),
    "milestones": (lambda: ours.MultiStepLR(sgd(), 3), ArgumentTypeError, "milestones must be a l"),
    "factor": (lambda: ours.ConstantLR(sgd(), 1.5), ArgumentError, "factor must lie in 0..1"),
    "start": (lambda: ours.LinearLR(sgd(), 0.0), ArgumentError, "start_factor must lie above 0"),
    "T_max": (lambda: ours.CosineAnnealingLR(sgd(), 0), ArgumentError, "T_max must be at least 1"),
    "T_0": (
        lambda: ours.CosineAnnealingWarmRestarts(sgd(), 2.5),
        ArgumentTypeError,
        "T_0 must be a whole number",
    ),
    "epoch": (
        lambda: ours.CosineAnnealingWarmRestarts(sgd(), 2).step(-1),
        ArgumentError,
        "epoch must be a number of at least 0",
    ),
    "mode": (lambda: ours.CyclicLR(sgd(), 0.1, 1.0, mode="up"), ArgumentError, "mode must be one"),
    "momentum": (
        lambda: ours.CyclicLR(optim.Adagrad(sgd().param_groups[0]["params"]), 0.1, 1.0),
        ArgumentError,
        "neither momentum nor betas",
    ),
    "max_lr": (
        lambda: ours.OneCycleLR(sgd(), [1.0, 2.0], 10),
        ArgumentError,
        "max_lr has 2 values for 1 groups",
    ),
    "steps": (lambda: ours.OneCycleLR(sgd(), 1.0), ArgumentError, "give total_steps, or epochs"),
    "phase": (lambda: ours.OneCycleLR(sgd(), 1.0, 10, pct_start=0.1), ArgumentError, "has no step"),
    "plateau": (lambda: ours.ReduceLROnPlateau(sgd(), factor=1.0), ArgumentError, "factor must be"),
    "measure": (
        lambda: ours.ReduceLROnPlateau(sgd()).step(None),
        ArgumentTypeError,
        "step takes the measure",
    ),
    "lambda": (lambda: ours.LambdaLR(sgd(), 0.5), ArgumentTypeError, "must be a function"),
    "lambdas": (lambda: ours.LambdaLR(sgd(), [abs, abs]), ArgumentError, "2 functions in lr_lam"),
    "negative": (
        lambda: ours.LambdaLR(sgd(), lambda t: -1.0),
        ArgumentError,
        "lr must be at least",
    ),
    "last_epoch": (lambda: ours.StepLR(sgd(), 3, last_epoch=5), ArgumentError, 'has no "initial_'),
    "empty": (lambda: ours.ChainedScheduler([]), ArgumentError, "the list of schedules is empty"),
    "others": (
        lambda: ours.ChainedScheduler([ours.StepLR(sgd(), 3), ours.StepLR(sgd(), 3)]),
        ArgumentError,
        "belongs to another optimizer",
    ),
    "measured": (
        lambda: ours.ChainedScheduler([ours.ReduceLROnPlateau(sgd())]),
        ArgumentError,
        "is a ReduceLROnPlateau",
    ),
    "few": (
        lambda: (lambda o: ours.SequentialLR(o, [ours.StepLR(o, 3)], [4]))(sgd()),
        ArgumentError,
        "there are 1 milestones for 1 schedules",
    ),
    "state": (
        lambda: ours.StepLR(sgd(), 3).load_state_dict(ours.ExponentialLR(sgd(), 0.5).state_dict()),
        ArgumentError,
        "lacks step_size, it is that of another schedule",
    ),
    "no state": (lambda: ours.StepLR(sgd(), 3).load_state_dict(3), ArgumentTypeError, "be a dict"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_refused(name: str) -> None:
    call, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        call()


def test_a_function_that_looks_at_values_is_refused_in_a_trace() -> None:
    schedule = ours.LambdaLR(sgd(), lambda t: min(1.0, (t + 1) / 5))
    schedule.step()
    with pytest.raises(mynn.errors.UsageError, match=r"mynn\.where"):
        stepper(schedule)(X)
    assert schedule.last_epoch == 1
