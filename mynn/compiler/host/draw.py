"""Random bits for calls that run at once."""

from __future__ import annotations

from mynn.compiler.loop_ir.ir import Function
from mynn.compiler.loop_ir.parse import parse_function

DRAW = "mynn_draw"


def draw() -> Function:
    """`mynn_draw`: the first words of Threefry-2x32 for the counters 0, 1... under a key."""
    return parse_function(f"""
        function {DRAW}(first: i64, second: i64, count: i64, words: ptr) exported noinline:
          view drawn: u32[] at words
          let key = cast.u32(first)
          let other = cast.u32(second)
          var i = 0
          while less(i, count):
            drawn[i] = threefry2x32(key, other, cast.u32(i), cast.u32(0))
            i = i + 1
        """)
