"""Calls that were made very often: native code looks at the arguments, and runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.compiler.host.enter import MOST_AXES
from mynn.core.types import Array
from mynn.errors import IndexRangeError
from mynn.jit import entry
from mynn.jit.compile import _OFTEN_CALLED
from mynn.target.storage import address_of

OFTEN = _OFTEN_CALLED + 1


def _numbers(shape: Any, dtype: Any = np.float32, seed: int = 0) -> Array:
    return np.asarray(10 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def _with_entry(function: Callable[..., Any], *arrays: Array) -> Any:
    """The function, compiled, with a way of its own for such arrays."""
    compiled = mynn.compile(function, threads=1)
    for _ in range(OFTEN):
        compiled(*arrays)
    return compiled


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.bool_, np.uint8])
@pytest.mark.parametrize("shape", [(1,), (7,), (70,), (1000,), (4097,), (), (3, 16), (2, 2, 64)])
def test_the_results_are_the_same(shape: Any, dtype: Any) -> None:
    compiled = _with_entry(lambda x, y: x + y, _numbers(shape, dtype), _numbers(shape, dtype))
    assert compiled._entry is not None
    for seed in range(3):
        x, y = _numbers(shape, dtype, seed), _numbers(shape, dtype, seed + 10)
        run = compiled._entry.run((x, y))
        assert run.dtype == x.dtype
        np.testing.assert_array_equal(run, x + y)
        np.testing.assert_array_equal(compiled(x, y), x + y)


def test_arguments_of_every_kind() -> None:
    size = 1000
    compiled = _with_entry(lambda x: x * 2, _numbers(size))
    many = _numbers(4 * size + 4096)
    first = -address_of(many) % 4096 // 4
    kinds = [many[first + k : first + k + size] for k in range(0, 1024, 4)]  # up to a page's end
    kinds += [many[: 2 * size : 2], many[:size][::-1], many[:size].astype(np.float64)]
    kinds += [many[: size + 1], many[:size].reshape(10, 100), many[:size].astype(">f4")]
    kinds += [np.frombuffer(b"\1" + many[:size].tobytes(), np.uint8)[1:].view(np.float32)]
    kinds += [many[:0], many[0], many[:size].view(np.recarray), np.ma.array(many[:size])]
    assert [compiled._entry.run((x,)) is None for x in kinds] == [False] * 256 + [True] * 11
    for x in kinds:
        np.testing.assert_array_equal(compiled(x), np.asarray(x) * 2)
    for wrong in ((), (many[:size], many[:size]), (None,), ([1.0] * size,), ("x" * size,)):
        assert _with_entry(lambda x: x * 2, _numbers(size))._entry.run(wrong) is None


def test_results_that_are_held_stay() -> None:
    for size in (3, 300, 5000):
        compiled = _with_entry(lambda x: x + 1, _numbers(size))
        held = [compiled(_numbers(size, seed=seed))[::2] for seed in range(6)]
        for seed, view in enumerate(held):
            np.testing.assert_array_equal(view, _numbers(size, seed=seed)[::2] + 1)


def test_memory_that_nobody_has_is_used_again() -> None:
    x = _numbers(1000)
    compiled = _with_entry(lambda x: x + 1, x)
    assert len({address_of(compiled(x)) for _ in range(20)}) == 1
    assert compiled(compiled(compiled(x))).tolist() == (x + 1 + 1 + 1).tolist()


def test_small_results_own_their_memory() -> None:
    compiled = _with_entry(lambda x: x.sum(), _numbers(1000))
    assert compiled(_numbers(1000)).flags.owndata


def test_a_check_that_fails_raises() -> None:
    x, index = _numbers(100), np.arange(100)
    compiled = _with_entry(lambda x, i: x.gather(0, i), x, index)
    for wrong in (100, -1, 2**62, -(2**63)):
        bad = index.copy()
        bad[57] = wrong
        assert compiled._entry.run((x, bad)) is None
        with pytest.raises(IndexRangeError, match=str(wrong)):
            compiled(x, bad)
    np.testing.assert_array_equal(compiled(x, index[::-1].copy()), x[::-1])


def test_arguments_that_are_not_read() -> None:
    compiled = _with_entry(lambda x, y: y * 2, _numbers(5000), _numbers(4))
    np.testing.assert_array_equal(compiled(_numbers(5000), _numbers(4)), _numbers(4) * 2)
    assert compiled._entry.run((_numbers(4999), _numbers(4))) is None


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 28), (64, 1, 28, 28), (7, 129)])
def test_rows_that_lie_apart_are_copied(shape: Any) -> None:
    compiled = _with_entry(lambda x: x + x.sum(-1, keepdim=True), _numbers(shape))
    for seed in range(3):
        x = _numbers(shape, seed=seed)
        found = compiled._entry.run((x,))
        np.testing.assert_array_equal(found, compiled.program(x)((x,))[0])
        assert compiled._entry.run((x[::-1],)) is None
        np.testing.assert_array_equal(compiled(x[::-1]), found[::-1])


def test_state_that_is_read() -> None:
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 300))
    x = _numbers((4, 6))
    compiled = _with_entry(net, x)
    assert compiled._entry is not None
    for scale in (1.0, 0.5, 0.25):
        with mynn.no_grad():
            net[0].weight.mul_(scale)
        found = compiled._entry.run((x,))
        np.testing.assert_array_equal(found, compiled.program(x)((x,))[0])
        np.testing.assert_array_equal(compiled(x), found)


def test_state_that_others_write() -> None:
    layer = nn.Linear(4, 300, bias=False)
    compiled = _with_entry(layer, np.ones((1, 4), np.float32))
    steps = mynn.compile(lambda: layer.weight.assign(layer.weight + 1))
    layer.load_state_dict({"weight": np.zeros((300, 4), np.float32)})
    mixed: list[Array] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            y = compiled(np.ones((1, 4), np.float32))
            if np.ptp(y):  # rows of weights before a step and after it
                mixed.append(y)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(500):
        steps()
    done.set()
    for thread in threads:
        thread.join()
    assert not mixed
    np.testing.assert_array_equal(compiled(np.ones((1, 4), np.float32)), np.full((1, 300), 2000.0))


def test_a_write_in_the_middle_of_a_run_is_noticed() -> None:
    layer = nn.Linear(4, 2)
    x = _numbers((1, 4))
    program = mynn.compile(layer).program(x)
    mynn.compile(lambda: layer.weight.assign(layer.weight + 1))()
    access, calls = program.access, []
    domain = access.sole

    def run(arguments: tuple[Any, ...]) -> Array:
        calls.append(arguments)
        domain.mark = object()
        return x

    assert entry._reading(run, access)((x,)) is None
    domain.mark = None  # somebody writes
    assert entry._reading(run, access)((x,)) is None
    assert len(calls) == 1


def test_programs_without_an_entry() -> None:
    layer = nn.Linear(4, 4)

    def step(x: Any) -> Any:
        layer.bias.assign(layer.bias + 1)
        return layer(x)

    assert _with_entry(step, _numbers((2, 4)))._entry is None
    assert _with_entry(lambda x: (x, x + 1), _numbers(8))._entry is None
    assert _with_entry(lambda x: x.T @ x, _numbers((5, 3)).T.copy())._entry is not None
    assert _with_entry(lambda x: x + 1, _numbers((1,) * (MOST_AXES + 1)))._entry is None
    assert _with_entry(lambda x: x.sum(), _numbers(0))._entry is None


def test_without_known_objects_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert entry.readable()
    monkeypatch.setattr(entry, "readable", lambda: False)
    assert _with_entry(lambda x: x + 1, _numbers(8))._entry is None


def test_another_shape_gets_its_own() -> None:
    compiled = _with_entry(lambda x: x + 1, _numbers(8))
    first = compiled._entry
    for _ in range(OFTEN + 1):
        np.testing.assert_array_equal(compiled(_numbers(9)), _numbers(9) + 1)
    assert compiled._entry is not None
    assert compiled._entry is not first


def test_what_it_depends_on_is_looked_at() -> None:
    factor = [2.0]
    compiled = _with_entry(lambda x: x * factor[0], _numbers(8))
    factor[0] = 3.0
    np.testing.assert_array_equal(compiled(_numbers(8)), _numbers(8) * np.float32(3))


def test_programs_that_are_dropped() -> None:
    compiled = _with_entry(lambda x: x + 1, _numbers(8))
    compiled.forget(compiled._entry.code)
    assert compiled._entry is None
    np.testing.assert_array_equal(compiled(_numbers(8)), _numbers(8) + 1)


def test_several_threads() -> None:
    compiled = _with_entry(lambda x: x.exp() + 1, _numbers(3000))
    wrong: list[int] = []

    def work(seed: int) -> None:
        x = _numbers(3000, seed=seed)
        want = compiled(x).copy()
        wrong.extend(seed for _ in range(200) if not np.array_equal(compiled(x), want))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
