"""The loops compute the same with PyTorch as with us, and who computes something else is found."""

from __future__ import annotations

import subprocess
import sys
from time import sleep
from typing import Any

import numpy as np
import pytest

import mynn
from benchmarks import memory, ours
from benchmarks.loops import LOOPS
from benchmarks.loops.library import Program
from benchmarks.peers import LOOPERS, ours_compiled, ours_tape
from benchmarks.process import ROOT, Peer, Task
from benchmarks.rows import Disagreement, check_outputs

VERIFIED = [name for name, loop in LOOPS.items() if loop.steps]


class Here:
    """A peer in this process."""

    def __init__(self, name: str, program: Program, steps: int) -> None:
        self.name, self._program, self._steps = name, program, steps

    def outputs(self) -> list[np.ndarray]:
        return self._program.results(self._steps)


def compared(name: str, peers: dict[str, Any]) -> None:
    """All peers in this process give the same results."""
    loop = LOOPS[name]
    here = [
        Here(peer, module.program(name, 1, compared=True), loop.steps)
        for peer, module in peers.items()
    ]
    check_outputs(name, here, lambda text: None, loop.tolerance)


# Takes ten seconds: `--verify` looks at it.
LARGE = ("loop-resnet20",)


@pytest.mark.wide
@pytest.mark.one_in(12)
@pytest.mark.parametrize("name", [name for name in VERIFIED if name not in LARGE])
def test_loops_agree_with_torch(name: str) -> None:
    """At once, and on the tape."""
    pytest.importorskip("torch")
    from benchmarks.peers import torch_eager

    peers = {"ours": ours}
    if "ours-tape" in LOOPS[name].peers:
        peers["ours-tape"] = ours_tape
    with mynn.eager("at once"):  # what comes before, and after
        compared(name, {**peers, "torch": torch_eager})


@pytest.mark.one_in(6)
@pytest.mark.parametrize("name", [name for name in VERIFIED if "jax-scan" in LOOPS[name].peers])
def test_sequences_agree_with_jax(name: str) -> None:
    pytest.importorskip("jax")
    from benchmarks.peers import jax_sequences

    compared(name, {"ours": ours, "jax-scan": jax_sequences})


@pytest.mark.parametrize("name", ["again-predict", "again-fit"])
def test_a_compiled_call_does_what_fit_and_predict_do(name: str) -> None:
    compared(name, {"ours": ours, "ours-compiled": ours_compiled})


def test_every_loop_changes_or_gives_something() -> None:
    """What is compared is no constant: two steps of a training give two losses."""
    for name in ("loop-W3", "reinforce-update", "new-W3"):
        first, second, changes = ours.program(name, 1, compared=True).results(2)
        assert np.isfinite([first, second]).all()
        assert np.isfinite(changes).all()
        assert (changes != 0).mean() > 0.5
        assert (first != second) == (name != "new-W3")


def test_a_step_that_is_left_out_is_found() -> None:
    loop = LOOPS["loop-W3"]
    here = [
        Here(peer, ours.program("loop-W3", 1, compared=True), steps)
        for peer, steps in (("ours", loop.steps), ("torch", loop.steps))
    ]
    here[1]._program.once()
    with pytest.raises(Disagreement, match="torch is off"):
        check_outputs("loop-W3", here, lambda text: None, loop.tolerance)


def test_what_precedes_a_step_is_not_timed() -> None:
    done: list[str] = []

    def before() -> None:
        done.append("before")
        sleep(0.1)

    def step() -> None:
        done.append("step")
        sleep(0.01)

    assert 0.02 < Program(step, before=before).timed(2) < 0.2
    assert Program(step).timed(2) > 0.02
    assert done == ["before", "step"] * 2 + ["step"] * 2


def test_a_loop_runs_in_a_process_of_its_own() -> None:
    peer = Peer(Task("loop", "add-20"), "ours")
    try:
        sums, *again = peer.outputs()
        assert sums.shape == (32, 16)
        assert all((sums == one).all() for one in again)
        assert 0 < peer.block() < 1
    finally:
        peer.close()


def test_peers_of_loops_are_known() -> None:
    assert {peer for loop in LOOPS.values() for peer in loop.peers} == set(LOOPERS)
    assert all(loop.peers[0] == "ours" for loop in LOOPS.values())
    assert all("torch" in LOOPS[name].compared for name in VERIFIED)


def test_folds_leave_out_every_row_once() -> None:
    from benchmarks.loops import folds

    sizes = [len(x) for (x, _), _ in folds.trainings()]
    assert len(sizes) == folds.FOLDS * folds.SEEDS
    assert sum(folds.ROWS - n for n in sizes) == folds.SEEDS * folds.ROWS


LEAK = """
import numpy as np
from benchmarks.loops.library import Program
from benchmarks.memory import growth
kept = []
print(growth(Program(lambda: np.ones(1 << 20)), 4, 64))
print(growth(Program(lambda: kept.append(np.ones(1 << 20))), 4, 64))
"""


@pytest.mark.wide
def test_memory_that_stays_is_found() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAK], cwd=ROOT, capture_output=True, text=True, check=True
    )
    level, leaking = map(float, done.stdout.split())
    assert level < 16
    assert 500 < leaking < 600


@pytest.mark.wide
def test_memory_of_loops_is_measured() -> None:
    assert all(loop in LOOPS for loop, _, _ in memory.LENGTHS.values())
    command = [sys.executable, "-m", "benchmarks.memory", "eager-networks", "--peer=ours"]
    done = subprocess.run(
        [*command, "--share=0.01"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 0 <= float(done.stdout) < 100
