"""The words in which a tape, and a call that it knows, are told to native code
(`mynn.compiler.host.record`).
"""

from __future__ import annotations

from enum import IntEnum, auto

from mynn.base.dataclass import dataclass
from mynn.compiler.host.enter import MOST_AXES

# A call has no more tensors that are new to the tape.
MOST_NEW = 8


class Table(IntEnum):
    """The words of a tape: itself; functions of Python; objects; then words to write in."""

    TAPE = 0
    ALLOCATE = auto()
    UNTRACK = auto()
    TRACK = auto()
    KEEP = auto()
    DROP = auto()
    CALL = auto()
    CALL_WITH = auto()
    COMPARE = auto()
    ATTRIBUTE = auto()
    CLEAR = auto()
    FAILED = auto()
    APPEND = auto()
    ENTER = auto()
    HAS_KEY = auto()
    HAS_ITEM = auto()
    COUNT_KEYS = auto()
    NEXT_KEY = auto()
    ADDRESS = auto()
    NUMBER = auto()
    AS_ARRAY = auto()
    NONE = auto()
    FALSE = auto()
    TRUE = auto()
    ZERO = auto()
    TENSOR = auto()
    ARRAY = auto()
    OUTPUT = auto()
    KNOWN = auto()
    TUPLE = auto()
    INTEGER = auto()
    WAITING = auto()
    EXPOSED = auto()
    TOGGLES = auto()
    ACTIVITY = auto()
    GRADIENTS = auto()
    MODE = auto()
    MODE_NOW = auto()  # of the module that is called
    RECORD = auto()  # the same in Python, for all other calls
    CHECKED = auto()  # what follows a call that may have to be run at once
    GIVEN = auto()  # five arguments of these
    _GIVEN_1 = auto()
    _GIVEN_2 = auto()
    _GIVEN_3 = auto()
    _GIVEN_4 = auto()
    PLACE = auto()
    KEY = auto()
    VALUE = auto()
    NEW_COUNT = auto()
    NEW = auto()


TABLE_WORDS = Table.NEW + MOST_NEW


class Known(IntEnum):
    """The words of a known call: the function, whether gradients flow, how many arguments there are
    by position and by name, the mode of the module (or 0), the outcome, what a result knows of it,
    whether it requires a gradient; whether it looks at memory, whether the call reads buffers,
    whether it reads any state; then what each argument is.
    """

    FUNCTION = 0
    GRADIENTS = 1
    COUNT = 2
    NAMES = 3
    MODE = 4
    OUTCOME = 5
    PROMISE = 6
    GROWS = 7
    VIEWED = 8
    STATEFUL = 9
    STATE = 10
    WANTS = 11


class Kind(IntEnum):
    """What an argument is: a result that waits; a tensor from before that the tape has read; one
    that is new to it; a plain object; integers in a tuple; a float; any float, which is an argument
    of the program.
    """

    RESULT = 0
    BEFORE = 1
    NEW = 2
    PLAIN = 3
    INTEGERS = 4
    FLOAT = 5
    ANY_FLOAT = 6


class Want(IntEnum):
    """What is asked of an argument, in words: its kind; an object (that a result waits with, that a
    plain one equals, the shape of a new tensor, the dtype of any float), a number or bits; its type
    or dtype; its name; whether it requires a gradient; the number of axes and their extents.
    """

    KIND = 0
    OBJECT = 1
    TYPE = 2
    NAME = 3
    GROWS = 4
    AXES = 5
    EXTENTS = 6


WANT_WORDS = Want.EXTENTS + MOST_AXES


@dataclass(frozen=True)
class Layout:
    """How many bytes from the beginning of an object its slots are, by name: of a tape, a step,
    what is known of a call, an outcome, of `Activity`, a tensor, an `Output` and a `Type`.
    """

    tape: dict[str, int]
    step: dict[str, int]
    known: dict[str, int]
    outcome: dict[str, int]
    activity: dict[str, int]
    tensor: dict[str, int]
    output: dict[str, int]
    type: dict[str, int]
