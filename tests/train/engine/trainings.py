"""Trainings that stop anywhere and go on elsewhere; also in a process of their own.

`python -m tests.train.engine.trainings` reads what `stored` gave, pickled, from its input, goes on
and writes what the rest of the training gave.
"""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import mynn
from mynn import nn, optim
from mynn.train.engine import executor_for
from mynn.train.engine.base import Executor
from mynn.train.engine.cursor import Cursor, Snapshot
from mynn.train.plan import load, plan

# 23 rows in batches of 4: five whole ones and one of 3.
ROWS, BATCH, EPOCHS = 23, 4, 3
STEPS = EPOCHS * 6


@dataclass(frozen=True)
class Training:
    """What varies."""

    backend: str = "native"
    threads: int = 1
    shuffle: bool = True
    drop_last: bool = False
    dropout: bool = True
    record: int = 0
    optimizer: str = "Adam"

    def executor(self, seed: int = 0) -> Executor:
        """At its first step; with another `seed` all that is random begins elsewhere."""
        mynn.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(3, 16),
            nn.Tanh(),
            *([nn.Dropout(0.3)] if self.dropout else []),
            nn.BatchNorm1d(16),
            nn.Linear(16, 2),
        )
        options = {"momentum": 0.9} if self.optimizer == "SGD" else {}
        optimizer = getattr(optim, self.optimizer)(net.parameters(), lr=0.02, **options)

        def step(x: mynn.Tensor, t: mynn.Tensor) -> dict[str, mynn.Tensor]:
            optimizer.zero_grad()
            error = net(x) - t
            loss = (error**2).mean()
            loss.backward()
            optimizer.step()
            return {"loss": loss, "size": error.abs().mean()}

        rng = np.random.default_rng(5)
        x = rng.normal(size=(ROWS, 3)).astype(np.float32)
        compiled = mynn.compile(step, backend=self.backend, threads=self.threads)
        arguments, arrays = load((x, np.sin(2 * x[:, :2])), check_finite=True)
        run = plan(compiled, arguments, arrays, lambda _: None, BATCH, True, self.drop_last)
        record = mynn.Record(every=self.record) if self.record else None
        executor = executor_for(
            replace(run, epochs=EPOCHS, shuffle=self.shuffle, check_finite=True, record=record)
        )
        executor.seed(seed + 3)
        return executor


def advance(executor: Executor, steps: int) -> list[Any]:
    """So many steps, as many at once as can be; what they recorded."""
    record, end, found = executor.run.record, executor.steps + steps, []
    while executor.steps < end and not executor.over:
        due = end if record is None else min(record.next_due(executor.steps) or 0, end)
        if due > executor.steps:
            executor.advance(due - executor.steps)
        elif executor.steps < end:
            found.append(vars(executor.record_step()))
    return found


def stored(executor: Executor) -> dict[str, Any]:
    """A snapshot as plain data."""
    snapshot = executor.snapshot()
    return {"cursor": snapshot.cursor.to_dict(), "values": list(snapshot.values.values())}


def put_back(executor: Executor, data: dict[str, Any]) -> None:
    """Go on from what `stored` gave."""
    values = dict(zip(executor.run.values, data["values"], strict=True))
    executor.restore(Snapshot(Cursor.from_dict(data["cursor"]), values))


def rest_of(executor: Executor) -> dict[str, Any]:
    """What the rest of a training gives."""
    records = advance(executor, STEPS)
    found = {**stored(executor), "records": records}
    executor.finish()
    return found


def main() -> None:
    training, data = pickle.load(sys.stdin.buffer)
    executor = training.executor(seed=11)
    put_back(executor, data)
    sys.stdout.buffer.write(pickle.dumps(rest_of(executor)))


if __name__ == "__main__":
    main()
