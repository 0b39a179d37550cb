"""Actor and critic on CartPole: an action at a time, an update after each episode."""

from collections import namedtuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical

from examples.torch_programs.cartpole import CartPole

SavedAction = namedtuple("SavedAction", ["log_prob", "value"])


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(4, 64)
        self.action_head = nn.Linear(64, 2)
        self.value_head = nn.Linear(64, 1)
        self.saved_actions = []
        self.rewards = []

    def forward(self, x):
        x = F.relu(self.affine1(x))
        action_prob = F.softmax(self.action_head(x), dim=-1)
        return action_prob, self.value_head(x)


def select_action(model, state, rng):
    probs, state_value = model(torch.from_numpy(state).float())
    m = Categorical(probs)
    # NumPy chooses, so that every framework plays the same game.
    action = torch.tensor(int(rng.random() < probs[1].item()))
    model.saved_actions.append(SavedAction(m.log_prob(action), state_value))
    return action.item()


def finish_episode(model, optimizer):
    R = 0
    policy_losses, value_losses, returns = [], [], []
    for r in model.rewards[::-1]:
        R = r + 0.99 * R
        returns.insert(0, R)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + np.finfo(np.float32).eps.item())
    for (log_prob, value), R in zip(model.saved_actions, returns, strict=True):
        advantage = R - value.item()
        policy_losses.append(-log_prob * advantage)
        value_losses.append(F.smooth_l1_loss(value, torch.tensor([R])))
    optimizer.zero_grad()
    loss = torch.stack(policy_losses).sum() + torch.stack(value_losses).sum()
    loss.backward()
    optimizer.step()
    del model.rewards[:]
    del model.saved_actions[:]
    return loss.item()


def networks():
    return {"policy": Policy()}


def train(networks, steps):
    model = networks["policy"]
    optimizer = optim.Adam(model.parameters(), lr=3e-2)
    environment, rng = CartPole(0), np.random.default_rng(4)
    losses = []
    for _ in range(steps):
        state = environment.reset()
        for _ in range(100):
            action = select_action(model, state, rng)
            state, reward, done = environment.step(action)
            model.rewards.append(reward)
            if done:
                break
        losses.append(finish_episode(model, optimizer))
    return losses
