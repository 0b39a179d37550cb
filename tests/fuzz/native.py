"""Runs random programs natively. By hand, for many seeds or one:

python -m tests.fuzz.native plain 0 1000
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable

import numpy as np

from mynn.compiler import pipeline
from mynn.core.graph import Graph
from mynn.core.types import Array
from mynn.jit import program as runtime
from mynn.target.storage import allocate
from mynn.target.target import host
from tests.compiler.harness import Case, dense
from tests.fuzz.compared import compared, compared_problems
from tests.fuzz.loops import loop
from tests.fuzz.programs import Program, differences, gradient, interpret, plain, shrink, stateful
from tests.fuzz.split import split_problems

STEPS = 3
KINDS: dict[str, Callable[[int], Program | None]] = {
    "plain": plain,
    "gradient": gradient,
    "stateful": stateful,
    "compared": compared,
    "split": lambda seed: stateful(seed) if seed % 2 else plain(seed),
    "dense": lambda seed: gradient(seed) if seed % 2 else plain(seed),
    "loops": loop,
}


class State:
    """A value in native storage, its axes in memory in a random order half of the time."""

    def __init__(self, value: Array, rng: np.random.Generator) -> None:
        order = tuple(int(axis) for axis in rng.permutation(value.ndim))
        self.value = allocate(value.shape, value.dtype, order if rng.random() < 0.5 else None)
        self.value[...] = value
        # What programs note of state (`mynn.base.sharing`).
        self.shared: object = None

    def to_native(self) -> Array:
        """The array that the program reads and writes."""
        return self.value


def run(program: Program, kind: str = "") -> list[list[Array]]:
    """Outputs of each step of a native program."""
    if kind == "dense" or (kind == "loops" and program.seed % 3):
        return [dense(program.graph).native(program.arguments)]
    if not program.writes:
        return [Case(program.graph).native(program.arguments)]
    graph = program.graph
    # Some of the inputs that are not written are arguments of each call, the others state.
    rng = np.random.default_rng(program.seed)
    free = [place for place in range(len(graph.inputs)) if place not in program.writes]
    arguments = [place for place in free if rng.random() < 0.5]
    state = [place for place in range(len(graph.inputs)) if place not in arguments]
    results = [k for k in range(len(graph.outputs)) if k not in program.writes.values()]
    order = [*results, *program.writes.values()]
    reordered = Graph(
        tuple(graph.inputs[place] for place in [*arguments, *state]),
        tuple(graph.outputs[k] for k in order),
    )
    writes = {graph.inputs[place]: order.index(k) for place, k in program.writes.items()}
    pipeline.lower(reordered, host(), writes, check=True)
    tensors = {place: State(program.arguments[place], rng) for place in state}
    native = runtime.Program(reordered, len(arguments), writes, [tensors[place] for place in state])
    steps = []
    for _ in range(STEPS):
        made = dict(zip(results, native([program.arguments[k] for k in arguments]), strict=True))
        for place, k in program.writes.items():
            made[k] = np.array(tensors[place].value)
        steps.append([made[k] for k in range(len(graph.outputs))])
    return steps


def problems(program: Program, kind: str = "") -> list[str]:
    """What is wrong with the native run; empty where it agrees with the interpreter."""
    if kind == "compared":
        try:
            return compared_problems(program)
        except Exception:
            return [traceback.format_exc(limit=-4)]
    if kind == "split":
        found = split_problems(program, host())
        return found if program.writes else found + split_problems(program, host(), dense=True)
    expected = interpret(program, STEPS if program.writes else 1)
    try:
        got = run(program, kind)
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
    found = problems(program, kind)
    failure = signature(found)
    small = shrink(program, lambda smaller: signature(problems(smaller, kind)) == failure)
    return "\n".join(
        [
            f"{kind} {program}",
            *found,
            "smaller:",
            str(small),
            *problems(small, kind),
            f"again: python -m tests.fuzz.native {kind} {program.seed}",
        ]
    )


def signature(found: list[str]) -> str:
    """Which failure it is: the error without its numbers, or that values differ."""
    if not found or "Traceback" not in found[0]:
        return "differ" if found else ""
    return re.sub(r"[0-9]+", "", found[0].strip().splitlines()[-1])


def main(kind: str, first: int, count: int) -> None:
    """Run seeds first, first + 1... and print what fails."""
    failed = 0
    for seed in range(first, first + count):
        program = KINDS[kind](seed)
        if program is not None and problems(program, kind):
            failed += 1
            print(report(kind, program), flush=True)
    print(f"{failed} of {count} failed")


if __name__ == "__main__":
    os.environ.setdefault("MYNN_CACHE", "0")
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
