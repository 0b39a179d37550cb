"""A law of motion learnt from one path: `python -m examples.neural_ode`.

A network says how fast a point moves at each place. It is put through 20 steps of Runge and Kutta's
method, in a loop that `mynn.scan` compiles once, and the gradient goes back through all of them.
Windows over the path are what it learns from.

Source of the method and of the spiral: Chen et al., "Neural ordinary differential equations", 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from examples.common import descend, figure, library, loop, options, predict, save, train
from mynn.data import windows

STEPS, SPAN, BATCH = 20, 0.025, 50
LAW = np.array([[-0.1, 2.0], [-2.0, -0.1]])


def rungekutta(f: Callable[[Any], Any], y: Any, h: float) -> Any:
    """One step of the classical method of fourth order."""
    a = f(y)
    b = f(y + a * (h / 2))
    c = f(y + b * (h / 2))
    return y + (a + b * 2 + c * 2 + f(y + c * h)) * (h / 6)


def truth(y: np.ndarray) -> np.ndarray:
    """How fast the point really moves: the law, of the cubes of its coordinates."""
    return y**3 @ LAW


def path_of(f: Callable[[Any], Any], start: Any, steps: int) -> np.ndarray:
    """The places of a point that starts at `start`, [steps + 1, 2]."""
    places = [np.asarray(start, np.float64)]
    for _ in range(steps):
        places.append(np.asarray(rungekutta(f, places[-1], SPAN), np.float64))
    return np.array(places)


def network(torch: Any) -> Any:
    """Places [N, 2] to velocities [N, 2]."""
    nn = torch.nn

    class Velocity(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))

        def forward(self, y: Any) -> Any:
            return self.layers(y * y * y)

    return Velocity()


def draw(path: Path, f: Callable[[Any], Any], losses: list[float], real: np.ndarray) -> None:
    """The path, the one that the learnt law gives, and both laws as arrows."""
    drawn, ((left, right),) = figure(2, width=4.4, height=3.6)
    grid = np.stack(np.meshgrid(*[np.linspace(-2.2, 2.2, 17)] * 2), -1).reshape(-1, 2)
    for law, colour in ((truth, "silver"), (f, "tab:orange")):
        arrows = law(grid)
        arrows = arrows / np.linalg.norm(arrows, axis=1, keepdims=True).clip(1e-6)
        left.quiver(*grid.T, *arrows.T, color=colour, width=0.003, scale=30)
    left.plot(*real.T, color="black", lw=2, label="the path")
    found = path_of(f, real[0], len(real) - 1)
    left.plot(*found.T, color="tab:orange", lw=1.2, label="by the learnt law")
    left.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncol=2)
    left.set_aspect("equal")
    right.semilogy(np.arange(1, len(losses) + 1), losses)
    right.set(xlabel="epoch", ylabel="mean distance over 20 steps")
    save(drawn, path)


def main(arguments: list[str] | None = None) -> float:
    """Learn, go along the whole path by what was learnt; the mean distance from it."""
    given = options(__doc__, epochs=300).parse_args(arguments)
    real = path_of(truth, [2.0, 0.0], 1000)
    series = real.astype(np.float32)
    parts = windows(series, STEPS + 1)
    torch = library(given.library)
    net = network(torch)
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    steps = given.epochs * -(-len(parts) // BATCH)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps, eta_min=1e-5)

    def loss_of(places: Any) -> Any:
        def step(y: Any, wanted: Any) -> tuple[Any, Any]:
            y = rungekutta(net, y, SPAN)
            return y, (y - wanted).abs().mean()

        later = places[:, 1:].transpose(0, 1)
        return loop(torch, step, places[:, 0], later)[1].mean()

    step = descend(torch, net, adam, loss_of, schedule=cosine)
    losses, seconds = train(torch, step, (parts,), given.epochs, BATCH)

    def f(places: np.ndarray) -> np.ndarray:
        return predict(torch, net, np.atleast_2d(places).astype(np.float32)).reshape(places.shape)

    found = path_of(f, real[0], 400)
    distance = float(np.linalg.norm(found - real[:401], axis=1).mean())
    print(f"{given.library}: {distance:.3f} from the path on average, {seconds:.1f} s")
    if given.picture:
        draw(given.picture, f, losses, real[:401])
    return distance


if __name__ == "__main__":
    main()
