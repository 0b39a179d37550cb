"""One peer in a process of its own: reads commands from standard input, answers with JSON lines.

    python -m benchmarks.worker train W1 jax-scan
    {"do": "train", "epochs": 4}      ->  {"seconds": 0.021, "loss": 0.11}
    {"do": "weights", "path": "x.npz"} ->  {}
    python -m benchmarks.worker predict W4 torch
    {"do": "predict", "calls": 1000}  ->  {"seconds": 0.016}

The first line says `{"ready": seconds}` once it has trained or predicted once, or
`{"unavailable": reason}`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.peers import PREDICTORS, TRAINERS, Unavailable
from benchmarks.works import Work, work_named

Answer = dict[str, Any]
Command = Callable[[Answer], Answer]


def _training(work: Work, peer: str) -> Command:
    trainer = importlib.import_module(TRAINERS[peer]).Trainer(work)
    trainer.train(1)

    def answer(command: Answer) -> Answer:
        if command["do"] == "weights":
            flat = [a for layer in trainer.weights() for a in layer]
            np.savez(command["path"], *flat)
            return {}
        trainer.reset()
        start = perf_counter()
        loss = trainer.train(command["epochs"])
        return {"seconds": perf_counter() - start, "loss": loss}

    return answer


def _predicting(work: Work, peer: str) -> Command:
    predict, sample = importlib.import_module(PREDICTORS[peer]).predictor(work)
    predict(sample)

    def answer(command: Answer) -> Answer:
        calls = range(command["calls"])
        start = perf_counter()
        for _ in calls:
            predict(sample)
        return {"seconds": perf_counter() - start}

    return answer


def main() -> None:
    """Serve one peer until standard input closes."""
    # Libraries may print: what they print goes to standard error, the answers have the pipe.
    pipe = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    kind, name, peer = sys.argv[1:]
    start = perf_counter()
    try:
        make = _training if kind == "train" else _predicting
        answer = make(work_named(name), peer)
    except (ImportError, Unavailable) as reason:
        print(json.dumps({"unavailable": str(reason)}), file=pipe)
        return
    print(json.dumps({"ready": perf_counter() - start}), file=pipe)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=pipe)


if __name__ == "__main__":
    main()
