"""Split kernels without threads: the workers one after the other, in the most unlucky order.

Between two barriers each worker may be ahead of every other one. So one after the other runs all
kernels up to the next barrier: first the last worker, or first the first one. A missing barrier, or
a loop whose rounds depend on each other, gives other bits than a run without workers.
"""

from __future__ import annotations

import ctypes
from unittest import mock

import numpy as np

from mynn.compiler import pipeline
from mynn.compiler.parallel import barriers, split
from mynn.compiler.parallel.footprint import Footprints
from mynn.core.types import Array
from mynn.runtime.artifact import make_artifact
from mynn.runtime.binding import bind
from mynn.runtime.llvm_jit import build
from mynn.target.storage import allocate_strided, dense_strides
from mynn.target.target import Target
from tests.fuzz.programs import Program
from tests.helpers import same_bits


def split_problems(program: Program, target: Target, dense: bool = False) -> list[str]:
    """Where a split run differs from a run by one worker; `dense`: with nothing between the rows of
    arguments and results.
    """
    graph = program.graph
    writes = {graph.inputs[place]: output for place, output in program.writes.items()}
    strides = dense_strides if dense else None
    given = {node: strides(node.shape) for node in graph.inputs} if strides else {}
    wanted = {n: strides(x.shape) for n, x in enumerate(graph.outputs)} if strides else {}
    lowered = pipeline.lower(graph, target, writes, given, wanted=wanted)
    with mock.patch.object(split, "SMALL", 0):
        made = pipeline.finish(lowered, split=True)
    kernels = made.kernels
    # Seen from outside, so that each can be called.
    text = made.text
    for kernel in kernels:
        text = text.replace(f"define internal void @{kernel.name}(", f"define void @{kernel.name}(")
    native = build(text, target)
    turns = barriers.list_schedule(kernels, Footprints(lowered.plan.location))

    def run(workers: int, backwards: bool) -> list[Array]:
        memory = [
            allocate_strided(x.shape, x.dtype, lowered.places.of[x].strides) for x in graph.inputs
        ]
        for place, value in zip(memory, program.arguments, strict=True):
            place[...] = value
        artifact = make_artifact(lowered.plan, lowered.table, graph.inputs, workers)
        table, outputs, keep = bind(artifact, memory)
        order = range(workers - 1, -1, -1) if backwards else range(workers)
        for phase in barriers.barrier_intervals(turns, workers):
            for worker in order:
                for kernel in phase:
                    kinds = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
                    native.function(kernel.name, *kinds)(table.ctypes.data, worker, workers)
        del keep
        return [np.array(value) for value in [*outputs, *memory]]

    expected = run(1, backwards=False)
    problems = []
    for workers, backwards in ((2, True), (2, False), (3, False), (4, True), (7, True)):
        got = run(workers, backwards)
        for place, (a, b) in enumerate(zip(got, expected, strict=True)):
            if not same_bits(a, b):
                problems.append(f"{workers} workers, backwards {backwards}: value {place} differs")
    return problems
