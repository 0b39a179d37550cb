"""Programs that run as AArch64 code: `python -m tests.target.arm --seeds 200` runs and reports all.

Each is held against the interpreter as native code of this machine is; and, where this machine is
an x86 with multiply-adds, against code for vectors of 16 bytes and 32 registers, which has the same
loop IR and must give the same bits.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.ours import Trainer
from benchmarks.works import WORKS, work_named
from mynn.compiler import pipeline
from mynn.compiler.codegen import math
from mynn.compiler.parallel import split
from mynn.core import interpreter
from mynn.core.graph import Graph, Node, apply, input_node
from mynn.core.primitive import Primitive
from mynn.core.types import Array, Type
from mynn.jit import stage
from mynn.ops import PRIMITIVES, elementwise, special
from mynn.target.target import Target, host, named
from tests.compiler.harness import Case
from tests.compiler.lowering.test_schedules import KINDS
from tests.compiler.test_primitives import DTYPES, SPECIAL, variants
from tests.fuzz.programs import ROUNDINGS, differences, gradient, plain, stateful
from tests.helpers import random_arrays, same_bits
from tests.target import foreign

ARM = named("aarch64")
# Roundings by which a function and NumPy's may differ.
FEW = 8


@dataclass
class Check:
    """A program with its arguments.

    `single`: each number may be off by a few of its own roundings, not of the largest one's.
    """

    name: str
    case: Case
    arguments: list[Array]
    single: bool = False


@dataclass
class Report:
    """What came of some checks.

    - `worst`: the largest difference from the interpreter, in roundings of the largest number of a
      result; `held`: programs whose difference is larger, but not against what the interpreter is
      off in float32.
    - `same`: programs with the bits of x86.
    """

    programs: int = 0
    worst: float = 0.0
    held: int = 0
    same: int = 0
    problems: list[str] = field(default_factory=list)


def twin() -> Target | None:
    """A target of this machine with the vectors and registers of AArch64, where it has one."""
    here = host()
    if not (here.is_x86 and here.has_fma):
        return None
    return replace(here, vector_bytes=ARM.vector_bytes, vector_registers=ARM.vector_registers)


def examine(checks: list[Check], workers: int = 0) -> Report:
    """Run them all in one process."""
    cases = [(check.case, check.arguments) for check in checks]
    with tempfile.TemporaryDirectory() as folder:
        found = foreign.outputs(cases, Path(folder), workers=workers)
    report = Report()
    for check, got in zip(checks, found, strict=True):
        with np.errstate(all="ignore"):
            _examine_one(report, check, got)
    return report


def _examine_one(report: Report, check: Check, got: list[Array]) -> None:
    case = check.case
    expected = interpreter.evaluate(case.graph, check.arguments)
    got = got[: len(expected)]  # without the status word
    wrong = differences(case.graph, check.arguments, got, expected)
    report.programs += 1
    if check.single:
        off = max(map(_ulps, got, expected))
        wrong += [f"off by {off} roundings"] if off > FEW else []
    else:
        off = max(map(functools.partial(_roundings, case.graph), got, expected))
    if off <= ROUNDINGS:
        report.worst = max(report.worst, off)
    else:
        report.held += not wrong
    target = twin()
    if target is not None:
        other = Case(case.graph, case.writes, case.layouts, target)
        if str(other.lowered.kernels) != str(case.lowered.kernels):
            wrong.append("the loop IR differs from that for x86")
        same = all(map(same_bits, got, other.native(check.arguments)[: len(got)]))
        report.same += same
        if not same and not _calls_libm(case):
            wrong.append("the bits are not those of x86")
    report.problems += [f"{check.name}: {line}" for line in wrong]


def _calls_libm(case: Case) -> bool:
    """Whether float64 comes from the C library, of which each processor has its own."""
    wide = {node.primitive.name for node in case.graph.nodes() if node.dtype == np.float64}
    text = pipeline.finish(case.lowered).text
    return any(f"@{name}(" in text for name in wide.intersection(math.OPS))


def _ulps(a: Array, b: Array) -> float:
    """The largest difference of normal numbers, each in its own roundings."""
    info = np.finfo(a.dtype)
    normal = np.isfinite(a) & np.isfinite(b) & (np.abs(b) >= info.tiny)
    return float((np.abs(a[normal] / b[normal] - 1) / info.eps).max(initial=0))


def _roundings(graph: Graph, a: Array, b: Array) -> float:
    """The largest difference of finite numbers."""
    if a.dtype.kind != "f":
        return 0.0
    narrow = any(node.dtype == np.float32 for node in graph.nodes())
    eps = float(np.finfo(np.float32 if narrow else np.float64).eps)
    finite = np.isfinite(a) & np.isfinite(b)
    size = max(1.0, float(np.abs(b[finite]).max(initial=0)))
    return float(np.abs(a[finite] - b[finite]).max(initial=0)) / (size * eps)


# -- sets of programs ------------------------------------------------------------------------------


def functions(dtype: str, count: int) -> Iterator[Check]:
    """Every function of `codegen/math` over many values, and special ones."""
    rng = np.random.default_rng(0)
    tops = {"exp": 90.0, "expm1": 90.0, "logistic": 90.0, "tanh": 12.0, "erf": 5.0}
    for op in math.OPS:
        primitive = getattr(elementwise, op, None) or getattr(special, op)
        arity = 1 if op in math.UNARY_OPS else 2
        lists = []
        for _ in range(arity):
            near = rng.uniform(-1, 1, count) * tops.get(op, 30.0)
            far = np.exp(rng.uniform(-60, 25, count)) * rng.choice([-1, 1], count)
            lists.append(np.concatenate([near, far, [x for x in SPECIAL if not abs(x) > 1e12]]))
        if arity == 2:
            lists = [np.abs(lists[0]), np.clip(lists[1], -8, 8)]
        arrays = [np.asarray(values, dtype) for values in lists]
        nodes = [input_node(Type.of(array)) for array in arrays]
        graph = Graph(tuple(nodes), (apply(primitive, *nodes),))
        yield Check(f"{op} of {dtype}", Case(graph, target=ARM), arrays, single=True)


def primitives(*dtypes: str, only: Iterable[Primitive] = PRIMITIVES) -> Iterator[Check]:
    """The samples of every primitive in each of these dtypes that it takes."""
    for primitive in only:
        nodes: list[Node] = []
        outputs: list[Node] = []
        arrays: list[Array] = []
        for sample in [one for dtype in dtypes for one in variants(primitive, np.dtype(dtype))]:
            inputs = [input_node(Type.of(array)) for array in sample.arrays]
            nodes += inputs
            arrays += sample.arrays
            outputs.append(apply(primitive, *inputs, **sample.params))
        if outputs:
            yield Check(
                primitive.name, Case(Graph(tuple(nodes), tuple(outputs)), target=ARM), arrays
            )


def schedules(*sizes: int) -> Iterator[Check]:
    """Every kind of schedule, at some sizes."""
    for name, kind in KINDS.items():
        for n in sizes:
            case = kind.case(n, ARM)
            yield Check(f"{name}, {n}", case, random_arrays(case.graph))


def graphs(kind: Callable[[int], Any], seeds: range) -> Iterator[Check]:
    """Random graphs."""
    for seed in seeds:
        program = kind(seed)
        if program is not None:
            writes = {program.graph.inputs[k]: out for k, out in program.writes.items()}
            case = Case(program.graph, writes, target=ARM)
            yield Check(f"{kind.__name__} {seed}", case, program.arguments)


def work(name: str) -> Check:
    """A training step of a work."""
    trainer = Trainer(work_named(name))
    batch = [array[: trainer.work.batch] for array in trainer.data]
    staged = stage.stage(trainer._step.function, tuple(batch))
    state = [tensor.to_native() for tensor in staged.state]
    layouts = {
        node: tuple(step // array.itemsize for step in array.strides)
        for node, array in zip(staged.state_nodes, state, strict=True)
    }
    case = Case(staged.graph, dict(staged.writes), layouts, ARM)
    return Check(name, case, [*batch, *(np.array(array) for array in state)])


# -- all of them -----------------------------------------------------------------------------------


def main(seeds: int) -> int:
    """Run everything, print a line for each set; the number of problems."""
    if foreign.missing():
        print(f"skipped: {foreign.missing()}")
        return 0
    sets: dict[str, tuple[Callable[[], list[Check]], int]] = {
        "functions of float32": (lambda: list(functions("float32", 100_000)), 0),
        "functions of float64": (lambda: list(functions("float64", 50_000)), 0),
        "primitives": (lambda: list(primitives(*DTYPES)), 0),
        "schedules": (lambda: list(schedules(1, 5, 16, 17, 33)), 0),
    }
    for kind in (plain, gradient, stateful):
        make = functools.partial(graphs, kind, range(seeds))
        sets[f"random graphs, {kind.__name__}"] = (lambda make=make: list(make())), 0
        sets[f"random graphs, {kind.__name__}, 3 threads"] = (lambda make=make: list(make())), 3
    for one in WORKS[:8]:
        sets[f"step of {one.name}"] = functools.partial(_one, one.name), 0
        sets[f"step of {one.name}, 2 threads"] = functools.partial(_one, one.name), 2
    total = Report()
    print(f"{'':36} programs  worst error  more, held  bits of x86    time")
    for name, (make_checks, workers) in sets.items():
        start = time.perf_counter()
        with mock.patch.object(split, "SMALL", 0 if workers else split.SMALL):
            report = examine(make_checks(), workers)
        took = time.perf_counter() - start
        print(
            f"{name:36} {report.programs:8} {report.worst:8.1f} eps {report.held:11} "
            f"{report.same:12} {took:6.1f} s",
            flush=True,
        )
        for line in report.problems:
            print(f"  {line}", flush=True)
        total.programs += report.programs
        total.worst = max(total.worst, report.worst)
        total.problems += report.problems
    print(f"{total.programs} programs, {len(total.problems)} problems")
    return len(total.problems)


def _one(name: str) -> list[Check]:
    return [work(name)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="random graphs of each kind")
    sys.exit(min(main(parser.parse_args().seeds), 1))
