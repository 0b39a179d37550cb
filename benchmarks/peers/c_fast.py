"""The plain C of `c`, built with -ffast-math: sums in any order, tanh and exp vectorised.

It goes beyond "plain C at -O3", and gives up NaN and infinity; it shows what a compiler can reach.
"""

from __future__ import annotations

from benchmarks.peers import c


class Trainer(c.Trainer):
    """The work in C under -ffast-math."""

    extra = ("-ffast-math",)
