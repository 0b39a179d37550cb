"""Results of a tiny reproduction, trained once for all tests of this folder."""

from __future__ import annotations

import pytest

from mynn.report.experiments.runs import Settings, run_all


@pytest.fixture(scope="session")
def trained():
    """The results, and what was said while they were made."""
    told = []
    return run_all(Settings(samples=2, epochs=3, seed=1), told.append), told


@pytest.fixture(scope="session")
def tiny(trained):
    return trained[0]
