"""Programs run in threads that have hardly any stack."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: object) -> str:
    """What a process of its own prints: too much on the stack is the end of it."""
    words = [sys.executable, "-X", "faulthandler", "-m", "tests.runtime.small_stacks"]
    result = subprocess.run(
        [*words, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("threads", "count"), [(1, 2), (3, 9)])
def test_works_in_small_threads(threads: int, count: int) -> None:
    """The networks that are timed, trained in the native loop."""
    assert run("works", threads).count("done") == count


@pytest.mark.wide
@pytest.mark.one_in(3)
@pytest.mark.parametrize("threads", [1, 4])
def test_long_sums_in_small_threads(threads: int) -> None:
    """Columns of the operands are copied side by side: as many rows as the sum has terms."""
    assert run("shapes", threads).count("done") == 8
