"""`MYNN_DEBUG=1` says once why a tape gains nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mynn
from mynn import Tensor


def work(same: bool) -> None:
    """Additions that are looked at, each of another shape or not."""
    with mynn.eager("at once"), mynn.eager("tape"):
        for number in range(400):
            size = 3 if same else number + 1
            (Tensor(np.ones(size, np.float32)) + 1.0).numpy()  # a new shape


def holding(others: bool) -> None:
    """Calls of which other results are kept each time, or none."""
    with mynn.eager("at once"), mynn.eager("tape"):
        for number in range(64):
            chain = [Tensor(np.ones(3, np.float32))]
            for _ in range(6):
                chain.append(chain[-1] * 2.0)
            last = chain[-1]
            kept = [one for bit, one in enumerate(chain[:-1]) if others and number >> bit & 1]
            del chain
            last.numpy()
            del kept


@pytest.mark.parametrize("level", ["0", "1"])
@pytest.mark.parametrize("same", [True, False])
def test_calls_that_do_not_repeat(
    same: bool, level: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mynn.tape.pieces.credit.CREDIT", 100.0)  # also with --first-calls
    monkeypatch.setenv("MYNN_DEBUG", level)
    work(same)
    said = [line for line in capsys.readouterr().err.splitlines() if "one by one" in line]
    assert len(said) == (level == "1" and not same)
    if said:
        lines = Path(__file__).read_text().splitlines()
        line = next(i for i, text in enumerate(lines, 1) if "# a new shape" in text)
        assert f"{__file__}:{line}" in said[0]
        assert "(f32[" in said[0]


@pytest.mark.parametrize("others", [True, False])
def test_programs_for_each_set_of_results(
    others: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mynn.tape.pieces.piece.native_available", lambda: False)
    monkeypatch.setenv("MYNN_DEBUG", "1")
    holding(others)
    said = [line for line in capsys.readouterr().err.splitlines() if "other results" in line]
    assert len(said) == others
