from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mynn
from mynn.errors import ArgumentError
from mynn.target.caches import USUAL_CACHES, cache_sizes
from mynn.target.target import host, named

ROOT = Path(mynn.__file__).parents[1]


@pytest.fixture
def fresh() -> Iterator[None]:
    """`host` looks at the environment once; here it looks again."""
    host.cache_clear()
    yield
    host.cache_clear()


def test_host() -> None:
    target = host()
    assert target.vector_bytes in (16, 32, 64)
    assert target.vector_registers in (16, 32)
    assert target.caches
    assert host() is target


def test_lanes() -> None:
    assert [named("x86-64-v3").lanes(size) for size in (1, 4, 8)] == [32, 8, 4]


@pytest.mark.parametrize(
    ("name", "x86", "fma", "vector_bytes"),
    [
        ("x86-64", True, False, 16),
        ("x86-64-v3", True, True, 32),
        ("x86-64-v4", True, True, 64),
        ("aarch64", False, True, 16),
    ],
)
def test_named(name: str, x86: bool, fma: bool, vector_bytes: int) -> None:
    target = named(name)
    assert (target.is_x86, target.is_aarch64) == (x86, not x86)
    assert (target.has_fma, target.vector_bytes) == (fma, vector_bytes)
    assert target.is_posix
    assert not replace(target, triple="x86_64-pc-windows-msvc").is_posix


def test_a_name_that_there_is_not() -> None:
    with pytest.raises(ArgumentError, match=r"'x86-64-v5'; there are x86-64, .*aarch64"):
        named("x86-64-v5")


def test_the_compiler_is_told_what_it_compiles_for() -> None:
    """It asks neither `host` nor the system."""
    files = sorted((ROOT / "mynn" / "compiler").rglob("*.py"))
    asks = re.compile(r"\bhost\(|\bplatform\b|\bos\.name\b")
    assert len(files) > 100
    assert not [path for path in files if asks.search(path.read_text(encoding="utf-8"))]


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("width", [16, 32, 64])
def test_vectors_can_be_made_narrower(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MYNN_VECTOR_BYTES", raising=False)
    widest = host().vector_bytes
    host.cache_clear()
    monkeypatch.setenv("MYNN_VECTOR_BYTES", str(width))
    assert host().vector_bytes == min(width, widest)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("value", ["0", "8", "48", "wide", "-16"])
def test_bad_widths(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYNN_VECTOR_BYTES", value)
    with pytest.raises(ArgumentError, match=f"MYNN_VECTOR_BYTES.*16, 32 or 64.*{value}"):
        host()


def test_caches_of_unknown_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(self: Any, *arguments: Any) -> Any:
        raise OSError

    monkeypatch.setattr("pathlib.Path.read_text", nothing)
    assert cache_sizes() == USUAL_CACHES == (2**15, 2**19, 2**23)


TRAINING = """
import numpy as np, mynn
from mynn import nn, optim
mynn.manual_seed(0)
net = nn.Sequential(nn.Linear(5, 19), nn.GELU(), nn.Linear(19, 3))
optimizer = optim.Adam(net.parameters(), lr=0.01)
def step(x, t):
    loss = nn.CrossEntropyLoss()(net(x), t)
    loss.backward()
    optimizer.step()
    return loss
rng = np.random.default_rng(0)
x = rng.normal(size=(61, 5)).astype(np.float32)
print(*mynn.fit(step, (x, rng.integers(0, 3, 61)), epochs=5, batch_size=8)["loss"])
"""


def losses(width: str) -> list[float]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MYNN_VECTOR_BYTES": width}
    done = subprocess.run(
        [sys.executable, "-c", TRAINING], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


def test_training_with_vectors_of_any_width() -> None:
    """The same losses to rounding; a width that there is not is told, not run interpreted."""
    found = [losses(width) for width in ("16", "32", "64")]
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=1e-5)
    with pytest.raises(AssertionError, match="MYNN_VECTOR_BYTES must be 16, 32 or 64"):
        losses("24")
