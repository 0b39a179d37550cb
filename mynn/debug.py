"""One ladder of debug output, on standard error: `MYNN_DEBUG=0..7` (docs/debugging.md).

1  a line for each program: kernels, operations, bytes, milliseconds of each stage; once, why eager
   calls gain nothing
2  the graph as it was traced
3  the graph after simplification, and the kernels
4  the kernels in the loop IR
5  LLVM IR as it was generated
6  LLVM IR after LLVM's passes
7  machine code

Each level prints what those below it print. Names of the compiler's passes in place of the number,
with commas between them, print what comes out of these: `MYNN_DEBUG=split_k,fuse`.

`MYNN_CHECK=1` runs the verifiers between the passes, and takes no program from the cache on disk,
so that there are passes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from mynn.base.environment import reader
from mynn.errors import ArgumentError

LEVELS = 7
WIDTH = 78
_wanted = reader("MYNN_DEBUG")
_checking = reader("MYNN_CHECK")


def level() -> int:
    """What `MYNN_DEBUG` says; 0 where it is not set.

    Raises:
        ArgumentError: it is no number from 0 to 7.
    """
    text = _wanted()
    if not text:
        return 0
    if stages():
        return 0
    if not text.isdecimal() or int(text) > LEVELS:
        raise ArgumentError(f"MYNN_DEBUG must be a number from 0 to {LEVELS}, it is {text!r}")
    return int(text)


def stages() -> list[str]:
    """The passes of the compiler that `MYNN_DEBUG` names, where it is no number."""
    names = (_wanted() or "").split(",")
    return names if all(name.isidentifier() for name in names) else []


def checking() -> bool:
    """Whether `MYNN_CHECK` asks for the verifiers."""
    text = _checking()
    return text is not None and text.lower() not in ("", "0", "off", "false", "no")


def silent() -> bool:
    """Whether neither variable asks for anything."""
    return not _wanted() and not checking()


def say(*lines: str) -> None:
    """Print lines on standard error, where there is one: it may be None, or closed."""
    if sys.stderr is not None and not sys.stderr.closed:
        print(*lines, sep="\n", file=sys.stderr, flush=True)


def show(least: int, title: str, text: Callable[[], str]) -> None:
    """Print `text()` under a heading, from level `least` on."""
    if level() >= least:
        section(title, text())


def section(title: str, text: str) -> None:
    """Print text under a heading."""
    say(f"-- {title} ".ljust(WIDTH, "-"), text)


def report(what: str, seconds: Mapping[str, float]) -> None:
    """The line of level 1: what was made, and the milliseconds of each stage."""
    if level() >= 1:
        stages = ", ".join(f"{stage} {1e3 * s:.1f}" for stage, s in seconds.items())
        say(f"mynn: {what}; ms: {stages}")
