"""Loops around kernels, shared: every worker runs its share of each kernel in all steps.

Where each kernel is shared by rows of the batch, a worker goes on from what it left itself, up to
the last step, and nobody waits (`mynn.compiler.parallel.barriers`). A loop in which workers would
have to meet is run by one of them.

Before:                               After, for 2 workers:
    repeat k3 in 20:                      repeat k3 in 20:       each worker by itself
      each:                                 each:
        h = tanh(x + h @ w)                   for p in 8 parallel: rows of h
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from mynn.compiler.loop_ir.ir import Kernel
from mynn.compiler.loop_ir.repeat import Repeat
from mynn.compiler.parallel.barriers import COUNTS, choose_split, needs_barrier
from mynn.compiler.parallel.footprint import Footprints
from mynn.compiler.parallel.split import ways_to_share


def share_kernels(kernels: Sequence[Kernel], footprints: Footprints) -> list[Kernel]:
    """The kernels as workers share them, loops around kernels too."""
    found = [
        _shared(kernel, footprints)
        if isinstance(kernel, Repeat) and kernel.condition is None  # which one worker computes
        else kernel
        for kernel in kernels
    ]
    return choose_split(ways_to_share(found, footprints), footprints)


def _shared(loop: Repeat, footprints: Footprints) -> Repeat:
    """The loop with its kernels shared, if so many workers can run it without waiting."""
    before, each = (
        choose_split(ways_to_share(ks, footprints), footprints)
        for ks in (loop.before, loop.kernels)
    )
    # A worker may be in another step, so each kernel meets every other one, and itself. What a view
    # shows moves on with each step: two steps touch each other elsewhere only.
    prints = [footprints.of(kernel) for kernel in (*before, *each)]
    pairs = list(itertools.combinations_with_replacement(prints, 2))
    together = frozenset(
        workers for workers in COUNTS if not any(needs_barrier(a, b, workers) for a, b in pairs)
    )
    if not together:
        return loop
    return replace(loop, before=tuple(before), kernels=tuple(each), together=together)
