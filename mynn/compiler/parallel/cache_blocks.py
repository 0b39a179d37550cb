"""Kernels that stream through memory, run together block by block of their rows.

Before: each kernel reads and writes all rows.      After: all kernels of a block of rows, then the
                                                    next block.
    for n in 64: mean[n] = sum of x[n, :]           for block in 16:
    for n in 64: y[n, :] = x[n, :] - mean[n]            for n in 4: mean[n] = ...
                                                        for n in 4: y[n, :] = ...

What a kernel stores is still in the cache when the next one loads it. A block is the share that one
of so many workers would have (`mynn.compiler.parallel.split`): where those workers need not meet
between two kernels (`mynn.compiler.parallel.barriers`), it does not matter in which order the
shares are run. So the results are the same bits.

Expects kernels in an order in which they may run. Guarantees: the same kernels in the same order,
as a list of blocks; kernels that are run in shares have loops marked `parallel`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.format import format_kernel
from mynn.compiler.loop_ir.instance import original
from mynn.compiler.loop_ir.ir import (
    Buffer,
    For,
    Kernel,
    Let,
    Load,
    Local,
    Reduce,
    Store,
    buffers_of,
)
from mynn.compiler.loop_ir.repeat import Nest
from mynn.compiler.loop_ir.walk import statements, sub_expressions
from mynn.compiler.parallel.barriers import choose_split, split_at_barriers
from mynn.compiler.parallel.footprint import Footprints, Location
from mynn.compiler.parallel.split import ways_to_share

# Less than this stays in the second cache without help.
_LEAST_BYTES = 1 << 20
# What the kernels of a block may touch together.
_BLOCK_BYTES = 1 << 18
# Bytes that a share touches side by side at least: of rows cut into columns it has a piece of each,
# and less than some lines of the cache are fetched line by line, by each share again.
_LEAST_PIECE = 256
_MOST_SHARES = 64


@dataclass(frozen=True)
class CacheBlock:
    """Kernels that are run in so many shares, one share of all of them after the other."""

    kernels: tuple[Kernel, ...]
    shares: int = 1


def format_blocks(blocks: Sequence[CacheBlock]) -> str:
    """The kernels in order, those of a block inside the loop over its shares."""
    parts = []
    for block in blocks:
        text = "\n\n".join(map(format_kernel, block.kernels))
        if block.shares > 1:
            inner = "\n".join(f"  {line}".rstrip() for line in text.splitlines())
            text = f"for share in {block.shares}:\n{inner}"
        parts.append(text)
    return "\n\n".join(parts)


def cache_blocks(
    kernels: Sequence[Kernel], locate: Callable[[Buffer], Location], status: Buffer | None = None
) -> list[CacheBlock]:
    """The kernels in blocks; `locate` tells where a buffer lies.

    What stores to `status` is looked at before anything else runs, so it is run whole.
    """

    def alike(kernel: Kernel) -> bool:
        return _streams(kernel) and status not in buffers_of(kernel)[1]

    runs = [(streams, tuple(group)) for streams, group in groupby(kernels, key=alike)]
    cut = [streams and _kept(run) > _LEAST_BYTES for streams, run in runs]
    # Of all runs at once: kernels of one run are often alike those of another.
    wanted = [
        kernel for (_, run), is_cut in zip(runs, cut, strict=True) if is_cut for kernel in run
    ]
    footprints = Footprints(locate)
    ways = iter(ways_to_share(wanted, footprints))
    result: list[CacheBlock] = []
    for (_, run), is_cut in zip(runs, cut, strict=True):
        if is_cut:
            result += _in_shares(run, [next(ways) for _ in run], footprints)
        else:
            result.append(CacheBlock(run))
    return result


def _in_shares(
    run: tuple[Kernel, ...], ways: Sequence[Iterator[Kernel]], footprints: Footprints
) -> Iterator[CacheBlock]:
    """A run of kernels, in shares where that keeps something in the cache."""
    shares = min(_power_of_two(-(-_bytes(run) // _BLOCK_BYTES)), _MOST_SHARES)
    split = choose_split(ways, footprints)
    place = 0
    for phase in split_at_barriers(split, footprints, shares):
        plain = run[place : place + len(phase)]
        place += len(phase)
        cut = _kept(plain) > _LEAST_BYTES and min(map(_rounds, phase)) > 1
        if cut and min(_piece(kernel, shares) for kernel in phase) >= _LEAST_PIECE:
            yield CacheBlock(tuple(phase), shares)
        else:
            yield CacheBlock(plain)


def _streams(kernel: Kernel) -> bool:
    """Whether memory bounds the kernel, and it makes nothing for itself that each share would make
    again.
    """
    if kernel.operations > kernel.nbytes or isinstance(kernel, Nest):
        return False
    return all(
        s.buffer.storage != "scratch"
        for s in statements(original(kernel).body)
        if isinstance(s, Local)
    )


def _bytes(kernels: Sequence[Kernel]) -> int:
    """Bytes that kernels touch together, each buffer once."""
    buffers = {b for kernel in kernels for side in buffers_of(kernel) for b in side}
    return sum(buffer.nbytes for buffer in buffers)


def _kept(kernels: Sequence[Kernel]) -> int:
    """Bytes that more than one kernel touches: what the others do with the rest is nothing to the
    cache.
    """
    touching = Counter(b for kernel in kernels for b in set().union(*buffers_of(kernel)))
    return sum(buffer.nbytes for buffer, count in touching.items() if count > 1)


def _rounds(kernel: Kernel) -> int:
    """Rounds of the longest loop that is shared."""
    return max((loop.extent for loop in _parallel(kernel)), default=1)


def _piece(kernel: Kernel, shares: int) -> int:
    """Bytes that one of so many shares touches side by side at least, where that is a part of each
    of several rows.
    """
    body = original(kernel).body
    ends = {s.var: s.extent for s in statements(body) if isinstance(s, For)}
    found = [_LEAST_PIECE]
    for loop in _parallel(kernel):
        for buffer, index in _accesses(loop):
            step = index.coefficient(loop.var)
            across = any(k > step and ends.get(name, 1) > 1 for name, k in index.terms)
            if step > 0 and across:
                rounds = -(-loop.extent // shares)
                found.append(rounds * step * buffer.nbytes // max(buffer.elements, 1))
    return min(found)


def _parallel(kernel: Kernel) -> Iterator[For]:
    """The loops that are shared."""
    body = original(kernel).body
    return (s for s in statements(body) if isinstance(s, For) and s.kind == "parallel")


def _accesses(loop: For) -> Iterator[tuple[Buffer, Affine]]:
    """What a loop loads from memory and stores there."""
    for statement in statements(loop.body):
        if isinstance(statement, Store) and statement.buffer.storage == "memory":
            yield statement.buffer, statement.index
        if isinstance(statement, Let | Store):
            for expr in sub_expressions(statement.value):
                if isinstance(expr, Load | Reduce) and expr.buffer.storage == "memory":
                    yield expr.buffer, expr.index


def _power_of_two(number: int) -> int:
    """The least power of two that is not smaller."""
    return 1 << max(number - 1, 0).bit_length()
