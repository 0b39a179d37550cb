"""What one core can do at most, measured: multiply-adds, and bytes from each level of memory."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from time import perf_counter

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.compiler.codegen.function import Module
from mynn.compiler.codegen.host import emit_function
from mynn.compiler.codegen.kernel import emit_kernel
from mynn.compiler.host.measure import multiply_adds, reads
from mynn.compiler.host.step import STEP, step
from mynn.compiler.loop_ir.ir import Buffer, Kernel
from mynn.compiler.parallel.cache_blocks import CacheBlock
from mynn.core.types import Array
from mynn.runtime.llvm_jit import build
from mynn.target.storage import aligned_bytes
from mynn.target.target import host

ACCUMULATORS = 12
STEPS = 1_000_000
_STREAMS = 8
_LARGEST_SET = 64 * 2**20
_BYTES_READ = 64 * 2**20


@dataclass(frozen=True)
class MemoryLevel:
    """A level of memory: its name, the bytes that it holds, and bytes a second read from it."""

    name: str
    nbytes: int
    bandwidth: float


def _timed(kernel: Kernel, buffers: Sequence[Buffer], arrays: Sequence[Array]) -> float:
    """Seconds of a run of a kernel on the arrays of its buffers, the least of five."""
    module = Module(host())
    emit_kernel(module, kernel, {buffer: slot for slot, buffer in enumerate(buffers)})
    emit_function(module, step([CacheBlock((kernel,))]))
    run = build(module.text(), host()).function(STEP, ctypes.c_void_p)
    table = np.array([array.ctypes.data for array in arrays], np.uint64)
    best = float("inf")
    for _ in range(5):
        start = perf_counter()
        run(table.ctypes.data)
        best = min(best, perf_counter() - start)
    return best


@functools.cache
def peak(itemsize: int = 4) -> float:
    """Operations a second of one core in float32 (or float64: 8), a multiply-add counted as two."""
    type, dtype = ("f32", np.float32) if itemsize == 4 else ("f64", np.float64)
    best = 0.0
    for width in (16, 32, 64):
        lanes = width // itemsize
        kernel, buffers = multiply_adds(type, lanes, ACCUMULATORS, STEPS)
        x = aligned_bytes(buffers[0].nbytes)
        x.view(dtype)[:] = 0.5  # x / 2 + 1 / 2 goes to 1
        seconds = _timed(kernel, buffers, [x])
        best = max(best, 2.0 * lanes * ACCUMULATORS * STEPS / seconds)
    return best


def _read_bandwidth(nbytes: int) -> float:
    """Bytes a second that one core reads from a set of so many, again and again."""
    lanes = host().vector_bytes // 4
    round_bytes = 4 * lanes * _STREAMS
    places = 1 << max(0, (nbytes // round_bytes).bit_length() - 1)
    rounds = max(places, _BYTES_READ // round_bytes)
    kernel, buffers = reads(lanes, _STREAMS, places, rounds)
    arrays = [aligned_bytes(buffer.nbytes) for buffer in buffers]
    arrays[0][:] = 1
    return rounds * round_bytes / _timed(kernel, buffers, arrays)


@functools.cache
def levels() -> tuple[MemoryLevel, ...]:
    """The caches and the memory, with what one core reads from each of them."""
    result = [
        MemoryLevel(f"L{level}", size, _read_bandwidth(min(size // 2, _LARGEST_SET // 4)))
        for level, size in enumerate(host().caches, 1)
    ]
    return (*result, MemoryLevel("memory", 2**62, _read_bandwidth(_LARGEST_SET)))


def level_of(nbytes: int) -> MemoryLevel:
    """The smallest level of memory that holds so many bytes."""
    return next(level for level in levels() if nbytes <= level.nbytes)
