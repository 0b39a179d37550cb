"""A small training step in every form that is printed, kept in tests/golden.

After a change that is meant: `python -m pytest tests/compiler/test_golden.py --update-golden`, and
read the difference.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mynn import nn, optim
from mynn.compiler import pipeline
from mynn.compiler.loop_ir.format import format_kernel
from mynn.compiler.pipeline import Compilation
from mynn.core.graph import format_graph
from mynn.jit import stage
from mynn.runtime.artifact import summary
from mynn.target.target import named

FOLDER = Path(__file__).parents[1] / "golden"
BATCH = 4
FORMS = ("graph", "simplified", "kernels", "places", "loop_ir")


def staged_step() -> stage.Staged:
    """A step of a network 2-3-2 with tanh, squared error and SGD."""
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    criterion = nn.MSELoss()

    def step(x: Any, t: Any) -> Any:
        loss = criterion(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    x = np.zeros((BATCH, 2), np.float32)
    return stage.stage(step, (x, x))


def places(lowered: Compilation) -> str:
    """Where everything lies: buffers with their kind, and what is updated in place."""
    plan = lowered.plan
    known = {place.buffer: node for node, place in plan.places.items()}
    lines = []
    for buffer in lowered.table:
        at = f"arena at {plan.arena[buffer]}" if buffer in plan.arena else "of its own"
        node = known.get(buffer)
        strides = plan.places[node].strides if node is not None else "rows"
        lines.append(f"{buffer.name:14} {buffer.type}[{buffer.elements}] {strides} {at}")
    lines.append(f"arena: {plan.arena_bytes} bytes")
    lines.append(f"in place: {', '.join(str(node.name) for node in plan.in_place)}")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def forms() -> dict[str, str]:
    staged = staged_step()
    layouts = {
        node: tuple(step // tensor.home().itemsize for step in tensor.home().strides)
        for node, tensor in zip(staged.state_nodes, staged.state, strict=True)
    }
    target = named("x86-64-v3")
    lowered = pipeline.lower(staged.graph, target, staged.writes, layouts, check=True)
    return {
        "graph": format_graph(staged.graph),
        "simplified": format_graph(lowered.graph),
        "kernels": "\n".join(summary(kernel).line for kernel in lowered.kernels),
        "places": places(lowered),
        "loop_ir": "\n\n".join(map(format_kernel, lowered.kernels)),
    }


@pytest.mark.parametrize("form", FORMS)
def test_step(form: str, forms: dict[str, str], request: pytest.FixtureRequest) -> None:
    path = FOLDER / f"step.{form}.txt"
    text = forms[form] + "\n"
    if request.config.getoption("update_golden"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), "if this is meant: --update-golden"


def test_nothing_else_is_kept() -> None:
    """Files that no test compares would rot."""
    names = {path.name for path in FOLDER.iterdir() if path.suffix == ".txt"}
    assert names == {f"step.{form}.txt" for form in FORMS}
