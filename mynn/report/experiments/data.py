"""The data of a sample: a training set, a test set, and a seed for the weights.

Sample i of seed s takes three random streams of its own, (s, i, 0) to (s, i, 2): so all versions
and learning rates see the same ten data sets and start from the same ten draws of weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from mynn.core.types import Array
from mynn.module import generate_disc_set
from mynn.report.experiments.published import POINTS


@dataclass(frozen=True)
class Sample:
    """One of the samples that a cell of the table averages over.

    Attributes:
        train_input, test_input: float32 of shape (1000, 2), points of the unit square.
        train_target, test_target: float32 of shape (1000, 2), one-hot: [1, 0] in the disc.
        weights: seed of the initial weights.
    """

    index: int
    train_input: Array
    train_target: Array
    test_input: Array
    test_target: Array
    weights: tuple[int, ...]


def draw(seed: int, index: int) -> Sample:
    """Sample `index` of `seed`."""
    train = generate_disc_set(POINTS, (seed, index, 0))
    test = generate_disc_set(POINTS, (seed, index, 1))
    return Sample(index, *train, *test, (seed, index, 2))


def accuracy(output: Array, target: Array) -> float:
    """% of the samples whose largest output stands where the largest target stands.

    output, target: shape (N, 2).
    """
    return float(100 * (output.argmax(1) == target.argmax(1)).mean())
