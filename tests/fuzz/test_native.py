"""Native code against the interpreter on random graphs, gradients of random functions, state.

`MYNN_FUZZ_SEED` and `MYNN_FUZZ_COUNT` choose other seeds and more of them.
"""

from __future__ import annotations

import os

import pytest

from tests.fuzz.native import KINDS, problems, report
from tests.subset import count

FIRST = int(os.environ.get("MYNN_FUZZ_SEED", "0"))
COUNT = int(os.environ.get("MYNN_FUZZ_COUNT", count(100, 35)))
BLOCK = 10
SHARES = {
    "plain": 0.5,
    "gradient": 0.2,
    "stateful": 0.3,
    "split": 0.2,
    "compared": 0.3,
    "dense": 0.3,
    "loops": 0.3,
}
BLOCKS = [
    pytest.param(kind, first, id=f"{kind}-{first}")
    for kind, share in SHARES.items()
    for first in range(FIRST, FIRST + round(COUNT * share), BLOCK)
]


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("kind", "first"), BLOCKS)
def test_random_programs(kind: str, first: int) -> None:
    run = 0
    seed = first
    while run < BLOCK:
        program = KINDS[kind](seed)
        seed += 1
        if program is None:
            continue
        run += 1
        if problems(program, kind):
            pytest.fail(report(kind, program), pytrace=False)


# Seeds that failed once: a constant without elements is copied to state; nothing is put into state.
@pytest.mark.parametrize(("kind", "seed"), [("stateful", 300060), ("stateful", 990100)])
def test_programs_that_failed(kind: str, seed: int) -> None:
    program = KINDS[kind](seed)
    assert program is not None
    assert problems(program, kind) == []
