"""Trainings that end anywhere and go on in another process: `python -m tests.train.stops`.

Each link of a chain is a process, which goes on from the file that the one before has left, with
another number of threads, and ends at a random step without any leave-taking. What comes out in the
end must be the bits of a training that never ended. With `--kills`, processes that write their
checkpoint over and over are killed at random moments; the file must be whole. With `--files`,
mutated files are read.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

import mynn
from mynn import functional as F
from mynn import metrics, nn, optim
from mynn.errors import DataError
from mynn.optim import lr_scheduler
from mynn.serialization import objects
from mynn.tensor.state_dict import arrays_of
from mynn.train import checkpoint as checkpoints

EPOCHS, BATCH = 6, 16
ROOT = Path(__file__).parents[2]


def data() -> tuple[np.ndarray, np.ndarray]:
    """Points, and whether they are on one side."""
    x = np.random.default_rng(0).normal(size=(120, 5)).astype(np.float32)
    return x, (x[:, 0] > x[:, 1]).astype(np.int64)


class Training:
    """A training with everything that has state: dropout, running statistics, momentum that is
    cycled, a schedule between epochs, callbacks, validation with measures.
    """

    def __init__(self, width: int = 8, threads: int = 1) -> None:
        mynn.manual_seed(1)
        layers = [nn.Linear(5, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3)]
        self.net = net = nn.Sequential(*layers, nn.Linear(width, 2))
        adam = optim.AdamW(net.parameters(), lr=0.01)
        cycle = lr_scheduler.OneCycleLR(adam, 0.1, total_steps=10_000)
        f1 = metrics.F1()

        def step(x: Any, t: Any) -> Any:
            y = net(x)
            loss = F.cross_entropy(y, t)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            adam.step()
            cycle.step()
            return {"loss": loss, "f1": f1.parts(y, t), "lr": adam.lr}

        def measure(x: Any, t: Any) -> Any:
            y = net(x)
            return {"loss": F.cross_entropy(y, t), "f1": f1.parts(y, t)}

        self.step = mynn.compile(step, threads=threads)
        self.validate = measure
        self.stop = mynn.EarlyStopping("val_loss", patience=99, restore_best_weights=True)
        self.given = {"metrics": {"f1": f1}, "validation_split": 0.25, "verbose": False}

    def fit(self, epochs: int = EPOCHS, **given: Any) -> mynn.History:
        """Train; the history."""
        given = {"callbacks": [self.stop], **self.given, **given}
        fixed = {"epochs": epochs, "batch_size": BATCH, "validate": self.validate}
        return mynn.fit(self.step, data(), seed=3, **fixed, **given)

    def result(self, history: mynn.History) -> dict[str, np.ndarray]:
        """The bits that are compared."""
        return {
            **arrays_of(self.net.state_dict()),
            **{f"history {k}": v for k, v in history.metrics.items()},
        }


def link(path: str, until: int | None, out: str, threads: int) -> None:
    """Go on from a file, if it is there; end after so many steps in all, or write the result."""
    training = Training(threads=threads)
    module = sys.modules["mynn.train.fit"]

    class Ending(checkpoints.Keeper):
        """Ends the process where it has written the file."""

        def most(self, run: Any) -> list[int]:
            return [max(until - run.steps, 1)] if until else []

        def keep(self, run: Any) -> None:
            if until and run.steps >= until:
                self.save(run)
                os._exit(9)

    module.Keeper = Ending  # type: ignore[attr-defined]
    given = {"checkpoint": mynn.Checkpoint(path, seconds=None), "resume": True}
    np.savez(out, **training.result(training.fit(**given)))


def endless(path: str) -> None:
    """Write checkpoints over and over."""
    training = Training(width=400)
    training.fit(epochs=10**6, checkpoint=mynn.Checkpoint(path, seconds=0.0))


def run(*words: Any) -> subprocess.Popen[bytes]:
    """This module, in another process."""
    command = [sys.executable, "-m", "tests.train.stops", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT)


def chain(folder: Path, stops: list[int], threads: list[int]) -> dict[str, np.ndarray]:
    """The result of a training that ends after these numbers of steps and goes on each time."""
    path, out = folder / "run.safetensors", folder / "out.npz"
    for until, count in zip([*stops, None], threads, strict=True):
        code = run("link", path, until or 0, out, count).wait()
        assert code == (9 if until else 0), code
    with np.load(out) as found:
        return dict(found)


def killed(folder: Path, moments: list[float]) -> None:
    """Kill a process that writes; whatever it has left must be whole, and be gone on from."""
    path = folder / "run.safetensors"
    for moment in moments:
        process = run("endless", path)
        while not path.exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        content = checkpoints.read(path)
        assert content["cursor"]["steps"] > 0
        path.unlink()
        for left in folder.glob("*.tmp"):  # of the file that was being written
            left.unlink()


def mutated(folder: Path, count: int, draw: random.Random) -> tuple[int, float, float]:
    """How many of so many mutated files are read after all, the longest time for one, and the most
    memory that one took, as a multiple of the whole file's size.

    What is read must be what the whole file holds: blanks were changed, or nothing.
    """
    path = folder / "run.safetensors"
    Training(width=4000).fit(epochs=1, checkpoint=path)
    good = path.read_bytes()
    kept, longest, read = repr(objects.unpacked(io.BytesIO(good), "the file")), 0.0, 0
    most = 0.0
    for number in range(count):
        data = bytearray(good)
        place = draw.randrange(len(data) if number % 2 else 4000)  # the header, or anywhere
        if number % 3 == 0:
            data[place] ^= 1 << draw.randrange(8)
        elif number % 3 == 1:
            del data[place:]
        else:
            data[place : place + 8] = draw.randbytes(draw.randrange(16))
        path.write_bytes(data)
        if number % 10 == 0:
            tracemalloc.start()
        began = time.perf_counter()
        try:
            content = checkpoints.read(path)
        except DataError:  # nothing else
            pass
        else:
            read += 1
            assert repr(content) == kept, number
        if tracemalloc.is_tracing():
            most = max(most, tracemalloc.get_traced_memory()[1] / len(good))
            tracemalloc.stop()
        else:
            longest = max(longest, time.perf_counter() - began)
    return read, longest, most


def main() -> None:
    """All of it."""
    if sys.argv[1:2] == ["link"]:
        path, until, out, threads = sys.argv[2:]
        link(path, int(until) or None, out, int(threads))
        return
    if sys.argv[1:2] == ["endless"]:
        endless(sys.argv[2])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    training = Training()
    expected = training.result(training.fit())
    steps = EPOCHS * -(-90 // BATCH)
    left = given.points
    while left > 0:
        stops = sorted(draw.sample(range(1, steps), min(left, 10)))
        threads = [draw.choice([1, 2, 3]) for _ in range(len(stops) + 1)]
        with tempfile.TemporaryDirectory() as folder:
            found = chain(Path(folder), stops, threads)
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=f"{name} {stops}")
        left -= len(stops)
        print(f"stopped after {stops}: the same bits; {left} points left", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        killed(Path(folder), [draw.random() * 0.3 for _ in range(given.kills)])
    print(f"killed {given.kills} times while saving: the file was whole", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        read, longest, most = mutated(Path(folder), given.files, draw)
    print(f"{given.files} mutated files: {read} read as they were, others refused")
    print(
        f"the longest took {longest:.3f} s, the largest {most:.2f} times the file's size in memory"
    )


if __name__ == "__main__":
    main()
