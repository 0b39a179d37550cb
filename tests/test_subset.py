"""`make test` runs a part of the cases, but leaves out none of what there is (`tests.subset`)."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from mynn.ops import PRIMITIVES
from tests import subset
from tests.registry import FUNCTIONS, MODULES, OPTIMIZERS

ROOT = Path(__file__).parent.parent
LAYERS = {entry.name for entry in MODULES if not entry.alike}
# For each table what it is about: all of it occurs, with whatever backend or dtype.
TABLES: dict[str, set[str]] = {
    "tests/ops/test_primitives.py::test_shape_rule_is_what_numpy_gives": {
        primitive.name for primitive in PRIMITIVES
    },
    "tests/ops/test_primitives.py::test_any_strides_will_do": {
        primitive.name for primitive in PRIMITIVES
    },
    "tests/nn/test_conformance.py::test_compiled": LAYERS,
    "tests/functional/test_conformance.py::test_compiled": {entry.name for entry in FUNCTIONS},
    "tests/optim/test_optimizers.py::test_traced": {entry.name for entry in OPTIMIZERS},
    "tests/optim/test_optimizers.py::test_fit": {entry.name for entry in OPTIMIZERS},
    "tests/tape/test_conformance.py::test_layers": {entry.name for entry in MODULES},
    "tests/tape/test_conformance.py::test_functions": {entry.name for entry in FUNCTIONS},
    "tests/tape/test_conformance.py::test_optimizers": {entry.name for entry in OPTIMIZERS},
    "tests/nn/test_conformance.py::test_pytorch": {e.name for e in MODULES if e.twin},
}


@pytest.fixture(scope="module")
def chosen() -> dict[str, set[str]]:
    """What the cases that run are about, for each table."""
    files = sorted({table.split("::")[0] for table in TABLES})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:xdist", *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    found: dict[str, set[str]] = defaultdict(set)
    for line in done.stdout.splitlines():
        table, _, case = line.removesuffix("]").partition("[")
        found[table].add(case.split("-")[0])
    return found


def test_choices_are_parts_and_twice_as_many_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(subset.VARIABLE, raising=False)
    mark = pytest.mark.one_in(4).mark
    some = subset.spread(40, subset.one_in(mark), "a table")
    assert some != subset.spread(40, 4, "another one")
    assert 6 < len(some) < 14
    monkeypatch.setenv(subset.VARIABLE, subset.WIDE)
    assert set(some) < set(subset.spread(40, subset.one_in(mark), "a table"))
    assert [subset.count(20, 8), subset.count(20, 15)] == [16, 20]
    assert subset.spread(3, 50, "a table") != []
    assert subset.turns(3, 50, 7) == [1]


@pytest.mark.parametrize("table", TABLES)
def test_all_entries_occur(table: str, chosen: dict[str, set[str]]) -> None:
    assert TABLES[table] <= chosen[table]
