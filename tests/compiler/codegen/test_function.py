"""Where instructions are written: once, and before the loops that do not change what they give."""

from __future__ import annotations

import ctypes
import re

import llvmlite.binding as llvm
import pytest

from mynn.compiler.codegen.function import Function, Module, index
from mynn.compiler.codegen.kernel import emit_kernel
from mynn.compiler.codegen.values import Value
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import INDEX, Buffer, Const, For, Kernel, Load, Op, Store, Within
from mynn.runtime.llvm_jit import build
from mynn.target.target import host

X, Y = Buffer("x", "f32", 4096), Buffer("y", "f32", 4096)
AT_I, J = Affine.var("i"), Affine.var("j")


def blocks(kernel: Kernel) -> dict[str, str]:
    """The text of each block of a kernel's function."""
    module = Module(host())
    emit_kernel(module, kernel, {X: 0, Y: 1})
    build(module.text(), host())  # LLVM finds each value that is used where it is not known
    _, *parts = re.split(r"^(\w+):$", module.functions[0], flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def loops(*body: Store) -> Kernel:
    """for i in 8: for j in 4: body"""
    return Kernel("k", (For("i", 8, (For("j", 4, body),)),))


def test_what_a_loop_does_not_change_is_computed_before_it() -> None:
    found = blocks(loops(Store(Y, AT_I * 48 + J, Load(X, AT_I * 48 + J * 3))))
    outer, inner = [text for name, text in found.items() if name.startswith("loop")]
    assert outer.count("mul nsw i64") == 1
    assert inner.count("mul nsw i64") == 1, "3 j"
    assert ", 48" in outer
    assert ", 48" not in inner


def test_the_innermost_loop_adds_to_an_address_that_is_found_before_it() -> None:
    found = blocks(loops(Store(Y, AT_I * 48 + J, Load(X, AT_I * 48 + J * 3))))
    outer, inner = [text for name, text in found.items() if name.startswith("loop")]
    assert outer.count("getelementptr float") == 2, "where the rows of both buffers begin"
    assert inner.count("getelementptr float") == 2, "the elements"
    assert "add nsw" not in inner


def reduced(text: str) -> str:
    """What LLVM's reduction of strength makes of the loops of a module."""
    target = host()
    llvm.initialize_native_target()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(cpu=target.cpu)
    module = llvm.parse_assembly(text, llvm.create_context())
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=0))
    passes = llvm.create_new_function_pass_manager()
    passes.add_loop_strength_reduce_pass()
    for function in module.functions:
        passes.run(function, builder)
    return str(module)


def test_llvm_need_not_reduce_the_strength_of_loops() -> None:
    """It takes a quarter of the time of code generation where it finds something to do."""
    module = Module(host())
    emit_kernel(module, loops(Store(Y, AT_I * 48 + J, Load(X, AT_I * 48 + J * 3))), {X: 0, Y: 1})
    assert "%lsr." not in reduced(module.text())
    assert "%lsr." in reduced(re.sub(r"freeze (i64 %v\d+)", r"add \1, 0", module.text()))


def test_equal_instructions_are_written_once() -> None:
    element = Load(X, AT_I * 48 + J)
    text = "".join(
        blocks(loops(Store(Y, AT_I * 48 + J, Op("add", (element, element), "f32")))).values()
    )
    assert text.count("mul nsw") == 1
    assert text.count("load float") == 1


def test_an_element_is_loaded_again_once_it_may_have_changed() -> None:
    stores = Store(X, AT_I * 48 + J, Const(1.0, "f32")), Store(Y, J, Load(X, AT_I * 48 + J))
    text = "".join(blocks(loops(*stores, *stores)).values())
    assert text.count("load float") == 2


@pytest.mark.parametrize("divisor", ["2", "%n"])
def test_what_may_fail_stays_where_it_is(divisor: str) -> None:
    module = Module(host())
    n = Value("%n", INDEX)
    f = Function(module, "f", [Value("%x", "ptr"), n])
    before, then, done = f.block, f.make_block("then"), f.make_block("done")
    f.branch(f.compare("icmp ne", n, index(0)), then, done)
    f.enter(then)
    with f.scope(before):
        f.binary("udiv", index(8), Value(divisor, INDEX))
        f.binary("add", n, index(8))
        f.jump(done)
    f.enter(done)
    f.give()
    first, guarded, _ = re.split(r"^\w+:$", f.text(), flags=re.MULTILINE)[1:]
    assert "add i64" in first
    assert ("udiv" in first) == (divisor == "2")
    assert ("udiv" in guarded) == (divisor != "2")


def test_what_stands_before_a_loop_is_right_in_each_of_its_rounds() -> None:
    """Two loops one behind the other, one of them in a part that only some rounds run."""
    low = Within(AT_I + -3, 5)
    first = Store(Y, AT_I * 8 + J, Op("mul", (Load(X, AT_I * 8), Load(X, J)), "f32"))
    second = Store(
        Y, AT_I * 8 + J, Op("add", (Load(Y, AT_I * 8 + J), Load(X, AT_I * 8 + -24)), "f32")
    )
    inner = For("j", 8, (first,)), For("j", 8, (second,))
    guarded = For("i", 8, (inner[1],), where=(low,))
    kernel = Kernel("k", (For("i", 8, (inner[0],)), guarded))
    module = Module(host())
    emit_kernel(module, kernel, {X: 0, Y: 1})
    text = module.text().replace("define internal", "define")
    x = (ctypes.c_float * 4096)(*[float(n % 97) for n in range(4096)])
    y = (ctypes.c_float * 4096)()
    table = (ctypes.c_void_p * 2)(ctypes.addressof(x), ctypes.addressof(y))
    build(text, host()).function("k", ctypes.c_void_p)(ctypes.addressof(table))
    for i in range(8):
        for j in range(8):
            extra = x[8 * i - 24] if i >= 3 else 0.0
            assert y[8 * i + j] == x[8 * i] * x[j] + extra


def test_equal_instructions_are_written_once_in_a_block() -> None:
    """Addresses of one element, conversions; not in a block that is entered from elsewhere."""
    x, number = Load(X, AT_I * 48 + 3), Load(Buffer("y", "f64", 4), Affine())
    total = Op("add", (x, Op("cast", (number,), "f32")), "f32")
    kernel = Kernel("k", (For("i", 8, (Store(X, AT_I * 48 + 3, total),)),))
    module = Module(host())
    emit_kernel(module, kernel, {X: 0, number.buffer: 1})
    build(module.text(), host())
    text = module.functions[0]
    assert text.count(", i64 3\n") == 1
    assert text.count("fptrunc") == 1
    assert text.index("fptrunc") < text.index("loop1:")


def test_a_value_that_is_known_is_of_the_type_that_is_asked_for() -> None:
    """Types of the same bits are one to LLVM."""
    f = Function(Module(host()), "f", [Value("%x", "i32")])
    for type in ("i32", "u32", "i32"):
        found = f.binary("add", Value("%x", type), Value("%x", type))
        assert (found.text, found.type) == ("%v1", type)
