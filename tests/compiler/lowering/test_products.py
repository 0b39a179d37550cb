"""Products: the loop IR by its evaluator, and native code, against the interpreter."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mynn.compiler.graph.contraction_dims import DOT_ROWS
from mynn.compiler.lowering.contraction import schedule, tile
from mynn.compiler.lowering.contraction.tile_cost import choose_tile
from mynn.core.types import Shape
from mynn.functional import losses
from mynn.target.storage import is_narrow
from mynn.target.target import host
from mynn.tensor import Tensor
from mynn.transform.grad import grad
from tests.compiler.harness import Case
from tests.compiler.lowering.test_schedules import check, grad_of_convolution, i64, text
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
            used = tile.rows * tile.vectors * tile.splits + tile.vectors + 1
            assert 1 <= tile.rows <= p
            assert used <= registers or tile.splits > 1
            assert tile.rows * tile.vectors + tile.vectors + 1 <= registers


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 2, 17, 3)])
def test_long_sums_in_blocks(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums over several axes go block by block where they would not fit the cache."""
    plain = grad_of_convolution, f32(*shape), f32(60, shape[1], 3, 3)
    whole = text(Case(graph_of(*plain)))
    monkeypatch.setattr(schedule, "_CACHE_BYTES", 64)
    case = Case(graph_of(*plain))
    assert "partial.k" in text(case)
    assert "partial.k" not in whole
    check(case, evaluate=False)
    check(Case(graph_of(grad_of_convolution, f32(1, 2, 5, 4), f32(60, 2, 2, 2))))


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
