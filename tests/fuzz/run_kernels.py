"""Runs random kernels of the loop IR natively and by their evaluator. By hand, for many seeds:

python -m tests.fuzz.run_kernels 0 1000
"""

from __future__ import annotations

import ctypes
import functools
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mynn.compiler.codegen.dedupe import emit_kernels
from mynn.compiler.codegen.function import Module
from mynn.compiler.codegen.ops import verify_exact
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.evaluate import FUNCTIONS, Functions, evaluate_kernel
from mynn.compiler.loop_ir.format import format_kernel
from mynn.compiler.loop_ir.ir import Buffer, Kernel, Load, Op, Store
from mynn.compiler.loop_ir.op_types import DTYPES
from mynn.compiler.memory.scratch import scratch_buffer
from mynn.core.types import Array
from mynn.runtime.llvm_jit import NativeModule, build
from mynn.target.storage import SLACK, aligned_bytes
from mynn.target.target import Target, host
from tests.compiler.harness import memory_buffers
from tests.fuzz.kernels import ARITIES, MATH, PITCH, random_kernel

FILL = 0xA5
WORKERS = 3
# Kernels that are compiled together.
TOGETHER = 20


@dataclass
class Case:
    """A kernel, what it writes, and the buffers that it names."""

    kernel: Kernel
    outputs: list[Buffer]
    buffers: list[Buffer]


def case(seed: int) -> Case:
    """A random kernel."""
    kernel, outputs = random_kernel(seed)
    return Case(kernel, outputs, memory_buffers(kernel))


def contents(case: Case, rng: np.random.Generator) -> dict[Buffer, Array]:
    """Values for what is read, and one pattern of bytes for what is written."""
    memory = {}
    for buffer in case.buffers:
        dtype = DTYPES[buffer.type]
        flat = aligned_bytes(buffer.nbytes + SLACK)
        flat[...] = FILL
        array = flat[: buffer.nbytes].view(dtype)
        if buffer not in case.outputs:
            values = rng.uniform(-4, 4, buffer.elements)
            if buffer.type == "bool":
                array[...] = values > 0
            elif buffer.type[0] == "f":
                array[...] = values
            else:
                wild = rng.integers(-(2**62), 2**62, buffer.elements)
                wild = np.where(rng.random(buffer.elements) < 0.3, wild, values.astype(np.int64))
                array[...] = wild.astype(dtype)
        memory[buffer] = array
    return memory


# -- the operations of native code, one value at a time --------------------------------------------


def _scalar_kernel(name: str, type: str) -> tuple[Kernel, list[Buffer]]:
    """y = op(x0, x1...), for the operations that are not the same in NumPy."""
    count = ARITIES[name]
    inputs = [Buffer(f"{name}.{type}.x{i}", type, 1) for i in range(count)]
    y = Buffer(f"{name}.{type}.y", type, 1)
    value = Op(name, tuple(Load(x, Affine()) for x in inputs), type)
    return Kernel(f"scalar.{name}.{type}", (Store(y, Affine(), value),)), [*inputs, y]


@functools.cache
def native_functions(target: Target) -> Functions:
    """What native code computes otherwise than NumPy: powers, logarithms and the like, which zero
    is the larger, remainders of floats, multiply-adds of machines without them.

    How right these are is tested elsewhere; here, that all kernels compute them alike.
    """
    names = (*MATH, "fma", "maximum", "minimum", "relu", "mod", "sign")
    kernels = {(n, t): _scalar_kernel(n, t) for n in names for t in ("f32", "f64")}
    slots = {b: i for i, b in enumerate(b for _, bs in kernels.values() for b in bs)}
    module = Module(target)
    emit_kernels(module, [kernel for kernel, _ in kernels.values()], slots, None)
    native = _exported(module, [kernel for kernel, _ in kernels.values()], target)
    memory = {buffer: np.zeros(1, DTYPES[buffer.type]) for buffer in slots}
    table = _table(list(slots), memory)

    def caller(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            type = {"f4": "f32", "f8": "f64"}.get(args[0].dtype.str[1:])
            if type is None:
                return plain(*args)
            kernel, (*inputs, y) = kernels[name, type]
            for x, value in zip(inputs, args, strict=True):
                memory[x][0] = value
            native.function(f"run.{kernel.name}", ctypes.c_void_p)(table.ctypes.data)
            return memory[y][0]

        return call

    return {name: caller(name, FUNCTIONS[name]) for name in names}


def _exported(module: Module, kernels: Sequence[Kernel], target: Target) -> NativeModule:
    """The module with a function `run.NAME` for each kernel, that others may call."""
    text = module.text()
    verify_exact(text)
    for kernel in kernels:
        more = ", i64 %worker, i64 %workers" if kernel.is_split else ""
        text += (
            f"define void @run.{kernel.name}(ptr %table{more}) {{\n"
            f"  call void @{kernel.name}(ptr %table{more})\n  ret void\n}}\n"
        )
    return build(text, target)


def _table(buffers: Sequence[Buffer], memory: Mapping[Buffer, Array]) -> Array:
    return np.array([memory[buffer].ctypes.data for buffer in buffers], np.uint64)


# -- both ways -------------------------------------------------------------------------------------


def compile_cases(cases: Sequence[Case], target: Target) -> tuple[NativeModule, Buffer | None]:
    """Native code of some kernels, each with a table of its own; and a share of their scratch."""
    kernels = [case.kernel for case in cases]
    scratch = scratch_buffer(kernels)
    module = Module(target)
    for case in cases:
        buffers = [*case.buffers, *([scratch] if scratch is not None else [])]
        emit_kernels(module, [case.kernel], {b: i for i, b in enumerate(buffers)}, scratch)
    return _exported(module, kernels, target), scratch


def run_native(
    case: Case, native: NativeModule, scratch: Buffer | None, memory: Mapping[Buffer, Array]
) -> None:
    """All shares of a kernel, the last worker's first."""
    buffers, everything = list(case.buffers), dict(memory)
    if scratch is not None:
        buffers.append(scratch)
        everything[scratch] = aligned_bytes(WORKERS * scratch.nbytes + SLACK)
    table = _table(buffers, everything)
    name = f"run.{case.kernel.name}"
    if not case.kernel.is_split:
        native.function(name, ctypes.c_void_p)(table.ctypes.data)
        return
    kinds = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
    for worker in reversed(range(WORKERS)):
        native.function(name, *kinds)(table.ctypes.data, worker, WORKERS)


def problems(case: Case, native: NativeModule, scratch: Buffer | None, target: Target) -> list[str]:
    """Where the two ways differ; empty where they do not."""
    rng = np.random.default_rng(int(case.kernel.name[1:]))
    evaluated, got = contents(case, rng), {}
    for buffer, array in evaluated.items():
        flat = aligned_bytes(buffer.nbytes + SLACK)
        flat[...] = FILL
        flat[: buffer.nbytes] = array.view(np.uint8)
        got[buffer] = flat[: buffer.nbytes].view(array.dtype)
    evaluate_kernel(case.kernel, evaluated, native_functions(target))
    run_native(case, native, scratch, got)
    found = []
    for buffer in case.outputs:
        a, b = evaluated[buffer], got[buffer]
        untouched = (a.view(np.uint8).reshape(-1, a.itemsize) == FILL).all(axis=1)
        padding = untouched if buffer.pitch == PITCH else np.zeros(len(a), bool)
        equal = (a == b) | padding
        if a.dtype.kind == "f":
            equal |= np.isnan(a) & np.isnan(b)
        if not equal.all():
            place = int(np.flatnonzero(~equal)[0])
            found.append(f"{buffer}[{place}]: evaluated {a[place]!r}, native {b[place]!r}")
    return found


def run_seeds(seeds: Sequence[int], target: Target) -> Iterator[tuple[int, str]]:
    """The reports of kernels that fail."""
    cases = [case(seed) for seed in seeds]
    try:
        native, scratch = compile_cases(cases, target)
        for seed, one in zip(seeds, cases, strict=True):
            found = problems(one, native, scratch, target)
            if found:
                yield seed, "\n".join([*found, format_kernel(one.kernel)])
    except Exception:
        if len(cases) == 1:
            yield seeds[0], traceback.format_exc(limit=-4) + format_kernel(cases[0].kernel)
        else:
            for seed in seeds:
                yield from run_seeds([seed], target)


def main() -> None:
    """Run the seeds that the command line says."""
    first, last = map(int, sys.argv[1:3])
    failed = 0
    for start in range(first, last, TOGETHER):
        for seed, report in run_seeds(range(start, min(start + TOGETHER, last)), host()):
            failed += 1
            print(f"seed {seed}\n{report}\n")
    print(f"{last - first} kernels, {failed} failed")


if __name__ == "__main__":
    main()
