"""What every test shares."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

import mynn
from mynn.tape.trial import PATIENCE

# What repeats on a tape is a program from the second time on.
PATIENCE.piece = PATIENCE.call = 0.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the texts in tests/golden anew"
    )


def pytest_collection_finish() -> None:
    """The garbage collector looks no more at the thousands of tests, which all stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests' cache of compiled programs is their own, and starts empty."""
    before = os.environ.get("MYNN_CACHE_DIR")
    os.environ["MYNN_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["MYNN_CACHE_DIR"]
    else:
        os.environ["MYNN_CACHE_DIR"] = before


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test draws from the default generator, orders of `fit` too, is the same each time."""
    mynn.manual_seed(0)


@pytest.fixture(autouse=True)
def own_programs() -> None:
    """No test finds the programs of another one in memory."""
    mynn.programs().clear()
