"""Random bits, and numbers spread evenly over [0, 1), for calls that run at once."""

from __future__ import annotations

from mynn.compiler.loop_ir.ir import Buffer, Function, Kernel
from mynn.compiler.loop_ir.parse import parse_function, parse_kernel

# The function for each dtype, and the keys of a draw.
DRAWS = {"u32": "mynn_draw_u32", "f32": "mynn_draw_f32", "f64": "mynn_draw_f64"}
KEYS = {"u32": 1, "f32": 1, "f64": 2}
# Numbers that a call of a kernel makes; the last ones are made one by one.
BLOCK = 32
_SIZES = {"u32": 4, "f32": 4, "f64": 8}


def draw(dtype: str) -> Function:
    """Writes the numbers of some draws, `count` each, whose counters follow each other. In a record
    of four words of 64 bits lie the table of its kernel, and what this reads.

    Those of u32 are the first words of Threefry-2x32 for the counters 0, 1... under a key. Floats
    in [0, 1) are made of them as `mynn.random` has it: f32 of 24 bits of a word, f64 of 53 bits of
    the words of two keys that follow each other.
    """
    given = "record: ptr, first: i64, second: i64, draws: i64, count: i64, memory: ptr"
    return parse_function(f"""
        function {DRAWS[dtype]}({given}) exported noinline:
          view table: ptr[] at record
          view words: u32[] at offset(record, 16)
          let seed = cast.u32(first)
          var counter = second
          var place = memory
          var left = draws
          table[0] = offset(record, 16)
          words[0] = seed
          while less(0, left):
            let key = cast.u32(counter)
            let next = cast.u32(counter + 1)
            view drawn: {dtype}[] at place
            var i = 0
            words[1] = key
            while less_equal(i + {BLOCK}, count):
              words[2] = cast.u32(i)
              table[1] = offset(place, {_SIZES[dtype]}*i)
              call {DRAWS[dtype]}_block(record)
              i = i + {BLOCK}
            while less(i, count):
              drawn[i] = {_number(dtype, "cast.u32(i)")}
              i = i + 1
            place = offset(place, {_SIZES[dtype]}*count)
            counter = counter + {KEYS[dtype]}
            left = left + -1
        """)


def block(dtype: str) -> tuple[Kernel, list[Buffer]]:
    """The kernel of a block, and its buffers: seed, counter and first place; the numbers."""
    words, drawn = Buffer("words", "u32", 3), Buffer("drawn", dtype, BLOCK)
    kernel = parse_kernel(
        f"""
        kernel {DRAWS[dtype]}_block:
          let seed = words[0]
          let key = words[1]
          let next = add(key, cast.u32(1))
          let start = words[2]
          for i in {BLOCK} vector:
            drawn[i] = {_number(dtype, "add(start, cast.u32(i))")}
        """,
        (words, drawn),
    )
    return kernel, [words, drawn]


def _number(dtype: str, place: str) -> str:
    word = f"threefry2x32(seed, key, {place}, cast.u32(0))"
    if dtype == "u32":
        return word
    if dtype == "f32":
        return f"mul(cast.f32(cast.i32(shift_right({word}, 8))), {2.0**-24!r})"
    other = f"threefry2x32(seed, next, {place}, cast.u32(0))"
    high = f"mul(cast.f64(cast.i32(shift_right({word}, 5))), {2.0**-27!r})"
    low = f"mul(cast.f64(cast.i32(shift_right({other}, 6))), {2.0**-53!r})"
    return f"add({low}, {high})"
