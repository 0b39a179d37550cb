"""What the checker says of types, bounds and host code that are wrong."""

from __future__ import annotations

import pytest

from mynn.compiler.loop_ir import verify
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.format import format_kernel
from mynn.compiler.loop_ir.ir import (
    ADDRESS,
    Action,
    Assign,
    Atomic,
    Break,
    Buffer,
    Call,
    Const,
    Declare,
    Expr,
    For,
    Function,
    FunctionAddress,
    If,
    Kernel,
    Let,
    Load,
    Local,
    Op,
    Reduce,
    Return,
    Signature,
    Statement,
    Store,
    Var,
    View,
    While,
    Within,
)
from mynn.compiler.loop_ir.repeat import Branch, Moving, Nest, Repeat
from mynn.compiler.loop_ir.verify import verify_function, verify_kernel
from mynn.errors import VerifyError

AT_I, AT_J = Affine.var("i"), Affine.var("j")
X = Buffer("x", "f32", 64)
D = Buffer("d", "f64", 64)
N = Buffer("n", "i64", 8)
B = Buffer("b", "u8", 8)
ACC = Buffer("acc", "f32", 16, "register")
ONE = Const(1.0, "f32")
ZERO = Affine()


def op(name: str, *args: Expr, type: str = "f32") -> Op:
    return Op(name, args, type)


def clipped(index: Expr, most: int) -> Op:
    low = op("maximum", index, Affine(), type="i64")
    return op("minimum", low, Affine(most), type="i64")


def store(value: Expr, index: Affine = ZERO) -> Store:
    return Store(X, index, value)


def loop(
    extent: int, *body: Statement, kind: str = "serial", where: tuple[Within, ...] = ()
) -> For:
    return For("i", extent, body, kind, where)


TYPES: dict[str, tuple[tuple[Statement, ...], str]] = {
    "f32 and i64": ((store(op("add", ONE, Affine(1))),), r"there is no add\(f32, i64\).*differ"),
    "f32 and f64": ((store(op("mul", ONE, Load(D, Affine()))),), "there is no mul"),
    "unknown op": ((store(op("gelu", ONE)),), r"there is no gelu\(f32\)"),
    "too few": ((store(op("add", ONE)),), r"there is no add\(f32\)"),
    "too many": ((store(op("neg", ONE, ONE)),), r"there is no neg\(f32, f32\)"),
    "tanh of integers": ((Let("a", op("tanh", Affine(1), type="i64")),), "there is no tanh"),
    "type of a result": ((Store(D, Affine(), op("neg", ONE, type="f64")),), "neg is f32, not f64"),
    "comparison": ((store(op("less", ONE, ONE)),), "less is bool, not f32"),
    "condition of where": ((store(op("where", ONE, ONE, ONE)),), "there is no where"),
    "signed shift": (
        (Let("a", op("shift_right", Affine(1), Affine(1), type="i64")),),
        "there is no shift_right",
    ),
    "cast to what is not there": ((Let("a", op("cast", ONE, type="f16")),), "there is no cast"),
    "variable of another type": (
        (Let("a", ONE), Store(D, Affine(), Var("a", "f64"))),
        "a is f32, used as f64",
    ),
    "float as an index": ((Let("a", ONE), store(ONE, Affine.var("a"))), "a is f32, used in x"),
    "half": ((Store(N, Affine(), Const(0.5, "i64")),), "there is no 0.5 of type i64"),
    "too large": ((Store(B, Affine(), Const(256, "u8")),), "there is no 256 of type u8"),
    "no such type": ((Let("a", Const(1, "i7")),), "there is no 1 of type i7"),
    "reduction": ((Local(ACC), store(Reduce("prod", ACC, Affine(), 2))), "no reduce_prod"),
    "reduction in memory": ((store(Reduce("add", X, Affine(), 2)),), "reduce_add in memory"),
    "memory made": ((Local(X),), "x is made, but its storage is memory"),
    "one name": ((Store(Buffer("x", "f32", 1), Affine(), Load(X, Affine())),), "two buffers"),
    "address": ((Let("a", FunctionAddress("f")),), "a kernel does not know @f"),
}
OUTSIDE: dict[str, tuple[tuple[Statement, ...], str]] = {
    "number": ((store(ONE, Affine(64)),), r"x\[64\] goes from 64 to 64, x has 64 elements"),
    "negative": ((loop(4, store(ONE, AT_I + -1)),), "goes from -1 to 2"),
    "loop": ((loop(65, store(ONE, AT_I)),), "goes from 0 to 64"),
    "load": ((loop(9, Let("a", Load(N, AT_I))),), r"n\[i\] goes from 0 to 8"),
    "register": ((Local(ACC), loop(17, Store(ACC, AT_I, ONE))), "acc has 16 elements"),
    "reduce": ((Local(ACC), store(Reduce("add", ACC, Affine(9), 8))), "goes from 9 to 16"),
    "data": (
        (Let("a", Load(N, Affine())), store(ONE, Affine.var("a"))),
        "goes from -9223372036854775808",
    ),
    "clipped too high": (
        (Let("a", clipped(Load(N, Affine()), 64)), store(ONE, Affine.var("a"))),
        "goes from 0 to 64",
    ),
    "sum that wraps around": (
        (
            Let("a", op("add", Load(N, Affine()), Affine(1), type="i64")),
            Let("m", op("minimum", Var("a", "i64"), Affine(3), type="i64")),
            store(ONE, Affine.var("m")),
        ),
        "goes from -9223372036854775808",
    ),
    "bool of a byte": (
        (Let("a", op("cast", Load(B, Affine()), type="i64")), store(ONE, Affine.var("a"))),
        "goes from 0 to 255",
    ),
    "condition": (
        (
            For(
                "j",
                4,
                (loop(20, store(ONE, AT_I * 4 + AT_J * 4), where=(Within(AT_I + AT_J, 17),)),),
            ),
        ),
        "goes from 0 to 64",
    ),
    "negative quotient": (
        (loop(4, Let("a", op("quotient", AT_I + -1, Affine(2), type="i64"))),),
        "quotient of what may be -1",
    ),
    "quotient by nothing": (
        (loop(4, Let("a", op("remainder", Affine(7), AT_I, type="i64"))),),
        "remainder of what may be 0",
    ),
    "vector past the slack": (
        (loop(33, Store(D, AT_I + 31, Const(1.0, "f64")), kind="vector"),),
        r"vectors of d\[i \+ 31\] reach 95, d has 64 elements and a slack of 16",
    ),
}


@pytest.mark.parametrize("name", [*TYPES, *OUTSIDE])
def test_kernels_that_are_refused(name: str) -> None:
    body, message = {**TYPES, **OUTSIDE}[name]
    with pytest.raises(VerifyError, match=f"^k: .*{message}"):
        verify_kernel(Kernel("k", body))


def test_bounds_that_are_met_exactly() -> None:
    """What is refused above passes with one element less."""
    t = Affine.var("t")
    last = op("remainder", op("quotient", t, Affine(2), type="i64"), Affine(8), type="i64")
    bodies: list[tuple[Statement, ...]] = [
        (loop(64, store(ONE, AT_I)),),
        (loop(64, store(ONE, AT_I * -1 + 63)),),
        (Let("a", clipped(Load(N, Affine()), 63)), store(ONE, Affine.var("a"))),
        (For("t", 999, (Let("a", last), Let("b", Load(N, Affine.var("a"))))),),
        (
            For(
                "j",
                4,
                (loop(9, store(ONE, AT_I * 4 + AT_J * 4), where=(Within(AT_I + AT_J, 16),)),),
            ),
        ),
        (For("j", 4, (Let("at", AT_J * 3), store(ONE, Affine.var("at", 7)))),),
        (loop(32, store(ONE, AT_I + 32), kind="vector"),),
        (loop(0, store(ONE, Affine(1000))),),
        (loop(4, store(ONE, Affine(1000)), where=(Within(AT_I + 9, 4),)),),
    ]
    for body in bodies:
        verify_kernel(Kernel("k", body))


# -- host code -------------------------------------------------------------------------------------

SYNC = Var("sync", ADDRESS)
WORDS = Buffer("words", "i64", 0, "view")
FEW = Buffer("few", "i64", 4, "view")
VIEW = View(WORDS, SYNC)
YES = Const(True, "bool")
SIGNATURES = {"helper": Signature((ADDRESS,), "i64")}

HOST: dict[str, tuple[tuple[Action, ...], str]] = {
    "assigned without var": ((Let("a", Affine()), Assign("a", Affine(1))), "a is assigned"),
    "type of a variable": ((Declare("a", Affine()), Assign("a", ONE)), "f32 assigned to a of i64"),
    "condition": ((If(Affine(1), ()),), "i64 as a condition"),
    "condition of a loop": ((While(Affine(1), ()),), "i64 as a condition"),
    "break": ((Break(),), "break stands in no loop"),
    "dead code": ((Return(), VIEW), "nothing comes to"),
    "result": ((Return(Affine()),), "i64 returned instead of nothing"),
    "unknown function": ((Call("nobody"),), "nobody is called, which does not exist"),
    "result of a call": (
        (Call("helper", (SYNC,)),),
        r"helper is called as \(ptr\) -> nothing, it is \(ptr\) -> i64",
    ),
    "arguments of a call": ((Call("sleep", (SYNC,)),), r"called as \(ptr\) .* it is \(i64\)"),
    "number called": ((Call(Affine(1)),), "i64 called"),
    "no view": ((Store(WORDS, Affine(), Affine()),), "words is used before it is made"),
    "view of a number": ((View(WORDS, Affine()),), "i64 as the address of words"),
    "out of scope": (
        (If(YES, (VIEW,)), Store(WORDS, Affine(), Affine())),
        "words is used before it is made",
    ),
    "variable out of scope": (
        (While(YES, (Declare("a", Affine()), Break())), Let("b", Affine.var("a"))),
        "a is used before it is bound",
    ),
    "outside of a view": ((View(FEW, SYNC), Store(FEW, Affine(4), Affine())), "goes from 4 to 4"),
    "atomic op": ((VIEW, Atomic("mul", WORDS, Affine(), (Affine(),))), "there is no atomic mul"),
    "atomic arguments": ((VIEW, Atomic("add", WORDS, Affine())), "no atomic add of 0 values"),
    "atomic type": ((VIEW, Atomic("add", WORDS, Affine(), (ONE,))), "f32 in atomic add of i64"),
    "atomic order": ((VIEW, Atomic("load", WORDS, Affine(), (), "release")), "cannot be release"),
    "result of a store": (
        (VIEW, Atomic("store", WORDS, Affine(), (Affine(),), "release", "a")),
        "a is bound to an atomic store",
    ),
    "unknown address": ((Let("a", FunctionAddress("nobody")),), "@nobody does not exist"),
    "address of the machine's": ((Let("a", FunctionAddress("pause")),), "@pause does not exist"),
    "address and number": ((Let("a", op("add", SYNC, SYNC, type=ADDRESS)),), "there is no add"),
}


@pytest.mark.parametrize("name", HOST)
def test_functions_that_are_refused(name: str) -> None:
    body, message = HOST[name]
    with pytest.raises(VerifyError, match=f"^f: .*{message}"):
        verify_function(Function("f", (SYNC,), body), SIGNATURES)


def test_every_path_returns() -> None:
    """A loop without an end needs nothing behind it, but one with a break does."""
    give = Return(Affine(1))
    good: list[tuple[Action, ...]] = [
        (give,),
        (If(YES, (give,), (give,)),),
        (If(YES, ()), give),
        (While(YES, (Call("pause"),)),),
        (While(YES, (While(YES, (Break(),)), Call("pause"))),),
    ]
    bad: list[tuple[Action, ...]] = [
        (),
        (If(YES, (give,)),),
        (While(YES, (If(YES, (Break(),)),)),),
        (While(op("less", Affine(1), Affine(2), type="bool"), (give,)),),
    ]
    for body in good:
        verify_function(Function("f", (), body, "i64"))
    for body in bad:
        with pytest.raises(VerifyError, match="f: not every path returns a i64"):
            verify_function(Function("f", (), body, "i64"))
    with pytest.raises(VerifyError, match="nothing is returned instead of i64"):
        verify_function(Function("f", (), (Return(),), "i64"))


def test_a_view_takes_the_name_of_another() -> None:
    """The name means the last one."""
    body = (VIEW, View(Buffer("words", "f64", 0, "view"), SYNC), VIEW, Let("a", Load(WORDS, ZERO)))
    verify_function(Function("f", (SYNC,), body))


TRUTH = Buffer("truth", "bool", 1)
SET = Kernel("set", (Store(TRUTH, ZERO, Const(False, "bool")),))
COPY = Kernel("copy", (Store(X, ZERO, ONE),))

NESTS: dict[str, Nest] = {
    "is no truth value": Branch("b", (), condition=N, kernels=(COPY,)),
    "a branch has no condition": Branch("b", (), kernels=(COPY,)),
    "no step writes its condition": Repeat("r", (), condition=TRUTH, kernels=(COPY,)),
    "views move where the number of rounds": Repeat(
        "r", (), condition=TRUTH, kernels=(SET,), moving=(Moving(Buffer("v", "f32", 1), X, 0, 1),)
    ),
}


@pytest.mark.parametrize("words", NESTS)
def test_nests_that_are_refused(words: str) -> None:
    with pytest.raises(VerifyError, match=words):
        verify_kernel(NESTS[words])


def test_nests_as_text() -> None:
    loop = Repeat("r", (), "until set", condition=TRUTH, kernels=(SET,))
    branch = Branch("b", (), "either", condition=TRUTH, kernels=(loop,), otherwise=(COPY,))
    verify_kernel(branch)
    assert format_kernel(branch).splitlines() == [
        "branch b if truth:  # either",
        "  repeat r while truth:  # until set",
        "    each:",
        "      kernel set:",
        "        truth[0] = False",
        "else:",
        "  kernel copy:",
        "    x[0] = 1.0",
    ]


def test_a_kernel_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is equal to it is another one; a wrong one is refused each time."""
    seen: list[str] = []

    def look(where: str, body: object) -> None:
        seen.append(where)

    monkeypatch.setattr(verify, "verify_bounds", look)
    kernels = [Kernel("k", (Store(X, ZERO, ONE),)) for _ in range(2)]
    for kernel in (*kernels, *kernels):
        verify_kernel(kernel)
    assert seen == ["k", "k"]
    wrong = Kernel("wrong", (Store(D, ZERO, ONE),))
    for _ in range(2):
        with pytest.raises(VerifyError):
            verify_kernel(wrong)
