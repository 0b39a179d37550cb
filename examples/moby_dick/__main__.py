"""Learn to write like Melville: `python -m examples.moby_dick --model gru --epochs 3`.

A model learns the next character of Moby Dick from those before it. Printed are the bits that it
needs for a character of the last 5 % of the book, which it has not seen, and a text of its own.
`--library torch` trains the same model with PyTorch.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from examples.moby_dick.data import BOOK, FOLDER, Text, load
from examples.moby_dick.models import MODELS

LENGTH, BATCH, LR = 64, 32, 0.002
START = "The whale "

Predict = Callable[[np.ndarray], np.ndarray]


def bits(predict: Predict, text: Text, rows: int = 512) -> float:
    """Bits a character of the text that was held out, -log2 of its probability, on average."""
    x, t = (part[:rows] for part in text.test)
    total = 0.0
    for start in range(0, len(x) - BATCH + 1, BATCH):
        z = predict(x[start : start + BATCH]).astype(np.float64)
        z = z - np.logaddexp.reduce(z, axis=-1, keepdims=True)
        total -= np.take_along_axis(z, t[start : start + BATCH, :, None], -1).sum()
    return total / (len(x) // BATCH * BATCH * x.shape[1] * np.log(2))


def write(predict: Predict, text: Text, count: int, start: str = START, seed: int = 0) -> str:
    """A text that goes on from `start`, each character drawn by its probability.

    The model is given windows of one length, padded at their end, where it does not look.
    """
    rng = np.random.default_rng(seed)
    numbers = text.numbers(start)[0].tolist()
    for _ in range(count):
        last = numbers[-LENGTH:]
        window = np.zeros((1, LENGTH), np.int64)
        window[0, : len(last)] = last
        z = predict(window)[0, len(last) - 1].astype(np.float64) / 0.7
        p = np.exp(z - z.max())
        numbers.append(int(rng.choice(len(p), p=p / p.sum())))
    return "".join(text.characters[n] for n in numbers)


def step_of(torch: Any, net: Any) -> Callable[[Any, Any], Any]:
    """A training step, as it is written for PyTorch."""
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)

    def step(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        y = net(x)
        loss = torch.nn.functional.cross_entropy(y.reshape(-1, y.shape[-1]), t.reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss

    return step


def with_mynn(model: str, text: Text, epochs: int) -> tuple[Predict, float]:
    """Train with `fit`; how to predict, and the seconds that training took."""
    import mynn

    mynn.manual_seed(0)
    net = MODELS[model](mynn, len(text.characters), LENGTH)
    start = time.perf_counter()
    history = mynn.fit(step_of(mynn, net), text.train, epochs=epochs, batch_size=BATCH, seed=0)
    print("bits a character in training, by epoch:", (history["loss"] / np.log(2)).round(3))
    seconds = time.perf_counter() - start
    return (lambda x: np.asarray(mynn.predict(net, x))), seconds


def with_torch(model: str, text: Text, epochs: int) -> tuple[Predict, float]:
    """The same loop with PyTorch."""
    import torch

    torch.manual_seed(0)
    net = MODELS[model](torch, len(text.characters), LENGTH)
    step, rng = step_of(torch, net), np.random.default_rng(0)
    x, t = map(torch.from_numpy, text.train)
    start = time.perf_counter()
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(x)), -(-len(x) // BATCH)):
            step(x[rows], t[rows])
    seconds = time.perf_counter() - start

    def predict(window: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(net(torch.from_numpy(window)))

    return predict, seconds


def main(arguments: list[str] | None = None) -> int:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m examples.moby_dick", description=__doc__)
    parser.add_argument("--model", choices=sorted(MODELS), default="gru")
    parser.add_argument("--library", choices=["mynn", "torch"], default="mynn")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--characters", type=int, default=300, help="of the text that is written")
    given = parser.parse_args(arguments)
    if not BOOK.complete(FOLDER):
        print("the book is not here: python -m examples.moby_dick.data", file=sys.stderr)
        return 1
    text = load(LENGTH)
    train = with_mynn if given.library == "mynn" else with_torch
    predict, seconds = train(given.model, text, given.epochs)
    print(f"{given.library}, {given.model}: {seconds:.1f} s, {bits(predict, text):.3f} bits")
    print(write(predict, text, given.characters))
    return 0


if __name__ == "__main__":
    sys.exit(main())
