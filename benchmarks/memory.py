"""Memory of programs that run line by line: `python -m benchmarks.memory`.

Each in a process of its own, whose largest memory so far (its peak) is read:

- `steps`: how much the peak grows over 100,000 eager steps of W3, after the first 1000;
- `networks`: the same over 10,000 networks of W3, each made, trained by one step and dropped;
- `eager-networks`: the same, each trained by one eager step;
- `resnet20`: the peak of the whole process after 5 eager steps of ResNet-20.

Prints MiB, ours and PyTorch's, and writes build/memory.json.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.loops import LOOPS
from benchmarks.loops.library import Program
from benchmarks.peers import LOOPERS
from benchmarks.process import ROOT, environment, keep_to

# The loop of each measurement, how often it runs before the peak is first read, and after that.
LENGTHS = {
    "steps": ("loop-W3", 1000, 100_000),
    "networks": ("new-W3", 100, 10_000),
    "eager-networks": ("new-eager-W3", 100, 10_000),
    "resnet20": ("loop-resnet20", 5, 0),
}
PEERS = ("ours", "torch")


def peak() -> float:
    """MiB of this process at the most, until now."""
    status = Path("/proc/self/status")  # a child's usage begins with that of its parent
    if status.is_file():
        (line,) = (text for text in status.read_text().splitlines() if text.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def growth(program: Program, first: int, more: int) -> float:
    """MiB by which the peak grows over `more` steps, after the `first` ones."""
    for _ in range(first):
        program.once()
    before = peak()
    for _ in range(more):
        program.once()
    return peak() - before


def measured(name: str, peer: str, share: float) -> float:
    """A measurement in this process, of so large a share of the steps."""
    loop, first, more = LENGTHS[name]
    program = importlib.import_module(LOOPERS[peer]).program(loop, 1)
    grown = growth(program, first, int(share * more))
    return grown if more else peak()


def main() -> int:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(LENGTHS)}; all")
    parser.add_argument("--share", type=float, default=1.0, help="of the steps")
    parser.add_argument("--peer", choices=PEERS, help="measure it in this process, print MiB")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "memory.json")
    arguments = parser.parse_args()
    names = arguments.names or list(LENGTHS)
    for name in names:
        if name not in LENGTHS:
            parser.error(f"no measurement is called {name!r}; there are {', '.join(LENGTHS)}")
    if arguments.peer:
        print(measured(names[0], arguments.peer, arguments.share))
        return 0
    keep_to(1)
    rows = []
    for name in names:
        row: dict[str, object] = {"name": name, "about": LOOPS[LENGTHS[name][0]].about}
        for peer in PEERS:
            options = [name, f"--peer={peer}", f"--share={arguments.share}"]
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.memory", *options],
                cwd=ROOT,
                env=environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            row[peer] = float(done.stdout) if done.returncode == 0 else None
            shown = "cannot be had" if row[peer] is None else f"{row[peer]:.1f} MiB"
            print(f"{name}: {peer} {shown}", flush=True)
        rows.append(row)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(rows, indent=2) + "\n")
    return 1 if any(row["ours"] is None for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
