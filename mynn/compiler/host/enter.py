"""Runs a step on arrays where they lie, after a look at what they are, all in native code.

Objects of Python and arrays of NumPy begin with words that are part of their C interface: the type
of an object, the parts of a tuple; where the elements of an array lie, how many axes it has, their
extents, its dtype, flags. What is asked of arrays, and where their addresses have to be written,
stands in a record of our own, which `mynn.jit.entry` fills in.
"""

from __future__ import annotations

from enum import IntEnum

from mynn.compiler.loop_ir.ir import Function
from mynn.compiler.loop_ir.parse import parse_function
from mynn.target.storage import PAGE, SLACK

FITS = "mynn_fits"
ENTER = "mynn_enter"
# Arrays of more axes are not asked for.
MOST_AXES = 8


class Field(IntEnum):
    """The words of a tuple and of an array, and two numbers of 32 bits in it, by their positions:
    the type of both; how many parts a tuple has, and the first one; then those of an array.
    """

    TYPE = 1
    COUNT = 2
    PARTS = 3
    DATA = 2
    AXES_32 = 6
    EXTENTS = 4
    DTYPE = 7
    FLAGS_32 = 16


# Contiguous as in C, and aligned.
FLAGS = 0x0101


class Run(IntEnum):
    """The words of a run: the step, its table, the status word (or a zero), how many arguments
    there are, a spare word, a zero, then what is asked of each argument.
    """

    STEP = 0
    TABLE = 1
    STATUS = 2
    COUNT = 3
    SPARE = 4
    ZERO = 5
    ARGUMENTS = 6


class Wanted(IntEnum):
    """What is asked of an argument, in words: the place of its address in the table (or a spare
    word), memory for a copy, bytes, type, dtype, the number of axes, the bytes of a row, how far
    apart rows lie in a copy (0: side by side), the extents of the axes.
    """

    PLACE = 0
    OWN = 1
    BYTES = 2
    TYPE = 3
    DTYPE = 4
    AXES = 5
    ROW = 6
    STEP = 7
    EXTENTS = 8


WANTED_WORDS = Wanted.EXTENTS + MOST_AXES


def _fits() -> Function:
    """Whether an object is the array that is asked for; if so, its address stands in the table.

    Where what a vector may read behind its end is in another page, and where the step wants rows
    further apart, that of a copy.
    """
    end = f"add(fields[{Field.DATA}], words[{Wanted.BYTES}])"
    last = f"bitwise_and(sub({end}, 1), {PAGE - 1})"
    return parse_function(f"""
        function {FITS}(wanted: ptr, array: ptr) -> i64 inline:
          view words: i64[] at wanted
          view numbers: i32[] at wanted
          view addresses: ptr[] at wanted
          view fields: i64[] at array
          view parts: i32[] at array
          view places: ptr[] at array
          if not_equal(fields[{Field.TYPE}], words[{Wanted.TYPE}]):
            return 0
          if not_equal(fields[{Field.DTYPE}], words[{Wanted.DTYPE}]):
            return 0
          if not_equal(parts[{Field.AXES_32}], numbers[{2 * Wanted.AXES}]):
            return 0
          if not_equal(bitwise_and(parts[{Field.FLAGS_32}], {FLAGS}), {FLAGS}):
            return 0
          view extents: i64[] at places[{Field.EXTENTS}]
          var axis = 0
          while less(axis, words[{Wanted.AXES}]):
            if not_equal(extents[axis], words[axis + {int(Wanted.EXTENTS)}]):
              return 0
            axis = axis + 1
          view entry: ptr[] at addresses[{Wanted.PLACE}]
          if less(0, words[{Wanted.STEP}]):
            var read = 0
            var to = 0
            while less(read, words[{Wanted.BYTES}]):
              let row: ptr = offset(places[{Field.DATA}], read)
              call copy(offset(addresses[{Wanted.OWN}], to), row, words[{Wanted.ROW}])
              read = add(read, words[{Wanted.ROW}])
              to = add(to, words[{Wanted.STEP}])
            return 1
          entry[0] = places[{Field.DATA}]
          if less_equal({PAGE - SLACK}, {last}):
            call copy(addresses[{Wanted.OWN}], places[{Field.DATA}], words[{Wanted.BYTES}])
            entry[0] = addresses[{Wanted.OWN}]
          return 1
        """)


def enter() -> list[Function]:
    """`mynn_enter`: runs the step that a record names on the arrays of a tuple.

    It returns 1 where it has run and its status is 0. It returns 0 where it has not run, because an
    argument is another one than asked for, and where a check failed.
    """
    main = f"""
        function {ENTER}(run: ptr, arguments: ptr) -> i64 exported:
          view words: i64[] at run
          view pointers: ptr[] at run
          view given: i64[] at arguments
          view objects: ptr[] at arguments
          let count = words[{Run.COUNT}]
          if not_equal(given[{Field.COUNT}], count):
            return 0
          var number = 0
          var at = {8 * Run.ARGUMENTS}
          while less(number, count):
            let fits: i64 = call {FITS}(offset(run, at), objects[number + {int(Field.PARTS)}])
            if equal(fits, 0):
              return 0
            number = number + 1
            at = at + {8 * WANTED_WORDS}
          call (pointers[{Run.STEP}])(pointers[{Run.TABLE}])
          view status: i32[] at pointers[{Run.STATUS}]
          return where(equal(status[0], 0), 1, 0)
        """
    return [_fits(), parse_function(main)]
