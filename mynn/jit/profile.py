"""Where the time of a program goes: each kernel alone, on one thread, beside what the core can do.

The kernels run on a copy of the program's arguments and state, in memory of their own, so that the
program does not notice. There no two buffers share memory: what a kernel reads is what the step
left there, however often it runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.compiler.codegen.host import emit_functions
from mynn.compiler.compilation import Compilation
from mynn.compiler.host.measure import REPEAT, repeat
from mynn.compiler.host.step import STEP, step
from mynn.compiler.loop_ir.ir import Kernel, buffers_of
from mynn.compiler.loop_ir.repeat import counted
from mynn.compiler.parallel.cache_blocks import CacheBlock
from mynn.compiler.pipeline import finish
from mynn.core.types import SHORT_NAMES, Array
from mynn.errors import ArgumentError
from mynn.runtime.artifact import Artifact, make_artifact
from mynn.runtime.binding import bind
from mynn.runtime.llvm_jit import build
from mynn.runtime.roofline import level_of, peak
from mynn.target.storage import ALIGNMENT, SLACK, aligned_bytes

_ITEMSIZE = {short: np.dtype(name).itemsize for name, short in SHORT_NAMES.items()}
# Seconds that one measurement takes at least, so that the clock does not matter.
_LEAST = 0.5e-3


@dataclass(frozen=True)
class KernelProfile:
    """One kernel.

    - `computes`: what it computes; `seconds`: the time of a run, the median of several.
    - `operations`: arithmetic operations of a run, a multiply-add counted as two; `bytes`: what it
      reads and writes, each buffer once.
    - `limit`: the seconds that the operations take at the measured peak of one core, or the bytes
      at the bandwidth of the level of memory that holds them, whichever is more; `bound`: which of
      the two, "arithmetic" or the level.
    """

    name: str
    computes: str
    seconds: float
    operations: int
    bytes: int
    limit: float
    bound: str

    @property
    def operations_per_second(self) -> float:
        """Arithmetic operations a second."""
        return self.operations / self.seconds

    @property
    def bytes_per_second(self) -> float:
        """Bytes read and written a second."""
        return self.bytes / self.seconds

    @property
    def share_of_limit(self) -> float:
        """The limit over the time: 1 where nothing is left to gain."""
        return self.limit / self.seconds


@dataclass(frozen=True)
class Profile:
    """The kernels of a program in the order in which they run; prints as a table.

    `step_seconds` is the time of the whole step, one kernel after the other. Each kernel alone
    finds its data in the nearest cache that holds them, so that the sum may be less.
    """

    kernels: tuple[KernelProfile, ...]
    step_seconds: float

    def __iter__(self) -> Iterator[KernelProfile]:
        return iter(self.kernels)

    def __len__(self) -> int:
        return len(self.kernels)

    def __getitem__(self, number: int) -> KernelProfile:
        return self.kernels[number]

    @property
    def seconds(self) -> float:
        """The sum of the kernels' times."""
        return sum(kernel.seconds for kernel in self.kernels)

    @property
    def limit(self) -> float:
        """The sum of the kernels' limits."""
        return sum(kernel.limit for kernel in self.kernels)

    def __str__(self) -> str:
        total = self.seconds
        rows = [
            [
                kernel.name,
                f"{1e6 * kernel.seconds:.2f}",
                f"{100 * kernel.seconds / total:.0f} %",
                str(kernel.operations),
                f"{kernel.operations_per_second / 1e9:.1f}",
                str(kernel.bytes),
                f"{kernel.bytes_per_second / 1e9:.1f}",
                f"{100 * kernel.share_of_limit:.0f} %",
                kernel.bound,
                kernel.computes,
            ]
            for kernel in self.kernels
        ]
        rows.append(self._total(total))
        head = ["kernel", "µs", "time", "ops", "GF/s", "bytes", "GB/s", "of limit", "bound by"]
        step = f"the whole step: {1e6 * self.step_seconds:.2f} µs on one thread"
        return "\n".join([*_table([[*head, "computes"], *rows]), step])

    def _total(self, seconds: float) -> list[str]:
        operations = sum(kernel.operations for kernel in self.kernels)
        nbytes = sum(kernel.bytes for kernel in self.kernels)
        some = max(seconds, 1e-12)
        return [
            "sum",
            f"{1e6 * seconds:.2f}",
            "100 %",
            str(operations),
            f"{operations / some / 1e9:.1f}",
            str(nbytes),
            f"{nbytes / some / 1e9:.1f}",
            f"{100 * self.limit / some:.0f} %",
            "",
            "",
        ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns under each other: words to the left, figures to the right."""
    words = {0, len(rows[0]) - 2, len(rows[0]) - 1}
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i in words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


# -- measuring -------------------------------------------------------------------------------------


def _alone(kernel: str) -> str:
    """The function that runs the whole of a kernel."""
    return f"{kernel}_alone"


def _copy(array: Array) -> Array:
    """A copy with the same strides, in storage that native code can use."""
    last = sum((n - 1) * step for n, step in zip(array.shape, array.strides, strict=True))
    flat = aligned_bytes(max(last, 0) + array.itemsize + SLACK).view(array.dtype)
    copy = np.lib.stride_tricks.as_strided(flat, array.shape, array.strides)
    copy[...] = array
    return copy


def _spread(artifact: Artifact) -> Artifact:
    """The artifact with memory of its own for every buffer of the arena."""
    offset, slots = 0, []
    for slot in artifact.slots:
        if slot.role == "arena":
            size = slot.elements * _ITEMSIZE[slot.type] + SLACK
            slot, offset = replace(slot, number=offset), offset + -(-size // ALIGNMENT) * ALIGNMENT
        slots.append(slot)
    return replace(artifact, slots=tuple(slots), arena_bytes=offset)


class _Bench:
    """A program's kernels on memory of their own."""

    def __init__(self, lowered: Compilation, artifact: Artifact, inputs: Sequence[Array]) -> None:
        made = finish(lowered)
        assert made.module is not None
        self.kernels = list(counted(made.kernels))
        alone = [step([CacheBlock((k,))], name=_alone(k.name)) for k, _ in self.kernels]
        module = emit_functions(made.module, [*alone, repeat()])
        native = build(module.text(), lowered.target)
        names = [*(_alone(kernel.name) for kernel, _ in self.kernels), STEP]
        self.functions = [native.address(name) for name in names]
        kinds = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
        self.run: Any = native.function(REPEAT, *kinds)
        self.originals = inputs
        self.copies = [_copy(array) for array in inputs]
        self.table, self.outputs, self.keep = bind(_spread(artifact), self.copies)
        self.run(self.functions[-1], self.table.ctypes.data, 1)

    def seconds(self, number: int, repeat: int) -> float:
        """The time of one run of a kernel: the median over `repeat` loops of many runs."""
        for copy, original in zip(self.copies, self.originals, strict=True):
            copy[...] = original
        table, count = self.table.ctypes.data, 1
        while True:
            start = perf_counter()
            self.run(self.functions[number], table, count)
            took = perf_counter() - start
            if took >= _LEAST or count >= 1 << 24:
                break
            count = max(2 * count, int(count * _LEAST / max(took, 1e-7)))
        times = [took / count]
        for _ in range(repeat - 1):
            start = perf_counter()
            self.run(self.functions[number], table, count)
            times.append((perf_counter() - start) / count)
        return float(np.median(times))


def _kernel_profile(kernel: Kernel, seconds: float, rounds: int) -> KernelProfile:
    """Of all runs of a kernel in a run of the program, from the time of one."""
    wide = all(buffer.type == "f64" for buffer in buffers_of(kernel)[1])
    level = level_of(kernel.nbytes)
    limits = {
        "arithmetic": kernel.operations / peak(8 if wide else 4),
        level.name: kernel.nbytes / level.bandwidth,
    }
    bound = max(limits, key=limits.__getitem__)
    return KernelProfile(
        kernel.name,
        kernel.comment,
        max(seconds, 1e-12) * rounds,
        kernel.operations * rounds,
        kernel.nbytes * rounds,
        limits[bound] * rounds,
        bound,
    )


def profile(lowered: Compilation, inputs: Sequence[Array], repeat: int = 7) -> Profile:
    """Measure each kernel; `inputs` are arguments and state, which stay as they are."""
    if repeat < 1:
        raise ArgumentError(f"repeat must be at least 1, it is {repeat}")
    artifact = make_artifact(lowered.plan, lowered.table, lowered.graph.inputs)
    bench = _Bench(lowered, artifact, inputs)
    kernels = tuple(
        _kernel_profile(kernel, bench.seconds(number, repeat), rounds)
        for number, (kernel, rounds) in enumerate(bench.kernels)
    )
    return Profile(kernels, bench.seconds(len(kernels), repeat))
