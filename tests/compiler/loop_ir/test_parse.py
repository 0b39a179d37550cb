"""What is printed and read again is the same."""

from __future__ import annotations

import re

import pytest

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.canonical import canonical
from mynn.compiler.loop_ir.format import format_function, format_kernel
from mynn.compiler.loop_ir.ir import (
    ADDRESS,
    Assign,
    Atomic,
    Break,
    Buffer,
    Call,
    Const,
    Declare,
    Function,
    FunctionAddress,
    If,
    Kernel,
    Let,
    Load,
    Op,
    Return,
    Signature,
    Store,
    Var,
    View,
    While,
)
from mynn.compiler.loop_ir.parse import parse_function, parse_kernel
from mynn.compiler.loop_ir.verify import verify_function
from mynn.errors import VerifyError
from tests.compiler.harness import check_printed_form
from tests.compiler.loop_ir.corpus import random_kernels, training_kernels


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", ["W1", "W4", "W8"])
def test_kernels_of_the_works(name: str) -> None:
    kernels = training_kernels(name)
    assert len(kernels) > 20
    for kernel in kernels:
        check_printed_form(kernel)


@pytest.mark.parametrize("seed", range(40))
def test_kernels_of_random_graphs(seed: int) -> None:
    for kernel in random_kernels(seed):
        check_printed_form(kernel)


# -- host code -------------------------------------------------------------------------------------

N, SYNC = Var("n", "i64"), Var("sync", ADDRESS)
WORDS, TABLE = Buffer("words", "u64", 0, "view"), Buffer("table", ADDRESS, 3, "view")
EVERYTHING = Function(
    "all",
    (SYNC, N, Var("x", "f64")),
    (
        View(WORDS, SYNC),
        View(TABLE, Op("offset", (SYNC, Affine.var("n", 8) + 64), ADDRESS)),
        Declare("i", Affine(0)),
        Declare("wide", Const(-0.5, "f64")),
        Let("none", Op("equal", (Load(TABLE, Affine(2)), Const(0, ADDRESS)), "bool")),
        While(
            Op("less", (Affine.var("i"), N), "bool"),
            (
                Atomic("load", WORDS, Affine.var("i", 8), (), "acquire", "seen"),
                If(
                    Op("less", (Var("seen", "u64"), Const(2**64 - 1, "u64")), "bool"),
                    (Atomic("store", WORDS, Affine(), (Const(7, "u64"),), "release"), Break()),
                    (Assign("i", Affine.var("i") + 1),),
                ),
                Call("pause"),
            ),
        ),
        While(
            Const(True, "bool"),
            (
                Atomic("add", WORDS, Affine(1), (Const(1, "u64"),), "acq_rel", "before"),
                Atomic("exchange", WORDS, Affine(1), (Var("before", "u64"),), "relaxed"),
                Atomic(
                    "compare_exchange",
                    WORDS,
                    Affine(2),
                    (Const(0, "u64"), Const(1, "u64")),
                    "acq_rel",
                    "won",
                ),
                If(Var("won", "bool"), (Return(Var("wide", "f64")),)),
            ),
        ),
    ),
    "f64",
    exported=True,
    inline="noinline",
    comment="all forms",
)
CALLS = Function(
    "calls",
    (SYNC,),
    (
        View(TABLE, SYNC),
        Call("all", (SYNC, Affine(3), Const(1e300, "f64")), "y", "f64"),
        Call("kernel", (SYNC,)),
        Call(Load(TABLE, Affine(1)), (SYNC, Affine(1))),
        Store(TABLE, Affine(), FunctionAddress("kernel")),
        Let("small", Op("cast", (Var("y", "f64"),), "f32")),
        Let("one", Op("add", (Const(1, "i32"), Const(2, "i32")), "i32")),
        If(Op("less", (Const(0.0, "f32"), Var("small", "f32")), "bool"), (Return(),)),
        Call("copy", (SYNC, Load(TABLE, Affine(1)), Affine(8))),
    ),
    inline="inline",
)
SIGNATURES = {"all": EVERYTHING.signature, "kernel": Signature((ADDRESS,))}


@pytest.mark.parametrize("function", [EVERYTHING, CALLS], ids=lambda f: str(f.name))
def test_functions(function: Function) -> None:
    text = format_function(function)
    again = parse_function(text)
    assert format_function(again) == text
    assert canonical(again) == canonical(function)
    verify_function(again, SIGNATURES)


def test_how_host_code_looks() -> None:
    assert format_function(EVERYTHING).splitlines() == [
        "function all(sync: ptr, n: i64, x: f64) -> f64 exported noinline:  # all forms",
        "  view words: u64[] at sync",
        "  view table: ptr[3] at offset(sync, 8*n + 64)",
        "  var i = 0",
        "  var wide = -0.5:f64",
        "  let none = equal(table[2], 0)",
        "  while less(i, n):",
        "    let seen = atomic load(words[8*i]) acquire",
        "    if less(seen, 18446744073709551615):",
        "      atomic store(words[0], 7) release",
        "      break",
        "    else:",
        "      i = i + 1",
        "    call pause()",
        "  while True:",
        "    let before = atomic add(words[1], 1) acq_rel",
        "    atomic exchange(words[1], before) relaxed",
        "    let won = atomic compare_exchange(words[2], 0, 1) acq_rel",
        "    if won:",
        "      return wide",
    ]
    assert "call (table[1])(sync, 1)" in format_function(CALLS)
    assert "table[0] = @kernel" in format_function(CALLS)
    assert "let one = add(1:i32, 2)" in format_function(CALLS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("kernel k", "line 1, 'kernel k': this is no loop IR"),
        ("kernel k:\n  x[0] = 1.0", "line 2, .*'x'"),
        ("kernel k:\n  for i in 3:\n      y[i] = 1.0", "line 3, .*indented too far"),
        ("kernel k:\n  y[i] = 1.0", "line 2, .*'i'"),
        ("kernel k:\n  y[0] = 1.0 2", "line 2"),
        ("kernel k:\n  y[0] = frob(1.0)", "there is no frob"),
        ("kernel k:\n  let a = add(y[0], 1:i64)", r"there is no add\(f32, i64\)"),
        ("kernel k:\n  y[0] = 1.0\nkernel k:", "the kernel has ended"),
        ("kernel k:\n  what is this", "line 2, .*this is no loop IR"),
    ],
)
def test_errors_name_the_line(text: str, message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        parse_kernel(text, [Buffer("y", "f32", 4)])


def test_numbers_are_exact() -> None:
    """Of every type, whatever says the type."""
    y = Buffer("y", "f64", 1)
    numbers = [0.1, -0.0, 1e-310, 3.4e38, float("inf"), float("-inf"), float("nan")]
    for number in numbers:
        for value in (
            Const(number, "f64"),
            Op("cast", (Const(number, "f32"),), "f64"),
            Op("neg", (Const(number, "f64"),), "f64"),
        ):
            check_printed_form(Kernel("k", (Let("a", value), Store(y, Affine(), value))))
    text = format_kernel(Kernel("k", (Store(y, Affine(), Const(0.1, "f64")),)))
    assert re.search(r"y\[0\] = 0.1$", text)
