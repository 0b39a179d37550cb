"""What the arithmetic alone would take: operations over the measured peak of one core."""

from __future__ import annotations

from math import prod

from benchmarks.works import Pool, Work
from mynn.runtime import roofline

# A batch of one waits for each operation's result, so that its limit is not the peak. This is the
# figure of a hand-vectorised, fully unrolled step, in microseconds.
LATENCY_BOUND = {"W1": 0.10}
TANH_OPERATIONS = 24  # a rational or exponential form: about a dozen multiply-adds


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


def peak() -> float:
    """The measured peak of one core in operations a second, float32."""
    return roofline.peak()


def limit_us(work: Work, operations_per_second: float, threads: int = 1) -> float:
    """The least time of a step in microseconds, where every thread has a core of that peak."""
    every = threads * operations_per_second
    return LATENCY_BOUND.get(work.name, 1e6 * operations(work) / every)
