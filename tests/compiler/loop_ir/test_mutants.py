"""The checker finds the mistakes that are put into kernels, and lets all others pass."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from mynn.compiler.loop_ir.evaluate import evaluate_kernel
from mynn.compiler.loop_ir.ir import Kernel
from mynn.compiler.loop_ir.op_types import DTYPES
from mynn.compiler.loop_ir.verify import verify_kernel
from mynn.errors import VerifyError
from tests.compiler.harness import memory_buffers
from tests.compiler.loop_ir.corpus import corpus
from tests.compiler.loop_ir.mutants import ALWAYS_WRONG, SOMETIMES_OUTSIDE, mutants
from tests.subset import count


@functools.cache
def kernels() -> Sequence[Kernel]:
    return list(corpus(seeds=count(12, 4)))


def is_refused(kernel: Kernel) -> bool:
    try:
        verify_kernel(kernel)
    except VerifyError:
        return True
    return False


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", ALWAYS_WRONG)
def test_what_has_no_meaning_is_refused(name: str) -> None:
    rng = np.random.default_rng(0)
    found = Counter(
        is_refused(mutant)
        for kernel in kernels()[:: count(1, 3)]
        for mutant in mutants(kernel, ALWAYS_WRONG[name], rng, 1)
    )
    assert found[True] >= count(30, 10)
    assert not found[False]


def goes_outside(kernel: Kernel, data: int) -> bool:
    """Whether a run on memory whose integers are all `data`, if their type has it, does."""
    memory = {}
    for buffer in memory_buffers(kernel):
        dtype = DTYPES[buffer.type]
        value = data if dtype.kind in "iu" else 1
        if dtype.kind in "iu":
            value = int(np.clip(data, np.iinfo(dtype).min, np.iinfo(dtype).max))
        memory[buffer] = np.full(buffer.elements, value, dtype)
    try:
        evaluate_kernel(kernel, memory)
    except IndexError:
        return True
    return False


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", SOMETIMES_OUTSIDE)
def test_what_goes_outside_is_refused(name: str) -> None:
    """The evaluator says which mutants do; none of them passes the checker."""
    rng = np.random.default_rng(1)
    found: Counter[tuple[bool, bool]] = Counter()
    small = [kernel for kernel in kernels() if kernel.operations < 2000 and kernel.nbytes < 20000]
    small = small[:: count(1, 2)]
    for kernel in small:
        for mutant in mutants(kernel, SOMETIMES_OUTSIDE[name], rng, 1):
            outside = any(goes_outside(mutant, data) for data in (-(2**62), 2**62))
            found[outside, is_refused(mutant)] += 1
    assert found[True, True] >= count(3, 1)
    assert not found[True, False], found


def test_what_the_compiler_makes_is_not_refused() -> None:
    assert len(kernels()) > count(150, 100)
    for kernel in kernels():
        verify_kernel(kernel)
