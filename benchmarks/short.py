"""What a short script costs in a process of its own: programs written for PyTorch, under both.

    python -m benchmarks.short [NAME...] [--steps 100 300] [--rounds 3]

Each program of `examples/torch_programs` is run in new processes, in turn under PyTorch, under mynn
with an empty cache on disk, and under mynn once more, when the cache has what the first process
compiled. Times are of the processor, from the moment when NumPy is imported to the last step: the
imports of the framework, what it sets up or compiles, and the steps. "Loaded" leaves out the
program's import lines; what PyTorch imports with its first optimizer still counts. The least of
some rounds. One thread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.process import ROOT, environment
from examples.torch_programs.loading import PROGRAMS, load

WAYS = ("torch", "mynn", "mynn again")


def seconds_of(name: str, framework: str, steps: int) -> dict[str, float]:
    """Seconds of the processor in this process: until the program is loaded, and in all."""
    start = time.process_time()
    if framework == "torch":
        import torch

        torch.set_num_threads(1)
    program = load(name, framework)
    loaded = time.process_time()
    program.train(program.networks(), steps)
    return {"loaded": loaded - start, "all": time.process_time() - start}


def measure(name: str, framework: str, steps: int, cache: Path) -> dict[str, float]:
    """The same in a new process, with the cache in this folder."""
    code = "import json, sys, numpy; from benchmarks.short import seconds_of; "
    code += f"print(json.dumps(seconds_of({name!r}, {framework!r}, {steps})))"
    given = {**environment(), "MYNN_CACHE_DIR": str(cache), "MYNN_CACHE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=given, cwd=ROOT, check=True, capture_output=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(name: str, steps: int, rounds: int) -> dict[str, dict[str, float]]:
    """The least of some rounds for each of `WAYS`."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for way in WAYS:
                framework = way.split()[0]
                found[way].append(measure(name, framework, steps, Path(folder)))
    return {
        way: {key: min(each[key] for each in runs) for key in runs[0]}
        for way, runs in found.items()
    }


def table(rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """A line for each program: seconds, and mynn's over PyTorch's, in all and without imports."""
    head = ["program", *WAYS, "first", "again", "first, loaded", "again, loaded"]
    lines, columns = [head], []
    for name, row in rows.items():
        whole = [row[way]["all"] for way in WAYS]
        after = [row[way]["all"] - row[way]["loaded"] for way in WAYS]
        ratios = [part[i] / part[0] for part in (whole, after) for i in (1, 2)]
        columns.append(ratios)
        lines.append([name, *(f"{value:.2f}" for value in (*whole, *ratios))])
    middle = [f"{median(column):.2f}" for column in zip(*columns, strict=True)]
    lines.append(["median", "", "", "", *middle])
    return "\n".join("".join(f"{cell:>16}" for cell in line) for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table for each number of steps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PROGRAMS)}")
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    names = options.names or PROGRAMS
    unknown = sorted(set(names) - set(PROGRAMS))
    if unknown:
        parser.error(f"{', '.join(unknown)}: not among {', '.join(PROGRAMS)}")
    for steps in options.steps:
        rows = {}
        for name in names:
            rows[name] = compare(name, steps, options.rounds)
            print(table({name: rows[name]}).splitlines()[1], file=sys.stderr, flush=True)
        print(f"{steps} steps, seconds of the processor\n{table(rows)}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
