"""Host code of the loop IR runs as it reads: paths, variables, words of memory."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import numpy as np
import pytest

from mynn.compiler.codegen.function import Module
from mynn.compiler.codegen.host import emit_functions
from mynn.compiler.loop_ir.parse import parse_function
from mynn.runtime.llvm_jit import build
from mynn.target.target import host

MYNN = Path(__file__).parents[3] / "mynn"

GCD = """
    function gcd(a: i64, b: i64) -> i64 exported:
      var x = a
      var y = b
      while not_equal(y, 0):
        let left = remainder(x, y)
        x = y
        y = left
      return x
    """
FIRST_ABOVE = """
    function first_above(a: i64, b: i64) -> i64 exported:
      var found = -1
      var i = 0
      while True:
        if less(b, i):
          break
        var square = 0
        while less(square, i):
          square = square + i
          if equal(square, 21):
            return 21
        if less(a, square):
          found = i
          if less(7, found):
            break
          else:
            found = found + 100
        i = i + 1
      return found
    """


def run(text: str, a: int, b: int) -> int:
    function = parse_function(text)
    native = build(emit_functions(Module(host()), [function]).text(), host())
    kinds = ctypes.c_int64, ctypes.c_int64
    return int(native.function(function.name, *kinds, result=ctypes.c_int64)(a, b))


@pytest.mark.parametrize(("a", "b", "result"), [(48, 36, 12), (7, 0, 7), (17, 5, 1)])
def test_a_loop_with_variables(a: int, b: int, result: int) -> None:
    assert run(GCD, a, b) == result


def expected(a: int, b: int) -> int:
    found = -1
    for i in range(b + 1):
        square = i if i else 0
        if a < square:
            found = i
            if found > 7:
                break
            found += 100
    return found


@pytest.mark.parametrize(("a", "b"), [(0, 3), (5, 20), (100, 6), (3, 5), (-1, 0), (2, -4)])
def test_breaks_and_joins(a: int, b: int) -> None:
    assert run(FIRST_ABOVE, a, b) == expected(a, b)


def test_a_path_without_end() -> None:
    """What follows an endless loop is never reached."""
    text = """
        function counted(a: i64, b: i64) -> i64 exported:
          var i = a
          while True:
            i = i + 1
            if less(b, i):
              return i
        """
    assert run(text, 3, 10) == 11


def test_atomic_steps_on_words() -> None:
    text = """
        function steps(address: ptr) exported:
          view words: i64[6] at address
          let a = atomic add(words[0], 5) acq_rel
          let b = atomic exchange(words[1], a) acq_rel
          let c = atomic compare_exchange(words[2], 3, 30) acq_rel
          let d = atomic compare_exchange(words[3], 3, 30) acq_rel
          atomic store(words[4], b) release
          words[5] = where(c, where(d, 3, 1), 0)
        """
    function = parse_function(text)
    native = build(emit_functions(Module(host()), [function]).text(), host())
    words = np.array([1, 2, 3, 4, 0, 0])
    native.function("steps", ctypes.c_void_p)(words.ctypes.data)
    assert words.tolist() == [6, 1, 30, 4, 2, 1]


def test_denormals_are_flushed_and_kept() -> None:
    text = """
        function halves(address: ptr) exported:
          view x: f32[2] at address
          let mode: u32 = call flush_denormals()
          x[0] = mul(x[0], 0.5)
          call set_float_mode(mode)
          x[1] = mul(x[1], 0.5)
        """
    function = parse_function(text)
    native = build(emit_functions(Module(host()), [function]).text(), host())
    x = np.full(2, np.finfo(np.float32).tiny)
    native.function("halves", ctypes.c_void_p)(x.ctypes.data)
    if host().is_x86 or host().is_aarch64:
        assert x[0] == 0
    assert x[1] > 0


def test_llvm_text_is_written_in_one_folder() -> None:
    """Another back end is another file there."""
    instruction = re.compile(
        r"getelementptr|\bdefine (internal )?\w+ @|= load \w+, ptr|\bbr label|\bphi \w|@llvm\."
    )
    codegen = MYNN / "compiler" / "codegen"
    found = [
        path
        for path in MYNN.rglob("*.py")
        if codegen not in path.parents and instruction.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []
