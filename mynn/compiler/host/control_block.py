"""The words that Python and native code share, and how Python reads and writes them.

- A training loop has a *control block*: words of `Control`, then an address for each array.
- Workers share *sync words*: words of `Sync`, then a line for each worker with its `WorkerState`.

All are 64 bits wide. Code that is generated goes by the numbers of the words, Python by the names
of `ControlBlock` and `SyncWords`.
"""

from __future__ import annotations

import functools
from enum import IntEnum

import numpy as np

from mynn.core.types import Array
from mynn.target.storage import address_of, aligned_bytes

# The low bits of the phase are the number of workers that share the step.
COUNT_MASK = 0xFFFF
# The phase that tells every worker to leave. Its words are used for nothing else afterwards.
SHUTDOWN = -1
# The words of a worker lie on a cache line of their own.
LINE = 8


class Control(IntEnum):
    """Words of the control block."""

    EPOCH = 0  # epochs that are complete
    EPOCHS = 1  # epochs to run in all
    BATCH = 2  # next batch of the epoch
    BUDGET = 3  # steps that may still run in this call
    STEPS = 4  # steps that have run since the start
    ROWS = 5  # rows of the data
    ORDER = 6  # address of the order of rows (int64), or 0 for rows as they lie
    SHUFFLE = 7  # whether the order is shuffled at the start of each epoch
    RANDOM = 8  # state of the random number generator of the shuffle
    METRICS = 9  # address of float64 [epochs, metrics]: sums over the samples
    STOPPED = 10  # set when a loss is not finite (and the loop is told to look)
    CHECK = 11  # whether to look at every loss
    TABLE = 12  # address of the table of buffers of the step on a whole batch
    STEP = 13  # address of the function of that step
    TABLE_REMAINDER = 14  # the same for the rows that are left at the end of an epoch
    STEP_REMAINDER = 15
    WHOLE = 16  # whole batches in an epoch
    WORKERS = 17  # workers that shall share a step
    SYNC = 18  # address of the words that they share
    PATIENCE = 19  # rounds to wait for workers that were just started
    ACQUIRED = 20  # workers that shared the steps of the last call
    STATUS = 21  # status word of the step that failed a check, which has changed nothing
    MUTED = 22  # bits of status words that are not looked at
    VALIDATION = 23  # address of the control block of the loop that runs after each epoch
    VALIDATION_FIT = 24  # address of the function of that loop
    VALIDATION_BATCHES = 25  # its batches in an epoch
    FURTHER = 26  # addresses of two further arguments of the step on a whole batch, if it has them
    FURTHER_REMAINDER = 28  # the same for the rows that are left
    WATCHED = 30  # numbers that are watched after each epoch
    WATCHES = 31  # address of what is known of them: the words of `Watch` for each
    LOOK = 32  # set where Python has to look at an epoch, before any further step
    DATA = 33  # from here on: the address of each data array, then of each array of results


class Watch(IntEnum):
    """Words of what is known of a number that is watched; SAMPLES to DELTA are float64.

    It is multiplied by SIGN, so that less is better. It is better where it is less than BEST by
    more than DELTA. The loop goes back to Python where it has not been so for PATIENCE epochs,
    where it was and LOOKS is not 0, and where it is not finite and FINITE is not 0.
    """

    SUMS = 0  # address of the sums that it is found in
    WIDTH = 1  # of an epoch
    COLUMN = 2
    SAMPLES = 3  # of an epoch
    SIGN = 4
    BEST = 5
    DELTA = 6
    WAIT = 7  # epochs since it was better
    PATIENCE = 8
    START = 9  # the first epoch that counts
    LOOKS = 10
    FINITE = 11
    COUNT = 12


_DATA = int(Control.DATA)


class Sync(IntEnum):
    """Words that workers share."""

    PHASE = 0  # changed for each step; SHUTDOWN when there is no more to do
    TABLE = 1  # the table of the step
    STEP = 2  # the address of its function
    CONTROL = 3  # the address of the control block of the training loop
    LEADER = 4  # 1 while a single call has the workers
    BASE = 5  # the phase as workers were last acquired
    ARRIVED = 8  # workers that wait at the barrier
    ROUND = 16  # raised by one when all have arrived
    WORDS = 24  # from here on: a line for each worker


class WorkerState(IntEnum):
    """What a worker does."""

    AWAY = 0
    PARKED = 1
    ACQUIRED = 2


def worker_word(worker: int) -> int:
    """The word of a worker's state."""
    return int(Sync.WORDS) + LINE * worker


class _Word:
    """A word of a block as an attribute."""

    def __init__(self, word: Control, signed: bool = True) -> None:
        self.word = int(word)
        self.modulus = 0 if signed else 2**64

    def __get__(self, block: ControlBlock, owner: type) -> int:
        value = int(block.words[self.word])
        return value % self.modulus if self.modulus else value

    def __set__(self, block: ControlBlock, value: int) -> None:
        if self.modulus:
            value = int(np.uint64(value % self.modulus).astype(np.int64))
        block.words[self.word] = value


class ControlBlock:
    """The control block of a run, for so many arrays of data and of results.

    Its attributes are its words; it keeps the arrays alive whose addresses it holds.

    Example:
        >>> block = ControlBlock(arrays=2)
        >>> block.epochs = 3
        >>> block.epochs, block.epoch, len(block.words) - Control.DATA
        (3, 0, 2)
    """

    epoch = _Word(Control.EPOCH)
    epochs = _Word(Control.EPOCHS)
    batch = _Word(Control.BATCH)
    budget = _Word(Control.BUDGET)
    steps = _Word(Control.STEPS)
    rows = _Word(Control.ROWS)
    shuffle = _Word(Control.SHUFFLE)
    random = _Word(Control.RANDOM, signed=False)
    stopped = _Word(Control.STOPPED)
    check = _Word(Control.CHECK)
    whole = _Word(Control.WHOLE)
    workers = _Word(Control.WORKERS)
    sync = _Word(Control.SYNC)
    patience = _Word(Control.PATIENCE)
    acquired = _Word(Control.ACQUIRED)
    status = _Word(Control.STATUS)
    muted = _Word(Control.MUTED)
    watched = _Word(Control.WATCHED)
    look = _Word(Control.LOOK)

    def __init__(self, arrays: int) -> None:
        self.words = np.zeros(_DATA + arrays, np.int64)
        self.address = address_of(self.words)
        self._kept: dict[int, Array] = {}

    def address_of(self, word: int) -> int:
        """The address of a word."""
        return self.address + self.words.itemsize * word

    def point(self, word: int, array: Array) -> None:
        """Write the address of an array into a word."""
        self._kept[word] = array
        self.words[word] = address_of(array)

    def set_step(self, table: int, step: int, remainder: bool = False) -> None:
        """Write the addresses of the table and of the step for whole batches, or for the last."""
        self.words[Control.TABLE_REMAINDER if remainder else Control.TABLE] = table
        self.words[Control.STEP_REMAINDER if remainder else Control.STEP] = step


class SyncWords:
    """The words that so many workers share, none of whom is there."""

    def __init__(self, workers: int) -> None:
        self.words = aligned_bytes(8 * worker_word(workers)).view(np.int64)
        self.address = int(self.words.ctypes.data)
        # Tells all workers to leave. No Python runs in it, which an exception could end.
        self.shut_down = functools.partial(self.words.__setitem__, int(Sync.PHASE), SHUTDOWN)

    def is_away(self, worker: int) -> bool:
        """Whether no thread stands in the place of a worker."""
        return bool(self.words[worker_word(worker)] == WorkerState.AWAY)

    def all_away(self) -> bool:
        """Whether no thread stands in the place of any worker."""
        return not self.words[worker_word(0) :: LINE].any()

    def forget_workers(self) -> None:
        """All workers are away: they were threads of another process."""
        self.words[Sync.PHASE] = 0
        self.words[int(Sync.LEADER) :] = 0

    def set_control(self, block: ControlBlock) -> None:
        """Tell workers of the control block of their loop, and the block of them."""
        self.words[Sync.CONTROL] = block.address
        block.sync = self.address
