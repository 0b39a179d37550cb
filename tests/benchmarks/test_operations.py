"""The table of single operations: what is measured means the same in both toolboxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import mynn
from benchmarks import operations
from benchmarks.operations import OPERATIONS, WITH_PLACES, Row, table


@pytest.mark.parametrize("name", OPERATIONS)
def test_both_compute_the_same(name: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, i = rng.normal(size=50).astype(np.float32), rng.permutation(50)
    arrays = (x, i) if name in WITH_PLACES else (x,)
    expected = OPERATIONS[name](*map(torch.from_numpy, arrays)).numpy()
    got = mynn.compile(OPERATIONS[name], backend="interpreter")(*arrays)
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6)


def test_the_table_has_a_line_for_each() -> None:
    text = table(
        [Row("exp", 10, 2.0, 4.0), Row("exp", 100, 4.0, 2.0), Row("sum", 10, 1.0, 1.0)][:2]
    )
    assert text.splitlines()[1].split() == ["exp", "2.00", "0.50"]


def test_rows_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(operations, "keep_to", lambda count: None)
    out = tmp_path / "a" / "operations.json"
    options = ["--names=x + 1", "--sizes=10", "--rounds=1", "--block-ms=0.1", f"--out={out}"]
    monkeypatch.setattr("sys.argv", ["operations", *options])
    threads = operations_threads()
    try:
        assert operations.main() == 0
    finally:
        restore_threads(threads)
    (row,) = json.loads(out.read_text())
    assert row["name"] == "x + 1"
    assert row["ours_us"] > 0


def operations_threads() -> int:
    torch = pytest.importorskip("torch")
    return int(torch.get_num_threads())


def restore_threads(count: int) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(count)
