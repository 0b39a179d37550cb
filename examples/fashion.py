"""Clothes told apart, a CNN on Fashion-MNIST: `python -m examples.fashion`.

Images are flipped and moved at random inside the native loop (`mynn.data`), the learning rate
rises and falls over the training. `python -m examples.fashion --fetch` gets the data, 31 MB, from
the Debian package dataset-fashion-mnist.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from examples.common import descend, figure, library, options, predict, save, train
from examples.fetch import DATA, sha256
from mynn.data import RandomHorizontalFlip, RandomShift, read_idx

FOLDER = DATA / "fashion-mnist"
PACKAGE = "dataset-fashion-mnist"
FILES = {
    "train-images-idx3-ubyte.gz": (
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"
    ),
    "train-labels-idx1-ubyte.gz": (
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"
    ),
}
NAMES = (
    *("T-shirt", "trousers", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "boot"),
)
BATCH = 64


def complete(folder: Path = FOLDER) -> bool:
    """Whether all files are there, by their SHA-256."""
    return all(
        (folder / name).is_file() and sha256(folder / name) == wanted
        for name, wanted in FILES.items()
    )


def fetch(folder: Path = FOLDER) -> None:
    """Download the package, run nothing of it, and copy its files."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        sys.exit(f"there is no apt-get here: put {', '.join(FILES)} into {folder} yourself")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["apt-get", "download", PACKAGE], cwd=scratch, check=True)
        (archive,) = Path(scratch).glob("*.deb")
        subprocess.run(["dpkg", "-x", archive, scratch], check=True)
        for name in FILES:
            shutil.copy(Path(scratch, "usr/share/datasets/fashion-mnist", name), folder / name)
    if not complete(folder):
        sys.exit(f"the files in {folder} are others than expected")


def load(part: str, folder: Path = FOLDER) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 28, 28] and labels int64 [N] of "train" or "t10k"."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    return images, read_idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)


def network(torch: Any) -> Any:
    """Images [N, 28, 28] of bytes to scores [N, 10]."""
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Dropout(0.3)),
                nn.Linear(64, 10),
            )

        def forward(self, images: Any) -> Any:
            return self.layers((images.float() / 255 - 0.286)[:, None] / 0.353)

    return Net()


def run(torch: Any, data: Any, epochs: int, augment: bool = True) -> tuple[Any, list[float], float]:
    """A trained network, the losses of the epochs, and the seconds."""
    net = network(torch)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    steps = epochs * -(-len(data[0]) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 4e-3, total_steps=steps + 1)
    flip, shift = RandomHorizontalFlip(), RandomShift(2)

    def loss_of(images: Any, t: Any) -> Any:
        if augment:
            images = shift(flip(images))
        return torch.nn.functional.cross_entropy(net(images), t, label_smoothing=0.05)

    step = descend(torch, net, adam, loss_of, schedule=schedule)
    net.train()
    losses, seconds = train(torch, step, data, epochs, BATCH)
    net.eval()
    return net, losses, seconds


def draw(path: Path, images: np.ndarray, t: np.ndarray, scores: np.ndarray) -> None:
    """The mistakes that it was surest of, and what is taken for what."""
    chosen = scores.argmax(1)
    odds = scores - np.take_along_axis(scores, t[:, None], 1)
    worst = np.argsort(odds.max(1))[::-1][:24]
    drawn, panels = figure(2, width=4.6, height=3.4)
    left, right = panels[0]
    left.imshow(np.vstack([np.hstack(images[worst[r : r + 6]]) for r in range(0, 24, 6)]), "gray_r")
    for at, row in enumerate(worst):
        place = (28 * (at % 6) + 1, 28 * (at // 6) + 27)
        left.annotate(NAMES[chosen[row]], place, fontsize=7, color="crimson")
    left.set_title("surest mistakes, and what it said", fontsize=9)
    left.axis("off")
    table = np.zeros((10, 10), int)
    np.add.at(table, (t, chosen), 1)
    right.imshow(table * (1 - np.eye(10)), "Purples")
    for a, b in np.ndindex(10, 10):
        dark = "white" if a != b and table[a, b] > 90 else "black"
        right.text(b, a, table[a, b] or "", ha="center", va="center", fontsize=6, color=dark)
    right.set_xticks(range(10), NAMES, rotation=60, fontsize=7)
    right.set_yticks(range(10), NAMES, fontsize=7)
    right.set_title(f"rows are so, columns said: {(chosen == t).mean():.2%} right", fontsize=9)
    save(drawn, path)


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> float:
    """Train, measure on the images held out; the share that is told apart."""
    parser = options(__doc__, epochs=10, fetch=True)
    parser.add_argument("--plain", action="store_true", help="without flips and shifts")
    given = parser.parse_args(arguments)
    if given.fetch:
        fetch(folder)
    if not complete(folder):
        sys.exit("the images are not here: python -m examples.fashion --fetch")
    torch = library(given.library)
    augment = not given.plain and given.library == "mynn"
    net, _, seconds = run(torch, load("train", folder), given.epochs, augment)
    images, t = load("t10k", folder)
    scores = np.concatenate([predict(torch, net, part) for part in np.array_split(images, 10)])
    right = float((scores.argmax(1) == t).mean())
    print(f"{given.library}: {right:.2%} of 10,000 images right, {seconds:.1f} s")
    if given.picture:
        draw(given.picture, images, t, scores)
    return right


if __name__ == "__main__":
    main()
