"""The store of programs: equal ones are one, the least recently used go, memory stays level."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.errors import ArgumentError
from mynn.runtime.store import Limit, Store, Stored

STATM = Path("/proc/self/statm")
# How many batch sizes there are in a large run: MYNN_TEST_SIZES=10000.
SIZES = int(os.environ.get("MYNN_TEST_SIZES", "120"))


@pytest.fixture(autouse=True)
def _limit() -> Iterator[None]:
    before = mynn.programs().limit
    yield
    mynn.programs().limit = before


def ones(rows: int, columns: int = 3) -> np.ndarray:
    return np.ones((rows, columns), np.float32)


# -- equal programs are one ------------------------------------------------------------------------


def test_equal_programs_are_one() -> None:
    """Networks of one architecture, whatever their weights, share code; results are their own."""
    nets = [nn.Linear(3, 2) for _ in range(3)]
    runs = [mynn.compile(net) for net in nets]
    for net, run in zip(nets, runs, strict=True):
        np.testing.assert_allclose(run(ones(4)), net(ones(4)).numpy(), rtol=1e-5)
    codes = {run.program(ones(4)).code for run in runs}
    assert len(codes) == 1
    (info,) = mynn.programs()
    assert (info.kind, info.signature, info.hits) == ("program", "Linear(f32[4,3])", 2)
    assert info.kernels == len(runs[0].program(ones(4)).artifact.kernels)
    assert info.bytes > 1000
    assert "store" in runs[1].program(ones(4)).seconds


def test_what_differs_is_apart() -> None:
    """Another constant, size, layout of state or number of threads is another program."""
    weight = np.ones((3, 3), np.float32)
    mynn.compile(lambda x: x * 2)(ones(2))
    mynn.compile(lambda x: x * 3)(ones(2))
    mynn.compile(lambda x: x * 2)(ones(3))
    mynn.compile(lambda x: x * 2, threads=2)(ones(2))
    for order in ((0, 1), (1, 0)):
        parameter = mynn.Parameter(weight, order=order)
        mynn.compile(lambda x, p=parameter: x @ p)(ones(2))
    assert len(mynn.programs()) == 6
    mynn.compile(lambda x: x * 2)(ones(2))
    assert len(mynn.programs()) == 6


def test_fits_and_predictions_share() -> None:
    net = nn.Linear(3, 1)

    def train() -> None:
        optimizer = optim.SGD(net.parameters(), lr=0.1)

        def step(x: Any) -> Any:
            loss = (net(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        mynn.fit(step, ones(10), batch_size=4, verbose=False)
        mynn.predict(net, ones(10), batch_size=4)

    train()
    count = len(mynn.programs())
    kinds = {info.kind for info in mynn.programs()}
    assert kinds == {"program", "loop"}
    for _ in range(3):
        train()
    assert len(mynn.programs()) == count


# -- the limit -------------------------------------------------------------------------------------


def test_least_recently_used_goes_first() -> None:
    mynn.programs().limit = 3
    run = mynn.compile(lambda x: x + 1)
    for rows in (1, 2, 3):
        run(ones(rows))
    assert len(mynn.programs()) == 3  # who looks sees what was used until now
    run(ones(1))
    run(ones(4))
    assert sorted(i.signature[-8:] for i in mynn.programs()) == ["32[1,3])", "32[3,3])", "32[4,3])"]
    assert len(run._programs) == 3
    for rows in (2, 3, 4, 1):
        np.testing.assert_array_equal(run(ones(rows)), ones(rows) + 1)
    assert len(mynn.programs()) == 3
    mynn.programs().limit = 1
    assert len(mynn.programs()) == len(run._programs) == 1


def test_limit_of_bytes() -> None:
    run = mynn.compile(lambda x: x + 1)
    run(ones(1))
    one = mynn.programs()[0].bytes
    mynn.programs().limit = (100, 4 * one)
    for rows in range(2, 12):
        run(ones(rows))
    assert 1 < len(mynn.programs()) < 5
    assert mynn.programs().bytes <= 4 * one
    run(ones(300_000))  # larger than the limit: it is kept, and it alone
    assert len(mynn.programs()) == 1


def test_clear_and_programs_in_use() -> None:
    """A program that somebody has goes on; one that nobody has is freed."""
    net = nn.Linear(3, 2)
    run = mynn.compile(net)
    expected = run(ones(4))
    program = run.program(ones(4))
    code = weakref.ref(program.code)
    mynn.programs().clear()
    assert len(mynn.programs()) == 0
    assert not run._programs
    np.testing.assert_array_equal(program([ones(4)])[0], expected)
    del program
    gc.collect()
    assert code() is None
    np.testing.assert_array_equal(run(ones(4)), expected)
    assert len(mynn.programs()) == 1


@pytest.mark.parametrize(
    ("text", "limit"),
    [("16", Limit(16)), ("8,4MB", Limit(8, 4 * 2**20)), ("8, 100", Limit(8, 100)), ("0", Limit(0))],
)
def test_limit_from_the_environment(
    text: str, limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYNN_PROGRAMS", text)
    assert Store().limit == limit


@pytest.mark.parametrize("text", ["many", "8,MB", "8,4TB", "-1", "1.5", ",4MB"])
def test_bad_limits(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYNN_PROGRAMS", text)
    with pytest.raises(ArgumentError, match=r"MYNN_PROGRAMS.*256,512MB.*"):
        assert Store().limit
    for value in (-1, "8", 2.5, (1, 2, 3), (), True):
        with pytest.raises(ArgumentError, match=r"limit of programs.*256"):
            mynn.programs().limit = value


def test_printed() -> None:
    mynn.programs().limit = (7, 1000000)
    mynn.compile(lambda x: x + 1)(ones(2))
    text = str(mynn.programs())
    assert text.startswith("1 programs, ")
    assert "limit 7, 1000000 bytes" in text
    assert "program " in text
    assert "f32[2,3]" in text


def test_without_room() -> None:
    """Everything works where nothing is kept."""
    mynn.programs().limit = 0
    net = nn.Linear(3, 2)
    run = mynn.compile(net)
    for _ in range(3):
        np.testing.assert_allclose(run(ones(4)), net(ones(4)).numpy(), rtol=1e-5)
        mynn.predict(run, ones(9), batch_size=4)
    assert len(mynn.programs()) == 0
    interpreted = mynn.compile(net, backend="interpreter")
    for rows in range(1, 9):
        interpreted(ones(rows))
    assert len(interpreted._programs) == 0


def test_interpreted_programs_are_bounded() -> None:
    mynn.programs().limit = 4
    run = mynn.compile(lambda x: x + 1, backend="interpreter")
    for rows in range(1, 20):
        np.testing.assert_array_equal(run(ones(rows)), ones(rows) + 1)
    assert len(run._programs) == 4


# -- from several threads --------------------------------------------------------------------------


def test_one_makes_others_wait() -> None:
    store, made, barrier = Store(Limit()), [], threading.Barrier(8)

    def make() -> Stored:
        made.append(threading.get_ident())
        return Stored()

    def work(number: int) -> Any:
        barrier.wait()
        return [store.fetch(key, make) for key in range(20)]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    assert len(made) == 20
    assert all(result == results[0] for result in results)


def test_a_failure_leaves_nothing() -> None:
    store = Store(Limit())

    def fail() -> Stored:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            store.fetch("a", fail)
    code = store.fetch("a", Stored)
    assert store.fetch("a", fail) is code


def test_dropped_while_others_run() -> None:
    """Threads call, while another one clears the store and changes its limit."""
    net = nn.Linear(3, 2)
    run = mynn.compile(net)
    expected = {rows: net(ones(rows)).numpy() for rows in range(1, 9)}
    stop = threading.Event()

    def work(number: int) -> None:
        for k in range(60):
            rows = (number + k) % 8 + 1
            np.testing.assert_allclose(run(ones(rows)), expected[rows], rtol=1e-5)
            if k % 10 == 0:
                got = mynn.predict(run, ones(rows), batch_size=3)
                np.testing.assert_allclose(got, expected[rows], rtol=1e-5)

    def disturb() -> None:
        while not stop.wait(0.002):
            mynn.programs().clear()
            mynn.programs().limit = 2

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
    finally:
        stop.set()
        thread.join()


# -- memory ----------------------------------------------------------------------------------------


def resident() -> int:
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.wide
@pytest.mark.skipif(not STATM.is_file(), reason="tells memory by /proc")
def test_many_batch_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is level after a while, however many sizes there are."""
    monkeypatch.setenv("MYNN_CACHE", "0")
    mynn.programs().limit = 16
    net = nn.Linear(3, 2)
    run = mynn.compile(net)
    warm = max(60, SIZES // 10)
    before = 0
    for rows in range(1, SIZES + 1):
        run(ones(rows))
        if rows == warm:
            before = resident()
    assert len(mynn.programs()) == 16
    assert len(run._programs) == 16
    assert resident() - before < 8 * 2**20
