"""Runs on large arrays: arguments are read where they lie, results' memory is used again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.core.types import Array
from mynn.jit import lending
from mynn.target.storage import address_of

SIZE = 50_000


def _calls() -> list[tuple[str, Callable[..., Any], int]]:
    return [
        ("one", mynn.compile(lambda x: x + 1), 1),
        ("two", mynn.compile(lambda x, y: x + y), 2),
        ("one, reduced", mynn.compile(lambda x: x.sum()), 1),
        ("one, spread", mynn.compile(lambda x: x.reshape(1, 2).broadcast_to((SIZE, 2))), 1),
        ("two results", mynn.compile(lambda x, y: (x + y, (x - y).sum())), 2),
    ]


def _numbers(seed: int, size: int = SIZE) -> Array:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


@pytest.mark.parametrize("case", _calls(), ids=lambda case: case[0])
def test_results_that_are_held_stay(case: tuple[str, Callable[..., Any], int]) -> None:
    name, call, count = case
    size = 2 if name == "one, spread" else SIZE
    held, copies = [], []
    for seed in range(6):
        result = call(*[_numbers(seed + k, size) for k in range(count)])
        parts = result if isinstance(result, tuple) else (result,)
        held += [part[::2] if part.ndim else part for part in parts]  # a view holds the memory too
        copies += [np.array(part[::2] if part.ndim else part) for part in parts]
    for view, copy in zip(held, copies, strict=True):
        np.testing.assert_array_equal(view, copy)


def test_memory_that_nobody_has_is_used_again() -> None:
    call = mynn.compile(lambda x: x + 1)
    x = _numbers(0)
    call(x)
    addresses = {address_of(call(x)) for _ in range(20)}
    assert len(addresses) == 1
    result = call(x)
    alternating = set()
    for _ in range(20):
        result = call(x)  # the last result is held while the next one is made
        alternating.add(address_of(result))
    assert len(alternating) == 2


def test_very_large_memory_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "_KEPT_BYTES", 1000)
    program = mynn.compile(lambda x: x + 1).program(_numbers(0))
    loan = lending._loan(program)
    block = loan.results[0].block(0)
    assert not loan.results[0].blocks
    assert block.array.nbytes == 4 * SIZE


def test_arguments_of_every_kind() -> None:
    call = mynn.compile(lambda x: x * 2)
    block = np.zeros(2 * SIZE + 4096, np.float32)
    block[:] = _numbers(3, len(block))
    call(block[:SIZE])
    kinds = [block[1 : SIZE + 1], block[: 2 * SIZE : 2], block[:SIZE][::-1]]
    first = -address_of(block) % 4096 // 4
    kinds += [block[first + k : first + k + SIZE] for k in range(0, 1024, 16)]  # up to a page's end
    for x in kinds:
        np.testing.assert_array_equal(call(x), x * 2)
    frozen = block[:SIZE].copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(call(frozen), frozen * 2)


def test_a_check_that_fails_reads_the_arguments() -> None:
    call = mynn.compile(lambda x, i: x.index_select(0, i))
    x, i = _numbers(0), np.arange(SIZE)
    call(x, i)
    i[7] = SIZE + 3
    with pytest.raises(mynn.errors.IndexRangeError, match=rf"{SIZE + 3} at .*7"):
        call(x, i)
    i[7] = 0
    np.testing.assert_array_equal(call(x, i), x[i])


def test_threads_have_results_of_their_own() -> None:
    call = mynn.compile(lambda x: x + 1)
    call(_numbers(0))
    wrong = []

    def work(seed: int) -> None:
        x = _numbers(seed)
        for _ in range(200):
            if not np.array_equal(call(x), x + 1):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_addresses_are_those_of_the_interface() -> None:
    block = np.arange(24, dtype=np.float32).reshape(4, 6)
    for array in (block, block[1:], block.T, block[::-1, ::2], np.float64(3) + np.zeros(())):
        array = np.asarray(array)
        assert address_of(array) == array.__array_interface__["data"][0]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_result_lies_half_a_page_off_the_argument_of_its_size(swapped: bool) -> None:
    """Just before one, loads would wait for stores that have nothing to do with them."""

    def pick(x: Any, i: Any) -> Any:
        return x * (i.sum() > 0)

    call: Any = mynn.compile((lambda i, x: pick(x, i)) if swapped else pick)
    x, i = _numbers(1), np.arange(SIZE)
    result = call(i, x) if swapped else call(x, i)
    np.testing.assert_array_equal(result, x)
    if (address_of(x) + x.nbytes - 1) % 4096 + 128 >= 4096:
        pytest.skip("the argument ends at the end of a page, and is copied")
    assert abs((address_of(result) - address_of(x)) % 4096 - 2048) <= 64


def test_several_arguments_and_results() -> None:
    """Large and small ones, of other strides, and those that a check refuses."""
    rng = np.random.default_rng(0)
    step = mynn.compile(lambda x, i, b: (x.index_select(0, i) + b, x.sum(), (x * b).T))
    x, i = rng.normal(size=(40_000, 2)).astype(np.float32), rng.integers(0, 40_000, 40_000)
    b = np.float32([0.5, 2.0])
    for given in (x, np.asfortranarray(x), x[::-1]):
        for _ in range(2):
            before = given.copy(), i.copy()
            picked, total, turned = step(given, i, b)
            np.testing.assert_array_equal(picked, given[i] + b)
            np.testing.assert_allclose(total, given.sum(dtype=np.float64), rtol=1e-4, atol=1e-2)
            np.testing.assert_array_equal(turned, (given * b).T)
            np.testing.assert_array_equal(given, before[0])
            np.testing.assert_array_equal(i, before[1])
    first = step(x, i, b)[0]
    kept = first.copy()
    step(x * 2, i, b)
    np.testing.assert_array_equal(first, kept)
    i[7] = 40_000
    with pytest.raises(mynn.errors.MynnError, match=r"index 40000 at \(7,\)"):
        step(x, i, b)
    i[7] = 0
    np.testing.assert_array_equal(step(x, i, b)[0], x[i] + b)


def test_several_results_where_modes_decide() -> None:
    """What decides is looked at in each call, also where the program is kept ready."""
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.999999))
    both = mynn.compile(lambda x: {"y": net(x), "twice": (x * 2, x)})
    pair = mynn.compile(lambda x, z: (net(x), x + z))
    x = np.ones((2, 3), np.float32)
    for training in (True, True, True, False, False, True, True):
        net.train(training)
        one, (first, total) = both(x), pair(x, x)
        assert list(one) == ["y", "twice"]
        np.testing.assert_array_equal(one["twice"][0], 2 * x)
        np.testing.assert_array_equal(total, 2 * x)
        for y in (one["y"], first):
            assert (y == 0).all() == training
