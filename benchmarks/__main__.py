"""Us beside our peers: `python -m benchmarks --work W1 --threads 1,2 --rounds 7 --verify`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import limits
from benchmarks.best import bests
from benchmarks.peers import DIFFERENTIATORS, PREDICTORS, TRAINERS
from benchmarks.process import ROOT, cores, keep_to
from benchmarks.rows import NAMES, Disagreement, Options, Row, about, measure
from benchmarks.table import show


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--work", default="all", help=f"all, or some of {','.join(NAMES)}")
    parser.add_argument("--peers", default="", help=f"only these of {','.join(_peers())}")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, a row for each")
    parser.add_argument("--rounds", type=int, default=7, help="blocks of each peer, in turn")
    parser.add_argument("--block-ms", type=float, default=50, help="least length of a block")
    parser.add_argument("--verify", action="store_true", help="first compare everybody's results")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench.json")
    arguments = parser.parse_args()
    arguments.work = NAMES if arguments.work == "all" else arguments.work.split(",")
    arguments.peers = tuple(arguments.peers.split(",")) if arguments.peers else ()
    for name in arguments.work:
        if name not in NAMES:
            parser.error(f"no work is called {name!r}; there are {', '.join(NAMES)}")
    for name in arguments.peers:
        if name not in _peers():
            parser.error(f"no peer is called {name!r}; there are {', '.join(_peers())}")
    arguments.threads = tuple(int(number) for number in arguments.threads.split(","))
    if min(arguments.threads) < 1:
        parser.error("--threads must be at least 1")
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    return arguments


def _peers() -> list[str]:
    return list(dict.fromkeys([*TRAINERS, *PREDICTORS, *DIFFERENTIATORS]))


def _beside(out: Path) -> Path:
    """build/bench.json -> build/bench-best.json"""
    return out.with_name(f"{out.stem}-best{out.suffix}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Measure, print the table, write the JSON; 1 where a result is wrong or ours is missing."""
    arguments = _arguments()
    threads = tuple(number for number in arguments.threads if number <= len(cores()))
    if threads != arguments.threads:
        _say(f"there are {len(cores())} cores: no rows of more threads")
    keep_to(1)
    options = Options(
        rounds=arguments.rounds,
        block=arguments.block_ms / 1000,
        verify=arguments.verify,
        peers=arguments.peers,
        peak=limits.peak(),
        threads=threads,
        say=_say,
    )
    _say(f"peak of one core: {options.peak / 1e9:.0f} GF/s")
    rows: list[Row] = []
    try:
        for name in arguments.work:
            _say(f"{name}: {about(name)}")
            rows += measure(name, options)
    except Disagreement as wrong:
        _say(str(wrong))
        return 1
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    best = bests(rows)
    for path, lines in ((arguments.out, rows), (_beside(arguments.out), best)):
        path.write_text(json.dumps([line.as_json() for line in lines], indent=2) + "\n")
    show(rows, best)
    wanted = not arguments.peers or "ours" in arguments.peers
    return 1 if wanted and any(row.ours_us is None for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
