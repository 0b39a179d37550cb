"""One peer in a process of its own: reads commands from standard input, answers with JSON lines.

    python -m benchmarks.worker train W1 jax-scan --threads 2
    {"do": "train", "epochs": 4}      ->  {"seconds": 0.021, "loss": 0.11}
    {"do": "weights", "path": "x.npz"} ->  {}
    python -m benchmarks.worker predict W4 torch --batch 64
    {"do": "predict", "calls": 1000}  ->  {"seconds": 0.016}
    python -m benchmarks.worker layer layer-maxpool torch
    {"do": "layer", "calls": 1000}    ->  {"seconds": 0.9}
    python -m benchmarks.worker loop loop-W3 torch
    {"do": "loop", "calls": 1000}     ->  {"seconds": 0.3}

The first line says `{"ready": seconds}` once it has trained or predicted once, or
`{"unavailable": reason}`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any, Literal

import numpy as np

from benchmarks.layers import LAYERS
from benchmarks.loops import LOOPS
from benchmarks.loops.library import Program
from benchmarks.peers import DIFFERENTIATORS, LOOPERS, PREDICTORS, TRAINERS, Unavailable
from benchmarks.works import Work, work_named

Threads = int | Literal["auto"]
Answer = dict[str, Any]
Command = Callable[[Answer], Answer]
# Steps of a loop before its clock starts, and seconds at least and at most: the tape makes programs
# of what has come for about as long as making them takes.
WARM, WARM_SECONDS, WARM_LONGEST = 60, 0.2, 8.0
# A loop that took so many seconds for these goes on in the next block, and does not begin anew.
LONG_WARM = 1.0


def _training(work: Work, peer: str, threads: Threads) -> Command:
    trainer = importlib.import_module(TRAINERS[peer]).Trainer(work, threads)
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


def _predicting(work: Work, peer: str, threads: Threads, batch: int) -> Command:
    module = importlib.import_module(PREDICTORS[peer])
    predict, sample = module.predictor(work, batch, threads)
    return _calling(lambda: predict(sample))


def _differentiating(name: str, peer: str, threads: Threads) -> Command:
    run = importlib.import_module(DIFFERENTIATORS[peer]).differentiator(LAYERS[name], threads)
    return _calling(run)


def _looping(name: str, peer: str, threads: Threads) -> Command:
    """Blocks of a loop, each from its start, after some steps that are not timed; those that are
    long go on where the last block ended.
    """
    module = importlib.import_module(LOOPERS[peer])
    module.program(name, threads).once()
    going: list[Program] = []

    def warm() -> Program:
        program = module.program(name, threads, False)
        start, steps = perf_counter(), 0

        def spent() -> float:
            return perf_counter() - start

        while (steps < WARM and spent() < WARM_LONGEST) or spent() < WARM_SECONDS:
            program.once()
            steps += 1
        if spent() > LONG_WARM:
            going.append(program)
        return program

    def answer(command: Answer) -> Answer:
        if command["do"] == "results":
            program = module.program(name, threads, True)
            np.savez(command["path"], *program.results(LOOPS[name].steps))
            return {}
        program = going[0] if going else warm()
        return {"seconds": program.timed(command["calls"])}

    return answer


def _calling(function: Callable[[], Any]) -> Command:
    function()

    def answer(command: Answer) -> Answer:
        if command["do"] == "results":
            np.savez(command["path"], *map(np.asarray, function()))
            return {}
        calls = range(command["calls"])
        start = perf_counter()
        for _ in calls:
            function()
        return {"seconds": perf_counter() - start}

    return answer


def _threads(text: str) -> Threads:
    return "auto" if text == "auto" else int(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker")
    parser.add_argument("kind", choices=("train", "predict", "layer", "loop"))
    parser.add_argument("work")
    parser.add_argument("peer")
    parser.add_argument("--threads", type=_threads, default=1, help="a number, or auto (ours)")
    parser.add_argument("--batch", type=int, default=1, help="samples in a prediction")
    return parser.parse_args()


def _command(asked: argparse.Namespace) -> Command:
    if asked.kind == "layer":
        return _differentiating(asked.work, asked.peer, asked.threads)
    if asked.kind == "loop":
        return _looping(asked.work, asked.peer, asked.threads)
    work = work_named(asked.work)
    if asked.kind == "train":
        return _training(work, asked.peer, asked.threads)
    return _predicting(work, asked.peer, asked.threads, asked.batch)


def main() -> None:
    """Serve one peer until standard input closes."""
    # Libraries may print: what they print goes to standard error, the answers have the pipe.
    pipe = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    asked = _arguments()
    start = perf_counter()
    try:
        answer = _command(asked)
    except (ImportError, Unavailable) as reason:
        print(json.dumps({"unavailable": str(reason)}), file=pipe)
        return
    print(json.dumps({"ready": perf_counter() - start}), file=pipe)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=pipe)


if __name__ == "__main__":
    main()
