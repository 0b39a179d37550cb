"""The list of passes: each named once, verified and printed, and what it shows is what goes on."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.compiler import pipeline
from mynn.compiler.compilation import Compilation
from mynn.compiler.loop_ir.format import format_kernel
from mynn.compiler.pipeline import Pass, every_pass
from mynn.core import interpreter
from mynn.core.graph import Graph, Node
from mynn.core.types import Array
from mynn.errors import ArgumentError, VerifyError
from mynn.jit import stage
from mynn.target.target import host
from tests.fuzz import native
from tests.fuzz.programs import Program
from tests.helpers import assert_close

NAMES = [each.name for each in every_pass()]


def seen(program: Program, split: bool = False) -> list[tuple[Pass, Compilation]]:
    """What comes out of each pass, in order."""
    found: list[tuple[Pass, Compilation]] = []

    def observe(each: Pass, c: Compilation) -> None:
        found.append((each, c))

    writes = {program.graph.inputs[at]: output for at, output in program.writes.items()}
    lowered = pipeline.lower(program.graph, host(), writes, check=True, observe=observe)
    pipeline.finish(lowered, split, check=True, observe=observe)
    return found


def programs(count: int) -> list[Program]:
    made = [native.KINDS[kind](seed) for kind in native.KINDS for seed in range(count)]
    return [program for program in made if program is not None]


def test_names_are_told_apart() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert all(name.isidentifier() for name in NAMES)


def test_stages_come_in_order() -> None:
    stages = list(dict.fromkeys(each.stage for each in every_pass()))
    assert stages == ["rewrite", "fuse", "plan", "lower", "share", "emit"]


@pytest.mark.parametrize("split", [False, True])
def test_everything_is_verified_and_printed(split: bool) -> None:
    """On random programs; what `Program.stage` prints is what its verifier has seen."""
    for program in programs(6):
        names = set()
        for each, c in seen(program, split):
            each.verify(c)
            assert isinstance(each.show(c), str)
            names.add(each.name)
        left_out = {"cache_blocks"} if split else {"split", "barriers"}
        assert set(NAMES) - names == left_out


def test_rewritten_graphs_mean_the_same() -> None:
    """The interpreter gives the same values for the graph behind each pass."""
    for program in programs(6):
        expected = interpreter.evaluate(program.graph, program.arguments)
        last: Graph | None = None
        for each, c in seen(program):
            if each.stage == "rewrite" and c.graph is not last:
                got = interpreter.evaluate(c.graph, program.arguments)
                assert_close(got[: len(expected)], expected, scale=100.0)
                last = c.graph


def test_what_is_shown_is_what_goes_on() -> None:
    """The fused graph is the one that is shown last; kernels that are emitted are those shown."""
    for split in (False, True):
        for program in programs(3):
            found = seen(program, split)
            graphs = [c.graph for each, c in found if each.stage == "rewrite"]
            last = found[-1][1]
            assert last.graph is graphs[-1]
            shown = pipeline.show_kernels(last)
            for kernel in last.kernels:
                assert f"define internal void @{kernel.name}(" in last.text
                if not any(block.shares > 1 for block in last.blocks):
                    assert format_kernel(kernel) in shown


def test_shares_and_barriers_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYNN_CACHE", "0")
    net = nn.Sequential(nn.Linear(96, 300), nn.Tanh(), nn.Linear(300, 96))
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    def step(x: Any, t: Any) -> Any:
        loss = nn.MSELoss()(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    x = np.zeros((64, 96), np.float32)
    program = mynn.compile(step, threads=2).program(x, x)
    assert re.search(r"barrier for [\d, +]+ workers", program.loop_ir)
    assert " parallel:" in program.loop_ir
    assert program.loop_ir == program.stage("barriers")
    assert program.graph == program.stage("split_k")
    assert program.stages == [name for name in NAMES if name != "cache_blocks"]
    with pytest.raises(ArgumentError, match=r"stage must be one of status, .*; it is 'nothing'"):
        program.stage("nothing")


def broken(name: str) -> Any:
    """The list with a pass that breaks what it makes."""

    def graph(c: Compilation) -> Compilation:
        node = c.graph.outputs[0]
        wrong = Node(node.primitive, node.inputs, node.params, c.graph.inputs[0].type)
        return replace(c, graph=Graph(c.graph.inputs, (wrong, *c.graph.outputs[1:])))

    def fusion(c: Compilation) -> Compilation:
        return replace(c, fusion=replace(c.fusion, groups=c.fusion.groups[::-1]))

    def kernels(c: Compilation) -> Compilation:
        return replace(c, plan=replace(c.plan, kernels=list(c.plan.kernels)[::-1]))

    breaks = {"split_k": graph, "fuse": fusion, "arena": kernels}[name]
    return [
        replace(entry, run=lambda c, run=entry.run: breaks(run(c)))
        if isinstance(entry, Pass) and entry.name == name
        else entry
        for entry in pipeline.LOWERING
    ]


@pytest.mark.parametrize("name", ["split_k", "fuse", "arena"])
def test_verifiers_see_what_is_broken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = stage.stage(lambda x, w: ((x @ w).tanh() @ w).sum(1), two_arrays())
    pipeline.lower(staged.graph, host(), check=True)
    monkeypatch.setattr(pipeline, "LOWERING", broken(name))
    with pytest.raises(VerifyError):
        pipeline.lower(staged.graph, host(), check=True)


def two_arrays() -> tuple[Array, Array]:
    return np.ones((5, 9), np.float32), np.ones((9, 9), np.float32)
