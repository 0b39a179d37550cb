"""The mode in which `make test-eager` runs the tests a second time is what it says."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import mynn
from mynn.base import recording
from mynn.tape.pieces.piece import Piece
from tests.tape import first_calls

first_calls.become_programs()
with mynn.eager("tape"):
    x = mynn.Tensor([1.0, 2.0], requires_grad=True)
    (x * 3.0).sum().numpy()
    (step,) = recording.current.tape.root.children.values()
    (last,) = step.children.values()
    (piece,) = last.pieces.values()
    assert type(piece) is Piece, piece
"""


def test_a_first_call_is_a_program() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
