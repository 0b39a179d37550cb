"""Whole trainings of random networks: native, interpreted and, where it is installed, PyTorch.

Losses, gradients of recorded steps, and all that training changes (parameters and buffers) must
agree. A training that is stopped at any step, stored, and goes on in another network that began
otherwise gives the same bits. By hand, for one or several seeds:

    python -m tests.fuzz.training 0 100
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np

import mynn
from mynn import nn, optim
from mynn.compiler.parallel import split
from mynn.core.types import Array
from mynn.errors import NotFiniteError
from mynn.target.target import host
from mynn.train.engine import executor_for
from mynn.train.engine.base import Executor
from mynn.train.plan import load, plan
from tests.fuzz.native import signature
from tests.fuzz.networks import Network, make_data, make_network, network, smaller
from tests.train.engine.trainings import advance, put_back, stored

# A float64 run is off by so much at most, in units of the largest number it is compared with.
DOUBLE = 1e-7
# A float32 run by so many times what the interpreter's is off, and so much.
TIMES, SINGLE = 30.0, 1e-4


@dataclass
class Run:
    """What came of a training."""

    losses: Array
    state: dict[str, Array]
    gradients: list[dict[str, Array]] = field(default_factory=list)


@contextmanager
def vectors_of(nbytes: int) -> Iterator[None]:
    """What is compiled meanwhile has vectors of so many bytes at most, if it is not 0."""
    narrow = {"MYNN_VECTOR_BYTES": str(nbytes)} if nbytes else {}
    with mock.patch.dict(os.environ, narrow):
        host.cache_clear()
        yield
    host.cache_clear()


def train(
    network: Network, backend: str, dtype: str, threads: int = 1, record: bool = False
) -> Run:
    """The training by `fit`."""
    mynn.manual_seed(network.seed)
    net, step = _made(network, backend, dtype, threads)
    # What was compiled before was compiled for another machine, maybe.
    mynn.programs().clear()
    # Even small loops are shared where several threads are asked for.
    small = 0 if threads > 1 else split.SMALL
    with mock.patch.object(split, "SMALL", small), vectors_of(network.vector_bytes):
        history = mynn.fit(
            step,
            make_data(network, dtype),
            epochs=network.epochs,
            batch_size=network.batch_size,
            shuffle=network.shuffle,
            drop_last=network.drop_last,
            record=mynn.Record(quantities="gradients") if record else None,
            verbose=False,
        )
    names = dict(net.named_parameters())
    gradients = [
        {key: np.array(value) for key, value in one.gradients.items() if key in names}
        for one in history.records or []
    ]
    state = {key: np.array(value) for key, value in net.state_dict().items()}
    return Run(np.array(history["loss"]), state, gradients)


def _made(network: Network, backend: str, dtype: str, threads: int = 1) -> tuple[Any, Any]:
    """The network, and its step."""
    net = make_network(network, dtype)
    optimizer = getattr(optim, network.optimizer)(net.parameters(), **network.options)
    loss = getattr(nn, network.loss)()

    @mynn.compile(backend=backend, threads=threads)
    def step(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        value = loss(net(x), t)
        value.backward()
        optimizer.step()
        return value

    return net, step


def _executor(network: Network, backend: str, seed: int) -> Executor:
    """A training before its first step; with another seed all that is random is other."""
    mynn.manual_seed(seed)
    net, step = _made(network, backend, network.dtype)
    if seed != network.seed:
        with mynn.no_grad():
            for parameter in net.parameters():
                parameter.mul_(0.5)
    arguments, arrays = load(make_data(network, network.dtype), check_finite=True)
    size = network.batch_size
    run = plan(step, arguments, arrays, lambda _: None, size, True, network.drop_last)
    executor = executor_for(replace(run, epochs=network.epochs, shuffle=network.shuffle))
    executor.seed(seed)
    return executor


def stopping_problems(network: Network) -> list[str]:
    """What is other in a training that is stopped, stored, and goes on elsewhere."""
    rng = np.random.default_rng(network.seed)
    found = []
    for backend in ("native", "interpreter"):
        whole = _executor(network, backend, network.seed)
        try:
            advance(whole, 10**6)
        except NotFiniteError:
            return []
        expected = stored(whole)
        stop = int(rng.integers(0, expected["cursor"]["steps"] + 1))
        first = _executor(network, backend, network.seed)
        advance(first, stop)
        data = pickle.loads(pickle.dumps(stored(first)))
        second = _executor(network, backend, network.seed + 1)
        advance(second, int(rng.integers(0, 3)))
        put_back(second, data)
        advance(second, 10**6)
        got = stored(second)
        if pickle.dumps(got["cursor"]) != pickle.dumps(expected["cursor"]):
            found.append(f"{backend}: another cursor from step {stop} on")
        pairs = zip(got["values"], expected["values"], strict=True)
        if any(a.tobytes() != b.tobytes() for a, b in pairs):
            found.append(f"{backend}: other bits from step {stop} on")
        for executor in (whole, first, second):
            executor.finish()
    return found


def train_pytorch(torch: ModuleType, network: Network, dtype: str) -> Run:
    """The training as PyTorch does it."""
    torch.set_num_threads(1)
    kind = getattr(torch, dtype)
    net = torch.nn.Sequential(
        *(getattr(torch.nn, name)(**options) for name, options in network.layers)
    ).to(kind)
    state = make_network(network, dtype).state_dict()
    net.load_state_dict({key: torch.tensor(np.array(value)) for key, value in state.items()})
    optimizer = getattr(torch.optim, network.optimizer)(net.parameters(), **network.options)
    loss = getattr(torch.nn, network.loss)()
    x, t = map(torch.from_numpy, make_data(network, dtype))
    losses, gradients = [], []
    for _ in range(network.epochs):
        total = rows = 0.0
        for batch in _batches(network):
            optimizer.zero_grad()
            value = loss(net(x[batch]), t[batch])
            value.backward()
            optimizer.step()
            count = batch.stop - batch.start
            total, rows = total + value.item() * count, rows + count
            gradients.append({k: p.grad.numpy().copy() for k, p in net.named_parameters()})
        losses.append(total / rows)
    trained = {key: value.numpy() for key, value in net.state_dict().items()}
    return Run(np.array(losses), trained, gradients)


def _batches(network: Network) -> Iterator[slice]:
    for start in range(0, network.samples, network.batch_size):
        stop = min(start + network.batch_size, network.samples)
        if stop - start == network.batch_size or not network.drop_last:
            yield slice(start, stop)


# -- comparison ------------------------------------------------------------------------------------


def distances(run: Run, expected: Run) -> dict[str, float]:
    """How far two runs are apart, in units of the largest number of the kind."""
    found = {"losses": _distance(run.losses, expected.losses)}
    for key, value in expected.state.items():
        found[f"state {key}"] = _distance(run.state[key], value)
    for number, (a, b) in enumerate(zip(run.gradients, expected.gradients, strict=False)):
        most = max((np.abs(value).max(initial=0) for value in b.values()), default=0)
        for key, value in b.items():
            found[f"step {number}, gradient {key}"] = _distance(a[key], value, most)
    return found


def _distance(a: Array, b: Array, scale: float = 1.0) -> float:
    if a.shape != b.shape:
        return float("inf")
    off = np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0)
    return float(off / max(np.abs(b).max(initial=0), scale, 1e-30))


def training_problems(network: Network) -> list[str]:
    """What is wrong; empty where all agree."""
    try:
        found = _found(network) + stopping_problems(network)
        if found and network.dtype == "float32":
            # A value within rounding of a kink is no fault; with other numbers there is none.
            found = found if _found(replace(network, seed=network.seed + 10**6)) else []
    except Exception:
        return [traceback.format_exc(limit=-4)]
    return found


def _found(network: Network) -> list[str]:
    dtype = network.dtype
    runs = {
        "native": _finite(network, "native", dtype, network.threads),
        "native, recorded": _finite(network, "native", dtype, record=True),
    }
    if network.threads > 1:
        runs["one thread"] = _finite(network, "native", dtype)
    exact = interpreted = _finite(network, "interpreter", dtype, record=True)
    if interpreted is None:
        return []
    found = [f"{name}: not finite" for name, run in runs.items() if run is None]
    native, alone = runs["native"], runs.get("one thread")
    if native is not None and alone is not None and not _same(native, alone):
        found.append(f"{network.threads} threads give other bits than one")
    torch = pytorch()
    if torch is not None and not network.draws:
        runs["PyTorch"] = train_pytorch(torch, network, dtype)
    usual: dict[str, float] = {}
    if dtype == "float32":
        exact = _finite(network, "interpreter", "float64", record=True)
        assert exact is not None
        usual = distances(interpreted, exact)
    for name, run in runs.items():
        for what, off in distances(run, exact).items() if run is not None else ():
            most = DOUBLE if dtype == "float64" else TIMES * usual.get(what, 0.0) + SINGLE
            if not off <= most:
                found.append(f"{name}, {what}: off by {off:.3g}, {most:.3g} is usual")
    return found


def _finite(
    network: Network, backend: str, dtype: str, threads: int = 1, record: bool = False
) -> Run | None:
    """The run, or None where it leaves the numbers."""
    try:
        return train(network, backend, dtype, threads, record)
    except NotFiniteError:
        return None


def _same(a: Run, b: Run) -> bool:
    values = [(a.losses, b.losses), *((a.state[key], b.state[key]) for key in a.state)]
    return all(np.array_equal(x, y) for x, y in values)


def pytorch() -> ModuleType | None:
    """PyTorch, where it is installed."""
    try:
        import torch
    except ImportError:
        return None
    module: ModuleType = torch
    return module


def training_report(network: Network) -> str:
    """The failure and the program of a smaller network that fails too."""
    found = training_problems(network)
    small, shrunk = network, True
    while shrunk:
        shrunk = False
        for candidate in smaller(small):
            if signature(training_problems(candidate)) == signature(found):
                small, shrunk = candidate, True
                break
    return "\n".join([f"network {network.seed}", *found[:8], "smaller:", str(small)])


def main(first: int, count: int) -> None:
    """Run seeds first, first + 1... and print what fails."""
    failed = 0
    for seed in range(first, first + count):
        if training_problems(network(seed)):
            failed += 1
            print(training_report(network(seed)), flush=True)
    print(f"{failed} of {count} failed")


if __name__ == "__main__":
    os.environ.setdefault("MYNN_CACHE", "0")
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
