"""What code is made for: a processor and a system, with all that schedules depend on."""

from __future__ import annotations

import functools
import os
from dataclasses import replace

from mynn.base.dataclass import dataclass
from mynn.base.lazy import lazy
from mynn.errors import ArgumentError
from mynn.target import llvm
from mynn.target.caches import USUAL_CACHES, cache_sizes

# Bytes of vectors that there may be.
WIDTHS = (16, 32, 64)


@dataclass(frozen=True)
class Target:
    """What code is made for.

    - `triple`, `cpu`, `features`: as LLVM names them.
    - `vector_bytes`: width of the widest vectors (64 for AVX-512, 32 for AVX2, 16 for NEON and
      SSE).
    - `vector_registers`: how many there are.
    - `caches`: bytes of the caches for data of one core, the first level first.
    """

    triple: str
    cpu: str
    features: str
    vector_bytes: int
    vector_registers: int
    caches: tuple[int, ...] = USUAL_CACHES

    @property
    def is_x86(self) -> bool:
        """Whether it is a 64-bit x86, which has SSE2."""
        return self.triple.startswith("x86_64")

    @property
    def is_aarch64(self) -> bool:
        """Whether it is a 64-bit ARM, which has NEON."""
        return self.triple.startswith(("aarch64", "arm64"))

    @property
    def is_posix(self) -> bool:
        """Whether its C library has `sched_yield` and `usleep`."""
        return "windows" not in self.triple

    @lazy
    def has_fma(self) -> bool:
        """Whether there is an instruction for x * y + z with one rounding."""
        return not {"+fma", "+neon"}.isdisjoint(self.features.split(","))

    @lazy
    def shifts_lanes(self) -> bool:
        """Whether it shifts each lane by a number of its own, and converts no floats to int64."""
        has = set(self.features.split(","))
        return self.is_x86 and "+avx2" in has and "+avx512dq" not in has

    def lanes(self, itemsize: int) -> int:
        """Elements in a vector."""
        return self.vector_bytes // itemsize


_LINUX_X86 = "x86_64-unknown-linux-gnu"
_NAMED = {
    "x86-64": Target(_LINUX_X86, "x86-64", "+sse2", 16, 16),
    "x86-64-v3": Target(_LINUX_X86, "x86-64-v3", "+sse2,+avx2,+fma", 32, 16),
    "x86-64-v4": Target(
        _LINUX_X86, "x86-64-v4", "+sse2,+avx2,+fma,+avx512f,+avx512vl,+avx512bw,+avx512dq", 64, 32
    ),
    "aarch64": Target("aarch64-unknown-linux-gnu", "neoverse-n1", "+neon", 16, 32),
}


def named(name: str) -> Target:
    """A target by its name, the same on every machine.

    - `x86-64`: SSE2, as every 64-bit x86 has; `x86-64-v3`: AVX2 and FMA; `x86-64-v4`: AVX-512.
    - `aarch64`: NEON, tuned for Neoverse N1.

    Raises:
        ArgumentError: there is no target of that name.

    Example:
        >>> from mynn.target import target
        >>> target.named("aarch64").vector_bytes
        16
    """
    if name not in _NAMED:
        raise ArgumentError(f"no target is called {name!r}; there are {', '.join(_NAMED)}")
    return _NAMED[name]


@functools.cache
def host() -> Target:
    """The machine that this process runs on.

    `MYNN_VECTOR_BYTES` narrows the vectors (16, 32 or 64), for tests.

    Raises:
        ArgumentError: it is none of these.
    """
    features = llvm.host_features()
    names = {name for name, present in features.items() if present}
    if "avx512f" in names and "avx512vl" in names:
        vector_bytes, registers = 64, 32
    elif "avx2" in names and "fma" in names:
        vector_bytes, registers = 32, 16
    else:
        vector_bytes, registers = 16, 32 if "neon" in names else 16
    whole = Target(
        llvm.default_triple(),
        llvm.host_cpu(),
        ",".join(f"{'+' if present else '-'}{name}" for name, present in features.items()),
        vector_bytes,
        registers,
        cache_sizes(),
    )
    return replace(whole, vector_bytes=min(vector_bytes, _widest()))


def _widest() -> int:
    """What `MYNN_VECTOR_BYTES` says."""
    text = os.environ.get("MYNN_VECTOR_BYTES") or str(WIDTHS[-1])
    if text not in map(str, WIDTHS):
        raise ArgumentError(f"MYNN_VECTOR_BYTES must be 16, 32 or 64, it is {text!r}")
    return int(text)
