"""Products: the loop IR by its evaluator, and native code, against the interpreter."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mynn import functional
from mynn.compiler.graph.contraction_dims import DOT_ROWS
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Buffer, For, Kernel, Let, Load, Prefetch, Statement, Store
from mynn.compiler.loop_ir.walk import statements, sub_expressions
from mynn.compiler.lowering.contraction import blocks, pieces, tile
from mynn.compiler.lowering.contraction.tile_cost import choose_tile, column_segments
from mynn.core.types import Array, Shape, Type
from mynn.functional import losses
from mynn.ops.contraction import contract
from mynn.target.storage import is_narrow, padded_strides
from mynn.target.target import host, named
from mynn.tensor import Tensor, apply
from mynn.transform.grad import grad
from tests.compiler.harness import Case
from tests.compiler.lowering.test_schedules import check, f64, grad_of_convolution, i64, text
from tests.helpers import f32, graph_of

PRODUCTS = [
    (1, 1, 1),
    (13, 14, 15),
    (14, 1, 32),
    (15, 2, 33),
    (27, 5, 47),
    (28, 3, 96),
    (29, 17, 97),
    (31, 16, 16),
    (41, 8, 65),
    (1, 300, 7),
    (6, 33, 17),
    (7, 33, 17),
    (0, 3, 4),
    (3, 0, 4),
    (3, 4, 0),
]


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("m", "k", "n"), PRODUCTS)
@pytest.mark.parametrize("turned", ["", "a", "b", "ab"])
def test_products(m: int, k: int, n: int, turned: str) -> None:
    """Operands as they lie, and turned."""
    a = f32(k, m) if "a" in turned else f32(m, k)
    b = f32(n, k) if "b" in turned else f32(k, n)

    def product(x: Tensor, y: Tensor) -> Tensor:
        return (x.T if "a" in turned else x) @ (y.T if "b" in turned else y)

    check(Case(graph_of(product, a, b)), evaluate=m * k * n < 700, scale=4)


# Every pair of numbers of rows, columns and terms, not every three.
FEW_COLUMNS = [
    (rows, columns, k)
    for i, rows in enumerate([1, 6, 7, 15, 16, 17, 33])
    for j, columns in enumerate([1, 2, 4, 5])
    for m, k in enumerate([1, 16, 25, 31, 64])
    if (i + j + m) % 4 == 0
]


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("rows", "columns", "k"), FEW_COLUMNS)
def test_products_of_few_columns(rows: int, columns: int, k: int) -> None:
    """Dot products side by side along the rows, and results that lie along them."""
    types = f32(rows, k), f32(columns, k), f32(columns), f32(rows, columns)

    def function(x: Tensor, w: Tensor, b: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        error = (x @ w.T + b).tanh() - t
        return (error * error).sum(), error @ w, w - (x.T @ error).T, b - error.sum(axis=0)

    case = Case(graph_of(function, *types))
    check(case, evaluate=rows * columns * k < 1000, scale=4)
    copied = k > 1 and rows > DOT_ROWS and not is_narrow(columns)
    assert ("local square" in text(case)) == copied


def test_results_of_few_columns_lie_along_the_rows() -> None:
    """The errors of a loss too, though labels and what is made of an index come from elsewhere."""

    def function(x: Tensor, w: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return losses.cross_entropy(x @ w.T, labels), grad(
            lambda v: losses.cross_entropy(x @ v.T, labels)
        )(w)

    case = Case(graph_of(function, f32(32, 24), f32(4, 24), i64(32)))
    strides = [p.strides for node, p in case.lowered.plan.places.items() if node.shape == (32, 4)]
    assert strides
    assert set(strides) == {(1, 32)}
    check(case, evaluate=False, scale=4)


@pytest.mark.parametrize(("vector_bytes", "registers"), [(16, 16), (32, 16), (64, 32)])
@pytest.mark.parametrize("p", [1, 6, 13, 14, 33])
def test_tile_fits_the_registers(vector_bytes: int, registers: int, p: int) -> None:
    target = replace(host(), vector_bytes=vector_bytes, vector_registers=registers)
    for q in (1, 15, 16, 17, 64, 200):
        for k in (1, 8, 300):
            tile = choose_tile(target, p, q, k, target.lanes(4))
            used = tile.rows * tile.vectors * tile.splits + min(tile.rows, tile.vectors) + 1
            assert 1 <= tile.rows <= p
            assert used <= registers or tile.splits > 1
            assert tile.rows * tile.vectors + min(tile.rows, tile.vectors) + 1 <= registers


@pytest.mark.parametrize(("p", "q"), [(1024, 64), (64, 128), (32, 384), (2048, 80), (128, 256)])
def test_tiles_of_long_sums_have_twelve_accumulators_in_16_registers(p: int, q: int) -> None:
    """Eight of them would wait for each other wherever a load comes late."""
    target = named("x86-64-v3")
    tile = choose_tile(target, p, q, 128, target.lanes(4))
    assert tile.rows * tile.vectors == 12


@pytest.mark.parametrize(("rows", "columns"), [(5, 8), (3, 16), (6, 8), (2, 24)])
def test_few_accumulators_are_doubled_in_16_registers(rows: int, columns: int) -> None:
    """Two multiply-adds start in a cycle, and each takes four: eight are to be on their way."""
    target = named("x86-64-v3")
    tile = choose_tile(target, rows, columns, 24, target.lanes(4))
    accumulators = tile.rows * tile.vectors * tile.splits
    assert accumulators + tile.vectors < target.vector_registers
    assert accumulators >= 8
    assert choose_tile(target, rows, columns, 8, target.lanes(4)).splits == 1


def lenet(x: Tensor, w: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """Two convolutions with pooling, the first of images of one channel, and their gradients; the
    channels of results are the last axis of the kernels, as with parameters.
    """

    def loss(w: Tensor, v: Tensor) -> Tensor:
        y = functional.max_pool2d(functional.conv2d(x, w.permute(3, 0, 1, 2)).relu(), 2)
        y = functional.max_pool2d(functional.conv2d(y, v.permute(3, 2, 0, 1)).relu(), 2)
        return (y**2).sum() * 1e-4

    first, second = grad(loss, (0, 1))(w, v)
    return loss(w, v), first, second


def lenet_loops(kernel: str, images: int = 64) -> list[tuple[str, list[Affine]]]:
    """The innermost loops of a kernel of LeNet's with 16 registers: the variable of each, and the
    indices of what it reads.
    """
    types = f32(images, 1, 28, 28), f32(1, 5, 5, 8), f32(5, 5, 8, 16)
    case = Case(graph_of(lenet, *types), target=named("x86-64-v3"))
    (found,) = [k for k in case.lowered.kernels if k.comment.startswith(kernel)]
    result = []
    for loop in statements(found.body):
        if isinstance(loop, For) and loop.kind == "serial":
            lets = [s for s in statements(loop.body) if isinstance(s, Let)]
            if not any(isinstance(s, For) and s.kind == "serial" for s in statements(loop.body)):
                reads = [s.value.index for s in lets if isinstance(s.value, Load)]
                result.append((loop.var, [x for x in reads if x.coefficient(loop.var)]))
    return [(name, reads) for name, reads in result if reads]


def test_rows_that_share_values_read_them_again_in_16_registers() -> None:
    """What is kept from place to place of a kernel would go to memory and back."""
    loops = lenet_loops("contract[64, 24, 24, 8]")
    assert loops
    for _, reads in loops:
        assert len({*reads}) == len(reads)


def test_gradients_of_kernels_go_from_place_to_place() -> None:
    """Images lie a multiple of 4 KB apart, places side by side: there are 16 and 8 of them."""
    loops = lenet_loops("contract[4, 8, 5, 5, 16]")
    assert loops
    for name, reads in loops:
        assert max(4 * index.coefficient(name) for index in reads) < 4096


def test_gradients_of_lenet() -> None:
    types = f32(3, 1, 28, 28), f32(1, 5, 5, 8), f32(5, 5, 8, 16)
    check(Case(graph_of(lenet, *types)), evaluate=False, scale=8)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 2, 17, 3)])
def test_long_sums_in_blocks(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums over several axes go block by block where they would not fit the cache."""
    plain = grad_of_convolution, f32(*shape), f32(60, shape[1], 3, 3)
    whole = text(Case(graph_of(*plain)))
    monkeypatch.setattr(blocks, "_CACHE_BYTES", 64)
    case = Case(graph_of(*plain))
    assert "partial.k" in text(case)
    assert "partial.k" not in whole
    check(case, evaluate=False)
    check(Case(graph_of(grad_of_convolution, f32(1, 2, 5, 4), f32(60, 2, 2, 2))))


def test_gradients_of_kernels_go_image_by_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 16 registers tiles wait for what they read of all images, which are small."""

    def gradient_of_kernel(x: Tensor, w: Tensor, a: Tensor, b: Tensor) -> Any:
        def loss(w: Tensor) -> Tensor:
            y = functional.conv2d(functional.conv2d(x, a).relu(), w, padding=1)
            return (functional.conv2d(y.relu(), b) ** 2).sum() * 1e-6

        return grad(loss)(w)

    monkeypatch.setattr(blocks, "_CACHE_BYTES", 1 << 12)
    types = f32(20, 24, 5, 6), f32(40, 24, 3, 3), f32(24, 24, 1, 1), f32(24, 40, 1, 1)
    for name, blocked in (("x86-64-v3", True), ("x86-64-v4", False)):
        case = Case(graph_of(gradient_of_kernel, *types), target=named(name))
        assert ("partial.k" in text(case)) == blocked
    check(Case(graph_of(gradient_of_kernel, *types)), evaluate=False, scale=4)


def gradient(x: Tensor, g: Tensor) -> Tensor:
    """The sum over all axes but the last one of products of rows."""
    turned = x.permute(x.ndim - 1, *range(x.ndim - 1))
    return apply(contract, turned, g, batch=0, summed=x.ndim - 1)


# Whatever machine runs the tests.
AVX512 = named("x86-64-v4")
# Terms of each axis, rows, columns; bytes of panels and of groups.
PANELS = [
    ((60,), 33, 40, 1 << 20, 1 << 20),
    ((60,), 64, 64, 2000, 1 << 20),
    ((12, 5), 40, 67, 2000, 1 << 20),
    ((12, 5), 35, 192, 500, 3000),
    ((2, 3, 10), 96, 33, 700, 3000),
]


@pytest.mark.one_in(5)
@pytest.mark.parametrize("typed", [f32, f64])
@pytest.mark.parametrize("ways", [0, 64])
@pytest.mark.parametrize(("terms", "rows", "columns", "panel", "group"), PANELS)
def test_long_sums_in_panels(
    terms: Shape,
    rows: int,
    columns: int,
    panel: int,
    group: int,
    ways: int,
    typed: Callable[..., Type],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sums that lie across both operands, in blocks; with an epilogue. Both are copied where they
    would not stay in the cache as they lie.
    """
    monkeypatch.setattr(pieces, "_WAYS", ways)
    monkeypatch.setattr(blocks, "_LEAST_TERMS", 60)
    monkeypatch.setattr(blocks, "_LEAST_BLOCK", 2)
    monkeypatch.setattr(blocks, "_PANEL_BYTES", panel)
    monkeypatch.setattr(blocks, "_GROUP_BYTES", group)
    x, g = typed(*terms, rows), typed(*terms, columns)
    target = replace(host(), vector_bytes=32, vector_registers=16)
    graph = graph_of(lambda m, x, g: 0.9 * m + gradient(x, g), typed(rows, columns), x, g)
    case = Case(graph, target=target)
    copied = re.search(r"local strips\d+: f\d+\[\d+\] scratch", text(case))
    if ways == 0:
        assert copied
    elif len(terms) < 3:  # others are not evenly apart in each block
        assert not copied
    cut = panel < 1 << 20
    assert ("for block" in text(case)) == cut
    check(case, evaluate=rows * columns < 1500, scale=4)
    turned = Case(graph_of(lambda x, g: gradient(x, g).T.tanh(), x, g), target=target)
    assert ("for block" in text(turned)) == cut
    check(turned, evaluate=False, scale=4)


def test_long_sums_of_a_batch_in_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each product of the batch has sums of its own."""
    monkeypatch.setattr(blocks, "_LEAST_TERMS", 60)
    monkeypatch.setattr(blocks, "_LEAST_BLOCK", 2)
    monkeypatch.setattr(blocks, "_PANEL_BYTES", 1000)

    def products(x: Tensor, g: Tensor) -> Tensor:
        return apply(contract, x.permute(0, 1, 3, 2), g, batch=2, summed=1)

    for ways in (0, 64):
        monkeypatch.setattr(pieces, "_WAYS", ways)
        case = Case(graph_of(products, f32(2, 3, 60, 33), f32(2, 3, 60, 40)))
        assert ("strips" in text(case)) == (ways == 0)
        check(case, evaluate=False, scale=4)


@pytest.mark.parametrize(
    ("terms", "rows", "columns"), [((512,), 64, 64), ((16, 32), 128, 96), ((1024,), 64, 96)]
)
@pytest.mark.parametrize("ways", [0, 64])
def test_blocks_fetch_what_the_next_one_reads(
    terms: Shape, rows: int, columns: int, ways: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line of the cache that a block of panels reads was fetched by the block before."""
    monkeypatch.setattr(pieces, "_WAYS", ways)
    case = Case(graph_of(gradient, f32(*terms, rows), f32(*terms, columns)), target=AVX512)
    (kernel,) = (k for k in case.lowered.kernels if k.comment.startswith("contract"))
    fetched: dict[tuple[str, int], set[int]] = {}
    read: dict[tuple[str, int], set[int]] = {}

    def walk(body: Sequence[Statement], at: dict[str, Array], block: int) -> None:
        """All rounds of a loop at once, each loop along an axis of its own, blocks in turn."""
        for one in body:
            if isinstance(one, For) and one.var.startswith("block"):
                for i in range(one.extent):
                    walk(one.body, {**at, one.var: np.asarray(i)}, block + i)
            elif isinstance(one, For):
                # Of a vector its first and its last lane.
                step = one.extent - 1 if one.kind == "vector" and one.extent > 1 else 1
                outer = {name: value[..., None] for name, value in at.items()}
                walk(one.body, {**outer, one.var: np.arange(0, one.extent, step)}, block)
            elif isinstance(one, Prefetch):
                note(fetched, one.buffer, one.index, at, block)
            elif isinstance(one, Let | Store) and isinstance(one.value, Load):
                buffer = one.value.buffer
                if buffer.storage == "memory" and not buffer.name.startswith("partial"):
                    note(read, buffer, one.value.index, at, block)

    def note(
        into: dict[Any, set[int]], buffer: Buffer, index: Affine, at: dict[str, Array], block: int
    ) -> None:
        place: Any = index.constant
        for name, step in index.terms:
            place = place + step * at[name]
        into.setdefault((buffer.name, block), set()).update(np.unique(place // 16).tolist())

    walk(kernel.body, {}, 0)
    later = {key: lines for key, lines in read.items() if key[1]}
    assert len({name for name, _ in later}) == 2
    assert len(later) > 4
    for (name, block), lines in later.items():
        assert lines <= fetched[name, block - 1]


def test_panels_are_for_long_sums() -> None:
    def loops(terms: int, rows: int, columns: int) -> str:
        graph = graph_of(gradient, f32(terms, rows), f32(terms, columns))
        return text(Case(graph, target=AVX512))

    assert "for block" not in loops(511, 64, 64)
    assert "for block" not in loops(512, 64, 31)
    assert "for block" in loops(512, 64, 64)
    # Rows of 4 KB begin in the same set of the cache.
    assert "strips" not in loops(512, 64, 1024)
    assert "panels" not in loops(512, 64, 64)
    assert "panels" in loops(512, 64, 1024)


@pytest.mark.parametrize("k", [16, 64])
def test_columns_are_copied_once_for_all_rows(k: int) -> None:
    """Where rows have two axes, columns that are turned, or collide, are copied outside of both."""

    def product(x: Tensor, w: Tensor) -> Tensor:
        return apply(contract, x.permute(1, 0, 2), w if k == 64 else w.T, batch=0, summed=1)

    case = Case(graph_of(product, f32(12, 5, k), f32(64, 512) if k == 64 else f32(48, 16)))
    loops = text(case).split("kernel k0:")[1]
    first = re.search(r"^( *)local panel", loops, re.M)
    around = re.search(r"^( *)for p\d+ in 5", loops, re.M)
    assert first
    assert around
    assert first.start() < around.start()
    check(case, evaluate=k == 16, scale=4)


@pytest.mark.parametrize("columns", [25, 32, 55, 56, 57, 80, 81])
def test_columns_of_a_tile_are_as_even_as_can_be(columns: int) -> None:
    """With few registers no tile of a single vector stands behind others."""
    for even in (False, True):
        segments = column_segments(columns, 8, 3, even)
        ends = [first + count * sum(widths) for first, count, widths in segments]
        assert [first for first, _, _ in segments] == [0, *ends[:-1]]
        assert ends[-1] == columns
        if even:
            assert all(len(widths) > 1 for _, _, widths in segments)


def test_columns_that_would_collide_are_copied() -> None:
    case = Case(graph_of(lambda x, w: x @ w, f32(64, 64), f32(64, 256)))
    assert re.search(r"local panel\d+: f32\[\d+\] scratch", text(case))
    check(case, evaluate=False, scale=4)


def test_what_an_epilogue_reads_from_afar_is_fetched_early(monkeypatch: pytest.MonkeyPatch) -> None:
    def case() -> Case:
        return Case(graph_of(lambda w, x, y: w - x.T @ y, f32(31, 33), f32(5, 31), f32(5, 33)))

    assert "prefetch" not in text(case())
    monkeypatch.setattr(tile, "_FAR_BYTES", 64)
    assert re.search(r"prefetch \S+\[", text(case()))
    check(case())


@pytest.mark.parametrize("shape", [(64, 400, 700), (700, 33, 257), (97, 1300, 130)])
def test_large_operands_have_flat_tiles(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    assert choose_tile(host(), m, n, k, host().lanes(4)).rows <= 6
    check(Case(graph_of(lambda a, b: a @ b, f32(m, k), f32(k, n))), evaluate=False, scale=20)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("typed", [f32, f64])
@pytest.mark.parametrize("channels", [4, 16, 19])
@pytest.mark.parametrize(("stride", "padding", "times"), [(1, 1, 1), (2, 1, 1), (1, 0, 2)])
def test_convolutions_in_depth_run_along_the_channels(
    typed: Callable[..., Type], channels: int, stride: int, padding: int, times: int
) -> None:
    """Where these lie side by side: the output, and the gradients of weight and input."""

    def loss(x: Tensor, w: Tensor, v: Tensor) -> Tensor:
        x = functional.conv2d(x, w).tanh()  # a product lies with its channels side by side
        y = functional.conv2d(x, v, stride=stride, padding=padding, groups=channels)
        return (y * y).sum()

    def gradients(x: Tensor, w: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return grad(lambda w: loss(x, w, v))(w), grad(lambda v: loss(x, w, v))(v)

    types = typed(2, 3, 6, 5), typed(channels, 3, 1, 1), typed(channels * times, 1, 3, 3)

    def case_of(function: Callable[..., Any]) -> Case:
        graph = graph_of(function, *types)
        v = graph.inputs[2]
        order = 2, 3, 1, 0  # as layers keep their weights
        return Case(graph, layouts={v: padded_strides(v.shape, v.dtype.itemsize, order)})

    check(case_of(loss), evaluate=channels == 4, scale=16)
    case = case_of(gradients)
    check(case, evaluate=False, scale=16)
    along = [k for k in case.lowered.kernels if "contract" in k.comment and _in_lanes(k)]
    if times == 1:
        assert bool(along) == (channels >= host().lanes(4 if typed is f32 else 8) // 2)


def _in_lanes(kernel: Kernel) -> bool:
    """Whether both factors of a product are loaded along its vectors."""
    loops = [s for s in statements(kernel.body) if isinstance(s, For) and s.kind == "vector"]
    for loop in loops:
        for statement in loop.body:
            if not isinstance(statement, Store):
                continue
            loads = [e for e in sub_expressions(statement.value) if isinstance(e, Load)]
            memory = [e for e in loads if e.buffer.storage == "memory"]
            if len(memory) == 2 and all(e.index.coefficient(loop.var) == 1 for e in memory):
                return True
    return False
