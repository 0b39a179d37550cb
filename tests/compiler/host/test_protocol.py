"""The protocol of leaders and workers, in the LLVM IR that is compiled, in every interleaving.

Nobody waits for ever, no share is done twice or left out, and no table is touched after its call.
"""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from mynn.compiler.codegen.function import Module
from mynn.compiler.codegen.host import emit_function
from mynn.compiler.host import parked_workers, train_loop, workers
from mynn.compiler.host.argument_layout import StepLayout
from mynn.compiler.host.control_block import SHUTDOWN, Control, Sync, worker_word
from mynn.compiler.host.step import split_step
from mynn.compiler.parallel import barriers
from mynn.compiler.parallel.barriers import Turn
from mynn.target.target import named
from tests.compiler.host.interleaving import Explorer, State, Wrong

# It has no instruction to wait and no mode of denormals: only the protocol is left.
TARGET = replace(named("aarch64"), triple="riscv64-unknown-linux-gnu")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits is tired at once; how long it takes is no matter here."""
    for name, value in {
        "_PATIENCE": 0,
        "_OFFERS": 0,
        "_SLEEPS": 0,
        "_CALL_ROUNDS": 0,
        "_LOOP_ROUNDS": 0,
    }.items():
        monkeypatch.setattr(workers, name, value)


def add_two_kernels(module: Module) -> None:
    """A split step; the workers meet before the second kernel, and after it."""
    first: Any = SimpleNamespace(name="k0")
    second: Any = SimpleNamespace(name="k1")
    every = frozenset(barriers.COUNTS)
    workers.add_barrier(module)
    turns = [Turn(first, frozenset(), many=False), Turn(second, every, many=True)]
    emit_function(module, split_step(turns))


def module_of_calls() -> str:
    module = Module(TARGET)
    module.add(
        "define void @mynn_step(ptr %table) nounwind {\n"
        "  call void @k0(ptr %table, i64 0, i64 1)\n"
        "  call void @k1(ptr %table, i64 0, i64 1)\n"
        "  ret void\n}\n"
    )
    add_two_kernels(module)
    parked_workers.add_calls(module, "mynn_step")
    return module.text()


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
    call = "@" + parked_workers.CALL
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
    return Protocol(text, scripts, "@" + parked_workers.SERVE, 2, words, count, starts).explore()


@pytest.mark.parametrize(
    ("count", "calls", "leaders", "starts"),
    [(2, 3, 1, 2), (3, 1, 1, 1), (2, 1, 2, 1)],
)
def test_calls(count: int, calls: int, leaders: int, starts: int) -> None:
    """Two or three workers; threads that are refused, come late, leave, and come twice."""
    assert explore_calls(module_of_calls(), count, calls, leaders, starts) > 1000


def module_of_a_loop() -> str:
    """The training loop's way through a call, with two steps and nothing between them."""
    module = Module(TARGET)
    module.add(workers.leader_text(module))
    module.add(workers.worker_text(module, workers.WORKER, loop=True))
    add_two_kernels(module)
    t = train_loop._Text()
    t.lines.append("define void @leader(ptr %control, ptr %one, ptr %two) nounwind {")
    train_loop._acquire(t)
    for table in ("%one", "%two"):
        train_loop._split_step(t, table, "@mynn_step_split")
    train_loop._release(t)
    t.lines += ["  ret void", "}", ""]
    module.add("\n".join(t.lines))
    return module.text()


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
            ("call", "@leader", (control, one, two)),
            *(("close", table) for table in (one, two)),
        ]
    script.append(("store", int(Sync.PHASE), SHUTDOWN))
    words = control + Control.DATA
    return Protocol(text, [script], "@" + workers.WORKER, 2, words, most, starts).explore()


@pytest.mark.parametrize(("wanted", "starts"), [((2, 2, 2), 2), ((2, 1, 2), 2), ((3, 2), 1)])
def test_loop(wanted: tuple[int, ...], starts: int) -> None:
    """Budgets of two steps, each with a number of workers of its own."""
    assert explore_loop(module_of_a_loop(), wanted, starts) > 1000


def test_every_way_out_of_the_loop_releases() -> None:
    """One return, and right before it the release."""
    loop = train_loop.Loop(StepLayout(4, split=True), StepLayout(1))
    text = train_loop.loop_module(loop, TARGET)
    body = text[text.index("@mynn_fit(") :].split("\n}\n")[0]
    assert body.count("@mynn_acquire(") == body.count("@mynn_release(") == 1
    *_, release, leave = body.strip().splitlines()
    assert "@mynn_release" in release
    assert leave.strip() == "ret void"
    assert body.count("ret void") == 1


SMALL = [(2, 2, 1, 2), (2, 1, 2, 1), (3, 1, 1, 1)]


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        ("  store atomic i64 0, ptr %arrived.*\n", ""),
        ("  store atomic i64 %next, ptr %round .*\n", ""),
        ("  store atomic i64 %new, ptr %phase .*\n", ""),
        ("  store atomic i64 0, ptr %leader .*\n", ""),
        ("  store atomic i64 1, ptr %state .*\n", ""),
        ("  store ptr %table, ptr %table.at.*\n", ""),
        ("  store atomic i64 %base, ptr %base.at.*\n", ""),
        # the table is told after the workers were woken
        (
            r"(  store ptr %table, ptr %table.at.*\n)((?:.*\n)*?)(  store atomic i64 %new, .*\n)",
            r"\2\3\1",
        ),
        # a worker that has begun takes what it sees for over
        (r"phi i64 \[ -2, %begin \]", "phi i64 [ %first, %begin ]"),
        # a second thread for a worker stays
        ("br i1 %only, label %ready, label %end", "br label %ready"),
        # a worker leaves although it was acquired
        ("br i1 %left, label %end, label %pause", "br label %end"),
        # a caller does not look whether there is another one
        ("br i1 %led, label %acquire, label %alone", "br label %acquire"),
        # a worker that is not there is waited for, or counted on
        ("%fewer = sub i64 %rest, 1", "%fewer = add i64 %rest, 0"),
        ("br i1 %tired, label %done, label %wait", "br i1 %tired, label %next, label %wait"),
        # no meeting between the kernels; none at the end
        (r"(  call void @k0.*\n)  call void @mynn_barrier.*\n", r"\1"),
        (r"(  call void @k1\(ptr %table, i64 %w.*\n)  call void @mynn_barrier.*\n", r"\1"),
        # a barrier that opens one too soon
        ("%last = icmp eq i64 %count, %workers", "%last = icmp uge i64 %now, 0"),
    ],
)
def test_mistakes_are_found(pattern: str, instead: str) -> None:
    text = module_of_calls()
    changed, count = re.subn(pattern, instead, text)
    assert count

    def explore() -> None:
        for sizes in SMALL:
            explore_calls(changed, *sizes)

    with pytest.raises((Wrong, IndexError, KeyError)):
        explore()


def test_a_worker_that_runs_steps_of_others_is_found() -> None:
    text = module_of_a_loop()
    changed = text.replace("br i1 %mine, label %work, label %idle", "br label %work")
    assert changed != text
    with pytest.raises(Wrong):
        explore_loop(changed, (3, 2), 1)
