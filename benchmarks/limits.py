"""What the arithmetic alone would take: operations over the measured peak of one core."""

from __future__ import annotations

import ctypes
from math import prod
from time import perf_counter

import llvmlite.binding as llvm

from benchmarks.works import Pool, Work

# A batch of one waits for each operation's result, so that its limit is not the peak. This is the
# figure of a hand-vectorised, fully unrolled step, in microseconds.
LATENCY_BOUND = {"W1": 0.10}
TANH_OPERATIONS = 24  # a rational or exponential form: about a dozen multiply-adds
ACCUMULATORS = 12
STEPS = 4_000_000


def operations(work: Work) -> int:
    """Floating-point operations of one training step."""
    total = front_operations(work)
    for index, (n, m) in enumerate(work.layers):
        first = index == 0 and not work.front
        products = 2 if first else 3  # outputs, weight gradient, input gradient
        total += products * 2 * n * m * work.batch
        total += (4 if work.momentum else 2) * (n + 1) * m
        if work.activated(index):
            per_value = TANH_OPERATIONS + 3 if work.activation == "tanh" else 2
            total += per_value * m * work.batch
    return total


def front_operations(work: Work) -> int:
    """Those of the convolutions and poolings."""
    total, extents = 0, work.image[1:]
    for index, part in enumerate(work.front):
        if isinstance(part, Pool):
            extents = tuple(n // part.size for n in extents)
            continue
        extents = tuple(n + 2 * part.padding - part.kernel + 1 for n in extents)
        weights = part.inputs * part.outputs * part.kernel**2
        places = prod(extents) * work.batch
        total += (2 if index == 0 else 3) * 2 * weights * places
        total += (4 if work.momentum else 2) * (weights + part.outputs)
        total += 2 * part.outputs * places  # relu and its gradient
    return total


def _peak_ir(width: int) -> str:
    """A loop of independent fused multiply-adds on vectors of `width` floats."""
    vector = f"<{width} x float>"
    accs = range(ACCUMULATORS)
    ones = ", ".join("float 1.0" for _ in range(width))
    small = ", ".join("float 0x3E50000000000000" for _ in range(width))
    phis = [f"%a{k} = phi {vector} [ <{ones}>, %entry ], [ %n{k}, %loop ]" for k in accs]
    fmas = [
        f"%n{k} = call {vector} @llvm.fma.v{width}f32({vector} %a{k}, {vector} <{ones}>, "
        f"{vector} <{small}>)"
        for k in accs
    ]
    sums = [f"%s0 = fadd {vector} %n0, %n0"]
    sums += [f"%s{k} = fadd {vector} %s{k - 1}, %n{k}" for k in accs if k]
    lines = "\n  ".join([*phis, *fmas])
    return f"""
declare {vector} @llvm.fma.v{width}f32({vector}, {vector}, {vector})
define float @peak(i64 %count) "prefer-vector-width"="512" {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  {lines}
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %loop, label %done
done:
  {chr(10).join(sums)}
  %r = extractelement {vector} %s{ACCUMULATORS - 1}, i32 0
  ret float %r
}}
"""


def _rate(width: int) -> float:
    """Operations a second reached with vectors of `width`."""
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    module = llvm.parse_assembly(_peak_ir(width))
    with llvm.create_mcjit_compiler(module, machine) as engine:
        engine.finalize_object()
        run = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64)(engine.get_function_address("peak"))
        run(1000)
        best = float("inf")
        for _ in range(5):
            start = perf_counter()
            run(STEPS)
            best = min(best, perf_counter() - start)
    return 2.0 * width * ACCUMULATORS * STEPS / best


def peak() -> float:
    """The measured peak of one core in operations a second, float32."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return max(_rate(width) for width in (4, 8, 16))


def limit_us(work: Work, operations_per_second: float, threads: int = 1) -> float:
    """The least time of a step in microseconds, where every thread has a core of that peak."""
    every = threads * operations_per_second
    return LATENCY_BOUND.get(work.name, 1e6 * operations(work) / every)
