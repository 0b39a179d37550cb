"""One step of a training loop on the tape: the calls that were recorded, and their graph."""

from __future__ import annotations

from typing import Any

import numpy as np

import mynn
from mynn import nn, optim
from mynn.base import recording
from mynn.core.graph import format_graph
from mynn.tape.pieces.piece import Piece
from mynn.tape.pieces.trial import PATIENCE
from mynn.tape.tape import Tape


def step() -> tuple[str, str]:
    """The calls and the graph of a step that has come twice."""
    seen: list[Any] = []

    class Watched(Tape):
        def _run(self, piece: Any, step: Any, *rest: Any) -> bool:
            seen.append(step)
            return super()._run(piece, step, *rest)

    mynn.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    criterion = nn.MSELoss()
    x, t = (mynn.Tensor(np.ones((5, n), np.float32)) for n in (4, 2))
    before = PATIENCE.piece, PATIENCE.call
    with mynn.eager("at once"):
        PATIENCE.piece = PATIENCE.call = 0.0
        tape = Watched()
        recording.current.tape = recording.current.own = tape
        try:
            for _ in range(5):
                optimizer.zero_grad()
                loss = criterion(net(x), t)
                loss.backward()
                optimizer.step()
                loss.item()
        finally:
            PATIENCE.piece, PATIENCE.call = before
            tape.flush()
            recording.current.tape = recording.current.own = None
    last = seen[-1]
    piece = next(one for one in last.pieces.values() if isinstance(one, Piece))
    return str(last), format_graph(piece.staged.graph)


def text() -> str:
    """For docs/architecture.md."""
    calls, graph = step()
    return f"```text\n{calls}\n```\n\nand its graph\n\n```text\n{graph}\n```\n"


if __name__ == "__main__":
    print(text())
