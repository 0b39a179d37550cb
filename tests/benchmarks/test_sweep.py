"""The sweep: its networks, and what counts as a jump between neighbours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import sweep
from benchmarks.sweep import Point, jumps, neighbours, work_of


def point(width: int, batch: int, us: float) -> Point:
    return Point(width, batch, 1000, us, 0.5)


def test_neighbours_go_along_both_axes() -> None:
    grid = [point(w, b, 1.0) for w in (16, 8, 32) for b in (4, 1)]
    found = {((a.width, a.batch), (b.width, b.batch)) for a, b in neighbours(grid)}
    assert ((8, 1), (16, 1)) in found
    assert ((16, 4), (32, 4)) in found
    assert ((32, 1), (32, 4)) in found
    assert len(found) == 4 + 3


def test_a_jump_is_more_time_per_operation_than_the_smaller_neighbour() -> None:
    assert not jumps([point(8, 1, 1.0), point(9, 1, 1.49), point(10, 1, 0.2)])
    small, large = point(8, 1, 1.0), point(9, 1, 1.51)
    assert jumps([large, small]) == [(small, large)]


def test_an_epoch_is_whole_batches() -> None:
    for batch in sweep.BATCHES:
        work = work_of(9, batch)
        assert work.steps * batch == work.samples >= sweep.SAMPLES
        assert work.sizes == (9, 9, 9, 10)


@pytest.mark.wide
def test_points_are_written_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(sweep.limits, "peak", lambda: 1e11)
    monkeypatch.setattr(sweep, "keep_to", lambda count: None)
    out, figure = tmp_path / "a" / "sweep.json", tmp_path / "sweep.png"
    options = ["--widths=8,9", "--batches=4", "--block-ms=0.1", "--blocks=1"]
    monkeypatch.setattr("sys.argv", ["sweep", *options, f"--out={out}", f"--figure={figure}"])
    assert sweep.main() in (0, 1)
    rows = json.loads(out.read_text())
    assert [(row["width"], row["batch"]) for row in rows] == [(8, 4), (9, 4)]
    assert all(row["us"] > 0 and row["share"] > 0 for row in rows)
    assert figure.read_bytes().startswith(b"\x89PNG")
