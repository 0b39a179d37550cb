"""What the processor offers: vector width and registers."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

from mynn.errors import ArgumentError

# Bytes of vectors that there may be.
WIDTHS = (16, 32, 64)


@dataclass(frozen=True)
class Machine:
    """The properties that schedules depend on.

    - `vector_bytes`: width of the widest vectors (64 for AVX-512, 32 for AVX2, 16 for NEON and
      SSE).
    - `vector_registers`: how many there are.
    - `cpu`, `features`: as LLVM names them.
    """

    vector_bytes: int
    vector_registers: int
    cpu: str
    features: str

    @property
    def is_x86(self) -> bool:
        """Whether the processor has SSE, as every 64-bit x86 has."""
        return "+sse2" in self.features

    @property
    def has_fma(self) -> bool:
        """Whether there is an instruction for x * y + z with one rounding."""
        return not {"+fma", "+neon"}.isdisjoint(self.features.split(","))

    def lanes(self, itemsize: int) -> int:
        """Elements in a vector."""
        return self.vector_bytes // itemsize


@functools.cache
def host() -> Machine:
    """The machine that this process runs on.

    `MYNN_VECTOR_BYTES` narrows the vectors (16, 32 or 64), for tests.

    Raises:
        ArgumentError: it is none of these.
    """
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    names = {name for name, present in features.items() if present}
    if "avx512f" in names and "avx512vl" in names:
        vector_bytes, registers = 64, 32
    elif "avx2" in names and "fma" in names:
        vector_bytes, registers = 32, 16
    else:
        vector_bytes, registers = 16, 32 if "neon" in names else 16
    vector_bytes = min(vector_bytes, _widest())
    return Machine(vector_bytes, registers, llvm.get_host_cpu_name(), features.flatten())


def _widest() -> int:
    """What `MYNN_VECTOR_BYTES` says."""
    text = os.environ.get("MYNN_VECTOR_BYTES") or str(WIDTHS[-1])
    if text not in map(str, WIDTHS):
        raise ArgumentError(f"MYNN_VECTOR_BYTES must be 16, 32 or 64, it is {text!r}")
    return int(text)
