"""The words that Python and native code share, by name."""

from __future__ import annotations

import numpy as np
import pytest

from mynn.compiler.host.control_block import (
    LINE,
    SHUTDOWN,
    Control,
    ControlBlock,
    Sync,
    SyncWords,
    WorkerState,
    worker_word,
)

# Words without an attribute: addresses, and what is set together with them.
ADDRESSES = (
    *("ORDER", "METRICS", "TABLE", "STEP", "TABLE_REMAINDER", "STEP_REMAINDER", "DATA"),
    *("VALIDATION", "VALIDATION_FIT", "VALIDATION_BATCHES"),
    *("FURTHER", "FURTHER_REMAINDER", "WATCHES"),
)


def test_every_word_has_a_name_and_a_place_of_its_own() -> None:
    block = ControlBlock(arrays=1)
    named = [word for word in Control if word.name not in ADDRESSES]
    for number, word in enumerate(named):
        setattr(block, word.name.lower(), number + 1)
    for number, word in enumerate(named):
        assert getattr(block, word.name.lower()) == number + 1
        assert block.words[word] == number + 1
    # Two further arguments of a step have two words.
    seconds = {Control.FURTHER + 1, Control.FURTHER_REMAINDER + 1}
    assert {*map(int, Control)} | seconds == set(range(Control.DATA + 1))
    assert len(Control) + len(seconds) == Control.DATA + 1


def test_random_state_is_64_bits_without_a_sign() -> None:
    block = ControlBlock(arrays=0)
    for value in (0, 2**63, 2**64 - 1, 2**64 + 5, -1):
        block.random = value
        assert block.random == value % 2**64


def test_the_block_keeps_what_it_points_at() -> None:
    block = ControlBlock(arrays=1)
    array = np.arange(3)
    block.point(Control.DATA, array)
    assert block.words[Control.DATA] == array.ctypes.data
    assert any(kept is array for kept in block._kept.values())


def test_steps_of_whole_batches_and_of_the_last() -> None:
    block = ControlBlock(arrays=0)
    block.set_step(11, 12)
    block.set_step(21, 22, remainder=True)
    words = (Control.TABLE, Control.STEP, Control.TABLE_REMAINDER, Control.STEP_REMAINDER)
    assert [block.words[word] for word in words] == [11, 12, 21, 22]


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_have_lines_of_their_own(workers: int) -> None:
    sync = SyncWords(workers)
    assert sync.address % 64 == 0
    assert len(sync.words) == worker_word(workers)
    assert all(worker_word(n) % LINE == 0 for n in range(workers))
    assert sync.all_away()
    sync.words[worker_word(workers - 1)] = WorkerState.PARKED
    assert not sync.is_away(workers - 1)
    assert not sync.all_away()
    sync.words[Sync.LEADER] = 1
    sync.forget_workers()
    assert not sync.words.any()
    sync.shut_down()
    assert sync.words[Sync.PHASE] == SHUTDOWN


def test_a_loop_and_its_workers_know_each_other() -> None:
    block, sync = ControlBlock(arrays=0), SyncWords(2)
    sync.set_control(block)
    assert (block.sync, sync.words[Sync.CONTROL]) == (sync.address, block.address)
