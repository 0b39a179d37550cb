"""`Program.profile` and the measured limits of a core."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor, nn, optim
from mynn.core.types import Array
from mynn.errors import ArgumentError, UsageError
from mynn.jit.profile import KernelProfile, Profile, _copy, _spread
from mynn.jit.program import Program
from mynn.runtime import roofline

LIMITS = roofline.MemoryLevel("L1", 2**15, 1e11), roofline.MemoryLevel("memory", 2**62, 1e10)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known limits, so that nothing has to be measured."""
    monkeypatch.setattr("mynn.jit.profile.peak", lambda itemsize: 4e11 / itemsize)
    monkeypatch.setattr(roofline, "levels", lambda: LIMITS)


def make_step() -> tuple[Program, Any, list[Array]]:
    """A step with dropout (random state), embeddings (indices made in the step) and Adam."""
    mynn.manual_seed(0)
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Dropout(0.3), nn.Linear(20, 5))
    table = mynn.Parameter(rng.normal(size=(50, 6)).astype(np.float32))
    optimizer = optim.Adam([*net.parameters(), table], lr=0.1)

    @mynn.compile
    def step(i: Any, t: Any) -> Any:
        loss = nn.MSELoss()(net(table[i * 2 + 1]), t)
        loss.backward()
        optimizer.step()
        return loss

    batch = [rng.integers(0, 20, 8).astype(np.int32), rng.normal(size=(8, 5)).astype(np.float32)]
    step(*batch)
    return step.program(*batch), step, batch


def snapshot(program: Program) -> list[bytes]:
    """All memory of a program."""
    arrays = [
        *program.arguments,
        *program.outputs,
        *program.state_arrays,
        *program._first.memory.keep,
    ]
    return [np.ascontiguousarray(array).tobytes() for array in [*arrays, program.table]]


@pytest.mark.usefixtures("measured")
def test_nothing_changes() -> None:
    program, step, batch = make_step()
    before = snapshot(program)
    program.profile(repeat=2)
    assert snapshot(program) == before
    loss = step(*batch)
    other, again, _ = make_step()
    np.testing.assert_array_equal(loss, again(*batch))
    assert snapshot(program)[:-1] == snapshot(other)[:-1]


@pytest.mark.usefixtures("measured")
def test_rows() -> None:
    program, _, _ = make_step()
    profile = program.profile(repeat=1)
    assert [kernel.name for kernel in profile] == [k.name for k in program.lowered.kernels]
    assert [kernel.computes for kernel in profile] == [k.comment for k in program.artifact.kernels]
    assert sum(kernel.operations for kernel in profile) == program.operations
    assert sum(kernel.bytes for kernel in profile) == program.bytes
    assert len(profile) == len(program.artifact.kernels)
    assert profile[0].name == "k0"
    for kernel in profile:
        assert 0 < kernel.seconds < 0.1
        arithmetic, traffic = kernel.operations / 1e11, kernel.bytes / LIMITS[0].bandwidth
        assert kernel.limit == max(arithmetic, traffic)
        assert kernel.bound == ("arithmetic" if arithmetic >= traffic else "L1")
        assert kernel.share_of_limit == kernel.limit / kernel.seconds
    assert profile.seconds == sum(kernel.seconds for kernel in profile)
    assert 0 < profile.step_seconds < 1


@pytest.mark.usefixtures("measured")
def test_wide_numbers_and_large_buffers() -> None:
    """Float64 has half the peak; what no cache holds is bound by memory."""
    x = np.ones((32, 32))
    run = mynn.compile(lambda x: x @ x)
    (kernel,) = run.program(x).profile(1)
    assert kernel.bound == "arithmetic"
    assert kernel.limit == 2 * 32**3 / 5e10
    (kernel,) = mynn.compile(lambda x: x * 2.0).program(np.ones(10_000, np.float32)).profile(1)
    assert kernel.bound == "memory"
    assert kernel.limit == kernel.bytes / 1e10


def test_table() -> None:
    kernels = (
        KernelProfile("k0", "matmul[4, 4]", 2e-6, 4000, 1000, 1e-6, "arithmetic"),
        KernelProfile("k1", "sum[]", 0.5e-6, 100, 500, 0.1e-6, "L1"),
    )
    assert str(Profile(kernels, 3e-6)).splitlines() == [
        "kernel    µs   time   ops  GF/s  bytes  GB/s  of limit  bound by    computes",
        "k0      2.00   80 %  4000   2.0   1000   0.5      50 %  arithmetic  matmul[4, 4]",
        "k1      0.50   20 %   100   0.2    500   1.0      20 %  L1          sum[]",
        "sum     2.50  100 %  4100   1.6   1500   0.6      44 %",
        "the whole step: 3.00 µs on one thread",
    ]


@pytest.mark.usefixtures("measured")
def test_a_program_without_kernels() -> None:
    program = mynn.compile(lambda x: x.sum()).program(np.zeros((0, 3), np.float32))
    assert "the whole step" in str(program.profile(1))


@pytest.mark.usefixtures("measured")
def test_of_a_cached_program_and_of_threads() -> None:
    for threads in (1, 2, 2):
        run = mynn.compile(lambda x: (x @ x).tanh(), threads=threads)
        profile = run.program(np.ones((64, 64), np.float32)).profile(1)
        assert sum(kernel.operations for kernel in profile) >= 2 * 64**3


def test_what_it_refuses() -> None:
    run = mynn.compile(lambda x: x + 1.0)
    with pytest.raises(ArgumentError, match="repeat must be at least 1, it is 0"):
        run.program(np.ones(3, np.float32)).profile(repeat=0)
    interpreted = mynn.compile(lambda x: x + 1.0, backend="interpreter")
    with pytest.raises(UsageError, match="no profile; compile with backend='native'"):
        _ = interpreted.program(np.ones(3, np.float32)).profile


def test_memory_of_its_own() -> None:
    """No two buffers share memory, and copies lie as the originals do."""
    program, _, _ = make_step()
    slots = [slot for slot in _spread(program.artifact).slots if slot.role == "arena"]
    ends = [slot.number + slot.elements for slot in slots]
    assert all(end <= slot.number for end, slot in zip(ends, slots[1:], strict=False))
    array = Tensor(np.arange(12.0).reshape(3, 4)).to_native(order=(1, 0))
    copy = _copy(array)
    assert copy.strides == array.strides
    assert not np.shares_memory(copy, array)
    np.testing.assert_array_equal(copy, array)
    assert _copy(np.float32(3) * np.ones(())).shape == ()


# -- limits ----------------------------------------------------------------------------------------


def test_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float32 does more than float64, and neither is beyond 2 units of 512 bits at 8 GHz."""
    monkeypatch.setattr(roofline, "STEPS", 100_000)
    single, double = roofline.peak.__wrapped__(4), roofline.peak.__wrapped__(8)
    assert 1e9 < double < 2 * 2 * 8 * 8e9
    assert 1.3 * double < single < 2 * 2 * 16 * 8e9


def test_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "_BYTES_READ", 2**20)
    monkeypatch.setattr(roofline, "_LARGEST_SET", 2**22)
    levels = roofline.levels.__wrapped__()
    assert levels[0].name == "L1"
    assert levels[-1].name == "memory"
    assert [level.nbytes for level in levels] == sorted(level.nbytes for level in levels)
    assert all(1e8 < level.bandwidth < 1e13 for level in levels)


@pytest.mark.usefixtures("measured")
def test_level_of() -> None:
    assert roofline.level_of(2**15).name == "L1"
    assert roofline.level_of(2**15 + 1).name == "memory"
