"""An agent acts, step by step, and learns after an episode.

The observations and the numbers that choose an action come from NumPy. An action is right where it
is 1 exactly if the first number of the observation is positive.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np

from benchmarks.loops.library import Library, Program
from benchmarks.works import Array

STEPS = 200
GAMMA = 0.99


def _observations() -> list[Array]:
    rng = np.random.default_rng(4)
    return list(rng.standard_normal((STEPS, 1, 4)).astype(np.float32))


def _policy(library: Library) -> Any:
    nn = library.nn
    return library.equal(nn.Sequential(nn.Linear(4, 128), nn.ReLU(), nn.Linear(128, 2)))


def act(library: Library) -> Program:
    """The most probable action."""
    net, softmax = _policy(library), library.nn.functional.softmax
    observations = cycle(_observations())

    def step() -> tuple[int, Any]:
        with library.no_grad():
            probabilities = softmax(net(library.from_numpy(next(observations))), dim=-1)
        return probabilities.argmax().item(), probabilities

    return Program(step)


class Agent:
    """Draws actions from a policy and remembers what learning needs."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.net = _policy(library)
        self.optimizer = library.optim.Adam(self.net.parameters(), lr=1e-2)
        self.observations = _observations()
        self.rng = np.random.default_rng(5)
        self.log_probs: list[Any] = []
        self.rewards: list[float] = []

    def act(self, observation: Array) -> int:
        """Draw an action, keep the logarithm of its probability."""
        x = self.library.from_numpy(observation)
        log_probs = self.library.nn.functional.log_softmax(self.net(x), dim=-1)
        action = int(self.rng.random() < log_probs.detach().exp()[0, 1].item())
        self.log_probs.append(log_probs[0, action])
        return action

    def episode(self) -> None:
        """Act until the end."""
        self.log_probs, self.rewards = [], []
        for observation in self.observations:
            action = self.act(observation)
            self.rewards.append(float(action == (observation[0, 0] > 0)))

    def returns(self) -> Any:
        """What was won from each step on, of mean 0 and deviation 1."""
        total, found = 0.0, []
        for reward in reversed(self.rewards):
            total = reward + GAMMA * total
            found.append(total)
        returns = self.library.from_numpy(np.array(found[::-1], np.float32))
        return (returns - returns.mean()) / (returns.std() + 1e-8)

    def update(self) -> float:
        """REINFORCE: the loss before the step."""
        pairs = zip(self.log_probs, self.returns(), strict=True)
        losses = [-log_prob * value for log_prob, value in pairs]
        loss = self.library.stack(losses).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


class Critic(Agent):
    """An agent whose network values the observation too."""

    def __init__(self, library: Library) -> None:
        super().__init__(library)
        nn = library.nn

        class Net(nn.Module):
            """One hidden layer, two heads."""

            def __init__(self) -> None:
                super().__init__()
                self.hidden = nn.Linear(4, 128)
                self.action = nn.Linear(128, 2)
                self.value = nn.Linear(128, 1)

            def forward(self, x: Any) -> tuple[Any, Any]:
                """The scores of the actions, and the value."""
                x = self.hidden(x).relu()
                return self.action(x), self.value(x)

        self.net = library.equal(Net())
        self.optimizer = library.optim.Adam(self.net.parameters(), lr=1e-2)
        self.values: list[Any] = []

    def act(self, observation: Array) -> int:
        """Draw an action, keep the logarithm of its probability and the value."""
        scores, value = self.net(self.library.from_numpy(observation))
        log_probs = self.library.nn.functional.log_softmax(scores, dim=-1)
        action = int(self.rng.random() < log_probs.detach().exp()[0, 1].item())
        self.log_probs.append(log_probs[0, action])
        self.values.append(value[0, 0])
        return action

    def episode(self) -> None:
        """Act until the end."""
        self.values = []
        super().episode()

    def update(self) -> float:
        """Actor-critic: the loss before the step."""
        mse_loss, stack = self.library.nn.functional.mse_loss, self.library.stack
        policy, critic = [], []
        for log_prob, value, won in zip(self.log_probs, self.values, self.returns(), strict=True):
            advantage = won - value.item()
            policy.append(-log_prob * advantage)
            critic.append(mse_loss(value, won))
        loss = stack(policy).sum() + stack(critic).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def sampled(library: Library) -> Program:
    """An action drawn, the logarithm of its probability kept until the episode ends."""
    agent = Agent(library)
    observations = cycle(agent.observations)

    def step() -> tuple[int, Any]:
        if len(agent.log_probs) == STEPS:
            agent.log_probs = []
        action = agent.act(next(observations))
        return action, agent.log_probs[-1]

    return Program(step)


def update(library: Library, kind: type[Agent] = Agent) -> Program:
    """What is learnt from an episode; the episode itself is not timed."""
    agent = kind(library)
    return Program(agent.update, before=agent.episode, net=lambda: agent.net)


def episode(library: Library) -> Program:
    """An episode and what is learnt from it."""
    agent = Agent(library)

    def step() -> float:
        agent.episode()
        return agent.update()

    return Program(step, net=lambda: agent.net)
