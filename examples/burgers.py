"""A partial differential equation solved by a network: `python -m examples.burgers`.

Burgers' equation, u_t + u u_x = (0.01 / pi) u_xx, from u = -sin(pi x): a wave that breaks at x = 0.
The network's own derivatives stand in the loss, each a product with a direction (`jvp`); the error
is that against the exact solution.

Sources: Raissi, Perdikaris, Karniadakis, "Physics-informed neural networks", 2019; Cole, "On a
quasi-linear parabolic equation occurring in aerodynamics", 1951, and Hopf, 1950, for the solution.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from examples.common import descend, figure, library, options, predict, save, train

NU = 0.01 / np.pi
POINTS, BATCH = 8192, 1024


def exact(x: np.ndarray, t: float) -> np.ndarray:
    """The solution at points x, by quadrature of its integral."""
    at, weight = np.polynomial.hermite.hermgauss(100)
    if t == 0:
        return -np.sin(np.pi * x)
    y = x[:, None] - np.sqrt(4 * NU * t) * at
    scaled = weight * np.exp(-(np.cos(np.pi * y) + 1) / (2 * np.pi * NU))
    return -(scaled * np.sin(np.pi * y)).sum(1) / scaled.sum(1)


def network(torch: Any) -> Any:
    """Points (x, t), [N, 2], to u [N]; it is what it must be at t = 0 and at x = -1, 1."""
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            parts: list[Any] = [nn.Linear(2, 32), nn.Tanh()]
            for _ in range(3):
                parts += [nn.Linear(32, 32), nn.Tanh()]
            self.layers = nn.Sequential(*parts, nn.Linear(32, 1))

        def forward(self, points: Any) -> Any:
            x, t = points[:, 0], points[:, 1]
            return t * (1 - x * x) * self.layers(points)[:, 0] - torch.sin(np.pi * x)

    return Net()


def residual(torch: Any, net: Any, points: Any) -> Any:
    """By how much the equation fails at the points, [N], and how steep the wave is there."""
    jvp = torch.func.jvp
    to_x = torch.zeros_like(points) + torch.tensor([1.0, 0.0])
    to_t = torch.zeros_like(points) + torch.tensor([0.0, 1.0])

    def slope(points: Any) -> Any:
        return jvp(net, (points,), (to_x,))[1]

    u, u_t = jvp(net, (points,), (to_t,))
    u_x, u_xx = jvp(slope, (points,), (to_x,))
    return u_t + u * u_x - NU * u_xx, u_x


def draw(path: Path, found: np.ndarray, real: np.ndarray, x: np.ndarray, t: np.ndarray) -> None:
    """The solution over time, and at four times beside the exact one."""
    drawn, ((left, right),) = figure(2, width=4.6)
    shown = left.pcolormesh(t, x, found.T, cmap="RdBu", vmin=-1, vmax=1, shading="auto")
    drawn.colorbar(shown, ax=left, label="u")
    left.set(xlabel="t", ylabel="x")
    colours = "tab:blue", "tab:green", "tab:orange", "tab:red"
    for at, colour in zip((0, 25, 50, 99), colours, strict=True):
        right.plot(x, real[at], color="silver", lw=3)
        right.plot(x, found[at], color=colour, lw=1, label=f"t = {t[at]:.2f}")
    right.set(xlabel="x", ylabel="u; exact in grey")
    right.legend(frameon=False, fontsize=8)
    save(drawn, path)


def main(arguments: list[str] | None = None) -> float:
    """Train; the error against the exact solution, relative, in the mean square."""
    given = options(__doc__, epochs=750).parse_args(arguments)
    draws = np.random.default_rng(0).uniform(0, 1, (POINTS, 2))
    points = (draws * [2, 1] - [1, 0]).astype(np.float32)
    points[: POINTS // 4, 0] *= 0.1  # where the wave breaks there are more of them
    torch = library(given.library)
    net = network(torch)
    adam = torch.optim.Adam(net.parameters(), lr=3e-3)
    steps = given.epochs * (POINTS // BATCH)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps, eta_min=1e-5)

    def loss_of(points: Any) -> Any:
        failure, slope = residual(torch, net, points)
        # In the breaking wave the terms are a hundred times as large as elsewhere: it would be all
        # that is learnt.
        return ((failure / (1 + slope.abs().detach())) ** 2).mean()

    step = descend(torch, net, adam, loss_of, schedule=cosine)
    _, seconds = train(torch, step, (points,), given.epochs, BATCH)
    x, t = np.linspace(-1, 1, 256), np.linspace(0, 0.99, 100)
    grid = np.stack(np.broadcast_arrays(x, t[:, None]), -1).reshape(-1, 2).astype(np.float32)
    found = predict(torch, net, grid).reshape(100, 256)
    real = np.stack([exact(x, time) for time in t])
    error = float(np.linalg.norm(found - real) / np.linalg.norm(real))
    print(f"{given.library}: error {error:.2e} of the exact solution, {seconds:.1f} s")
    if given.picture:
        draw(given.picture, found, real, x, t)
    return error


if __name__ == "__main__":
    main()
