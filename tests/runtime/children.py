"""Programs that run in a process of their own: they may crash or hang, and the tests go on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]

# A network, data and a step, for programs that train.
SETUP = """
import _thread, gc, os, signal, sys, threading, time
import numpy as np
import mynn
from mynn import nn, optim

def network(seed=1):
    mynn.manual_seed(seed)
    return nn.Sequential(nn.Linear(24, 48), nn.Tanh(), nn.Linear(48, 16))

def make_step(net, threads):
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    @mynn.compile(threads=threads)
    def step(x):
        loss = (net(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss
    return step

X = np.random.default_rng(0).normal(size=(96, 24)).astype(np.float32)
"""


def run_child(program: str, timeout: float = 180, **environment: str) -> str:
    """What a program writes; it must end well, in time."""
    code = SETUP + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}"
    return done.stdout
