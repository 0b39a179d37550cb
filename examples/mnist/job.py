"""What both sides of the comparison have in common: the network, the settings, the report lines."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

SIZES = (784, 256, 128, 10)
LR = 1e-3  # in the first epoch
FALL = 0.7  # its factor from epoch to epoch; without it 98 % is a matter of luck
BATCH = 128
EPOCHS = 10
GOAL = 0.98  # of the test digits


@dataclass(frozen=True)
class Epoch:
    """One line of a run.

    `seconds` is the training, compilation included, without the evaluation after it.
    """

    epoch: int
    seconds: float
    loss: float
    accuracy: float

    def print(self) -> None:
        """Write the line for `compare.py` to read."""
        print(json.dumps(asdict(self)), flush=True)


def learning_rate(epoch: int) -> float:
    """The learning rate of `epoch`, counted from 1."""
    return LR * FALL ** (epoch - 1)


def arguments(about: str) -> argparse.Namespace:
    """`--threads`, `--epochs`, `--seed` and `--in-turn`."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--in-turn", action="store_true", help="wait for a line of input before every epoch"
    )
    return parser.parse_args()


def epochs(args: argparse.Namespace) -> Iterator[int]:
    """The epochs to train, counted from 1, each when it may begin."""
    for epoch in range(1, args.epochs + 1):
        if args.in_turn:
            sys.stdin.readline()
        yield epoch
