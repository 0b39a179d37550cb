"""What both sides of the LeNet comparison have in common."""

from __future__ import annotations

CHANNELS = (8, 16)  # of the two convolutions, 5 x 5 each
FEATURES = 16 * 4 * 4
HIDDEN = 64
BATCH = 64
MOMENTUM = 0.9
LR = 0.02  # in the first epoch
FALL = 0.7  # its factor from epoch to epoch
SLICE = 500  # digits that are looked at in one go when testing


def learning_rate(epoch: int) -> float:
    """The learning rate of `epoch`, counted from 1."""
    return LR * FALL ** (epoch - 1)
