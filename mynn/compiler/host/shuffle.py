"""The shuffle of rows before an epoch."""

from __future__ import annotations

from mynn.compiler.loop_ir.ir import Function
from mynn.compiler.loop_ir.parse import parse_function

SHUFFLE = "mynn_shuffle"


def shuffle() -> Function:
    """`mynn_shuffle`: Fisher-Yates, driven by SplitMix64, whose state is the word at `random`.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014;
    indices by Lemire's multiplication, "Fast random integer generation in an interval", ACM TOMACS
    2019.
    """
    return parse_function(f"""
        function {SHUFFLE}(order: ptr, rows: i64, random: ptr) exported noinline:
          view rows_in_order: i64[] at order
          view state: u64[1] at random
          var s = state[0]
          var i = rows + -1
          while less(0, i):
            s = add(s, {0x9E3779B97F4A7C15})
            let a = mul(bitwise_xor(s, shift_right(s, 30)), {0xBF58476D1CE4E5B9})
            let b = mul(bitwise_xor(a, shift_right(a, 27)), {0x94D049BB133111EB})
            let z = bitwise_xor(b, shift_right(b, 31))
            let j = cast.i64(shift_right(mul(shift_right(z, 32), cast.u64(i + 1)), 32))
            let x = rows_in_order[i]
            let y = rows_in_order[j]
            rows_in_order[i] = y
            rows_in_order[j] = x
            i = i + -1
          state[0] = s
        """)
