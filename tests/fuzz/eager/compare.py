"""Runs of one program, compared; a smaller program for what fails.

By hand, for seeds 0 to 99:

    python -m tests.fuzz.eager.compare 0 100
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from tests.fuzz.eager.backends import SKIPPED, Mynn
from tests.fuzz.eager.generator import program
from tests.fuzz.eager.statements import Log, Program, smaller, with_looks
from tests.fuzz.training import pytorch

# A float32 value may be off by so many times what "at once" is off the same program in float64,
# and so much in units of the largest number it is compared with; a float64 value by that alone.
TIMES, SINGLE, DOUBLE, TINY = 30.0, 1e-4, 1e-7, 1e-6
# Programs with other numbers that a difference is looked for in: one alone may lie at a kink.
OTHERS = (1, 2)


def run(program: Program, how: str) -> Log:
    """The log of a program: "at once", "tape", with "looks", or "PyTorch"."""
    if how == "PyTorch":
        from tests.fuzz.eager.backend_torch import Torch

        return Torch(program).run()
    mode, _, looks = how.partition(", ")
    return Mynn(with_looks(program, program.seed) if looks else program, mode).run()


@lru_cache(maxsize=16)
def _at_once(program: Program) -> Log:
    return run(program, "at once")


def ways(program: Program) -> list[str]:
    """How a program is run, besides at once."""
    found = ["at once, looks"] if program.seed % 4 == 0 else []
    found += ["tape", "tape, looks"]
    if not program.draws and pytorch() is not None:
        found.append("PyTorch")
    return found


def program_problems(program: Program, only: list[str] | None = None) -> list[str]:
    """What is wrong with a program; empty where all agree."""
    found = []
    for how in ways(program):
        if only is not None and how not in only:
            continue
        problem = _problem(program, how)
        if problem and all(_problem(replace(program, data=data), how) for data in OTHERS):
            found.append(f"{how}: {problem}")
    return found


def _problem(program: Program, how: str) -> str:
    try:
        expected, got, exact = _at_once(program), run(program, how), None
        foreign = how == "PyTorch"
        found = first_difference(got, expected, program, None, foreign)
        if found and program.dtype == "float32":
            exact = _at_once(replace(program, dtype="float64"))
            found = first_difference(got, expected, program, exact, foreign)
        return found
    except Exception:
        return traceback.format_exc(limit=-4)


def first_difference(
    got: Log, expected: Log, program: Program, exact: Log | None = None, foreign: bool = False
) -> str:
    """The first entry that differs; "" where none does. `foreign`: errors have other types."""
    dtype, compiled = program.dtype, "\n@" in program.text
    for place, (a, b) in enumerate(zip(got, expected, strict=False)):
        if SKIPPED in a[1:4]:
            continue
        if a[1] == b[1] == "raised":
            if foreign and ("modified" in (a[2], b[2]) or compiled):
                return ""  # other values are kept; what is traced changes nothing where it raises
            if foreign or a[2] == b[2]:
                continue
        again = not foreign and "self.kept = h" in program.text
        if again and a[1] == "raised" and "modified by an inplace operation" in a[3]:
            return ""  # for a graph from before an update it cannot: parameters are others
        with_array = isinstance(a[-1], np.ndarray) and isinstance(b[-1], np.ndarray)
        end = -1 if with_array else None
        if a[1:end] != b[1:end]:
            if foreign and a[1] == "raised" and (a[2] == "modified" or "numpy.ndarray" in a[3]):
                return ""  # or an array stands where PyTorch wants a tensor
            if foreign and a[1] == "raised" and "a leaf Variable that requires grad" in a[3]:
                return ""  # PyTorch says so of a view whose base got a history through another one
            if foreign and a[1] == "raised" and "A view was created in no_grad mode" in a[3]:
                return ""  # which PyTorch finds ambiguous
            if foreign and a[1] == "raised" and "the input tensor and the written-to" in a[3]:
                return ""  # what is written overlaps with what is read
            if foreign and {a[1], b[1]} == {"array", "tensor"}:
                continue
            if foreign and a[1] == "tensor" and a[5:7] == (True, True):
                continue  # PyTorch says so of a view that was made under no_grad
            viewed = foreign and "no_grad" in program.text
            if viewed and b[1] == "raised" and "nothing that this tensor was" in b[3]:
                return ""  # the same, where a gradient is asked for
            if foreign and a[:5] == b[:5] and (a[5:7], b[5:7]) == ((True, False), (False, True)):
                return ""  # and so it does of what is computed from such a view
            return f"got {_about(a)}; instead of {_about(b)}"
        if with_array:
            other = exact[place][-1] if exact is not None and place < len(exact) else None
            problem = _off(a[-1], b[-1], dtype, exact is not None, other)
            if problem:
                return f"{_about(b)}: {problem}"
    return "" if len(got) == len(expected) else f"{len(got)} entries instead of {len(expected)}"


def _about(entry: tuple[Any, ...]) -> str:
    rest = entry[:-1] if isinstance(entry[-1], np.ndarray) and entry[-1].size > 4 else entry
    return f"line {entry[0]}, " + ", ".join(map(str, rest[1:]))


def _off(a: Any, b: Any, dtype: str, known: bool, exact: Any) -> str:
    if b.dtype.kind != "f":
        return "" if np.array_equal(a, b) else f"{a} instead of {b}"
    size = float(np.abs(b[np.isfinite(b)]).max(initial=0))
    off = _distance(a, b)
    most = SINGLE * size + TINY if dtype == "float32" else DOUBLE * size + 1e-10
    if off <= most:
        return ""
    if known:
        if not isinstance(exact, np.ndarray) or exact.shape != b.shape:
            return ""  # in float64 the program goes another way
        most += TIMES * _distance(b, exact)
    return "" if off <= most else f"off by {off:.3g}, {most:.3g} is usual, {size:.3g} the largest"


def _distance(a: Any, b: Any) -> float:
    """The largest difference; equal infinities and NaN in both are none."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        off = np.where(same, 0, np.abs(a - b))
    return float(np.where(np.isnan(off), np.inf, off).max(initial=0))


# -- making a failure smaller ----------------------------------------------------------------------


def signature(problems: list[str]) -> set[str]:
    """What is wrong in which ways, without numbers and names."""
    found = set()
    for problem in problems:
        how, _, rest = problem.partition(": ")
        kind = "off" if ": off by" in rest else " ".join(rest.split(",")[1:2])
        found.add(f"{how}: {kind}")
    return found


def shrunk(program: Program, fails: Callable[[Program], bool], seconds: float = 60) -> Program:
    """A smaller program that still fails."""
    end = time.monotonic() + seconds
    again = True
    while again:
        again = False
        for statements in smaller(program.statements):
            if time.monotonic() > end:
                return program
            candidate = replace(program, statements=statements)
            if fails(candidate):
                program, again = candidate, True
                break
    return program


def program_report(program: Program, problems: list[str]) -> str:
    """The failure and a smaller program that fails too."""
    ways = [min(problems, key=len).partition(": ")[0]]
    wanted = signature(program_problems(program, ways))
    small = shrunk(program, lambda one: signature(program_problems(one, ways)) == wanted)
    lines = [f"eager program {program.seed}", *problems, "smaller:"]
    return "\n".join([*lines, *program_problems(small, ways), str(small)])


def show_problems(program: Program) -> None:
    """Print what is wrong, for programs that were printed."""
    print("\n".join(program_problems(program)) or "all agree")


def main() -> int:
    """Run seeds first, first + 1... and print what fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.eager.compare")
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int, nargs="?", default=1)
    parser.add_argument("--ways", nargs="*", help="such as 'tape' or 'PyTorch'; all")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="the longest time")
    parser.add_argument("--print", action="store_true", help="print the programs")
    given = parser.parse_args()
    failed, count = [], 0
    start = time.monotonic()
    for seed in range(given.first, given.first + given.count):
        if time.monotonic() - start > given.seconds:
            break
        one, count = program(seed), count + 1
        if given.print:
            print(one.text)
        problems = program_problems(one, given.ways)
        if problems:
            failed.append(seed)
            print(program_report(one, problems), flush=True)
    spent = time.monotonic() - start
    print(f"{len(failed)} of {count} programs failed: {failed}; {spent:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
