"""Both executors go through the rows in the order that the reference says."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mynn
from mynn.runtime.llvm_objects import SHIPPED, using
from mynn.train.engine import executor_for, native
from mynn.train.plan import load, plan
from tests.train.engine.trainings import STEPS, Training
from tests.train.reference import backends, shuffle_python


@pytest.mark.one_in(3)
@backends
@pytest.mark.parametrize("rows", [1, 2, 3, 8, 200])
def test_orders(backend: str, rows: int) -> None:
    """Three epochs for several seeds, with a last batch that is smaller where rows are left."""
    rng = np.random.default_rng(rows)
    place, seen = mynn.Tensor(0), mynn.Tensor(np.zeros(rows, np.int64))

    def step(x: mynn.Tensor) -> mynn.Tensor:
        seen.assign(seen.scatter_add(0, place + np.arange(x.shape[0]), x))
        place.assign(place + x.shape[0])
        return x.sum().astype("float32")

    compiled = mynn.compile(step, backend=backend)
    arguments, arrays = load(np.arange(rows), check_finite=False)
    run = plan(compiled, arguments, arrays, lambda _: None, 3, check_finite=False)
    for seed in (0, 1, 2**64 - 1, *map(int, rng.integers(0, 2**63, 3))):
        executor = executor_for(replace(run, epochs=3, shuffle=True))
        executor.seed(seed)
        order, random = list(range(rows)), seed
        for _ in range(3):
            place.assign(0)
            seen.assign(np.zeros(rows, np.int64))
            executor.advance(run.batches)
            random = shuffle_python(order, random)
            assert seen.tolist() == order
            cursor = executor.cursor()
            assert (cursor.order.tolist(), cursor.random) == (order, random)
        executor.finish()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_loop_is_compiled_for_speed_once_it_has_run_for_long(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Each time with the same numbers; in the second training from the first step on."""
    training = Training(threads=threads)
    found = []
    with using(SHIPPED):
        monkeypatch.setenv("MYNN_CACHE", "0")
        for many in (1 << 40, 9, 1 << 40):
            monkeypatch.setattr(native, "_MANY", many)
            executor = training.executor()
            assert isinstance(executor, native.NativeExecutor)
            while not executor.over:
                executor.advance(7)
            loop = executor.code
            found.append((executor.sums.tobytes(), executor.steps, len(loop.natives)))
            assert loop.nbytes == sum(made.nbytes for made in loop.natives)
            executor.finish()
    sums, steps, codes = zip(*found, strict=True)
    assert (set(steps), codes, len(set(sums))) == ({STEPS}, (1, 2, 2), 1)


def test_what_compiling_takes_is_no_time_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def improve(code: native.LoopCode) -> float:
        time.sleep(0.5)
        return 0.5

    monkeypatch.setattr(native.LoopCode, "improve", improve)
    executor = Training().executor()
    assert isinstance(executor, native.NativeExecutor)
    seconds = executor.compile_seconds
    executor.advance(7)
    assert executor.compile_seconds == seconds + 0.5
    assert executor.programs[0].code.pace > 7 / 0.5
    executor.finish()


def test_a_loop_in_the_cache_that_was_compiled_for_speed_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MYNN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(native, "_MANY", 9)
    keys = []
    with using(SHIPPED):
        for _ in range(2):
            mynn.programs().clear()
            executor = Training().executor()
            assert isinstance(executor, native.NativeExecutor)
            executor.advance(7)
            executor.advance(7)
            keys.append([made.key for made in executor.code.natives])
            executor.finish()
    (quick, good), again = keys
    assert quick != good
    assert again == [good]
