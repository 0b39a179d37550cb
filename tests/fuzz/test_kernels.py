"""Random kernels of the loop IR: native code against the evaluator, bit for bit.

`MYNN_FUZZ_SEED` and `MYNN_FUZZ_COUNT` choose other seeds and more of them.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import pytest

from mynn.compiler.loop_ir.ir import Buffer, For, Local, Op, Prefetch, Reduce, Store
from mynn.compiler.loop_ir.parse import parse_kernel
from mynn.compiler.loop_ir.walk import statements, sub_expressions
from mynn.target.target import Target, host
from tests.compiler.harness import check_printed_form
from tests.fuzz.kernels import ARITIES
from tests.fuzz.run_kernels import TOGETHER, Case, case, compile_cases, problems, run_seeds
from tests.subset import count

FIRST = int(os.environ.get("MYNN_FUZZ_SEED", "0"))
COUNT = int(os.environ.get("MYNN_FUZZ_COUNT", count(100, 40)))


def without_multiply_adds() -> Target:
    target = host()
    features = [f for f in target.features.split(",") if f not in ("+fma", "+neon")]
    return replace(target, features=",".join(features))


@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, TOGETHER))
def test_native_code_is_what_the_evaluator_says(first: int) -> None:
    target = without_multiply_adds() if first % (4 * TOGETHER) == 0 else host()
    failures = [report for _, report in run_seeds(range(first, first + TOGETHER), target)]
    if failures:
        pytest.fail("\n\n".join(failures), pytrace=False)


@pytest.mark.parametrize("seed", range(count(60, 30)))
def test_what_is_printed_is_read_back(seed: int) -> None:
    check_printed_form(case(seed).kernel)


def test_kernels_have_everything() -> None:
    """All forms of the grammar, all operations, all types."""
    seen: Counter[str] = Counter()
    for seed in range(150):
        for statement in statements(case(seed).kernel.body):
            seen[type(statement).__name__] += 1
            if isinstance(statement, For):
                seen[statement.kind] += 1
                seen["condition"] += len(statement.where)
            elif isinstance(statement, Local):
                seen[statement.buffer.storage] += 1
            elif not isinstance(statement, Prefetch):
                for expr in sub_expressions(statement.value):
                    seen[expr.name if isinstance(expr, Op) else type(expr).__name__] += 1
                    if isinstance(expr, Reduce):
                        seen[f"reduce_{expr.op}"] += 1
                if isinstance(statement, Store):
                    seen[statement.buffer.type] += 1
    wanted = {*ARITIES, "cast", "quotient", "remainder", "shift_right", "Const", "Var", "Affine"}
    wanted |= {"Load", "Reduce", "serial", "unroll", "vector", "parallel", "condition", "Prefetch"}
    wanted |= {"register", "scratch", "reduce_add", "reduce_mul", "reduce_maximum", "f64", "bool"}
    assert wanted <= set(seen)


X, Y = Buffer("x", "u32", 8), Buffer("y", "u32", 8, pitch=1)
FAILED = {
    # a variable is another one in each round of an unrolled loop, and so is what it is an index of
    "names of an unrolled loop": """
kernel r0:
  for i in 2 unroll:
    let p = minimum(maximum(cast.i64(x[i]), 0), 7)
    y[i] = x[p]
""",
    # registers of an unrolled loop's round are not there in the next one
    "registers of an unrolled loop": """
kernel r0:
  for i in 2 unroll:
    for j in 3 where 0 <= j + -1 < 9:
      local acc: u32[2] register
      for v in 2 vector:
        acc[v] = x[v]
      for k in 2:
        for v in 2 vector:
          acc[v] = add(acc[v], x[k + v])
      for v in 2 vector:
        y[4*i + v] = acc[v]
""",
}


@pytest.mark.parametrize("name", FAILED)
def test_kernels_that_failed(name: str) -> None:
    kernel = parse_kernel(FAILED[name], [X, Y])
    one = Case(kernel, [Y], [X, Y])
    native, scratch = compile_cases([one], host())
    assert problems(one, native, scratch, host()) == []


def test_a_difference_is_reported() -> None:
    """Native code of another kernel than the one that is evaluated."""
    one, other = (
        Case(parse_kernel(f"kernel r0:\n  y[0] = x[{i}]", [X, Y]), [Y], [X, Y]) for i in (0, 1)
    )
    (found,) = problems(one, *compile_cases([other], host()), host())
    assert found.startswith("y[0]: evaluated")
