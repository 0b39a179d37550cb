"""Rows become the best of each work; every thread count gets its environment and its limit."""

from __future__ import annotations

import pytest

from benchmarks.best import bests
from benchmarks.limits import limit_us, operations
from benchmarks.process import Task, environment
from benchmarks.processes import summary
from benchmarks.rows import NAMES, PREDICTIONS, Row, about
from benchmarks.works import work_named


def test_best_takes_the_best_threads_of_both_sides() -> None:
    rows = [
        Row("W6", 1, 10.0, {"torch": 30.0, "jax-scan": 20.0}, 8.0, 2.0),
        Row("W6", 2, 6.0, {"torch": 9.0, "jax-scan": 19.0}, 4.0, 1.5),
        Row("W1", 1, None, {"torch": None}, 0.1, None),
    ]
    six, one = bests(rows)
    assert (six.ours_us, six.ours_threads) == (6.0, 2)
    assert (six.peer, six.peer_us, six.peer_threads) == ("torch", 9.0, 2)
    assert (six.limit_us, six.ratio) == (8.0, 1.5)
    assert (one.work, one.ours_us, one.peer, one.ratio) == ("W1", None, None, None)


def test_ours_on_the_tape_is_no_peer() -> None:
    row = Row("act", 1, 10.0, {"ours-tape": 4.0, "torch": 8.0}, None, 2.0)
    (best,) = bests([row])
    assert (row.fastest_us, row.others_us) == (4.0, {"torch": 8.0})
    assert (best.ours_us, best.peer, best.ratio) == (4.0, "torch", 2.0)


def test_a_row_has_the_keys_that_readers_expect() -> None:
    keys = set(Row("W1", 1, 1.0, {}, None, None).as_json())
    assert keys == {"work", "threads", "ours_us", "peers_us", "limit_us", "ratio"}


def test_every_work_says_what_it_is() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert all(about(name) for name in NAMES)
    assert set(PREDICTIONS) < set(NAMES)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_environment_has_the_threads(threads: int) -> None:
    made = environment(threads)
    assert made["OMP_NUM_THREADS"] == str(threads)
    assert f"intra_op_parallelism_threads={threads}" in made["XLA_FLAGS"]
    assert f"--threads={threads}" in Task("train", "W1", threads).command


def test_two_threads_halve_the_limit_but_for_latency() -> None:
    wide, narrow = work_named("W7"), work_named("W1")
    assert limit_us(wide, 1e9, 2) == pytest.approx(limit_us(wide, 1e9) / 2)
    assert limit_us(narrow, 1e9, 2) == limit_us(narrow, 1e9)


def test_operations_of_convolutions() -> None:
    # (2, 3, 3) products: 576 places of 8 * 25, 64 places of 16 * 200, then the layers.
    work = work_named("W8")
    products = 2 * 64 * (2 * 576 * 200 + 3 * 64 * 3200 + 3 * 256 * 64 + 3 * 640)
    assert products < operations(work) < 1.02 * products


def test_slowdown_is_both_at_once_over_one_after_the_other() -> None:
    found = summary(["a", "b"], [[1.0, 2.0], [1.0, 2.0]], [3.3, 3.3])
    assert found["alone_s"] == {"a": 1.0, "b": 2.0}
    assert found["slowdown"] == pytest.approx(1.1)
