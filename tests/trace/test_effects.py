"""What a compiled function does beside computing is said, with the line and the remedy."""

from __future__ import annotations

import random
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.errors import TraceWarning, UsageError

X = np.ones((4, 3), np.float32)
LABELS = np.array([0, 1, 0, 1])
net = nn.Linear(3, 2)
optimizer = optim.SGD(net.parameters(), lr=0.1)
generator = np.random.default_rng(0)
legacy = np.random.RandomState(0)
python = random.Random(0)
count = 0
rate = 0.5
losses: list[Any] = []
numbers = {"steps": 0, "beta": 0.5}
now = time.perf_counter


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.seen: list[Any] = []
        self.noise = np.random.default_rng(0)
        self.mode = "count"

    def forward(self, x: Any) -> Any:
        if self.mode == "count":
            self.calls += 1  # calls
        elif self.mode == "list":
            self.seen.append(1)  # seen
        else:
            x = x + self.noise.random()
        return x


class Trainer:
    def __init__(self) -> None:
        self.steps = 0

    def step(self, x: Any) -> Any:
        self.steps += 1  # steps
        return x * 2


def mode(text: str) -> Any:
    made = Counts()
    made.mode = text
    return made


def counted(x: Any) -> Any:
    global count
    count += 1  # count
    return x


def closure() -> Any:
    beta = 1.0

    def step(x: Any) -> Any:
        nonlocal beta
        beta *= 0.9  # beta
        return x * beta

    return step


def draws(x: Any) -> Any:
    return x + vars(np.random)["normal"]()  # np.random


def draws_python(x: Any) -> Any:
    return x + random.random()  # random.random


def uses_generator(x: Any) -> Any:
    return x + generator.normal()  # generator.normal


def uses_legacy(x: Any) -> Any:
    return x + legacy.normal()  # legacy.normal


def uses_python(x: Any) -> Any:
    return x + python.random()  # python.random


def helped(x: Any) -> Any:
    return draws(x) * 2


def reads_clock(x: Any) -> Any:
    return x * (time.time() > 0)  # time.time


def reads_named_clock(x: Any) -> Any:
    return x * (now() > 0)  # now()


def appends(x: Any) -> Any:
    losses.append(x.sum())  # losses.append
    return x


def stores(x: Any) -> Any:
    numbers["steps"] += 1  # numbers["steps"]
    return x


def tries(x: Any) -> Any:
    try:
        if x.sum() > 0:  # if x.sum
            x = x * 2
    except RuntimeError:
        x = x * 3
    return x


def makes_network(x: Any) -> Any:
    inner = nn.Linear(3, 2)  # inner =
    return inner(x)


def makes_optimizer(x: Any) -> Any:
    inner = optim.SGD(net.parameters(), lr=0.1)  # optim.SGD
    net(x).sum().backward()
    inner.step()
    return x


weights = mynn.Parameter(np.ones(3, np.float32), name="weights")


def writes_data(x: Any) -> Any:
    weights.value[...] = 0.0  # weights.value[...]
    return x * weights


table = mynn.Tensor(np.ones((129, 128), np.float32), name="table")  # larger than what is compared


def reads_item(x: Any) -> Any:
    return x * table[0, 0].item() if table.value[0, 0] > 5 else x  # table.value[0, 0]


def pairs(x: Any) -> Any:
    return ((net(x)[:, :1] - x[:, 0]) ** 2).mean()  # - x[:, 0]


CASES: dict[str, tuple[Any, str, str]] = {
    "data": (writes_data, "# weights.value[...]", r"weights are written through \.value"),
    "look": (reads_item, "# table.value[0, 0]", "the value of table is looked at"),
    "pairs": (pairs, "# - x[:, 0]", r"difference of \(4, 1\) and \(4,\).*reshape"),
    "np.random": (draws, "# np.random", r"numpy\.random gave numbers.*mynn\.random\.normal"),
    "random": (draws_python, "# random.random", "Python's random gave numbers"),
    "generator": (uses_generator, "# generator.normal", "the generator generator gave numbers"),
    "legacy": (uses_legacy, "# legacy.normal", "the generator legacy gave numbers"),
    "python": (uses_python, "# python.random", "the generator python gave numbers"),
    "helper": (helped, "# np.random", r"numpy\.random gave numbers"),
    "clock": (reads_clock, "# time.time", "time is read once.*Read the clock outside"),
    "named clock": (reads_named_clock, "# now()", "now is read once"),
    "global": (counted, "# count", r"count is changed.*mynn\.Tensor"),
    "closure": (closure(), "# beta", r"beta is changed.*finds 0\."),
    "object": (Trainer().step, "# steps", "steps is changed"),
    "list": (appends, "# losses.append", "the list losses is changed.*Return the value"),
    "dict": (stores, '# numbers["steps"]', "steps is changed|the dict numbers is changed"),
    "attribute": (mode("count"), "# calls", r"Counts\.calls is changed.*self\.calls"),
    "list of a module": (mode("list"), "", r"Counts\.seen is changed"),
    "generator of a module": (mode("noise"), "", "the generator noise of Counts gave numbers"),
    "try": (tries, "# if x.sum", "goes on after an error.*mynn.where"),
    "network": (makes_network, "# inner =", "a parameter is made inside.*outside"),
    "optimizer": (makes_optimizer, "# optim.SGD", "optimizer SGD is made inside.*outside"),
}


def line_of(mark: str) -> int:
    with open(__file__) as file:
        return next(n for n, line in enumerate(file, 1) if line.rstrip().endswith(mark))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mynn.base.notices._said", set())
    losses.clear()
    numbers["steps"] = 0


@pytest.mark.parametrize("name", CASES)
def test_said_once_with_the_line(name: str) -> None:
    function, mark, message = CASES[name]
    compiled = mynn.compile(function)
    with pytest.warns(TraceWarning, match=message) as caught:
        compiled(X)
    if mark:
        lines = {(one.filename, one.lineno) for one in caught}
        assert (__file__, line_of(mark)) in lines
    compiled(X)  # a second warning would be an error


@pytest.mark.parametrize("name", CASES)
def test_error_where_checks_are_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYNN_CHECK", "1")
    function, _, message = CASES[name]
    for _ in range(2):
        weights.value[...] = 1.0
        with pytest.raises(UsageError, match=message):
            mynn.compile(function)(X)


def lazily(x: Any) -> Any:
    return x * cached()


cache: dict[str, Any] = {}


def cached() -> Any:
    if "mask" not in cache:
        cache["mask"] = np.ones(3, np.float32)
    return cache["mask"]


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mask: Any = None
        self.shapes: dict[Any, Any] = {}

    def forward(self, x: Any) -> Any:
        if self.mask is None:
            self.mask = np.ones(3, np.float32)
        if not hasattr(self, "table"):
            self.table = [1.0, 2.0]
        self.shapes[x.shape] = x.shape
        self.last = x.shape
        return x * self.mask * self.table[1]


def usual(x: Any, t: Any) -> Any:
    parts = []
    for scale in (1.0, 2.0):
        parts.append(net(x) * scale)
    loss = nn.CrossEntropyLoss()(parts[0] + parts[1], t)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return {"loss": loss, "rate": loss * rate}


def test_nothing_is_said_of_what_is_usual() -> None:
    compiled = mynn.compile(usual)
    for _ in range(3):
        compiled(X, LABELS)
    for function in (lazily, Lazy()):
        again = mynn.compile(function)
        for _ in range(3):
            np.testing.assert_array_equal(again(X), function(mynn.Tensor(X)).value)
        assert len(again._programs) == 1


# -- what works in a step --------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_target_network_follows_inside_a_step(backend: str) -> None:
    online, target = nn.Linear(3, 2), nn.Linear(3, 2)

    def step(x: Any) -> Any:
        y = online(x)
        online.weight.assign(online.weight * 0.5)
        target.load_state_dict(online.state_dict())
        return y.sum()

    compiled = mynn.compile(step, backend=backend)
    for _ in range(3):
        compiled(X)
        np.testing.assert_array_equal(target.weight.value, online.weight.value)
        np.testing.assert_array_equal(target.bias.value, online.bias.value)


def test_learning_rate_of_the_epoch_inside_a_step() -> None:
    p = mynn.Parameter(np.zeros(3, np.float32))
    sgd = optim.SGD([p], lr=1.0)
    state = types.SimpleNamespace(epoch=1)

    @mynn.compile
    def step(x: Any) -> Any:
        sgd.lr = 0.5**state.epoch
        (p * x).sum().backward()
        sgd.step()
        return x.sum()

    expected = 0.0
    for epoch in (1, 2, 3):
        state.epoch = epoch
        step(np.ones(3, np.float32))
        expected -= 0.5**epoch
        assert p.value[0] == expected
        assert sgd.lr == 0.5**epoch


@pytest.mark.parametrize(
    "call",
    [
        lambda: mynn.fit(lambda x: x.mean(), X),
        lambda: mynn.evaluate(lambda x: x.mean(), X),
        lambda: mynn.predict(net, X),
    ],
)
def test_training_inside_a_step_is_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(UsageError, match=r"inside a compiled function.*outside"):
        mynn.compile(lambda x: call() or x)(X)


def test_data_assigned_in_a_step() -> None:
    p = mynn.Parameter(np.ones(3, np.float32))

    def step(x: Any) -> Any:
        p.data = p.detach() * 0.5 + x
        return p.sum()

    compiled = mynn.compile(step)
    for _ in range(3):
        compiled(np.ones(3, np.float32))
    assert p.tolist() == [1.875] * 3


def test_differences_of_all_pairs_of_one_value_are_meant() -> None:
    compiled = mynn.compile(lambda x: (x[:, :1] - x[:, :1].reshape(-1)).sum())
    assert compiled(X) == 0


def test_value_that_changes_in_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    state = types.SimpleNamespace(beta=1.0)
    compiled = mynn.compile(lambda x: x * state.beta)
    for number in range(5):
        state.beta = 0.5**number
        assert compiled(X)[0, 0] == state.beta
    state.beta = 7.0
    with pytest.warns(TraceWarning, match=r"beta was changed 5 times.*beta\.assign"):
        compiled(X)
    state.beta = 8.0
    assert compiled(X)[0, 0] == 8


def untrained_backward(x: Any) -> Any:
    loss = net(x).sum()
    loss.backward()
    return loss


def untrained_other(x: Any) -> Any:
    loss = net(x).sum()
    loss.backward()
    other.step()
    return loss


other = optim.SGD(nn.Linear(3, 2).parameters(), lr=0.1, momentum=0.9)


class Normalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Any) -> Any:
        return self.norm(x).sum()


@pytest.mark.parametrize("step", [untrained_backward, untrained_other, Normalised()])
def test_fit_of_a_step_that_trains_nothing(step: Any) -> None:
    with pytest.warns(TraceWarning, match=r"changes no parameter.*optimizer\.step"):
        mynn.fit(step, X, batch_size=4)


def test_fit_where_all_is_frozen() -> None:
    frozen = nn.Linear(3, 2).requires_grad_(False)
    sgd = optim.SGD(frozen.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        loss = frozen(x).sum()
        sgd.step()
        return loss

    with pytest.warns(TraceWarning, match=r"all of them are frozen.*requires_grad_"):
        mynn.fit(step, X, batch_size=4)
