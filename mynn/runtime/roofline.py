"""What one core can do at most, measured: multiply-adds, and bytes from each level of memory."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from mynn.runtime.llvm_jit import build
from mynn.target.storage import aligned_bytes
from mynn.target.target import host

ACCUMULATORS = 12
STEPS = 1_000_000
_STREAMS = 8
_LARGEST_SET = 64 * 2**20
_BYTES_READ = 64 * 2**20


@dataclass(frozen=True)
class Level:
    """A level of memory: its name, the bytes that it holds, and bytes a second read from it."""

    name: str
    nbytes: int
    bandwidth: float


def _loop(arguments: str, entry: list[str], phis: list[str], body: list[str]) -> str:
    """`mynn_measure`: a loop that runs `body` so many times as its argument %count says.

    The results of its last round, %n0, %n1..., must be used by whoever calls this.
    """
    return "\n  ".join(
        [
            f'define void @mynn_measure({arguments}) "prefer-vector-width"="512" {{\nentry:',
            *entry,
            "br label %loop\nloop:",
            "%i = phi i64 [ 0, %entry ], [ %next, %loop ]",
            *phis,
            *body,
            "%next = add i64 %i, 1",
            "%more = icmp ult i64 %next, %count",
            "br i1 %more, label %loop, label %done\ndone:",
        ]
    )


def _combined(operation: str, vector: str, count: int) -> str:
    """What follows the loop: all results combined and stored."""
    lines = [f"%s0 = {operation} {vector} %n0, %n0"]
    lines += [f"%s{k} = {operation} {vector} %s{k - 1}, %n{k}" for k in range(1, count)]
    lines += [f"store {vector} %s{count - 1}, ptr %out, align 4", "ret void\n}\n"]
    return "\n  ".join(["", *lines])


def _multiply_add_text(kind: str, lanes: int) -> str:
    """Independent fused multiply-adds on vectors of `lanes` numbers, which %out holds at first."""
    vector = f"<{lanes} x {kind}>"
    function = f"@llvm.fma.v{lanes}{'f32' if kind == 'float' else 'f64'}"
    each = range(ACCUMULATORS)
    entry = [f"%x = load {vector}, ptr %out, align 4"]
    phis = [f"%a{k} = phi {vector} [ %x, %entry ], [ %n{k}, %loop ]" for k in each]
    body = [
        f"%n{k} = call {vector} {function}({vector} %a{k}, {vector} %x, {vector} %x)" for k in each
    ]
    declaration = f"declare {vector} {function}({vector}, {vector}, {vector})\n"
    loop = _loop("ptr %out, i64 %count", entry, phis, body)
    return declaration + loop + _combined("fadd", vector, ACCUMULATORS)


def _read_text(lanes: int) -> str:
    """Reads of `_STREAMS` neighbouring vectors a round, from the start again after %mask + 1."""
    vector = f"<{lanes} x i32>"
    each = range(_STREAMS)
    phis = [f"%a{k} = phi {vector} [ zeroinitializer, %entry ], [ %n{k}, %loop ]" for k in each]
    body = ["%round = and i64 %i, %mask", f"%at = mul i64 %round, {_STREAMS}"]
    for k in each:
        body += [
            f"%p{k} = add i64 %at, {k}",
            f"%x{k} = getelementptr {vector}, ptr %data, i64 %p{k}",
            f"%v{k} = load {vector}, ptr %x{k}, align 4",
            f"%n{k} = xor {vector} %a{k}, %v{k}",
        ]
    loop = _loop("ptr %out, ptr %data, i64 %mask, i64 %count", [], phis, body)
    return loop + _combined("xor", vector, _STREAMS)


@functools.cache
def peak(itemsize: int = 4) -> float:
    """Operations a second of one core in float32 (or float64: 8), a multiply-add counted as two."""
    kind, dtype = ("float", np.float32) if itemsize == 4 else ("double", np.float64)
    out = aligned_bytes(128)
    best = 0.0
    for width in (16, 32, 64):
        lanes = width // itemsize
        module = build(_multiply_add_text(kind, lanes), host())
        run = module.function("mynn_measure", ctypes.c_void_p, ctypes.c_int64)
        for _ in range(5):
            out.view(dtype)[:] = 0.5  # x / 2 + 1 / 2 stays where it is
            start = perf_counter()
            run(out.ctypes.data, STEPS)
            seconds = perf_counter() - start
            best = max(best, 2.0 * lanes * ACCUMULATORS * STEPS / seconds)
    return best


def _read_bandwidth(nbytes: int) -> float:
    """Bytes a second that one core reads from a set of so many, again and again."""
    lanes = host().vector_bytes // 4
    kinds = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    run = build(_read_text(lanes), host()).function("mynn_measure", *kinds)
    round_bytes = 4 * lanes * _STREAMS
    rounds = 1 << max(0, (nbytes // round_bytes).bit_length() - 1)
    data, out = aligned_bytes(rounds * round_bytes), aligned_bytes(128)
    data[:] = 1
    count = max(rounds, _BYTES_READ // round_bytes)
    best = 0.0
    for _ in range(5):
        start = perf_counter()
        run(out.ctypes.data, data.ctypes.data, rounds - 1, count)
        best = max(best, count * round_bytes / (perf_counter() - start))
    return best


@functools.cache
def levels() -> tuple[Level, ...]:
    """The caches and the memory, with what one core reads from each of them."""
    result = [
        Level(f"L{level}", size, _read_bandwidth(min(size // 2, _LARGEST_SET // 4)))
        for level, size in enumerate(host().caches, 1)
    ]
    return (*result, Level("memory", 2**62, _read_bandwidth(_LARGEST_SET)))


def level_of(nbytes: int) -> Level:
    """The smallest level of memory that holds so many bytes."""
    return next(level for level in levels() if nbytes <= level.nbytes)
