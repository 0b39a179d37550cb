"""Short scripts in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.short import WAYS, compare, main, measure, table


def test_a_program_is_measured_in_a_new_process(tmp_path: Path) -> None:
    """The process compiles, keeps that in the cache, and says what loading took."""
    found = measure("polynomial", "mynn", 40, tmp_path)
    assert 0 < found["loaded"] < found["all"]
    assert list(tmp_path.glob("*.bin"))


def test_each_round_begins_with_an_empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []

    def measured(name: str, framework: str, steps: int, cache: Path) -> dict[str, float]:
        seen.append((framework, (cache / "entry").exists()))
        if framework == "mynn":
            (cache / "entry").touch()
        return {"loaded": 1.0, "all": 2.0 + len(seen)}

    monkeypatch.setattr("benchmarks.short.measure", measured)
    found = compare("gan", 3, rounds=2)
    assert seen == [("torch", False), ("mynn", False), ("mynn", True)] * 2
    assert [found[way]["all"] for way in WAYS] == [3.0, 4.0, 5.0]


def test_the_table_has_both_ratios() -> None:
    row = {
        "torch": {"loaded": 2.0, "all": 4.0},
        "mynn": {"loaded": 0.5, "all": 2.0},
        "mynn again": {"loaded": 0.5, "all": 1.0},
    }
    lines = table({"gan": row}).splitlines()
    assert lines[1].split() == ["gan", "4.00", "2.00", "1.00", "0.50", "0.25", "0.75", "0.25"]
    assert lines[2].split() == ["median", "0.50", "0.25", "0.75", "0.25"]


def test_unknown_programs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["gan", "nothing"])
    assert "nothing: not among" in capsys.readouterr().err


def test_loading_imports_no_mynn() -> None:
    """What is measured under PyTorch has nothing of mynn's in it."""
    code = "import benchmarks.short, sys; assert not any(m.startswith('mynn') for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
