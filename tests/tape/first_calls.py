"""Programs without waiting for repetition, so that a test reaches them with its first call.

A tape runs a call at once the first time, and a sequence call by call; programs come later. Most
tests call everything once. Here each call is recorded and each sequence is a program the first
time, run by the interpreter, which does not wait for a compiler.
"""

from __future__ import annotations

import math
from typing import Any

from mynn.base import recording
from mynn.tape import tape
from mynn.tape.calls import step
from mynn.tape.pieces import credit, piece
from mynn.tape.pieces.trial import Trial


class _Seen(dict[Any, Any]):
    """What has come before: everything."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(key, 1)


class _Tried(dict[Any, Any]):
    """Programs, and how long their calls have been run one by one: long enough."""

    def get(self, key: Any, default: Any = None) -> Any:
        found = super().get(key)
        if found is None:
            found = Trial()
            found.add(math.inf)
        return found


def become_programs() -> None:
    """From now on, in this process."""
    _replace(step.Recorded, outcomes=_Seen)
    _replace(step.Step, pieces=_Tried, derivatives=_Tried)
    _replace(tape.Tape, seen=_Seen)
    piece.native_available = lambda: False
    credit.CREDIT = math.inf
    if recording.current.own is not None:
        recording.record_with(tape.Tape)


def _replace(kind: Any, **fields: Any) -> None:
    """Objects of a class get other dicts."""
    before = kind.__init__

    def init(self: Any, *args: Any, **named: Any) -> None:
        before(self, *args, **named)
        for name, made in fields.items():
            setattr(self, name, made())

    kind.__init__ = init
