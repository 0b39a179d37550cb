"""The table of single operations: what is measured means the same in both toolboxes."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest

import mynn
from benchmarks import operations
from benchmarks.operations import OPERATIONS, Row, table


@pytest.mark.parametrize("name", OPERATIONS)
def test_both_compute_the_same(name: str) -> None:
    torch = pytest.importorskip("torch")
    inputs, operation = OPERATIONS[name]
    arrays = inputs(np.random.default_rng(0), 2000)
    if name == "scatter":  # which of several values is kept is not said
        arrays[1] = np.random.default_rng(0).permutation(2000)
    expected = operation(torch, *map(torch.from_numpy, arrays))
    compiled = mynn.compile(functools.partial(operation, mynn), backend="interpreter")
    got = compiled(*arrays)
    pairs = zip(got, expected, strict=True) if isinstance(got, list) else [(got, expected)]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=2e-4, atol=2e-5)


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
