"""Random programs from a seed."""

from __future__ import annotations

from typing import Any

from tests.fuzz.eager import buffers, idioms, slopes, tensors, training
from tests.fuzz.eager.draw import Draw
from tests.fuzz.eager.statements import Program


def program(seed: int) -> Program:
    """A random program: a few parts one after the other, or one in the other."""
    g = Draw(seed)
    tensors.start(g)
    kinds = g.pick((LOOSE, TRAINED, TRAINED, IDIOMS, MIXED, SLOPES, BUFFERS))
    for _ in range(int(g.pick((2, 3, 4, 5)))):
        part: Any = g.pick(kinds)
        part(g)
        g.add(*[f"log({name})" for name in g.rows if g.chance(0.6)])
        g.rows.clear()
    dtype = "float32" if g.chance(0.75) else "float64"
    return Program(seed, dtype, tuple(g.statements), g.draws)


LOOSE = (
    *(tensors.chain, tensors.chain, tensors.in_place, tensors.gradient, tensors.repeated),
    *(tensors.copies, tensors.views, tensors.mistakes, tensors.outside, tensors.thread),
)
TRAINED = (
    *(training.loop, training.loop, training.loop, training.accumulated, training.episode),
    *(training.switches, training.inputs, training.copied, training.mistakes, training.programs),
)
IDIOMS = (
    *(idioms.by_hand, idioms.written_out, idioms.written_out, idioms.recurrent),
    *(idioms.adversarial, idioms.target_network),
    *(idioms.measured, idioms.long, idioms.parallel),
)
SLOPES = (*(slopes.slopes, slopes.slopes, slopes.functions, slopes.penalty), tensors.chain)
BUFFERS = (buffers.buffers, buffers.buffers, buffers.returns, tensors.chain)
MIXED = (*SLOPES, *BUFFERS, *LOOSE, *TRAINED, *IDIOMS, training.loop, training.loop)
