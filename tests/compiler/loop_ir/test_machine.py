"""Host code run step by step: its meaning, its memory, its threads."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from mynn.compiler.loop_ir.ir import Function, Signature
from mynn.compiler.loop_ir.machine import Machine, Thread, interleave
from mynn.compiler.loop_ir.parse import parse_function
from mynn.compiler.loop_ir.steps import steps_of
from mynn.compiler.loop_ir.verify import verify_function
from mynn.errors import CompileError

SIGNATURES = {"kernel": Signature(("ptr",)), "double": Signature(("i64",), "i64")}


def function(text: str) -> Function:
    parsed = parse_function(text)
    verify_function(parsed, SIGNATURES)
    return parsed


def run(body: str, result: str = "i64", **arguments: Any) -> Any:
    """What a function of integers returns."""
    head = ", ".join(f"{name}: i64" for name in arguments)
    lines = "\n".join(f"  {line}" for line in body.splitlines())
    parsed = function(f"function f({head}) -> {result}:\n{lines}")
    return Machine([parsed]).run("f", *arguments.values())


COUNT = """\
var total = 0
var i = 0
while True:
  if less_equal(n, i):
    break
  if equal(remainder(maximum(i, 0), 3), 0):
    total = total + i
  else:
    total = total + -1
  i = i + 1
return total"""


def test_loops_and_branches() -> None:
    for n in range(12):
        expected = sum(i if i % 3 == 0 else -1 for i in range(n))
        assert run(COUNT, n=n) == expected


@pytest.mark.parametrize(
    ("expression", "type", "expected"),
    [
        ("9223372036854775807 + n", "i64", -(2**63)),
        ("mul(cast.u64(n + 4), 9223372036854775807)", "u64", 2**63 - 5),
        ("shift_right(cast.u64(n + -2), 60)", "u64", 15),
        ("less(0:u64, cast.u64(n + -2))", "bool", True),
        ("less(0, n + -2)", "bool", False),
        ("cast.i64(cast.u8(n + 299))", "i64", 44),
        ("cast.u32(n + -2)", "u32", 2**32 - 1),
        ("cast.bool(n + 7)", "bool", True),
        ("cast.f64(n + 2)", "f64", 3.0),
        ("cast.i64(-2.75)", "i64", -2),
        ("cast.i64(cast.f32(16777217))", "i64", 16777216),
        ("mul(cast.f32(n), 0.1:f32)", "f32", np.float32(0.1)),
        ("less(abs(cast.f64(n)), inf)", "bool", True),
        ("where(equal(n, 1), 5:i32, 6)", "i32", 5),
        ("bitwise_xor(n, -1)", "i64", -2),
        ("logical_not(equal(n, 1))", "bool", False),
        ("neg(n + -9223372036854775808 + -1)", "i64", -(2**63)),
        ("pow(n + 2, 5)", "i64", 243),
    ],
)
def test_arithmetic(expression: str, type: str, expected: Any) -> None:
    """Of 1: it wraps around as native code does."""
    value = run(f"return {expression}", type, n=1)
    assert value == expected
    assert isinstance(value, np.floating) == (type[0] == "f")


def test_memory() -> None:
    """Words of several types at one address; rows that are copied; atomic steps."""
    machine = Machine(
        [
            function("""
function f(at: ptr, rows: ptr) -> i64:
  view words: i64[4] at at
  view halves: u32[8] at at
  view floats: f64[1] at offset(at, 24)
  words[0] = -1
  halves[0] = 7
  floats[0] = 0.5
  let old = atomic exchange(words[1], 5) acq_rel
  let sum = atomic add(words[1], 3) acq_rel
  let won = atomic compare_exchange(words[1], 8, 11) acq_rel
  let lost = atomic compare_exchange(words[1], 8, 12) acq_rel
  if bitwise_and(won, logical_not(lost)):
    call copy(offset(rows, 2), rows, 2)
  return add(mul(10, old), sum)""")
        ]
    )
    words, rows = np.array([3, 4, 5, 6]), np.arange(4, dtype=np.uint8)
    assert machine.run("f", machine.share(words), machine.share(rows)) == 45
    assert list(words[:3]) == [7 - 2**32, 11, 5]
    assert words[3:].view(np.float64)[0] == 0.5
    assert list(rows) == [0, 1, 0, 1]


@pytest.mark.parametrize("index", [-1, 4])
def test_memory_of_others_is_not_touched(index: int) -> None:
    text = f"""
function f(at: ptr):
  view words: i64[] at at
  words[{index}] = 0"""
    machine = Machine([function(text)])
    with pytest.raises(IndexError, match=r"8 bytes at .* lie in no array"):
        machine.run("f", machine.share(np.zeros(4, np.int64)))


CALLS = (
    """
function double(n: i64) -> i64:
  return add(n, n)""",
    """
function f(table: ptr, kernel_at: ptr) -> i64:
  view slots: ptr[1] at table
  slots[0] = @kernel
  call kernel(table)
  call (slots[0])(offset(table, 8))
  call (kernel_at)(offset(table, 16))
  let four: i64 = call double(2)
  let ticks: u64 = call time_stamp()
  call pause()
  let eight: i64 = call double(four)
  return eight""",
)


def test_calls() -> None:
    """By name, by address; of functions, kernels and the machine."""
    seen: list[int] = []
    machine = Machine(map(function, CALLS), {"kernel": seen.append})
    table = machine.share(np.zeros(1, np.int64))
    assert machine.run("f", table, machine.addresses["kernel"]) == 8
    assert seen == [table, table + 8, table + 16]
    alone = Machine([parse_function("function f():\n  call kernel()")])
    with pytest.raises(CompileError, match="f calls kernel, which nobody knows"):
        alone.run("f")


LOCK = """
function f(words_at: ptr, rounds: i64):
  view words: i64[2] at words_at
  var i = 0
  while less(i, rounds):
    let mine = atomic compare_exchange(words[0], 0, 1) acq_rel
    if mine:
      words[1] = add(words[1], 1)
      atomic store(words[0], 0) release
      i = i + 1"""


def pick(rng: np.random.Generator, count: int) -> int:
    return int(rng.integers(count))


@pytest.mark.parametrize("locked", [True, False])
def test_threads_take_turns(locked: bool) -> None:
    """Between the load and the store of an addition another thread may come."""
    text = LOCK if locked else LOCK.replace("if mine:", "if True:")
    lost = 0
    for seed in range(20):
        machine, words = Machine([function(text)]), np.zeros(2, np.int64)
        at, rng = machine.share(words), np.random.default_rng(seed)
        threads = [Thread(machine, "f", (at, 5)) for _ in range(3)]
        interleave(threads, functools.partial(pick, rng))
        lost += words[1] != 15
    assert (lost == 0) == locked


def test_steps_know_what_is_needed() -> None:
    """A variable that is set again, and one that nobody reads, are not."""
    code = steps_of(
        function("""
function f(n: i64) -> i64:
  let unused = n + 1
  var m = n + 2
  m = 3
  while less(n, m):
    m = m + -1
  return m"""),
        {},
    )
    kinds = [step.kind for step in code.steps]
    assert kinds == ["set", "set", "set", "branch", "set", "jump", "return", "return"]
    assert [sorted(names) for names in code.live] == [
        *[["n"]] * 3,
        *[["m", "n"]] * 3,
        ["m"],
        [],
    ]


def test_arrays_of_any_kind_are_shared() -> None:
    """Empty ones, turned ones, views, and such as may not be written."""
    machine = Machine([])
    memory = machine.memory
    machine.share(np.zeros((0, 3)))
    assert memory.bytes_at(12345, 0).size == 0
    memory.copy(1, 2, 0)
    base = np.arange(24, dtype=np.int32).reshape(4, 6)
    turned = base[::-1, 1:3].T
    address = machine.share(turned)
    assert memory.load(address, "i32") == 19
    assert memory.load(address - 3 * 24, "i32") == 1
    with pytest.raises(IndexError, match="not its alignment"):
        memory.load(address + 2, "i32")
    with pytest.raises(IndexError, match="in no array"):
        memory.load(base.ctypes.data, "i32")
    fixed = np.ones(2, np.float32)
    fixed.flags.writeable = False
    at = machine.share(fixed)
    assert memory.load(at + 4, "f32") == 1
    with pytest.raises(TypeError, match="read-only"):
        memory.store(at, "f32", 2.0)
