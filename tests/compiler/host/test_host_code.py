"""Host code as loop IR: all of it is checked, printed and read, and becomes LLVM IR everywhere."""

from __future__ import annotations

import ctypes
import itertools
from collections import defaultdict
from dataclasses import fields, replace

import llvmlite.binding as llvm
import numpy as np
import pytest

from mynn.compiler.codegen.function import Module
from mynn.compiler.codegen.host import emit_functions
from mynn.compiler.host.argument_layout import ArgumentLayout, StepLayout
from mynn.compiler.host.enter import enter
from mynn.compiler.host.known_call import Layout
from mynn.compiler.host.measure import multiply_adds, reads, repeat
from mynn.compiler.host.parallel_call import parallel_call
from mynn.compiler.host.record import record
from mynn.compiler.host.shuffle import SHUFFLE, shuffle
from mynn.compiler.host.step import SPLIT_STEP, STEP
from mynn.compiler.host.train_loop import Loop, training_loop
from mynn.compiler.host.workers import barrier
from mynn.compiler.loop_ir.format import format_function
from mynn.compiler.loop_ir.ir import Function, Signature
from mynn.compiler.loop_ir.parse import parse_function
from mynn.compiler.loop_ir.verify import verify_function, verify_kernel
from mynn.runtime.llvm_jit import build
from mynn.target.target import Target, host, named
from tests.train.reference import shuffle_python

WINDOWS = Target("x86_64-pc-windows-msvc", "x86-64-v3", "+sse2,+avx2,+fma", 32, 16)
TARGETS = [named("x86-64-v3"), named("aarch64"), WINDOWS]
STEPS = {
    STEP: Signature(("ptr",)),
    SPLIT_STEP: Signature(("ptr", "i64", "i64", "ptr")),
}


def layout(slot: int | None, *shape: int, pitch: int = 0) -> ArgumentLayout:
    """Rows of float32; the last axis is padded to `pitch` bytes."""
    strides = [4 * int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    if pitch:
        strides[-2] = pitch
    return ArgumentLayout(slot, "f32", 4, shape, tuple(strides))


def loops() -> list[Loop]:
    """Few and many workers, checks, results that are kept, a smaller last batch, also one in the
    program of whole ones, rows in place, numbers that are watched.
    """
    arguments = layout(0, 8, 1024), layout(1, 8, 3, 5, 5, pitch=32), layout(None, 8)
    found = []
    for split, status, kept in itertools.product((False, True), (None, 5), (False, True)):
        outputs = (layout(3, 8, 10, pitch=64),) if kept else ()
        metrics = () if kept else (layout(2), ArgumentLayout(4, "bool", 1, (), ()))
        whole = StepLayout(8, arguments, metrics, outputs, status, split)
        last = StepLayout(3, arguments, metrics, outputs, status, split=False)
        joined = replace(whole, further=(layout(6, 8), layout(None, 2)), room=8)
        smaller = replace(joined, rows=3)
        found += [Loop(whole), Loop(whole, last), Loop(joined, smaller, watches=True)]
        found.append(Loop(joined, last, validates=True, watches=True))
    return found


def programs() -> list[list[Function]]:
    """All host code."""
    found = [training_loop(loop, sleeps) for loop in loops() for sleeps in (False, True)]
    others = [barrier(), *parallel_call(True)], [repeat(), shuffle()], enter(), record(slots())
    return [*found, *others]


def slots() -> Layout:
    """Of every class all slots that native code reads, somewhere."""
    return Layout(*[defaultdict(lambda: 16) for _ in fields(Layout)])


def test_host_code_is_correct_loop_ir() -> None:
    for functions in programs():
        signatures = {function.name: function.signature for function in functions} | STEPS
        for function in functions:
            verify_function(function, signatures)
            text = format_function(function)
            assert format_function(parse_function(text)) == text


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.triple)
def test_host_code_is_correct_llvm_ir(target: Target) -> None:
    for functions in programs():
        text = emit_functions(Module(target), functions).text()
        if f"@{STEP}" in text:
            text += f"declare void @{STEP}(ptr)\ndeclare void @{SPLIT_STEP}(ptr, i64, i64, ptr)\n"
        llvm.parse_assembly(text).verify()
        assert ("sched_yield" in text) <= target.is_posix
        assert ("x86" in text) <= target.is_x86


def test_measured_kernels_are_correct() -> None:
    for kernel, _ in (multiply_adds("f64", 4, 12, 1000), reads(8, 8, 64, 1000)):
        verify_kernel(kernel)


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 100])
def test_shuffle(rows: int) -> None:
    """Natively as in Python: the same order, and the same state afterwards."""
    function = Function(**{**vars(shuffle()), "exported": True})
    native = build(emit_functions(Module(host()), [function]).text(), host())
    order, state = np.arange(rows, dtype=np.int64), np.array([2**63 + 5], np.uint64)
    expected = order.tolist()
    after = shuffle_python(expected, int(state[0]))
    run = native.function(SHUFFLE, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    run(order.ctypes.data, rows, state.ctypes.data)
    assert order.tolist() == expected
    assert int(state[0]) == after
