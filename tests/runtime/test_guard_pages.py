"""Nothing is read or written outside the memory of a program, but for the slack behind it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs mprotect")
sides = pytest.mark.parametrize("side", ["start", "end"])


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A process of its own, which an access outside ends."""
    words = [sys.executable, "-X", "faulthandler", "-m", "tests.runtime.guard_pages"]
    return subprocess.run(
        [*words, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )


@linux
@sides
def test_the_pages_guard(side: str) -> None:
    assert run("outside", side).returncode == -signal.SIGSEGV


@pytest.mark.one_in(9)
@linux
@sides
@pytest.mark.parametrize(
    ("mode", "count"), [("fit", 1), ("works", 4), ("programs", 14), ("fuzz", 1)]
)
def test_nothing_is_touched_outside(mode: str, count: int, side: str) -> None:
    result = run(mode, side, *((0, 25) if mode == "fuzz" else ()))
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("done") == count
