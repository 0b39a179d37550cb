"""A network for five digits becomes one for the other five: `python -m examples.fine_tuning`.

A CNN learns the digits 0 to 4 of MNIST and is saved. Loaded again, its convolutions are frozen, it
gets a new last layer, and learns 5 to 9 from a few examples each; beside it the same network from
scratch. `python -m examples.mnist.fetch` gets the data.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from examples.common import descend, figure, library, options, predict, save, train
from examples.mnist.data import load_bytes
from examples.mnist.fetch import FOLDER, MNIST

FEW = (1, 3, 10, 30, 100)  # examples of each new digit


def network(torch: Any) -> Any:
    """Images [N, 28, 28] of bytes to scores [N, 5]."""
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(
                *(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Flatten(), nn.Linear(256, 64), nn.ReLU()),
            )
            self.head = nn.Linear(64, 5)

        def forward(self, images: Any) -> Any:
            return self.head(self.features((images.float() / 255)[:, None]))

    return Net()


def learn(torch: Any, net: Any, data: Any, epochs: int, batch: int, lr: float) -> float:
    """Train what is not frozen; the seconds."""
    adam = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=lr)

    def loss_of(images: Any, t: Any) -> Any:
        return torch.nn.functional.cross_entropy(net(images), t)

    return train(torch, descend(torch, net, adam, loss_of), data, epochs, batch)[1]


def right(torch: Any, net: Any, data: Any) -> float:
    """The share of the images that are told apart."""
    return float((predict(torch, net, data[0]).argmax(1) == data[1]).mean())


def split(data: Any) -> tuple[Any, Any]:
    """The digits 0 to 4, and 5 to 9 as labels 0 to 4."""
    x, t = data
    low = t < 5
    return (x[low], t[low]), (x[~low], t[~low] - 5)


def few_of(data: Any, count: int) -> Any:
    """So many examples of each digit."""
    rows = np.concatenate([np.flatnonzero(data[1] == digit)[:count] for digit in range(5)])
    return data[0][rows], data[1][rows]


def draw(path: Path, found: dict[str, list[float]]) -> None:
    """What few examples are worth, with and without the other digits."""
    drawn, ((panel,),) = figure(1, width=5.0)
    for name, values in found.items():
        panel.plot(FEW[: len(values)], np.array(values) * 100, "o-", label=name)
    panel.set(xscale="log", xlabel="examples of each new digit", ylabel="% right of 4,861 held out")
    panel.set_xticks(FEW, FEW)
    panel.legend(frameon=False)
    save(drawn, path)


def main(arguments: list[str] | None = None, data: Any = None, few: Any = FEW) -> list[float]:
    """Learn, save, load, learn again; shares told apart by the loaded network."""
    given = options(__doc__, epochs=3).parse_args(arguments)
    if data is None:
        MNIST.require(FOLDER, "examples.mnist.fetch")
        data = tuple(load_bytes("train")), tuple(load_bytes("t10k"))
    (old, new), (_, held) = map(split, data)
    torch = library(given.library)
    first = network(torch)
    seconds = learn(torch, first, old, given.epochs, 64, 1e-3)
    found: dict[str, list[float]] = {"fine-tuned": [], "from scratch": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "digits")
        torch.save(first.state_dict(), path)
        for count in few:
            for name, values in found.items():
                net = network(torch)
                if name == "fine-tuned":
                    net.load_state_dict(torch.load(path))
                    net.head = torch.nn.Linear(64, 5)
                    for parameter in net.features[:6].parameters():
                        parameter.requires_grad_(False)
                seconds += learn(torch, net, few_of(new, count), 100, min(5 * count, 25), 1e-3)
                values.append(right(torch, net, held))
    for name, values in found.items():
        shown = ", ".join(f"{n}: {value:.1%}" for n, value in zip(few, values, strict=True))
        print(f"{given.library}, {name}, by examples of a digit: {shown}")
    print(f"{given.library}: {seconds:.1f} s of training in all")
    if given.picture:
        draw(given.picture, found)
    return found["fine-tuned"]


if __name__ == "__main__":
    main()
