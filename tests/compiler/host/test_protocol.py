"""The protocol of leaders and workers, in every interleaving of their loop IR.

Nobody waits for ever, no share is done twice or left out, and no table is touched after its call.
"""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from mynn.compiler.host import train_loop, workers
from mynn.compiler.host.argument_layout import StepLayout
from mynn.compiler.host.control_block import SHUTDOWN, Control, Sync, worker_word
from mynn.compiler.host.parallel_call import CALL, CALL_WORKER, parallel_call
from mynn.compiler.host.step import split_step
from mynn.compiler.loop_ir.format import format_function
from mynn.compiler.loop_ir.ir import Function
from mynn.compiler.loop_ir.parse import parse_function
from mynn.compiler.parallel import barriers
from mynn.compiler.parallel.barriers import ScheduledKernel
from tests.compiler.host.interleaving import Explorer, State, Wrong


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits has soon waited enough; how long it takes is no matter here."""
    for name in ("_SPINS", "_YIELDS", "_SLEEPS", "_CALL_SPINS", "_LOOP_SPINS"):
        monkeypatch.setattr(workers, name, 0)


def two_kernels() -> Function:
    """A split step; the workers meet before the second kernel, and after it."""
    first: Any = SimpleNamespace(name="k0")
    second: Any = SimpleNamespace(name="k1")
    every = frozenset(barriers.COUNTS)
    return split_step(
        [ScheduledKernel(first, frozenset(), more=False), ScheduledKernel(second, every, more=True)]
    )


def module_of_calls() -> str:
    """Host code for single calls, as loop IR."""
    whole = """
        function mynn_step(table: ptr) exported:
          call k0(table, 0, 1)
          call k1(table, 0, 1)
        """
    functions = [workers.barrier(), two_kernels(), parse_function(whole), *parallel_call(True)]
    return "\n\n".join(map(format_function, functions))


def functions_of(text: str) -> list[Function]:
    """The functions of a text."""
    return list(map(parse_function, text.split("\n\n")))


class Protocol(Explorer):
    """At the end nobody holds anything."""

    def at_the_end(self, state: State) -> None:
        super().at_the_end(state)
        held = {word: state.memory[word] for word in (Sync.LEADER, Sync.ARRIVED)}
        held |= {n: state.memory[worker_word(n)] for n in range(1, len(state.starts))}
        if any(held.values()):
            raise Wrong(f"left behind: {held}")


def one_call(place: int, table: int, count: int) -> list[tuple[Any, ...]]:
    """`SharedCall.__call__`, from the place in the script on."""
    starts: list[tuple[Any, ...]] = [("start", n, worker_word(n)) for n in range(1, count)]
    call = CALL
    script: list[tuple[Any, ...]] = [("open", table), ("call", call, (table, count, 0, 0))]
    again: list[tuple[Any, ...]] = [*starts, ("call", call, (table, count, 0, 1))]
    return [*script, ("unless", place + 3 + len(again)), *again, ("close", table)]


def explore_calls(text: str, count: int, calls: int, leaders: int = 1, starts: int = 2) -> int:
    scripts = []
    for leader in range(leaders):
        script: list[tuple[Any, ...]] = []
        for call in range(calls):
            script += one_call(len(script), 1 + leader * calls + call, count)
        scripts.append(script)
    words = worker_word(count)
    return Protocol(functions_of(text), scripts, CALL_WORKER, 2, words, count, starts).explore()


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("count", "calls", "leaders", "starts"),
    [(2, 3, 1, 2), (3, 1, 1, 1), (2, 1, 2, 1)],
)
def test_calls(count: int, calls: int, leaders: int, starts: int) -> None:
    """Two or three workers; threads that are refused, come late, leave, and come twice."""
    assert explore_calls(module_of_calls(), count, calls, leaders, starts) > 1000


def module_of_a_loop() -> str:
    """The training loop's way through a call, with two steps and nothing between them."""
    asked = f"words[{int(Control.WORKERS)}], words[{int(Control.PATIENCE)}]"
    way = f"""
        function leader(control: ptr, one: ptr, two: ptr) exported:
          view words: i64[] at control
          view addresses: ptr[] at control
          let workers: i64 = call mynn_acquire(addresses[{int(Control.SYNC)}], {asked})
          call mynn_lead(addresses[{int(Control.SYNC)}], workers, one, @mynn_step_split)
          call mynn_lead(addresses[{int(Control.SYNC)}], workers, two, @mynn_step_split)
          call mynn_release(addresses[{int(Control.SYNC)}], workers)
        """
    functions = [workers.barrier(), two_kernels(), *workers.leader(), parse_function(way)]
    functions += workers.worker_main(workers.WORKER_MAIN, loop=True, sleeps=True)
    return "\n\n".join(map(format_function, functions))


def explore_loop(text: str, wanted: tuple[int, ...], starts: int) -> int:
    """`NativeExecutor._run` for each number of workers that is wanted, then `WorkerPool.close`."""
    most = max(wanted)
    control = worker_word(most)
    script: list[tuple[Any, ...]] = []
    for number, count in enumerate(wanted):
        one, two = 2 * number + 1, 2 * number + 2
        script += [
            *(("start", n, worker_word(n)) for n in range(1, count)),
            ("store", control + Control.WORKERS, count),
            ("store", control + Control.PATIENCE, 1),
            *(("open", table) for table in (one, two)),
            ("call", "leader", (8 * control, one, two)),
            *(("close", table) for table in (one, two)),
        ]
    script.append(("store", int(Sync.PHASE), SHUTDOWN))
    words = control + Control.DATA
    return Protocol(
        functions_of(text), [script], workers.WORKER_MAIN, 2, words, most, starts
    ).explore()


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("wanted", "starts"), [((2, 2, 2), 2), ((2, 1, 2), 2), ((3, 2), 1)])
def test_loop(wanted: tuple[int, ...], starts: int) -> None:
    """Budgets of two steps, each with a number of workers of its own."""
    assert explore_loop(module_of_a_loop(), wanted, starts) > 1000


def test_every_way_out_of_the_loop_releases() -> None:
    """There is one, at the end, and right before it the release."""
    loop = train_loop.Loop(StepLayout(4, split=True), StepLayout(1))
    fit = train_loop.training_loop(loop, sleeps=True)[-1]
    *_, release, mode = fit.body
    assert [getattr(call, "callee", "") for call in (release, mode)] == [
        "mynn_release",
        "set_float_mode",
    ]
    assert "return" not in format_function(fit)


SMALL = [(2, 2, 1, 2), (2, 1, 2, 1), (3, 1, 1, 1)]


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        (r" +atomic store\(words\[8\], 0\) .*\n", ""),
        (r" +atomic store\(words\[16\], now \+ 1\) .*\n", ""),
        (r" +atomic store\(words\[0\], .*\n", ""),
        (r" +atomic store\(words\[4\], 0\) .*\n", ""),
        (r" +atomic store\(words\[8\*worker \+ 24\], 1\) .*\n", ""),
        (r" +addresses\[1\] = table\n", ""),
        (r" +atomic store\(words\[5\], base\) .*\n", ""),
        # the table is told after the workers were woken
        (r"( +addresses\[1\] = table\n)((?:.*\n)*?)( +atomic store\(words\[0\], .*\n)", r"\2\3\1"),
        # a worker that has begun takes what it sees for over
        ("var over = -2", "var over = first"),
        # a second thread for a worker stays
        (r"if logical_not\(alone\):", "if False:"),
        # a worker leaves although it was acquired
        ("if leaves:", "if True:"),
        # a caller does not look whether there is another one
        (r"if logical_not\(leads\):", "if False:"),
        # a worker that is not there is waited for, or counted on
        (r"left = left \+ -1", "left = left"),
        (r"if equal\(left, 0\):\n +break", "if equal(left, 0):\n        worker = worker + 1"),
        # no barrier between the kernels; none at the end
        (r"( +call k0\(table, worker.*\n) +call mynn_barrier.*\n", r"\1"),
        (r"( +call k1\(table, worker.*\n) +call mynn_barrier.*(?=\n|$)", r"\1"),
        # a barrier that opens one too soon
        (r"if equal\(before \+ 1, workers\):", "if less_equal(0, now):"),
    ],
)
def test_mistakes_are_found(pattern: str, instead: str) -> None:
    changed, count = re.subn(pattern, instead, module_of_calls())
    assert count

    def explore() -> None:
        for sizes in SMALL:
            explore_calls(changed, *sizes)

    with pytest.raises(Wrong):
        explore()


def test_a_worker_that_runs_steps_of_others_is_found() -> None:
    text = module_of_a_loop()
    changed = text.replace("if less(worker, bitwise_and(now, 65535)):", "if True:")
    assert changed != text
    with pytest.raises(Wrong):
        explore_loop(changed, (3, 2), 1)
