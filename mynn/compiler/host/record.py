"""Records calls that a tape knows, in native code: what `Tape.call` does for the call that came
last where the tape stands, or before that.

Objects of Python are read and written where they lie: the fields that are asked for are slots, of
which it is known how far from the beginning of an object they are (`Layout`). What a call is
compared with stands in words of our own (`mynn.compiler.host.known_call`), which
`mynn.tape.calls.native` fills in, as it does the table of objects and of functions of Python's C
interface. No code of Python runs between the first look at the tape and the last change of it: the
one tensor that a call makes, and the mode of the module, which is a property, are asked for before.
So no collection of garbage, no signal handler and no other thread falls between.
"""

from __future__ import annotations

from mynn.compiler.host.enter import Field
from mynn.compiler.host.known_call import WANT_WORDS, Known, Layout, Table, Want
from mynn.compiler.host.match_argument import ITEMS, match_argument
from mynn.compiler.loop_ir.ir import Function
from mynn.compiler.loop_ir.parse import parse_function

RECORD = "mynn_record"


def _holds(layout: Layout) -> Function:
    """Whether what a call did, apart from its arguments, is what it does now."""
    outcome = layout.outcome
    return parse_function(f"""
        function mynn_holds(words: ptr, tape: ptr, start: ptr, module: i64) -> i64:
          view table: ptr[] at words
          view wanted: i64[] at start
          view objects: ptr[] at start
          let gradients: ptr = call (table[{Table.CALL}])(table[{Table.GRADIENTS}])
          call (table[{Table.DROP}])(gradients)
          if not_equal(gradients, objects[{Known.GRADIENTS}]):
            return 0
          view edits: ptr[] at offset(objects[{Known.OUTCOME}], {outcome["edits"]})
          view watch: ptr[] at offset(table[{Table.ACTIVITY}], {layout.activity["watch"]})
          let unedited: i64 = call mynn_same(words, edits[0], watch[0])
          if equal(unedited, 0):
            return 0
          view known: ptr[] at offset(objects[{Known.OUTCOME}], {outcome["toggles"]})
          view toggles: ptr[] at table[{Table.TOGGLES}]
          view now: ptr[] at toggles[{ITEMS}]
          let untoggled: i64 = call mynn_same(words, known[0], now[0])
          if equal(untoggled, 0):
            return 0
          if equal(module, 1):
            if not_equal(table[{Table.MODE_NOW}], objects[{Known.MODE}]):
              return 0
          if equal(wanted[{Known.STATEFUL}], 1):
            view rows: ptr[] at offset(tape, {layout.tape["rows"]})
            view replaced: ptr[] at offset(tape, {layout.tape["replaced"]})
            view rows_head: i64[] at rows[0]
            view replaced_head: i64[] at replaced[0]
            if not_equal(add(rows_head[{Field.COUNT}], replaced_head[{Field.COUNT}]), 0):
              return 0
          if equal(wanted[{Known.VIEWED}], 1):
            let exposed: i64 = call (table[{Table.COUNT_KEYS}])(table[{Table.EXPOSED}])
            if not_equal(exposed, 0):
              return 0
          return 1
        """)


def _matches(layout: Layout) -> Function:
    """Whether a call leads to a step; if so, tensors that the tape has not read are the new ones.
    What is known of the call stands at the result; 0 where it is another one.
    """
    step = layout.step
    return parse_function(f"""
        function mynn_matches(words: ptr, tape: ptr, child: ptr, given: ptr, module: i64) -> ptr:
          view table: ptr[] at words
          view numbers: i64[] at words
          view arguments: ptr[] at given
          if equal(child, table[{Table.NONE}]):
            return 0
          view records: ptr[] at offset(child, {step["known_call"]})
          view record: ptr[] at records[0]
          if not_equal(record[{Field.TYPE}], table[{Table.KNOWN}]):
            return 0
          view own: ptr[] at offset(records[0], {layout.known["words"]})
          view array: ptr[] at own[0]
          let start = array[{Field.DATA}]
          view wanted: i64[] at start
          view objects: ptr[] at start
          if not_equal(arguments[0], objects[{Known.FUNCTION}]):
            return 0
          view ready: ptr[] at offset(child, {step["ready"]})
          if not_equal(ready[0], table[{Table.NONE}]):
            return 0
          view positional: ptr[] at arguments[1]
          view positional_head: i64[] at arguments[1]
          if not_equal(positional_head[{Field.COUNT}], wanted[{Known.COUNT}]):
            return 0
          let names: i64 = call (table[{Table.COUNT_KEYS}])(arguments[2])
          if not_equal(names, wanted[{Known.NAMES}]):
            return 0
          let holds: i64 = call mynn_holds(words, tape, start, module)
          if equal(holds, 0):
            return 0
          numbers[{Table.NEW_COUNT}] = 0
          var want = offset(start, {8 * Known.WANTS})
          var number = 0
          while less(number, wanted[{Known.COUNT}]):
            let value = positional[number + {int(Field.PARTS)}]
            let fits: i64 = call mynn_fits(words, tape, value, want)
            if equal(fits, 0):
              return 0
            want = offset(want, {8 * WANT_WORDS})
            number = number + 1
          numbers[{Table.PLACE}] = 0
          number = 0
          let places = offset(words, {8 * Table.PLACE})
          let keys = offset(words, {8 * Table.KEY})
          let values = offset(words, {8 * Table.VALUE})
          while less(number, names):
            let next: i32 = call (table[{Table.NEXT_KEY}])(arguments[2], places, keys, values)
            if equal(next, 0:i32):
              return 0
            view named: ptr[] at want
            if not_equal(table[{Table.KEY}], named[{Want.NAME}]):
              return 0
            let found: i64 = call mynn_fits(words, tape, table[{Table.VALUE}], want)
            if equal(found, 0):
              return 0
            want = offset(want, {8 * WANT_WORDS})
            number = number + 1
          return start
        """)


def _read(layout: Layout) -> Function:
    """The tape has read the new tensors, and arrays, which nobody else has; 0 where there is no
    memory for that.
    """
    return parse_function(f"""
        function mynn_read(words: ptr, tape: ptr) -> i64:
          view table: ptr[] at words
          view numbers: i64[] at words
          view externals: ptr[] at offset(tape, {layout.tape["externals"]})
          view index: ptr[] at offset(tape, {layout.tape["index"]})
          view sizes: i64[] at externals[0]
          var number = 0
          while less(number, numbers[{Table.NEW_COUNT}]):
            let value = table[number + {int(Table.NEW)}]
            let appended: i32 = call (table[{Table.APPEND}])(externals[0], value)
            if not_equal(appended, 0:i32):
              return 0
            view head: ptr[] at value
            if equal(head[{Field.TYPE}], table[{Table.ARRAY}]):
              call (table[{Table.DROP}])(value)
            else:
              let key: ptr = call (table[{Table.ADDRESS}])(value)
              let place: ptr = call (table[{Table.NUMBER}])(sub(sizes[{Field.COUNT}], 1))
              let entered: i32 = call (table[{Table.ENTER}])(index[0], key, place)
              call (table[{Table.DROP}])(key)
              call (table[{Table.DROP}])(place)
              if not_equal(entered, 0:i32):
                return 0
            number = number + 1
          return 1
        """)


def _replace(slot: str, new: str) -> str:
    """Lines that put an object in a slot."""
    old = f"old_{slot}"
    return f"""
          let {old} = {slot}[0]
          call (table[{Table.KEEP}])({new})
          {slot}[0] = {new}
          call (table[{Table.DROP}])({old})"""


def _result(layout: Layout) -> Function:
    """The fields of a tensor that waits for a known call."""
    tensor = layout.tensor
    fields = {
        "_requires_grad": f"objects[{Known.GROWS}]",
        "pending": f"objects[{Known.PROMISE}]",
        "_version": f"table[{Table.ZERO}]",
        "is_native": f"table[{Table.FALSE}]",
        **dict.fromkeys(("_grad", "name", "shared", "touched"), f"table[{Table.NONE}]"),
    }
    lines = "".join(
        f"""
          view at_{name}: ptr[] at offset(tensor, {tensor[name]})
          at_{name}[0] = {value}
          call (table[{Table.KEEP}])({value})"""
        for name, value in fields.items()
    )
    return parse_function(f"""
        function mynn_result(words: ptr, start: ptr, tensor: ptr):
          view table: ptr[] at words
          view objects: ptr[] at start
          view wanted: i64[] at start{lines}
          if equal(wanted[{Known.VIEWED}], 0):
            view looks: ptr[] at offset(tensor, {tensor["_view"]})
            looks[0] = table[{Table.NONE}]
            call (table[{Table.KEEP}])(table[{Table.NONE}])
        """)


def _take(layout: Layout) -> Function:
    """Take the step: the tensor that waits for it, or what `CHECKED` makes of it."""
    tape, step = layout.tape, layout.step
    return parse_function(f"""
        function mynn_take(words: ptr, tape: ptr, child: ptr, start: ptr) -> ptr:
          view table: ptr[] at words
          view numbers: i64[] at words
          view wanted: i64[] at start
          view position: ptr[] at offset(tape, {tape["position"]})
          view tidied: ptr[] at offset(tape, {tape["tidied"]})
          view root: ptr[] at offset(tape, {tape["root"]})
          view outputs: ptr[] at offset(tape, {tape["outputs"]})
          view spare: ptr[] at offset(tape, {tape["spare"]})
          view looked: ptr[] at offset(position[0], {step["looked"]})
          let tensor = spare[0]{_replace("tidied", f"table[{Table.NONE}]")}
          if equal(position[0], root[0]):
            let waits: i32 = call (table[{Table.HAS_ITEM}])(table[{Table.WAITING}], tape)
            if equal(waits, 0:i32):
              let waiting: i32 = call (table[{Table.APPEND}])(table[{Table.WAITING}], tape)
              if not_equal(waiting, 0:i32):
                return 0{_replace("looked", f"table[{Table.ZERO}]")}
          let read: i64 = call mynn_read(words, tape)
          if equal(read, 0):
            return 0
          let last: i32 = call (table[{Table.APPEND}])(outputs[0], tensor)
          if not_equal(last, 0:i32):
            return 0
          spare[0] = 0
          call (table[{Table.TRACK}])(tensor)
          call mynn_result(words, start, tensor){_replace("position", "child")}
          tidied[0] = child
          call (table[{Table.KEEP}])(child)
          call (table[{Table.DROP}])(table[{Table.NONE}])
          view ends: ptr[] at offset(child, {step["last"]})
          var checked = equal(ends[0], table[{Table.TRUE}])
          let reads = bitwise_or(numbers[{Table.NEW_COUNT}], wanted[{Known.STATE}])
          if not_equal(reads, 0):
            let exposed: i64 = call (table[{Table.COUNT_KEYS}])(table[{Table.EXPOSED}])
            if not_equal(exposed, 0):
              checked = True
          if checked:
            table[{Table.GIVEN}] = tape
            table[{Table.GIVEN + 1}] = child
            table[{Table.GIVEN + 2}] = tensor
            let given = offset(words, {8 * Table.GIVEN})
            let found: ptr = call (table[{Table.CALL_WITH}])(table[{Table.CHECKED}], given, 3, 0)
            call (table[{Table.DROP}])(tensor)
            return found
          return tensor
        """)


def _known(layout: Layout) -> Function:
    """Record a call that is known; 0, and nothing has changed, where it is not.

    Where Python runs, before the tape is looked at, a signal handler may record calls too, and take
    the tensor that was made. The collector does not show that one, which has no fields yet.
    """
    tape, step = layout.tape, layout.step
    return parse_function(f"""
        function mynn_known(words: ptr, given: ptr, count: i64) -> ptr:
          view table: ptr[] at words
          view arguments: ptr[] at given
          let tape = table[{Table.TAPE}]
          view spare: ptr[] at offset(tape, {tape["spare"]})
          if equal(spare[0], 0):
            let made: ptr = call (table[{Table.ALLOCATE}])(table[{Table.TENSOR}], 0)
            if equal(made, 0):
              return 0
            call (table[{Table.UNTRACK}])(made)
            if equal(spare[0], 0):
              spare[0] = made
            else:
              call (table[{Table.DROP}])(made)
          if equal(count, 4):
            if equal(arguments[3], table[{Table.NONE}]):
              return 0
            let mode: ptr = call (table[{Table.ATTRIBUTE}])(arguments[3], table[{Table.MODE}])
            if equal(mode, 0):
              return 0
            call (table[{Table.DROP}])(mode)
            table[{Table.MODE_NOW}] = mode
            if equal(spare[0], 0):
              return 0
          view position: ptr[] at offset(tape, {tape["position"]})
          view tidied: ptr[] at offset(tape, {tape["tidied"]})
          view claimed: ptr[] at offset(tape, {tape["claimed"]})
          view head: ptr[] at arguments[1]
          let here = position[0]
          if not_equal(here, tidied[0]):
            return 0
          if not_equal(claimed[0], table[{Table.FALSE}]):
            return 0
          if not_equal(head[{Field.TYPE}], table[{Table.TUPLE}]):
            return 0
          if equal(count, 4):
            view references: ptr[] at offset(here, {step["next_of_module"]})
            let child: ptr = call (table[{Table.CALL}])(references[0])
            if equal(child, 0):
              return 0
            call (table[{Table.DROP}])(child)
            let found: ptr = call mynn_matches(words, tape, child, given, 1)
            if equal(found, 0):
              return 0
            let tensor: ptr = call mynn_take(words, tape, child, found)
            return tensor
          view likely: ptr[] at offset(here, {step["next"]})
          let start: ptr = call mynn_matches(words, tape, likely[0], given, 0)
          if not_equal(start, 0):
            let result: ptr = call mynn_take(words, tape, likely[0], start)
            return result
          view other: ptr[] at offset(here, {step["other"]})
          let rare: ptr = call mynn_matches(words, tape, other[0], given, 0)
          if equal(rare, 0):
            return 0
          let turned = likely[0]
          likely[0] = other[0]
          other[0] = turned
          let late: ptr = call mynn_take(words, tape, likely[0], rare)
          return late
        """)


def record(layout: Layout) -> list[Function]:
    """`mynn_record`: a function of Python, given a function, its arguments, those by name, and a
    module, if one is called.

    It records the call where it is known, and otherwise has `Table.RECORD` do so.
    """
    main = f"""
        function {RECORD}(self: ptr, given: ptr, count: i64) -> ptr exported:
          view array: ptr[] at self
          view arguments: ptr[] at given
          let words = array[{Field.DATA}]
          view table: ptr[] at words
          let known: ptr = call mynn_known(words, given, count)
          if not_equal(known, 0):
            return known
          let failed: ptr = call (table[{Table.FAILED}])()
          if not_equal(failed, 0):
            return 0
          table[{Table.GIVEN}] = table[{Table.TAPE}]
          var number = 0
          while less(number, count):
            table[number + {Table.GIVEN + 1}] = arguments[number]
            number = number + 1
          let all = offset(words, {8 * Table.GIVEN})
          let plain = table[{Table.RECORD}]
          let result: ptr = call (table[{Table.CALL_WITH}])(plain, all, add(count, 1), 0)
          return result
        """
    parts = [_holds(layout), _matches(layout), _read(layout), _result(layout), _take(layout)]
    return [*match_argument(layout), *parts, _known(layout), parse_function(main)]
