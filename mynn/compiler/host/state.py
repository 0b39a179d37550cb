"""The state of a run: copied to go back to, and looked at for NaN and infinity, in a call of each.

Tensors are told by their addresses and by two words for each: how many bytes there are from its
first to after its last element, rounded up to a multiple of `PIECE`, and the bytes of an element
where it is a float, 0 otherwise. What lies between and behind elements is copied and looked at like
them.
"""

from __future__ import annotations

from mynn.compiler.loop_ir.ir import Function
from mynn.compiler.loop_ir.parse import parse_function

COPY_STATE, IS_FINITE = "mynn_copy_state", "mynn_is_finite"
# Bytes that are looked at in a round.
PIECE = 32


def copy_state() -> Function:
    """`mynn_copy_state`: so many tensors, one after the other, into memory."""
    return parse_function(f"""
        function {COPY_STATE}(tensors: ptr, sizes: ptr, count: i64, memory: ptr) exported noinline:
          view addresses: ptr[] at tensors
          view words: i64[] at sizes
          var number = 0
          var at = 0
          while less(number, count):
            let size = words[2*number]
            call copy(offset(memory, at), addresses[number], size)
            at = add(at, size)
            number = number + 1
        """)


def is_finite() -> Function:
    """`mynn_is_finite`: 1 where all is finite. 0 may also come of what lies between elements.

    An exponent whose bits are all 1, of NaN and infinity, is carried into the sign when 1 is added
    to it; so two float32 side by side, or a float64, are a word that is looked at at once.
    """
    names = [f"word{n}" for n in range(PIECE // 8)]
    words = [f"let {name} = elements[at + {n}]" for n, name in enumerate(names)]
    added = [f"let sum_{name} = add(bitwise_and({name}, exponent), one)" for name in names]
    found = [f"found = bitwise_or(found, sum_{name})" for name in names]
    lines = ("\n" + 16 * " ").join([*words, *added, *found])
    return parse_function(f"""
        function {IS_FINITE}(tensors: ptr, sizes: ptr, count: i64) -> i64 exported noinline:
          view addresses: ptr[] at tensors
          view words: i64[] at sizes
          var number = 0
          while less(number, count):
            let item = words[2*number + 1]
            if less(0, item):
              view elements: u64[] at addresses[number]
              let end = quotient(maximum(words[2*number], 0), 8)
              var exponent = cast.u64({0x7FF0000000000000})
              var one = cast.u64({0x0010000000000000})
              if equal(item, 4):
                exponent = cast.u64({0x7F8000007F800000})
                one = cast.u64({0x0080000000800000})
              var found = cast.u64(0)
              var at = 0
              while less(at, end):
                {lines}
                at = at + {PIECE // 8}
              found = bitwise_and(found, {0x8000000080000000})
              if equal(item, 8):
                found = bitwise_and(found, {0x8000000000000000})
              if not_equal(found, 0):
                return 0
            number = number + 1
          return 1
        """)
