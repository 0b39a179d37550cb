"""The MNIST example trains: on digits made here, in MNIST's own files."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import mynn
from examples.mnist import data, lenet, train
from mynn import nn, optim
from tests.examples.test_mnist_data import write_idx

# Each digit on a grid of 5 rows by 3 columns.
GLYPHS = (
    "###|#.#|#.#|#.#|###",
    ".#.|##.|.#.|.#.|###",
    "###|..#|###|#..|###",
    "###|..#|.##|..#|###",
    "#.#|#.#|###|..#|..#",
    "###|#..|###|..#|###",
    "###|#..|###|#.#|###",
    "###|..#|.#.|.#.|.#.",
    "###|#.#|###|#.#|###",
    "###|#.#|###|..#|###",
)


def digits(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Glyphs of 20 x 12 pixels at random places, faint or bold, with noise."""
    labels = rng.integers(0, 10, count)
    images = rng.integers(0, 60, (count, 28, 28))
    for image, label in zip(images, labels, strict=True):
        rows = [[c == "#" for c in row] for row in GLYPHS[label].split("|")]
        glyph = np.kron(np.array(rows), np.ones((4, 4))) * rng.integers(90, 190)
        y, x = rng.integers(3, 6), rng.integers(7, 10)
        image[y : y + 20, x : x + 12] += glyph.astype(np.int64)
    return images.astype(np.uint8), labels.astype(np.uint8)


@pytest.fixture
def made_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 2000), ("t10k", 500)):
        images, labels = digits(rng, count)
        write_idx(tmp_path / f"{split}-images-idx3-ubyte", images)
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte", labels)
    monkeypatch.setattr(train, "load", partial(data.load, folder=tmp_path))


@pytest.mark.usefixtures("made_digits")
def test_mlp_learns_made_digits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train", "--epochs", "8", "--threads", "1"])
    train.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 9))
    assert lines[-1]["loss"] < lines[0]["loss"] / 5
    assert lines[-1]["accuracy"] > 0.97


@pytest.mark.wide
def test_lenet_learns_made_digits() -> None:
    rng = np.random.default_rng(1)
    images, labels = digits(rng, 1200)
    mynn.manual_seed(0)
    net = lenet.LeNet()
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    def step(x: mynn.Tensor, t: mynn.Tensor) -> mynn.Tensor:
        loss = criterion(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    seen = (images[:1000], labels[:1000].astype(np.int64))
    mynn.fit(step, seen, epochs=4, batch_size=32, seed=0, verbose=False)
    found = mynn.predict(net, images[1000:]).argmax(axis=1)
    assert (found == labels[1000:]).mean() > 0.97
