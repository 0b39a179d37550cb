"""A pole balanced on a cart, by REINFORCE and by PPO: `python -m examples.cartpole --method ppo`.

64 carts run side by side, and their physics are tensors: 200 steps of play, the advantages and the
updates are one compiled step, whose loops `mynn.scan` compiles once. Python sees the numbers of an
epoch. A cart that falls begins anew.

Sources: Williams, "Simple statistical gradient-following algorithms", 1992; Schulman et al.,
"Proximal policy optimization algorithms", 2017.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from examples.common import figure, library, loop, options, save, train

CARTS, STEPS, GAMMA, LAMBDA = 64, 200, 0.995, 0.95
UPDATES = 4  # of PPO on what was played
LIMITS = 2.4, 0.2095  # of the place and of the angle


def physics(torch: Any, state: Any, right: Any) -> Any:
    """States [N, 4] (place, speed, angle, turn) 0.02 s later, pushed to the right or the left."""
    v, angle, turn = state[:, 1], state[:, 2], state[:, 3]
    sin, cos = torch.sin(angle), torch.cos(angle)
    push = (right * 20.0 - 10.0 + 0.05 * turn * turn * sin) / 1.1
    bend = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos * cos / 1.1))
    slide = push - 0.05 * bend * cos / 1.1
    return state + 0.02 * torch.stack([v, slide, turn, bend], 1)


def network(torch: Any) -> Any:
    """States [N, 4] to the score of the right and the value, both [N]."""
    nn = torch.nn

    class Agent(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.actor = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1))
            self.critic = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1))

        def forward(self, state: Any) -> tuple[Any, Any]:
            return self.actor(state)[..., 0], self.critic(state)[..., 0]

    return Agent()


def chances(torch: Any, score: Any, right: Any) -> Any:
    """The logarithm of the probability of what was done."""
    return -torch.nn.functional.softplus(score * (1.0 - 2.0 * right))


def play(torch: Any, agent: Any, start: Any, noise: Any, fresh: Any) -> Any:
    """STEPS steps of all carts: states, what was done, whether the pole fell, [STEPS, N, ...]."""

    def step(state: Any, drawn: Any) -> tuple[Any, Any]:
        uniform, anew = drawn[:, 0], drawn[:, 1:]
        right = (uniform < torch.sigmoid(agent(state)[0])).float()
        after = physics(torch, state, right)
        fell = ((after[:, 0].abs() > LIMITS[0]) | (after[:, 2].abs() > LIMITS[1])).float()
        row = torch.cat([state, right[:, None], fell[:, None]], 1)
        return after * (1 - fell[:, None]) + anew * fell[:, None], row

    drawn = torch.cat([noise[:, :, None], fresh], 2)
    end, rows = loop(torch, step, start, drawn)
    return end, rows[..., :4], rows[..., 4], rows[..., 5]


def advantages(torch: Any, values: Any, last: Any, fell: Any, share: float) -> Any:
    """By how much each step was better than its value (GAE); with share = 1 the whole return."""
    later = torch.cat([values[1:], last[None]], 0)
    errors = (1 - GAMMA) + GAMMA * later * (1 - fell) - values
    keep = GAMMA * share * (1 - fell)

    def step(sum_: Any, row: Any) -> tuple[Any, Any]:
        sum_ = row[0] + row[1] * sum_
        return sum_, sum_

    rows = torch.stack([errors, keep], 1).flip(0)
    return loop(torch, step, torch.zeros_like(last), rows)[1].flip(0)


def learning(torch: Any, agent: Any, method: str, epochs: int) -> Any:
    """A step: play on, then learn from it. It returns minus the mean time until a pole falls."""
    adam = torch.optim.Adam(agent.parameters(), lr=1e-2 if method == "reinforce" else 3e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, epochs)
    carts = (torch.rand(CARTS, 4) - 0.5) * 0.1

    def step(seeds: Any) -> Any:
        with torch.no_grad():
            fresh = (torch.rand(STEPS, CARTS, 4) - 0.5) * 0.1
            end, states, right, fell = play(torch, agent, carts, torch.rand(STEPS, CARTS), fresh)
            carts.copy_(end)
            score, values = agent(states)
            last = agent(end)[1]
            gain = advantages(torch, values, last, fell, 1.0 if method == "reinforce" else LAMBDA)
            aims = gain + values
            gain = (gain - gain.mean()) / (gain.std() + 1e-6)
            old = chances(torch, score, right)
        for _ in range(1 if method == "reinforce" else UPDATES):
            adam.zero_grad()
            score, value = agent(states)
            log = chances(torch, score, right)
            if method == "reinforce":
                policy = -(log * gain).mean()
            else:
                ratio = (log - old).exp()
                policy = -torch.minimum(ratio * gain, ratio.clamp(0.8, 1.2) * gain).mean()
            loss = policy + 0.5 * ((value - aims) ** 2).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            adam.step()
        cosine.step()
        return -(STEPS * CARTS) / (fell.sum() + 1.0) + 0.0 * seeds.sum()

    return step


def balance(agent: Any, torch: Any, most: int = 1000) -> float:
    """How many steps it holds the pole if it always does what is likelier, the mean of 64 carts."""
    state = torch.tensor(np.random.default_rng(1).uniform(-0.05, 0.05, (CARTS, 4)).astype("f4"))
    up, total = np.ones(CARTS, bool), 0
    with torch.no_grad():
        for _ in range(most):
            state = physics(torch, state, (agent(state)[0] > 0).float())
            found = np.asarray(state)
            up &= (abs(found[:, 0]) <= LIMITS[0]) & (abs(found[:, 2]) <= LIMITS[1])
            total += up.sum()
            if not up.any():
                break
    return float(total / CARTS)


def draw(path: Path, curves: dict[str, list[float]], agent: Any, torch: Any) -> None:
    """How long the poles stand while it learns, and what it does at which angle."""
    drawn, ((left, right),) = figure(2)
    for name, curve in curves.items():
        left.plot(np.arange(1, len(curve) + 1), curve, label=name)
    left.set(xlabel="updates, each after 12,800 steps", ylabel="steps until a pole falls")
    left.set(yscale="log")
    left.legend(frameon=False, fontsize=8)
    angle, turn = np.meshgrid(np.linspace(-0.2, 0.2, 60), np.linspace(-2, 2, 60))
    states = np.stack([0 * angle, 0 * angle, angle, turn], -1).reshape(-1, 4).astype("f4")
    with torch.no_grad():
        chance = np.asarray(torch.sigmoid(agent(torch.tensor(states))[0])).reshape(angle.shape)
    shown = right.contourf(np.degrees(angle), turn, chance, 20, cmap="RdBu", vmin=0, vmax=1)
    drawn.colorbar(shown, ax=right, label="chance of a push to the right", ticks=[0, 0.5, 1])
    right.set(xlabel="angle, degrees", ylabel="turn, radians a second")
    save(drawn, path)


def main(arguments: list[str] | None = None) -> float:
    """Learn; for how many of 1000 steps the pole is held in the end."""
    parser = options(__doc__, epochs=120)
    parser.add_argument("--method", choices=["reinforce", "ppo", "both"], default="ppo")
    given = parser.parse_args(arguments)
    curves, held = {}, 0.0
    for method in ["reinforce", "ppo"] if given.method == "both" else [given.method]:
        torch = library(given.library)
        agent = network(torch)
        step = learning(torch, agent, method, given.epochs)
        ones = np.zeros((1, 1), np.float32)
        losses, seconds = train(torch, step, (ones,), given.epochs, 1)
        curves[method] = [-loss for loss in losses]
        held = balance(agent, torch)
        print(f"{given.library}, {method}: held for {held:.0f} of 1000 steps, {seconds:.1f} s")
    if given.picture:
        draw(given.picture, curves, agent, torch)
    return held


if __name__ == "__main__":
    main()
