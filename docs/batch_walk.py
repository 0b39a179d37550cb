"""The way of a batch: which files `fit` enters before the native loop runs, and which afterwards.

Watched while a step trains whose programs are made. What is counted are files of the rooms that a
run goes through; `base`, `core`, `tensor` and `trace`, which they all use, are left out, and so is
the optimiser, which says whether its options are those of the program.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import mynn
from mynn import nn, optim
from mynn.train.engine.native import NativeExecutor

PACKAGE = Path(mynn.__file__).parent
ROOMS = ("compiler", "data", "jit", "runtime", "train")

Files = dict[str, str]


def files() -> tuple[Files, Files, Files]:
    """The files entered before the native loop, between two turns of it, and after the last one,
    each with the function by which.
    """
    net = nn.Linear(2, 1)
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    @mynn.compile(threads=1)
    def step(x: mynn.Tensor, t: mynn.Tensor) -> mynn.Tensor:
        optimizer.zero_grad()
        loss = ((net(x) - t) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    x = np.ones((8, 2), np.float32)
    turns: list[Files] = [{}]
    loop = NativeExecutor._run.__code__

    def watch(frame: FrameType, event: str, value: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "return" and frame.f_code is loop:
            turns.append({})
        elif event == "call" and path.is_relative_to(PACKAGE):
            name = path.relative_to(PACKAGE).as_posix()
            if name.partition("/")[0] in ROOMS:
                turns[-1].setdefault(name, frame.f_code.co_qualname)

    def train() -> None:
        mynn.fit(step, (x, x[:, :1]), batch_size=4, seed=0, verbose=False)

    train()
    sys.setprofile(watch)
    try:
        train()
    finally:
        sys.setprofile(None)
    assert len(turns) == 3, "a turn for the first step, one for the other, and the way back"
    return turns[0], turns[1], turns[2]


def about(name: str) -> str:
    """The first sentence of a file's docstring."""
    text = ast.get_docstring(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split()).rstrip(".")


def table() -> str:
    """A line for each file before the native loop; then those after it."""
    before, between, after = files()
    lines = [
        f"| {number} | `{name}` | `{function}` | {about(name)} |"
        for number, (name, function) in enumerate(before.items(), 1)
    ]
    head = ["| | file | entered by | what it is |", "|---:|---|---|---|"]
    listed = [
        f"- {what}, {len(found)} files: {', '.join(f'`{name}`' for name in found)}."
        for what, found in (("Between two turns of the loop", between), ("And back", after))
    ]
    return "\n".join([*head, *lines, "", *listed, ""])
