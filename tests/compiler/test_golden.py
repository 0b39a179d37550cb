"""Small programs in the forms that are printed, for fixed targets, kept in tests/golden.

After a change that is meant: `python -m pytest tests/compiler/test_golden.py --update-golden`, and
read the difference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mynn import nn, optim
from mynn.compiler import pipeline
from mynn.compiler.compilation import Compilation
from mynn.compiler.host.argument_layout import ArgumentLayout, StepLayout
from mynn.compiler.host.train_loop import Loop, training_loop
from mynn.compiler.loop_ir.format import format_function, format_kernel
from mynn.compiler.parallel import split
from mynn.core.graph import format_graph
from mynn.core.types import Array
from mynn.jit import stage
from mynn.jit.stage import Staged
from mynn.runtime.artifact import summary
from mynn.target.target import named

FOLDER = Path(__file__).parents[1] / "golden"
AVX2, AVX512, NEON = "x86-64-v3", "x86-64-v4", "aarch64"
BATCH = 4


# -- programs --------------------------------------------------------------------------------------


def step() -> Staged:
    """A step of a network 2-3-2 with tanh, squared error and SGD."""
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    return training(net, optim.SGD(net.parameters(), lr=0.1), zeros(2), zeros(2))


def convolution() -> Staged:
    """Convolution, batch normalisation and pooling of artifacts 6 x 6, in training."""
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    return stage.stage(net, (zeros(2, 6, 6),))


def clipped() -> Staged:
    """Adam on a layer 3-2 whose gradients are scaled to a norm of 1 at most."""
    net = nn.Linear(3, 2)
    optimizer = optim.Adam(net.parameters(), lr=0.01)

    def function(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        loss = ((net(x) - t) ** 2).mean()
        loss.backward()
        weight, bias = net.weight.grad, net.bias.grad
        norm = ((weight**2).sum() + (bias**2).sum()).sqrt()
        scale = (1.0 / (norm + 1e-6)).minimum(1.0)
        net.weight.grad, net.bias.grad = weight * scale, bias * scale
        optimizer.step()
        return loss

    return stage.stage(function, (zeros(3), zeros(2)))


def layer() -> Staged:
    """A layer 24-40 with tanh, and the sums of its columns."""
    net = nn.Sequential(nn.Linear(24, 40), nn.Tanh())

    def function(x: Any) -> Any:
        y = net(x)
        return y, y.sum(0)

    return stage.stage(function, (zeros(24),))


def training(net: nn.Module, optimizer: Any, x: Array, t: Array) -> Staged:
    criterion = nn.MSELoss()

    def function(x: Any, t: Any) -> Any:
        loss = criterion(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    return stage.stage(function, (x, t))


def zeros(*shape: int) -> Array:
    return np.zeros((BATCH, *shape), np.float32)


# -- forms -----------------------------------------------------------------------------------------


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


def shares(lowered: Compilation) -> str:
    """The kernels with their loops shared, and where workers wait for each other."""
    return pipeline.show_kernels(pipeline.finish(lowered, split=True, check=True))


FORMS: dict[str, Callable[[Compilation], str]] = {
    "simplified": lambda lowered: format_graph(lowered.graph),
    "kernels": lambda lowered: "\n".join(summary(kernel).line for kernel in lowered.kernels),
    "places": places,
    "loop_ir": lambda lowered: "\n\n".join(map(format_kernel, lowered.kernels)),
    "shares": shares,
    "llvm_ir": lambda lowered: pipeline.finish(lowered, check=True).text,
}
# Program, form, target.
GOLDENS: tuple[tuple[Callable[[], Staged], str, str], ...] = (
    *((step, form, AVX2) for form in ("simplified", "kernels", "places", "loop_ir", "llvm_ir")),
    (convolution, "simplified", AVX2),
    *((convolution, "loop_ir", target) for target in (AVX2, AVX512, NEON)),
    (clipped, "simplified", AVX512),
    (clipped, "loop_ir", AVX512),
    *((layer, "loop_ir", target) for target in (AVX2, AVX512, NEON)),
    *((layer, "shares", target) for target in (AVX2, AVX512, NEON)),
)
FILES = [f"{program.__name__}.{form}.{target}.txt" for program, form, target in GOLDENS]


@functools.cache
def lowered(program: Callable[[], Staged], target: str) -> Compilation:
    """The program, lowered for a target; layouts are those of the parameters."""
    staged = program()
    layouts = {
        node: tuple(stride // tensor.to_native().itemsize for stride in tensor.to_native().strides)
        for node, tensor in zip(staged.state_nodes, staged.state, strict=True)
    }
    return pipeline.lower(staged.graph, named(target), staged.writes, layouts, check=True)


def compare(name: str, text: str, request: pytest.FixtureRequest) -> None:
    path = FOLDER / name
    if request.config.getoption("update_golden"):
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8"), "if this is meant: --update-golden"


@pytest.mark.parametrize(("program", "form", "target"), GOLDENS, ids=FILES)
def test_golden(
    program: Callable[[], Staged],
    form: str,
    target: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(split, "SMALL", 0)  # small loops are shared too
    text = FORMS[form](lowered(program, target))
    compare(f"{program.__name__}.{form}.{target}.txt", text, request)


def test_traced(request: pytest.FixtureRequest) -> None:
    compare("step.graph.txt", format_graph(step().graph), request)


def test_training_loop(request: pytest.FixtureRequest) -> None:
    """Batches of 4 rows and a last one of 3, whose steps are shared among workers; with checks."""

    def layout(rows: int) -> StepLayout:
        x = ArgumentLayout(0, "f32", 4, (rows, 5, 3), (80, 16, 4))
        t = ArgumentLayout(1, "i64", 8, (rows,), (8,))
        loss = ArgumentLayout(6, "f32", 4, (), ())
        return StepLayout(rows, (x, t), (loss,), (), status=7, split=True)

    functions = training_loop(Loop(layout(4), layout(3)), sleeps=True)
    compare("train_loop.loop_ir.txt", "\n\n".join(map(format_function, functions)), request)


def test_nothing_else_is_kept() -> None:
    """Files that no test compares would rot."""
    names = {path.name for path in FOLDER.iterdir() if path.suffix == ".txt"}
    assert names == {"step.graph.txt", "train_loop.loop_ir.txt", *FILES}
