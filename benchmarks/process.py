"""Peers as processes: each of so many threads on as many cores, asked for blocks in turn."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any, Literal

import numpy as np

from benchmarks.works import Layers

# Seconds between blocks: threads of the last peer wait for more work before they sleep, those of
# onnxruntime for 50 ms, and would take a core from the next one.
SETTLE = 0.1
ROOT = Path(__file__).parent.parent
COUNTS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NPROC",
)


Threads = int | Literal["auto"]


@functools.cache
def cores() -> tuple[int, ...]:
    """The cores this process had when it was first asked, the highest first."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0), reverse=True))
    return tuple(range(os.cpu_count() or 1))


def keep_to(count: int) -> None:
    """Keep this process, and those it starts from now on, on so many cores, where the system can.

    Raises ValueError where there are fewer.
    """
    if count > len(cores()):
        raise ValueError(f"{count} threads need as many cores, there are {len(cores())}")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[:count])


def environment(threads: Threads = 1) -> dict[str, str]:
    """This environment with so many threads for everybody, "auto" being one for each core.

    Bytecode is kept, as it is where a package is installed.
    """
    threads = len(cores()) if threads == "auto" else threads
    several = str(threads > 1).lower()
    flags = f"--xla_cpu_multi_thread_eigen={several} intra_op_parallelism_threads={threads}"
    numbers = dict.fromkeys(COUNTS, str(threads))
    others = {"PYTHONDONTWRITEBYTECODE": "", "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    return {**os.environ, **numbers, **others}


@dataclass(frozen=True)
class Task:
    """What every peer is asked for on some threads: training steps or predictions of a work, a
    layer and its gradients, or a loop."""

    kind: Literal["train", "predict", "layer", "loop"]
    work: str
    threads: Threads = 1
    batch: int = 1  # of a prediction

    @property
    def command(self) -> list[str]:
        """The arguments of a worker, before those of the peer."""
        return [f"--threads={self.threads}", f"--batch={self.batch}", self.kind, self.work]


class Lost(Exception):
    """A peer that cannot be had, or went away; its cell stays empty."""


@dataclass(frozen=True)
class Tree:
    """A checkout whose code a worker runs, with a cache of compiled programs of its own."""

    name: str
    root: Path
    cache: Path

    @property
    def variables(self) -> dict[str, str]:
        """What its processes have in their environment beside the rest."""
        return {"PYTHONPATH": str(self.root), "MYNN_CACHE_DIR": str(self.cache)}


class Peer:
    """A worker process, of this checkout or another; `scale` is the epochs or calls in one block.

    Of another checkout it goes by that one's name.
    """

    def __init__(self, task: Task, name: str, tree: Tree | None = None) -> None:
        self.kind, self.name, self.scale = task.kind, tree.name if tree else name, 1
        self._folder = tempfile.TemporaryDirectory()
        self._log = Path(self._folder.name) / "stderr"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.worker", *task.command, name],
                cwd=tree.root if tree else ROOT,
                env={**environment(task.threads), **(tree.variables if tree else {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            first = self.receive()
            if "unavailable" in first:
                raise Lost(first["unavailable"])
        except Lost:
            self.close()
            raise
        self.ready = float(first["ready"])

    def send(self, **command: Any) -> None:
        """Send a command; its answer is still to be received."""
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as broken:
            raise Lost("the process ended") from broken

    def receive(self) -> dict[str, Any]:
        """Wait for the answer to the oldest command sent."""
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        said = self._log.read_text().strip().splitlines()
        raise Lost(said[-1] if said else f"ended with status {self._process.wait()}")

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command, wait for its answer."""
        self.send(**command)
        return self.receive()

    def block(self) -> float:
        """Seconds for one epoch, or one call, over a block of `scale` of them."""
        unit = "epochs" if self.kind == "train" else "calls"
        return self.ask(do=self.kind, **{unit: self.scale})["seconds"] / self.scale

    def calibrate(self, seconds: float) -> None:
        """Choose `scale` so that a block takes at least `seconds`."""
        while (once := self.block()) * self.scale < seconds:
            self.scale = max(2 * self.scale, int(1.1 * seconds / max(once, 1e-9)))

    def results(self) -> tuple[float, Layers]:
        """The mean loss and the parameters after one epoch from the start."""
        loss = self.ask(do="train", epochs=1)["loss"]
        path = Path(self._folder.name) / "weights.npz"
        self.ask(do="weights", path=str(path))
        with np.load(path) as file:
            flat = [file[key] for key in file.files]
        return loss, list(zip(flat[0::2], flat[1::2], strict=True))

    def outputs(self) -> list[np.ndarray]:
        """The output of a layer and all gradients, or what the steps of a loop give."""
        path = Path(self._folder.name) / "results.npz"
        self.ask(do="results", path=str(path))
        with np.load(path) as file:
            return [file[key] for key in file.files]

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()


def start(task: Task, names: list[str], say: Callable[[str], None]) -> list[Peer]:
    """The peers that can be had, each ready; `say` hears of the others."""
    peers = []
    for name in names:
        try:
            peers.append(Peer(task, name))
        except Lost as reason:
            say(f"{task.work}: {name} is left out: {reason}")
    return peers


def alternate(peers: list[Peer], rounds: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Blocks of all peers in turn, the order turning from round to round; seconds by name."""
    times: dict[str, list[float]] = {peer.name: [] for peer in peers}
    running = list(peers)
    for turn in range(rounds):
        shift = turn % max(1, len(running))
        for peer in running[shift:] + running[:shift]:
            sleep(SETTLE)
            try:
                times[peer.name].append(peer.block())
            except Lost as reason:
                say(f"{peer.name} is left out: {reason}")
                running.remove(peer)
                del times[peer.name]
    return times
