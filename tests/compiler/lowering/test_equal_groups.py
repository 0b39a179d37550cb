"""Groups that are alike are lowered once, and each gets the kernel that it would get by itself."""

from __future__ import annotations

from typing import Any

import pytest

from mynn.compiler import pipeline
from mynn.compiler.loop_ir.format import format_kernel
from mynn.compiler.lowering import equal_groups
from mynn.compiler.lowering.base import Context
from mynn.compiler.lowering.lower import lower_group
from mynn.core.graph import Graph
from mynn.target.target import host
from mynn.transform.grad import grad
from tests.fuzz import native
from tests.helpers import f32, graph_of


def deep(layers: int) -> Graph:
    """The gradients of a deep network whose layers are alike."""

    def loss(x: Any, *weights: Any) -> Any:
        for weight in weights:
            x = (x @ weight).tanh()
        return x.sum()

    def gradients(*values: Any) -> Any:
        return grad(loss, argnums=tuple(range(1, layers + 1)))(*values)

    return graph_of(gradients, f32(12, 24), *(f32(24, 24) for _ in range(layers)))


def lowered_kinds(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a group of the graph is lowered."""
    count = 0

    def counted(name: str, context: Context) -> Any:
        nonlocal count
        count += 1
        return lower_group(name, context)

    monkeypatch.setattr(equal_groups, "lower_group", counted)
    pipeline.lower(graph, host(), check=True)
    return count


def test_lowerings_do_not_grow_with_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lowered_kinds(deep(6), monkeypatch) == lowered_kinds(deep(12), monkeypatch) < 10


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", [kind for kind in native.KINDS if kind != "loops"])
def test_instances_are_what_lowering_gives(kind: str) -> None:
    """In random graphs, letter by letter, with the buffers of each group; a scan or a while loop is
    no group that is lowered by itself.
    """
    programs = [p for seed in range(25) if (p := native.KINDS[kind](seed)) is not None]
    graphs = [(p.graph, {p.graph.inputs[at]: k for at, k in p.writes.items()}) for p in programs]
    instances = 0
    for graph, writes in [*graphs, (deep(5), {})]:
        made = pipeline.lower(graph, host(), writes)
        places = made.places.of
        for number, group in enumerate(made.fusion.groups):
            name = f"k{number}"
            kernel = next(k for k in made.kernels if k.name == name)
            alone = lower_group(name, Context(group, places, places, host(), name))
            assert format_kernel(kernel) == format_kernel(alone)
            assert (kernel.operations, kernel.nbytes) == (alone.operations, alone.nbytes)
            instances += kernel.template is not None
    assert instances


@pytest.mark.parametrize("split", [False, True])
def test_instances_are_written_out_when_somebody_reads_them(split: bool) -> None:
    """What is known of the first of them is enough to share them, and to emit their code."""
    made = pipeline.finish(pipeline.lower(deep(12), host()), split)
    assert made.text
    instances = [k for k in (*made.plan.kernels, *made.kernels) if k.template is not None]
    assert len(instances) >= 12
    assert not [k.name for k in instances if "body" in vars(k)]
