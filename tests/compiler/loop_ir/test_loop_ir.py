"""The loop IR: indices, printer, verifier and evaluator."""

from __future__ import annotations

import numpy as np
import pytest

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.evaluate import evaluate_kernel
from mynn.compiler.loop_ir.format import format_kernel
from mynn.compiler.loop_ir.ir import (
    Buffer,
    Const,
    Expr,
    For,
    Kernel,
    Let,
    Load,
    Local,
    Op,
    Prefetch,
    Reduce,
    Statement,
    Store,
    Var,
    Within,
    buffers_of,
)
from mynn.compiler.loop_ir.verify import MAX_VECTOR, verify_kernel
from mynn.compiler.loop_ir.walk import expr_type, statements, sub_expressions
from mynn.errors import VerifyError

AT_I, AT_J = Affine.var("i"), Affine.var("j")
X = Buffer("x", "f32", 64)
Y = Buffer("y", "f32", 64)
N = Buffer("n", "i64", 8)
ACC = Buffer("acc", "f32", 16, "register")
TILE = Buffer("tile", "f32", 16, "scratch")


def kernel(*body: Statement, comment: str = "") -> Kernel:
    return Kernel("k", body, comment)


# -- indices ---------------------------------------------------------------------------------------


def test_affine_arithmetic() -> None:
    index = AT_I * 3 + AT_J * -1 + 5
    assert str(index) == "3*i + -1*j + 5"
    assert index.coefficient("i") == 3
    assert index.coefficient("k") == 0
    assert index.without("i") == AT_J * -1 + 5
    assert index + -index == Affine()
    assert AT_I * 0 == Affine() == Affine.var("i", 0)
    assert (AT_I + AT_J) * 2 == AT_J * 2 + AT_I * 2
    assert AT_I + AT_J + -AT_J == AT_I
    assert hash(AT_I + AT_J) == hash(AT_J + AT_I)
    assert str(Affine()) == "0"
    assert str(AT_I) == "i"


def test_affine_agrees_with_numbers() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b, c, d, e = (int(v) for v in rng.integers(-4, 5, 5))
        i, j = (int(v) for v in rng.integers(0, 9, 2))
        index = (AT_I * a + b) * c + AT_J * d + -(AT_I * e)
        value = index.constant + index.coefficient("i") * i + index.coefficient("j") * j
        assert value == (a * i + b) * c + d * j - e * i
        assert [name for name, _ in index.terms] == sorted(name for name, _ in index.terms)
        assert all(coefficient for _, coefficient in index.terms)


# -- printing --------------------------------------------------------------------------------------


def test_every_form_is_printed() -> None:
    body = kernel(
        Local(ACC),
        Local(TILE),
        For(
            "i",
            4,
            (
                Prefetch(Y, AT_I * 16),
                For("j", 16, (Store(ACC, AT_J, Const(0.5, "f32")),), "vector"),
                For("u", 2, (Store(TILE, Affine.var("u"), Load(X, AT_I * 16 + 2)),), "unroll"),
                Let("a", Op("fma", (Load(X, AT_I), Const(2.0, "f32"), Load(Y, AT_I)), "f32")),
                Let("c", Op("cast", (Var("a", "f32"),), "i32")),
                Let("s", Reduce("add", ACC, Affine(), 16)),
                Store(N, AT_I, AT_I * 2 + 1),
            ),
        ),
        For("w", 3, (Store(Y, Affine.var("w"), Const(0.0, "f32")),), "parallel"),
        For("z", 3, (), where=(Within(Affine.var("z", 2) + -1, 4),)),
        comment="all of it",
    )
    assert format_kernel(body).splitlines() == [
        "kernel k:  # all of it",
        "  local acc: f32[16] register",
        "  local tile: f32[16] scratch",
        "  for i in 4:",
        "    prefetch y[16*i]",
        "    for j in 16 vector:",
        "      acc[j] = 0.5",
        "    for u in 2 unroll:",
        "      tile[u] = x[16*i + 2]",
        "    let a = fma(x[i], 2.0, y[i])",
        "    let c = cast.i32(a)",
        "    let s = reduce_add acc[0 +: 16]",
        "    n[i] = 2*i + 1",
        "  for w in 3 parallel:",
        "    y[w] = 0.0",
        "  for z in 3 where 0 <= 2*z + -1 < 4:",
    ]
    verify_kernel(body)


def test_walks() -> None:
    inner = Store(Y, AT_I, Op("add", (Load(X, AT_I), Load(ACC, Affine())), "f32"))
    body = kernel(Local(ACC), Store(ACC, Affine(), Load(Y, Affine())), For("i", 3, (inner,)))
    assert [type(s).__name__ for s in statements(body.body)] == ["Local", "Store", "For", "Store"]
    assert [type(e).__name__ for e in sub_expressions(inner.value)] == ["Op", "Load", "Load"]
    assert buffers_of(body) == ([Y, X], [Y])
    assert expr_type(AT_I) == "i64"
    assert expr_type(Load(N, AT_I)) == "i64"
    assert expr_type(Reduce("max", ACC, AT_I, 4)) == "f32"


# -- the verifier ----------------------------------------------------------------------------------


def let(name: str, value: Expr) -> Let:
    return Let(name, value)


ONE = Const(1.0, "f32")
BROKEN: dict[str, tuple[tuple[Statement, ...], str]] = {
    "loop in vector": (
        (For("i", 4, (For("j", 2, (Store(X, AT_J, ONE),)),), "vector"),),
        "j stands inside a vector loop",
    ),
    "kind": ((For("i", 4, (), "threaded"),), "i has a bad kind"),
    "parallel inside parallel": (
        (For("i", 2, (For("j", 2, (), "parallel"),), "parallel"),),
        "parallel loop j stands in another loop",
    ),
    "parallel inside unrolled": (
        (For("i", 2, (For("u", 2, (For("j", 2, (), "parallel"),)),), "unroll"),),
        "parallel loop j stands in another loop",
    ),
    "extent": ((For("i", -1, ()),), "bad kind or extent"),
    "wide vector": ((For("i", MAX_VECTOR + 1, (), "vector"),), "vector loop i of 129"),
    "condition on a vector": (
        (For("i", 4, (), "vector", (Within(AT_I, 2),)),),
        "vector loop i has a condition",
    ),
    "condition without the variable": (
        (For("j", 2, (For("i", 4, (), where=(Within(AT_J, 2),)),)),),
        "0 <= j < 2 does not grow with i",
    ),
    "condition that falls": (
        (For("i", 4, (), where=(Within(AT_I * -1 + 2, 2),)),),
        "does not grow with i",
    ),
    "unbound condition": (
        (For("i", 4, (), where=(Within(AT_I + AT_J, 2),)),),
        "j is used in 0 <= i",
    ),
    "empty vector": ((For("i", 0, (), "vector"),), "vector loop i of 0"),
    "loop variable twice": ((For("i", 2, (For("i", 2, ()),)),), "i is bound twice"),
    "let twice": ((let("a", ONE), let("a", ONE)), "a is bound twice"),
    "let hides loop": ((For("i", 2, (let("i", ONE),)),), "i is bound twice"),
    "unbound var": ((let("a", Var("b", "f32")),), "b is used before it is bound"),
    "unbound in op": ((Store(X, AT_I * 0, Op("neg", (Var("b", "f32"),), "f32")),), "b is used"),
    "out of scope": (
        (For("i", 2, (let("a", ONE),)), Store(X, Affine(), Var("a", "f32"))),
        "a is used before it is bound",
    ),
    "unbound index of a load": ((let("a", Load(X, AT_I)),), r"i is used in x\[i\]"),
    "unbound index of a store": ((Store(X, AT_I, ONE),), r"i is used in x\[i\]"),
    "unbound index as a value": ((let("a", AT_I),), "i is used before it is bound"),
    "register unmade": ((let("a", Load(ACC, Affine())),), "acc is used before it is made"),
    "stack unmade": ((Store(TILE, Affine(), ONE), Local(TILE)), "tile is used before it is made"),
    "reduce unmade": ((let("a", Reduce("add", ACC, Affine(), 4)),), "acc is used before"),
    "made in a loop": (
        (For("i", 2, (Local(ACC),)), Store(ACC, Affine(), ONE)),
        "acc is used before it is made",
    ),
    "unbound index of a prefetch": ((Prefetch(X, AT_I),), r"i is used in x\[i\]"),
    "prefetch of a register": ((Local(ACC), Prefetch(ACC, Affine())), "acc, not in memory"),
    "type of a store": ((Store(X, Affine(), Const(1, "i64")),), "i64 stored to x of f32"),
    "type of an index": ((For("i", 2, (Store(X, AT_I, AT_I),)),), "i64 stored to x of f32"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_verifier_refuses(name: str) -> None:
    body, message = BROKEN[name]
    with pytest.raises(VerifyError, match=f"^k: .*{message}"):
        verify_kernel(kernel(*body))


def test_names_may_be_used_again_beside_each_other() -> None:
    """Only nested bindings clash."""
    loop = For("i", 2, (let("a", Load(X, AT_I)), Store(Y, AT_I, Var("a", "f32"))))
    verify_kernel(kernel(loop, loop))


# -- the evaluator ---------------------------------------------------------------------------------


def run(body: Kernel, **arrays: np.ndarray) -> None:
    verify_kernel(body)
    named = {b.name: b for b in (X, Y, N)}
    evaluate_kernel(body, {named[name]: array for name, array in arrays.items()})


def test_loops_and_loads() -> None:
    x = np.arange(64, dtype=np.float32)
    y = np.zeros(64, np.float32)
    add = Op("add", (Load(X, AT_I * 4 + AT_J), Const(0.5, "f32")), "f32")
    run(kernel(For("i", 2, (For("j", 3, (Store(Y, AT_I * 3 + AT_J, add),), "vector"),))), x=x, y=y)
    np.testing.assert_array_equal(y[:6], [0.5, 1.5, 2.5, 4.5, 5.5, 6.5])
    assert not y[6:].any()


def test_locals_start_anew_in_each_round() -> None:
    y = np.zeros(64, np.float32)
    body = (
        Local(ACC),
        Store(ACC, Affine(), ONE),
        Store(ACC, Affine(), Op("add", (Load(ACC, Affine()), ONE), "f32")),
        Store(Y, AT_I, Load(ACC, Affine())),
    )
    run(kernel(For("i", 3, body)), y=y)
    np.testing.assert_array_equal(y[:4], [2, 2, 2, 0])


def test_prefetch_means_nothing() -> None:
    y = np.zeros(64, np.float32)
    run(kernel(For("i", 3, (Prefetch(Y, AT_I), Prefetch(Y, AT_I * 1000)))), y=y)
    assert not y.any()


def test_conditions_leave_rounds_out() -> None:
    y = np.zeros(64, np.float32)
    where = (Within(AT_J * 2 + AT_I + -3, 5), Within(AT_J + -1, 9))
    run(kernel(For("i", 4, (For("j", 5, (Store(Y, AT_I * 5 + AT_J, ONE),), where=where),))), y=y)
    expected = [[0 <= 2 * j + i - 3 < 5 and j >= 1 for j in range(5)] for i in range(4)]
    np.testing.assert_array_equal(y[:20].reshape(4, 5), expected)


@pytest.mark.parametrize(
    ("op", "expected"), [("add", 14.0), ("mul", 120.0), ("maximum", 5.0), ("minimum", 2.0)]
)
def test_reduce(op: str, expected: float) -> None:
    y = np.zeros(64, np.float32)
    fill = For("j", 8, (Store(ACC, AT_J, Op("cast", (AT_J,), "f32")),), "vector")
    run(kernel(Local(ACC), fill, Store(Y, Affine(), Reduce(op, ACC, Affine(2), 4))), y=y)
    assert y[0] == expected


@pytest.mark.parametrize(
    ("op", "type", "expected"),
    [
        (Op("fma", (Const(3.0, "f32"), Const(4.0, "f32"), ONE), "f32"), "f32", 13.0),
        (Op("quotient", (Affine(17), Const(5, "i64")), "i64"), "i64", 3),
        (Op("remainder", (Affine(17), Const(5, "i64")), "i64"), "i64", 2),
        (Op("cast", (Const(2.75, "f32"),), "i64"), "i64", 2),
        (
            Op("cast", (Op("shift_right", (Const(12, "u32"), Const(2, "u32")), "u32"),), "i64"),
            "i64",
            3,
        ),
        (Op("where", (Const(False, "bool"), ONE, Const(7.0, "f32")), "f32"), "f32", 7.0),
        (Op("tanh", (Const(0.5, "f32"),), "f32"), "f32", np.tanh(np.float32(0.5))),
    ],
)
def test_ops(op: Op, type: str, expected: float) -> None:
    y, n = np.zeros(64, np.float32), np.zeros(8, np.int64)
    run(kernel(Store(Y if type == "f32" else N, Affine(), op)), y=y, n=n)
    assert (y if type == "f32" else n)[0] == expected


def test_random_words() -> None:
    """Threefry's published answer for the key and counter 0 (Salmon et al., 2011)."""
    out = Buffer("out", "u32", 1)
    zero = Const(0, "u32")
    word = Op("threefry2x32", (zero, zero, zero, zero), "u32")
    value = np.zeros(1, np.uint32)
    evaluate_kernel(kernel(Store(out, Affine(), word)), {out: value})
    assert value[0] == 0x6B200159
