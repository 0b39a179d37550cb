"""Programs that nobody needs any more give their memory back."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.runtime.store import STORE, Limit

STATM = Path("/proc/self/statm")
MIB = 2**20


def resident(collect: bool = True) -> int:
    """Bytes of this process that are in memory."""
    if collect:
        gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cycle(number: int) -> None:
    """Compile a program that there was not before, run it once, forget it."""
    x = np.full(3, number, np.float32)
    np.testing.assert_array_equal(mynn.compile(lambda x: x + float(number))(x), 2 * x)


@pytest.mark.one_in(3)
@pytest.mark.skipif(not STATM.is_file(), reason="tells memory by /proc")
@pytest.mark.parametrize("cache", ["0", "1"])
def test_hundreds_of_programs(cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 made by LLVM or made and kept on disk, less than 20 KiB each is left."""
    monkeypatch.setenv("MYNN_CACHE", cache)
    monkeypatch.setenv("MYNN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(STORE, "_limit", Limit(16))
    for number in range(50):
        cycle(number)
    before = resident()
    for number in range(50, 150):
        cycle(number)
    assert resident() - before < 2 * MIB


@pytest.mark.wide
@pytest.mark.skipif(not STATM.is_file(), reason="tells memory by /proc")
def test_networks_that_trained(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Each with 4 MiB of parameters and as much momentum.

    In a process with many objects Python hardly ever collects all; here, never by itself.
    """
    monkeypatch.setenv("MYNN_CACHE", "0")
    thresholds = gc.get_threshold()
    request.addfinalizer(lambda: gc.set_threshold(*thresholds))
    gc.set_threshold(thresholds[0], thresholds[1], 10**9)
    x, t = np.zeros((8, 1024), np.float32), np.zeros(8, np.int64)

    def train() -> None:
        net = nn.Linear(1024, 1024)
        optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        criterion = nn.CrossEntropyLoss()

        def step(x: mynn.Tensor, t: mynn.Tensor) -> mynn.Tensor:
            loss = criterion(net(x), t)
            loss.backward()
            optimizer.step()
            return loss

        mynn.fit(step, (x, t), epochs=2, batch_size=8, verbose=False)

    for _ in range(5):
        train()
    before = resident()
    most = 0
    for _ in range(20):
        train()
        most = max(most, resident(collect=False) - before)
    assert most < 80 * MIB
    assert resident() - before < 40 * MIB
