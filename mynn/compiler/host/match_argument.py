"""Whether an argument of a call is what a known call has there, in native code: the part of
`mynn.compiler.host.record` that looks at arguments.
"""

from __future__ import annotations

from mynn.compiler.host.enter import Field
from mynn.compiler.host.known_call import MOST_NEW, Kind, Layout, Table, Want
from mynn.compiler.loop_ir.ir import Function
from mynn.compiler.loop_ir.parse import parse_function

# Where a list says where its items are.
ITEMS = 3
# The bits of a float.
_BITS = 2
# A float that is an argument of the program is smaller: others are infinite in float32.
LARGE = "1e+38"


def _same() -> Function:
    """Whether two objects are equal."""
    return parse_function(f"""
        function mynn_same(words: ptr, one: ptr, other: ptr) -> i64 inline:
          view table: ptr[] at words
          if equal(one, other):
            return 1
          let compared: i32 = call (table[{Table.COMPARE}])(one, other, 2:i32)
          return where(equal(compared, 1), 1, 0)
        """)


def _integers() -> Function:
    """Whether an object is a tuple of the same integers as another one."""
    return parse_function(f"""
        function mynn_integers(words: ptr, value: ptr, wanted: ptr) -> i64:
          view table: ptr[] at words
          view sizes: i64[] at value
          view objects: ptr[] at value
          view wanted_sizes: i64[] at wanted
          view wanted_objects: ptr[] at wanted
          let count = sizes[{Field.COUNT}]
          if not_equal(count, wanted_sizes[{Field.COUNT}]):
            return 0
          var number = 0
          while less(number, count):
            let item = objects[number + {int(Field.PARTS)}]
            view head: ptr[] at item
            if not_equal(head[{Field.TYPE}], table[{Table.INTEGER}]):
              return 0
            let same: i64 = call mynn_same(words, item, wanted_objects[number + {int(Field.PARTS)}])
            if equal(same, 0):
              return 0
            number = number + 1
          return 1
        """)


def _before(layout: Layout) -> Function:
    """Whether a tensor is the one with a number among those from before, or among the new ones."""
    return parse_function(f"""
        function mynn_before(words: ptr, tape: ptr, value: ptr, number: i64) -> i64:
          view table: ptr[] at words
          view numbers: i64[] at words
          view externals: ptr[] at offset(tape, {layout.tape["externals"]})
          view sizes: i64[] at externals[0]
          view parts: ptr[] at externals[0]
          let count = sizes[{Field.COUNT}]
          if less(number, count):
            view items: ptr[] at parts[{ITEMS}]
            return where(equal(items[number], value), 1, 0)
          let place = sub(number, count)
          if less_equal(numbers[{Table.NEW_COUNT}], place):
            return 0
          return where(equal(table[place + {int(Table.NEW)}], value), 1, 0)
        """)


def _new(layout: Layout) -> Function:
    """Whether a tensor is one that the tape has not read, and of the type that is asked for; if so
    it is among the new ones.
    """
    tensor = layout.tensor
    return parse_function(f"""
        function mynn_new(words: ptr, tape: ptr, value: ptr, want: ptr) -> i64:
          view table: ptr[] at words
          view numbers: i64[] at words
          view wanted: i64[] at want
          view objects: ptr[] at want
          view pending: ptr[] at offset(value, {tensor["pending"]})
          view looks: ptr[] at offset(value, {tensor["_view"]})
          view grows: ptr[] at offset(value, {tensor["_requires_grad"]})
          if not_equal(looks[0], table[{Table.NONE}]):
            return 0
          if not_equal(grows[0], objects[{Want.GROWS}]):
            return 0
          if equal(pending[0], table[{Table.NONE}]):
            if equal(grows[0], table[{Table.TRUE}]):
              return 0
            view values: ptr[] at offset(value, {tensor["_value"]})
            let array = values[0]
            if equal(array, 0):
              return 0
            view fields: ptr[] at array
            view parts: i32[] at array
            view narrow: i32[] at want
            if not_equal(fields[{Field.TYPE}], table[{Table.ARRAY}]):
              return 0
            if not_equal(fields[{Field.DTYPE}], objects[{Want.TYPE}]):
              return 0
            if not_equal(parts[{Field.AXES_32}], narrow[{2 * Want.AXES}]):
              return 0
            view extents: i64[] at fields[{Field.EXTENTS}]
            var axis = 0
            while less(axis, wanted[{Want.AXES}]):
              if not_equal(extents[axis], wanted[axis + {int(Want.EXTENTS)}]):
                return 0
              axis = axis + 1
          else:
            view output: ptr[] at pending[0]
            if not_equal(output[{Field.TYPE}], table[{Table.OUTPUT}]):
              return 0
            view kind: ptr[] at offset(pending[0], {layout.output["type"]})
            view dtype: ptr[] at offset(kind[0], {layout.type["dtype"]})
            view shape: ptr[] at offset(kind[0], {layout.type["shape"]})
            if not_equal(dtype[0], objects[{Want.TYPE}]):
              return 0
            let same: i64 = call mynn_same(words, shape[0], objects[{Want.OBJECT}])
            if equal(same, 0):
              return 0
          view index: ptr[] at offset(tape, {layout.tape["index"]})
          let key: ptr = call (table[{Table.ADDRESS}])(value)
          let seen: i32 = call (table[{Table.HAS_KEY}])(index[0], key)
          call (table[{Table.DROP}])(key)
          if not_equal(seen, 0:i32):
            return 0
          let count = numbers[{Table.NEW_COUNT}]
          if less_equal({MOST_NEW}, count):
            return 0
          var number = 0
          while less(number, count):
            if equal(table[number + {int(Table.NEW)}], value):
              return 0
            number = number + 1
          table[count + {int(Table.NEW)}] = value
          numbers[{Table.NEW_COUNT}] = add(count, 1)
          return 1
        """)


def _any_float() -> Function:
    """Put a float into an array, among what is new; 0 where it is too large for that."""
    return parse_function(f"""
        function mynn_any_float(words: ptr, value: ptr, dtype: ptr) -> i64:
          view table: ptr[] at words
          view numbers: i64[] at words
          view floats: f64[] at value
          let count = numbers[{Table.NEW_COUNT}]
          if less_equal({MOST_NEW}, count):
            return 0
          if logical_not(less(floats[{_BITS}], {LARGE}:f64)):
            return 0
          if logical_not(less(-{LARGE}:f64, floats[{_BITS}])):
            return 0
          table[{Table.GIVEN}] = value
          table[{Table.GIVEN + 1}] = dtype
          let given = offset(words, {8 * Table.GIVEN})
          let array: ptr = call (table[{Table.CALL_WITH}])(table[{Table.AS_ARRAY}], given, 2, 0)
          if equal(array, 0):
            call (table[{Table.CLEAR}])()
            return 0
          table[count + {int(Table.NEW)}] = array
          numbers[{Table.NEW_COUNT}] = add(count, 1)
          return 1
        """)


def _fits(layout: Layout) -> Function:
    """Whether an argument is what is asked for."""
    return parse_function(f"""
        function mynn_fits(words: ptr, tape: ptr, value: ptr, want: ptr) -> i64:
          view table: ptr[] at words
          view wanted: i64[] at want
          view objects: ptr[] at want
          view head: ptr[] at value
          view bits: i64[] at value
          let kind = wanted[{Want.KIND}]
          if less({int(Kind.NEW)}, kind):
            if not_equal(head[{Field.TYPE}], objects[{Want.TYPE}]):
              return 0
            if equal(kind, {int(Kind.PLAIN)}):
              let same: i64 = call mynn_same(words, value, objects[{Want.OBJECT}])
              return same
            if equal(kind, {int(Kind.FLOAT)}):
              return where(equal(bits[{_BITS}], wanted[{Want.OBJECT}]), 1, 0)
            if equal(kind, {int(Kind.ANY_FLOAT)}):
              let varied: i64 = call mynn_any_float(words, value, objects[{Want.OBJECT}])
              return varied
            let integers: i64 = call mynn_integers(words, value, objects[{Want.OBJECT}])
            return integers
          if not_equal(head[{Field.TYPE}], table[{Table.TENSOR}]):
            return 0
          if equal(kind, {int(Kind.RESULT)}):
            view pending: ptr[] at offset(value, {layout.tensor["pending"]})
            return where(equal(pending[0], objects[{Want.OBJECT}]), 1, 0)
          if equal(kind, {int(Kind.BEFORE)}):
            let before: i64 = call mynn_before(words, tape, value, wanted[{Want.OBJECT}])
            return before
          let new: i64 = call mynn_new(words, tape, value, want)
          return new
        """)


def match_argument(layout: Layout) -> list[Function]:
    """`mynn_fits`, and what it calls."""
    parts = [_same(), _integers(), _before(layout), _new(layout), _any_float()]
    return [*parts, _fits(layout)]
