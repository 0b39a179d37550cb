"""The status word: made before state is written, looked at by all workers, left out if it can."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor, nn, optim
from mynn import functional as F
from mynn.compiler.graph.status import STOPS, bits_of, with_status
from mynn.compiler.loop_ir.ir import buffers_of
from mynn.compiler.parallel.barriers import COUNTS, list_schedule
from mynn.compiler.parallel.footprint import Footprints
from mynn.compiler.pipeline import lower
from mynn.core.graph import Graph, Node, apply, format_graph, input_node
from mynn.core.types import Type
from mynn.ops import checks
from mynn.target.target import host
from tests.compiler.harness import shared_kernels


def network_step(width: int, derived: bool) -> Any:
    mynn.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 5))
    optimizer = optim.Adam(net.parameters())

    def step(x: Any, t: Any) -> Any:
        loss = F.cross_entropy(net(x), t - 1 if derived else t)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, (np.zeros((64, 16), np.float32), np.ones(64, np.int64))


def counter_step(width: int, derived: bool) -> Any:
    """What is checked depends on new state."""
    count = Tensor(np.zeros((1,), np.int32))
    table = Tensor(np.ones((width, 3), np.float32))

    def step(x: Any) -> Any:
        count.assign(count + 1)
        picked = table[count if derived else count - 1]
        table.assign(table * 0.5)
        return picked.sum() + x.sum()

    return step, (np.zeros(3, np.float32),)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("make", [network_step, counter_step])
@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("width", [8, 400])
def test_state_is_written_after_the_look(make: Any, derived: bool, width: int) -> None:
    step, arguments = make(width, derived)
    lowered = mynn.compile(step).program(*arguments).lowered
    status = lowered.plan.status
    assert status is not None

    def places(kernels: Any, buffers: Any) -> list[int]:
        return [i for i, k in enumerate(kernels) if any(b in buffers for b in buffers_of(k)[1])]

    assert lowered.state
    made = max(places(lowered.kernels, {status}))
    assert made < min(places(lowered.kernels, lowered.state))
    turns = list_schedule(
        shared_kernels(lowered), Footprints(lowered.plan.location), status, lowered.state
    )
    kernels = [turn.kernel for turn in turns]
    (look,) = [place for place, turn in enumerate(turns) if turn.checks_status]
    made = max(places(kernels, {status}))
    assert made < look < min(places(kernels, lowered.state))
    for workers in (*COUNTS, 9):
        assert any(turn.has_barrier(workers) for turn in turns[made + 1 : look + 1])


def check(x: Node, high: int, warns: bool = False) -> Node:
    words = {"name": "f", "kind": "labels", "axis": 0, "warns": warns}
    return apply(checks.outside, x, low=0, high=high, ignore=None, **words)


def labels() -> Node:
    return input_node(Type((7,), np.dtype(np.int64)), "t")


def test_bits() -> None:
    x = labels()
    nodes = [check(x, 3), check(x, 4, warns=True), check(x, 5)]
    assert bits_of(nodes) == [1, 1 << 15, 2]
    many = bits_of([check(x, n) for n in range(40)])
    assert many[-1] == many[14] == 1 << 14
    assert all(bit & STOPS for bit in many)
    assert not any(bit & STOPS for bit in bits_of([check(x, n, True) for n in range(40)]))
    assert max(bits_of([check(x, n, True) for n in range(40)])) < 2**31


def test_the_word_takes_the_place_of_the_checks() -> None:
    x = labels()
    graph = Graph((x,), (x,), (check(x, 3), check(x, 9)))
    assert "check %0, %1" in format_graph(graph)
    word = with_status(graph)
    assert word.checks == ()
    assert len(word.outputs) == 2
    assert with_status(Graph((x,), (x,))).outputs == (x,)
    lowered = lower(graph, host(), check=True)
    assert lowered.plan.status is lowered.plan.results[-1].buffer


def test_what_is_always_in_range_leaves_nothing() -> None:
    for dtype, high in ((np.uint8, 255), (np.uint32, 2**32 - 1)):
        x = input_node(Type((7,), np.dtype(dtype)), "t")
        lowered = lower(Graph((x,), (x,), (check(x, high),)), host(), check=True)
        assert lowered.plan.status is None
        assert len(lowered.graph.outputs) == 1
    empty = input_node(Type((0,), np.dtype(np.int64)), "t")
    assert lower(Graph((empty,), (empty,), (check(empty, 3),)), host()).plan.status is None


def test_equal_checks_are_one() -> None:
    x = labels()
    one = lower(Graph((x,), (x,), (check(x, 3),)), host()).kernels
    three = lower(Graph((x,), (x,), (check(x, 3), check(x, 3), check(x, 3))), host()).kernels
    assert len(one) == len(three)
