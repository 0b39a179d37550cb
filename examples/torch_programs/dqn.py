"""Deep Q-learning on CartPole, with a memory of transitions and a target network."""

import random
from collections import deque, namedtuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

from examples.torch_programs.cartpole import CartPole

Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))


class DQN(nn.Module):
    def __init__(self, n_observations=4, n_actions=2):
        super().__init__()
        self.layer1 = nn.Linear(n_observations, 32)
        self.layer2 = nn.Linear(32, 32)
        self.layer3 = nn.Linear(32, n_actions)

    def forward(self, x):
        x = F.relu(self.layer1(x))
        x = F.relu(self.layer2(x))
        return self.layer3(x)


def networks():
    return {"policy": DQN(), "target": DQN()}


def optimize_model(policy_net, target_net, optimizer, memory, choice):
    batch = Transition(*zip(*choice.sample(memory, 32), strict=True))
    non_final_mask = torch.tensor([s is not None for s in batch.next_state], dtype=torch.bool)
    non_final_next_states = torch.cat([s for s in batch.next_state if s is not None])
    state_batch = torch.cat(batch.state)
    action_batch = torch.cat(batch.action)
    reward_batch = torch.cat(batch.reward)
    state_action_values = policy_net(state_batch).gather(1, action_batch)
    next_state_values = torch.zeros(32)
    with torch.no_grad():
        next_state_values[non_final_mask] = target_net(non_final_next_states).max(1).values
    expected = (next_state_values * 0.99) + reward_batch
    criterion = nn.SmoothL1Loss()
    loss = criterion(state_action_values, expected.unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(policy_net.parameters(), 100)
    optimizer.step()
    return loss.item()


def train(networks, steps):
    policy_net, target_net = networks["policy"], networks["target"]
    target_net.load_state_dict(policy_net.state_dict())
    optimizer = optim.AdamW(policy_net.parameters(), lr=1e-3, amsgrad=True)
    memory, choice = deque([], maxlen=1000), random.Random(0)
    environment = CartPole(2)
    state = torch.tensor(environment.reset(), dtype=torch.float32).unsqueeze(0)
    losses = []
    while len(losses) < steps:
        if choice.random() > 0.5:
            with torch.no_grad():
                action = policy_net(state).max(1).indices.view(1, 1)
        else:
            action = torch.tensor([[choice.randrange(2)]], dtype=torch.long)
        observation, reward, done = environment.step(action.item())
        reward = torch.tensor([reward])
        next_state = None
        if not done:
            next_state = torch.tensor(observation, dtype=torch.float32).unsqueeze(0)
        memory.append(Transition(state, action, next_state, reward))
        state = next_state
        if done:
            state = torch.tensor(np.array(environment.reset()), dtype=torch.float32).unsqueeze(0)
        if len(memory) >= 40:
            losses.append(optimize_model(policy_net, target_net, optimizer, memory, choice))
            target_state = target_net.state_dict()
            policy_state = policy_net.state_dict()
            for key in policy_state:
                target_state[key] = policy_state[key] * 0.005 + target_state[key] * (1 - 0.005)
            target_net.load_state_dict(target_state)
    return losses
