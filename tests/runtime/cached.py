"""Programs of a small network, for tests of the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import mynn
from mynn import nn, optim
from mynn.core.types import Array
from mynn.jit.program import Program


def make_step(bias: float = 0.0, lr: float = 0.1, hidden: int = 20) -> tuple[Any, Any, list[Array]]:
    """A step of a small network with momentum, its network and a batch."""
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.Linear(3, hidden), nn.Tanh(), nn.Linear(hidden, 5))
    for parameter in net.parameters():
        parameter.assign(rng.normal(size=parameter.shape).astype(np.float32))
    optimizer = optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    table = np.linspace(0, 1, 5, dtype=np.float32) + np.float32(bias)

    @mynn.compile
    def step(x: Any, t: Any) -> Any:
        y = net(x) + table
        loss = nn.MSELoss()(y, t)
        loss.backward()
        optimizer.step()
        return {"loss": loss, "y": y}

    batch = [rng.normal(size=(8, n)).astype(np.float32) for n in (3, 5)]
    return step, net, batch


def trained(**options: Any) -> tuple[Program, list[bytes]]:
    """The program after three steps, and all that they changed and returned, as bytes."""
    mynn.programs().clear()
    step, net, batch = make_step(**options)
    results = [step(*batch) for _ in range(3)]
    values = [result[name] for result in results for name in ("loss", "y")]
    values += [parameter.numpy() for parameter in net.parameters()]
    program: Program = step.program(*batch)
    return program, [np.ascontiguousarray(value).tobytes() for value in values]


def was_lowered(program: Program) -> bool:
    return "cache" not in program.seconds


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.bin"))
