"""Which tiles a product is cut into."""

from __future__ import annotations

import math
from dataclasses import replace

from mynn.base.dataclass import dataclass
from mynn.compiler.lowering.contraction.operands import Product
from mynn.target.target import Target

# Multiply-adds that are on their way together, at most.
_IN_FLIGHT = 8
# Cycles of the load of a vector.
_VECTOR_LOAD = 1
# Steps of a sum whose lines are more than the nearest cache holds.
_MANY_LINES = 512
# Cycles for each step of the sum beside products and loads: counter and branch, every few steps.
_STEP = 0.5
# Cycles to begin and end a tile: its addresses, the first loads, and the last products' latency.
_TILE = 12
# What each further piece of code costs: tiles of other sizes at the ends of rows and columns. It
# decides only between tiles that are as good as each other.
_PIECE = 0.02
# Accumulators that are worth their last addition.
_MOST_SPLITS = 4
# Steps of a sum for which two accumulators, added up at its end, are less work than waiting.
_WORTH_SPLITTING = 16
# An operand or a result that is larger leaves little room for others in the second cache.
_NEAR_BYTES = 1 << 19


@dataclass(frozen=True)
class _Issue:
    """What differs with the length of vectors; where two multiply-adds start in a cycle, what is
    counted are halves of cycles.

    - `broadcast_load`: of a load for all lanes.
    - `uneven`: the share that tiles are taken for worse by where two workers would not have half of
      the rows each, and these are no more than `few` tiles. It decides only between tiles that are
      nearly as good as each other.
    - `line`: of a line of 64 bytes from the second cache; 0 where it was not measured.
    - `shared_load`: what each load for all lanes adds to a step, as they have to wait for the line
      that all of them read.
    - `latency`: from a multiply-add to the next one that needs its result.
    - `covered`, `waits`: how many accumulators it takes for nothing ever to wait, and what is added
      to a step of fewer.
    - `doubled`: so few accumulators wait for each other, and get another one each.
    - `vectors`: of a tile of more than two rows, at most.
    - `values_first`: whether a tile may have so many vectors that they do not fit into registers
      beside it, but the values of all its rows and one vector do.
    """

    broadcast_load: float
    uneven: float
    line: float
    few: float = math.inf
    shared_load: float = 0.0
    latency: float = 4.0
    covered: int = 1
    waits: float = 0.0
    doubled: int = 0
    vectors: int = 6
    values_first: bool = False


# A multiply-add starts in a cycle, and two loads for all lanes, or one of 64 bytes.
_OTHERS = _Issue(broadcast_load=0.5, uneven=0.02, line=0.0)
# With vectors of 32 bytes as many loads start in a cycle as multiply-adds, two. Of a sum of few
# steps the beginning and the end take most of the time, which larger tiles make longer.
_SHORT_SUM = 64
_SHORT = _Issue(broadcast_load=1.0, uneven=0.05, line=6.0, doubled=6)
_OF_32_BYTES = replace(
    _SHORT,
    few=32,
    shared_load=0.1,
    latency=8.0,
    covered=12,
    waits=0.8,
    vectors=4,
    values_first=True,
)


@dataclass(frozen=True)
class Tile:
    """`rows` by `vectors` accumulators, `splits` of each along k.

    `even`: no tile at the end of a row has a single vector, if the one before can give it one.
    """

    rows: int
    vectors: int
    splits: int
    even: bool = False


def choose_tile(
    target: Target,
    p: int,
    q: int,
    k: int,
    lanes: int,
    across: bool = False,
    in_groups: bool = False,
) -> Tile:
    """The tile with the lowest estimate of cycles.

    Counted are multiply-adds, loads, and latency where there is too little work to hide it.
    `across`: whether both operands lie across the sum, so that each step reads other lines.
    `in_groups`: whether workers share groups of tiles, not the rows.
    """
    issue = _issue(target, k)
    columns = -(-q // lanes)
    itemsize = target.vector_bytes // lanes
    far = columns > 2 and itemsize * max(p * q, p * k, q * k) > _NEAR_BYTES
    even = target.vector_registers < 32
    few = 0 if in_groups else issue.few
    most = issue.vectors if p > 2 else 6
    best: tuple[float, Tile] | None = None
    for vectors in range(1, min(columns, most) + 1):
        for rows in range(1, min(p, _most_rows(target, issue, vectors, far)) + 1):
            row_tiles, remainder = divmod(p, rows)
            heights = [rows] * row_tiles + ([remainder] if remainder else [])
            tiles, tail = _across(columns, vectors, even)
            widths = [vectors] * tiles + tail
            cycles = 0.0
            for height in (rows, remainder) if remainder else (rows,):
                times = heights.count(height)
                for width in {*widths}:
                    cycles += times * widths.count(width) * _cycles(issue, height, width, k, across)
            instances = (2 if remainder else 1) * len({*widths})
            cycles *= 1 + _PIECE * instances
            if p % 2 == 0 and p // 2 % rows and len(heights) <= few:
                cycles *= 1 + issue.uneven
            if best is None or cycles < best[0]:
                best = cycles, Tile(rows, vectors, 1)
    assert best is not None
    tile = best[1]
    accumulators = tile.rows * tile.vectors
    splits = max(1, min(_IN_FLIGHT // accumulators, _MOST_SPLITS, k // 4))
    if splits == 1 and accumulators <= issue.doubled and k >= _WORTH_SPLITTING:
        splits = 2 if 2 * accumulators + tile.vectors < target.vector_registers else 1
    return Tile(tile.rows, tile.vectors, splits, even)


def _issue(target: Target, k: int) -> _Issue:
    if target.vector_bytes != 32:
        return _OTHERS
    return _SHORT if k < _SHORT_SUM else _OF_32_BYTES


def _lines(height: int, vectors: int) -> float:
    """Lines of the cache that a step reads where both operands lie across the sum: rows begin
    anywhere in a line, vectors at a multiple of their number.
    """
    return 1 + (height - 1) / 16 + (1 if vectors == 1 else vectors / 2 + vectors % 2 / 4)


def waits_for_lines(target: Target, tile: Tile, k: int) -> bool:
    """Whether a tile takes longer where the lines of each step come from the second cache."""
    return _lines(tile.rows, tile.vectors) * _issue(target, k).line > tile.rows * tile.vectors


def _cycles(issue: _Issue, height: int, vectors: int, k: int, across: bool) -> float:
    """An estimate for one tile: products or loads, whichever takes longer, and latency."""
    loads = height * issue.broadcast_load + vectors * _VECTOR_LOAD
    if across and k >= _MANY_LINES:
        loads = max(loads, _lines(height, vectors) * issue.line)
    accumulators = height * vectors
    work = max(accumulators, loads, issue.latency) + height * issue.shared_load
    if accumulators < issue.covered:
        work += issue.waits
    return k * (work + _STEP) + _TILE + accumulators


def _most_rows(target: Target, issue: _Issue, vectors: int, far: bool) -> int:
    """Rows of a tile for which nothing has to leave the registers.

    Of 32 registers a quarter is left for what is loaded: with more accumulators, more than 10 rows
    of two vectors or 6 of three, values went to the stack, and tiles ran at 70 to 90 % of speed.
    Rows of large operands (`far`) are often a multiple of 4 KB apart and share a set of the nearest
    cache, which has room for eight: flat tiles suit them.
    """
    registers = target.vector_registers
    if registers < 32:
        rows = (registers - 1 - vectors) // vectors
        return max(rows, (registers - 1) // (vectors + 1)) if issue.values_first else rows
    most = 6 if far or vectors > 2 else 10 if vectors == 2 else 14
    return min(25 // vectors, most)


def _across(columns: int, vectors: int, even: bool) -> tuple[int, list[int]]:
    """How many tiles of so many vectors stand in a row, and the vectors of those behind them."""
    tiles, left = divmod(columns, vectors)
    if even and left == 1 and tiles and vectors > 2:
        return tiles - 1, [vectors // 2 + 1, (vectors + 1) // 2]
    return tiles, [left] if left else []


def column_segments(
    q: int, lanes: int, most: int, even: bool = False
) -> list[tuple[int, int, list[int]]]:
    """Columns cut into tiles of up to `most` vectors: (first column, number of tiles, elements of
    each vector). `even`: as in `Tile`.
    """
    tiles, tail = _across(-(-q // lanes), most, even)
    runs: list[tuple[int, int]] = []  # of tiles, and the vectors of each
    for count, vectors in ((tiles, most), *((1, vectors) for vectors in tail)):
        if runs and runs[-1][1] == vectors:
            runs[-1] = runs[-1][0] + count, vectors
        elif count:
            runs.append((count, vectors))
    segments: list[tuple[int, int, list[int]]] = []
    column = 0
    for count, vectors in runs:
        width = vectors * lanes
        whole = min(count, (q - column) // width)
        if whole:
            segments.append((column, whole, [lanes] * vectors))
            column += whole * width
        if whole < count:
            full, remainder = divmod(q - column, lanes)
            segments.append((column, 1, [lanes] * full + [remainder]))
    return segments


def row_segments(product: Product, height: int) -> list[tuple[int, int, int]]:
    """Rows cut into tiles: (first row, number of tiles, rows of each).

    The tiles of a segment are one piece of code, so they have the same `taps`.
    """
    down, remainder = divmod(product.p, height)
    last = [(down * height, 1, remainder)] if remainder else []
    if not product.masked:
        return [(0, down, height), *last]
    segments: list[tuple[int, int, int]] = []
    for row in range(0, down * height, height):
        if segments:
            first, tiles, _ = segments[-1]
            if product.taps(first, height) == product.taps(row, height):
                segments[-1] = (first, tiles + 1, height)
                continue
        segments.append((row, 1, height))
    return segments + last
