"""Two trainings of ours at once on the cores there are: `python -m benchmarks.processes`.

Each is a process with threads="auto". Alone, one after the other, and both at once in turn; prints
the time of both at once over that of one after the other, and writes build/processes.json. At most
1 says that they do not stand in each other's way.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.process import ROOT, Peer, Task, cores, keep_to

WORKS = ("W4", "W6")


def at_once(peers: list[Peer]) -> float:
    """Seconds until a block of everybody, begun at the same time, has ended."""
    start = perf_counter()
    for peer in peers:
        peer.send(do="train", epochs=peer.scale)
    for peer in peers:
        peer.receive()
    return perf_counter() - start


def summary(names: list[str], alone: list[list[float]], together: list[float]) -> dict[str, object]:
    """Medians: seconds of each alone (by round), their sum, and of both at once."""
    each = {
        name: median(times) for name, times in zip(names, zip(*alone, strict=True), strict=True)
    }
    after = sum(each.values())
    both = median(together)
    return {
        "alone_s": each,
        "one_after_the_other_s": after,
        "at_once_s": both,
        "slowdown": both / after,
    }


def main() -> int:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a block, alone")
    parser.add_argument("--cores", type=int, default=min(2, len(cores())))
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "processes.json")
    arguments = parser.parse_args()
    keep_to(arguments.cores)
    peers = [Peer(Task("train", work, "auto"), "ours") for work in WORKS]
    try:
        for peer in peers:
            peer.calibrate(arguments.seconds)
        alone, together = [], []
        for _ in range(arguments.rounds):
            alone.append([at_once([peer]) for peer in peers])
            together.append(at_once(peers))
    finally:
        for peer in peers:
            peer.close()
    found = {"cores": arguments.cores, **summary(list(WORKS), alone, together)}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=2) + "\n")
    for name, seconds in found["alone_s"].items():
        print(f"{name} alone: {seconds:.2f} s")
    print(f"one after the other: {found['one_after_the_other_s']:.2f} s")
    print(f"both at once: {found['at_once_s']:.2f} s, x{found['slowdown']:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
