"""Plain C, written by hand in `benchmarks/c/mlp.c`, built with -O3 for this processor.

`c_fast` is the same source under -ffast-math.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.peers import Unavailable
from benchmarks.works import Layers, Work, data, initial

SOURCE = Path(__file__).parent.parent / "c" / "mlp.c"
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC")
MOST_WEIGHTS = 1 << 17
FLOATS = ctypes.POINTER(ctypes.c_float)


class Layer(ctypes.Structure):
    """`layer` in mlp.c."""

    _fields_ = (("w", FLOATS), ("b", FLOATS), ("vw", FLOATS), ("vb", FLOATS))


def _library(work: Work, extra: tuple[str, ...]) -> ctypes.CDLL:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Unavailable("no C compiler")
    macros = {
        "SIZES": "{" + ",".join(map(str, work.sizes)) + "}",
        "LAYERS": len(work.layers),
        "WIDEST": max(work.sizes),
        "BATCH": work.batch,
        "LR": work.lr,
        "MOMENTUM": work.momentum,
        "SQUARES": int(work.loss == "squares"),
        "TANH": int(work.activation == "tanh"),
    }
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "mlp.so"
        defines = [f"-D{name}={value}" for name, value in macros.items()]
        command = [compiler, *FLAGS, *extra, *defines, str(SOURCE), "-o", str(target), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"{compiler} failed: {done.stderr.strip()[:200]}")
        return ctypes.CDLL(str(target))


class Trainer:
    """The work in C; its arrays belong to NumPy."""

    extra: tuple[str, ...] = ()

    def __init__(self, work: Work, threads: int = 1) -> None:
        if work.front:
            raise Unavailable("there are no convolutions in mlp.c")
        if sum(n * m for n, m in work.layers) > MOST_WEIGHTS:
            raise Unavailable("mlp.c has no blocks for caches")
        self.work = work
        self.x, self.t = data(work)
        self._train = _library(work, self.extra).train
        self._train.restype = ctypes.c_double
        self.reset()

    def reset(self) -> None:
        """Back to the initial weights, with no velocity."""
        self.net = initial(self.work)
        self._velocity = [(np.zeros_like(w), np.zeros_like(b)) for w, b in self.net]
        self._layers = (Layer * len(self.net))(
            *(
                Layer(*(a.ctypes.data_as(FLOATS) for a in (w, b, vw, vb)))
                for (w, b), (vw, vb) in zip(self.net, self._velocity, strict=True)
            )
        )

    def train(self, epochs: int) -> float:
        """Train; the mean loss of the steps."""
        return self._train(
            self._layers,
            self.x.ctypes.data_as(FLOATS),
            self.t.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(self.work.steps),
            ctypes.c_int64(epochs),
        )

    def weights(self) -> Layers:
        """The trained parameters."""
        return self.net
