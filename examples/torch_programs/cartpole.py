"""A pole on a cart, in NumPy: four numbers in, left or right out, a reward for every step."""

import numpy as np


class CartPole:
    """Gravity 9.8, masses 1 and 0.1, half length 0.5, force 10, steps of 0.02 s."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def reset(self):
        self.state = self.rng.uniform(-0.05, 0.05, 4)
        return self.state.astype(np.float32)

    def step(self, action):
        x, v, angle, turn = self.state
        force = 10.0 if action == 1 else -10.0
        sin, cos = np.sin(angle), np.cos(angle)
        push = (force + 0.05 * turn**2 * sin) / 1.1
        bend = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
        slide = push - 0.05 * bend * cos / 1.1
        self.state = self.state + 0.02 * np.array([v, slide, turn, bend])
        done = bool(abs(self.state[0]) > 2.4 or abs(self.state[2]) > 0.2095)
        return self.state.astype(np.float32), 1.0, done
