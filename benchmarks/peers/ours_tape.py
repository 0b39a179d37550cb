"""Us, where eager calls are recorded and what repeats becomes a program: `mynn.eager("tape")`."""

from __future__ import annotations

import mynn
from benchmarks import ours
from benchmarks.loops import Program


def program(name: str, threads: int = 1, compared: bool = False) -> Program:
    """A loop on the tape; the whole process records from now on."""
    found = ours.program(name, threads, compared)
    mynn.eager("tape")
    return found
