"""Proximal policy optimisation on CartPole, with the objective clipped."""

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from torch.distributions.categorical import Categorical

from examples.torch_programs.cartpole import CartPole


def layer_init(layer, std=np.sqrt(2), bias_const=0.0):
    torch.nn.init.orthogonal_(layer.weight, std)
    torch.nn.init.constant_(layer.bias, bias_const)
    return layer


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(
            layer_init(nn.Linear(4, 64)), nn.Tanh(), layer_init(nn.Linear(64, 1), std=1.0)
        )
        self.actor = nn.Sequential(
            layer_init(nn.Linear(4, 64)), nn.Tanh(), layer_init(nn.Linear(64, 2), std=0.01)
        )

    def get_value(self, x):
        return self.critic(x)

    def get_action_and_value(self, x, action):
        probs = Categorical(logits=self.actor(x))
        return probs.log_prob(action), probs.entropy(), self.critic(x)


def networks():
    return {"agent": Agent()}


def train(networks, steps):
    agent = networks["agent"]
    optimizer = optim.Adam(agent.parameters(), lr=2.5e-3, eps=1e-5)
    environment, rng = CartPole(1), np.random.default_rng(5)
    next_obs, next_done = torch.Tensor(environment.reset()), torch.zeros(1)
    count, losses = 64, []
    obs = torch.zeros((count, 4))
    actions = torch.zeros(count)
    logprobs, rewards = torch.zeros(count), torch.zeros(count)
    dones, values = torch.zeros(count), torch.zeros(count)
    for _ in range(steps):
        for step in range(count):
            obs[step] = next_obs
            dones[step] = next_done
            with torch.no_grad():
                chosen = torch.tensor(int(rng.random() < 0.5))
                logprob, _, value = agent.get_action_and_value(next_obs, chosen)
                values[step] = value.flatten()
            actions[step] = chosen
            logprobs[step] = logprob
            state, reward, done = environment.step(chosen.item())
            rewards[step] = torch.tensor(reward).view(-1)
            next_obs = torch.Tensor(environment.reset() if done else state)
            next_done = torch.Tensor([done])
        with torch.no_grad():
            next_value = agent.get_value(next_obs).reshape(1, -1)
            advantages = torch.zeros_like(rewards)
            lastgaelam = 0
            for t in reversed(range(count)):
                last = t == count - 1
                nonterminal = 1.0 - (next_done if last else dones[t + 1])
                nextvalues = next_value if last else values[t + 1]
                delta = rewards[t] + 0.99 * nextvalues * nonterminal - values[t]
                advantages[t] = lastgaelam = delta + 0.99 * 0.95 * nonterminal * lastgaelam
            returns = advantages + values
        for start in range(0, count, 32):
            mb = np.arange(start, start + 32)
            newlogprob, entropy, newvalue = agent.get_action_and_value(obs[mb], actions.long()[mb])
            ratio = (newlogprob - logprobs[mb]).exp()
            mb_advantages = advantages[mb]
            mb_advantages = (mb_advantages - mb_advantages.mean()) / (mb_advantages.std() + 1e-8)
            pg_loss1 = -mb_advantages * ratio
            pg_loss2 = -mb_advantages * torch.clamp(ratio, 1 - 0.2, 1 + 0.2)
            pg_loss = torch.max(pg_loss1, pg_loss2).mean()
            v_loss = 0.5 * ((newvalue.view(-1) - returns[mb]) ** 2).mean()
            loss = pg_loss - 0.01 * entropy.mean() + v_loss * 0.5
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()
            losses.append(loss.item())
    return losses
