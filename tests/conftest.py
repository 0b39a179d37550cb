"""What every test shares."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

import mynn
from mynn.base import recording
from mynn.runtime.llvm_objects import QUICK, using
from mynn.tape.pieces.trial import PATIENCE
from tests import subset
from tests.tape import first_calls

HERE = Path(__file__).parent
# Here it is native code itself that is tested, as it is shipped. Everywhere else LLVM is asked for
# code that is made four times as fast; with `--whole` it is nowhere.
NATIVE_CODE = [
    "compiler",
    "runtime",
    "target",
    "fuzz",
    "benchmarks",
    "examples",
    "report",
    "cli",
    "test_docs.py",
    "test_debug.py",
]
# Of the compiler's rooms, those whose kernels are what is tested, not what LLVM makes of them.
BEFORE_CODE = ["graph", "fusion", "memory", "rules", "lowering", "parallel"]

# What repeats on a tape is a program from the second time on.
PATIENCE.piece = PATIENCE.call = 0.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the texts in tests/golden anew"
    )
    parser.addoption(
        "--whole",
        action="store_true",
        help="all cases (tests/subset.py), and code as it is shipped",
    )
    parser.addoption(
        "--wide", action="store_true", help="twice as many cases as usual (tests/subset.py)"
    )
    parser.addoption(
        "--first-calls",
        action="store_true",
        help="what a tape records becomes a program when it comes for the first time",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--whole"):
        os.environ[subset.VARIABLE] = subset.WHOLE
    elif config.getoption("--wide"):
        os.environ[subset.VARIABLE] = subset.WIDE
    if config.getoption("--first-calls"):
        first_calls.become_programs()
    # What a shell runs in the background ignores interrupts: tests would wait for theirs for ever.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What stands in for many alike; all that is asked for by its name."""
    if any("::" in argument for argument in config.args):
        return
    left = set(subset.chosen(items))
    config.hook.pytest_deselected(items=[item for item in items if item not in left])
    items[:] = [item for item in items if item in left]


def pytest_collection() -> None:
    """The garbage collector does not look at the thousands of tests while they are made..."""
    gc.disable()


def pytest_collection_finish() -> None:
    """... nor later: they all stay."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests' cache of compiled programs is their own, and starts empty. Processes that run
    tests side by side share it: what several of them need is compiled once.
    """
    before = os.environ.get("MYNN_CACHE_DIR")
    of_this_run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        of_this_run = of_this_run.parent
    os.environ["MYNN_CACHE_DIR"] = str(of_this_run / "programs")
    yield
    if before is None:
        del os.environ["MYNN_CACHE_DIR"]
    else:
        os.environ["MYNN_CACHE_DIR"] = before


@pytest.fixture(scope="module", autouse=True)
def quick_code(request: pytest.FixtureRequest) -> Iterator[None]:
    """LLVM makes code quickly where something else than this code is tested."""
    room, *inner = request.path.relative_to(HERE).parts
    native = room in NATIVE_CODE and not {*inner} & {*BEFORE_CODE}
    shipped = native or subset.is_whole()
    with nullcontext() if shipped else using(QUICK):
        yield


@pytest.fixture(scope="module", autouse=True)
def few_objects() -> None:
    """Where tests have the garbage collector look, it looks at what the tests of their file made:
    what was there before them stays, and a look at all of it takes .1 s.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def apart(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test finds what another one has left: programs in memory, what it recorded on a tape, or
    where it left the default generator, of which the orders of `fit` come too. Those that do not
    hold where calls are recorded run where each call runs as it comes; all others begin with a new
    tape.
    """
    mynn.manual_seed(0)
    mynn.programs().clear()
    marker = request.node.get_closest_marker("at_once")
    first_calls = request.config.getoption("--first-calls")
    at_once = marker is not None and (first_calls or not marker.kwargs.get("first_calls"))
    with mynn.eager("at once"):
        if at_once:
            yield
    if not at_once:
        yield
    recording.settle()
