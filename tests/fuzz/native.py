"""Runs random programs natively. By hand, for many seeds or one:

python -m tests.fuzz.native plain 0 1000
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable

import numpy as np

from mynn.compiler import pipeline
from mynn.graph import Array, Node
from mynn.runtime.buffers import allocate
from tests.fuzz.programs import Program, differences, gradient, interpret, plain, shrink, stateful

STEPS = 3
KINDS: dict[str, Callable[[int], Program | None]] = {
    "plain": plain,
    "gradient": gradient,
    "stateful": stateful,
}


def run(program: Program) -> list[list[Array]]:
    """Outputs of each step of a native program."""
    if not program.writes:
        return [pipeline.compile_graph(program.graph)(program.arguments)]
    graph = program.graph
    writes = {graph.inputs[place]: output for place, output in program.writes.items()}
    memory: dict[Node, Array] = {}
    rng = np.random.default_rng(program.seed)
    for node, value in zip(graph.inputs, program.arguments, strict=True):
        order = tuple(int(axis) for axis in rng.permutation(len(node.shape)))
        memory[node] = allocate(node.shape, node.dtype, order if rng.random() < 0.5 else None)
        memory[node][...] = value
    layouts = {
        node: tuple(stride // array.itemsize for stride in array.strides)
        for node, array in memory.items()
    }
    lowered = pipeline.lower(graph, writes=writes, layouts=layouts, check=True)
    native = pipeline.build(pipeline.emit(lowered).text())
    pointers, outputs, keep = pipeline.bind(lowered, memory)
    results = []
    for _ in range(STEPS):
        native.function(pipeline.STEP, np.ctypeslib.ctypes.c_void_p)(pointers.ctypes.data)
        made = iter(outputs)
        new = {output: memory[graph.inputs[place]] for place, output in program.writes.items()}
        results.append(
            [
                np.array(new[place] if place in new else next(made))
                for place in range(len(graph.outputs))
            ]
        )
    del keep
    return results


def problems(program: Program) -> list[str]:
    """What is wrong with the native run; empty where it agrees with the interpreter."""
    expected = interpret(program, STEPS if program.writes else 1)
    try:
        got = run(program)
    except Exception:
        return [traceback.format_exc(limit=-4)]
    found = []
    for step, (a, b) in enumerate(zip(got, expected, strict=False)):
        found += [
            f"step {step}: {line}" for line in differences(program.graph, program.arguments, a, b)
        ]
    return found


def report(kind: str, program: Program) -> str:
    """The failure, the program, and a smaller one that fails too."""
    found = problems(program)
    kind_of_failure = _signature(found)
    small = shrink(program, lambda smaller: _signature(problems(smaller)) == kind_of_failure)
    return "\n".join(
        [
            f"{kind} {program}",
            *found,
            "smaller:",
            str(small),
            *problems(small),
            f"again: python -m tests.fuzz.native {kind} {program.seed}",
        ]
    )


def _signature(found: list[str]) -> str:
    """Which failure it is: the error without its numbers, or that values differ."""
    if not found or "Traceback" not in found[0]:
        return "differ" if found else ""
    return re.sub(r"[0-9]+", "", found[0].strip().splitlines()[-1])


def main(kind: str, first: int, count: int) -> None:
    """Run seeds first, first + 1... and print what fails."""
    failed = 0
    for seed in range(first, first + count):
        program = KINDS[kind](seed)
        if program is not None and problems(program):
            failed += 1
            print(report(kind, program), flush=True)
    print(f"{failed} of {count} failed")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
