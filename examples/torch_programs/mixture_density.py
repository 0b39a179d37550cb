"""A mixture density network: several answers to one question."""

import math

import numpy as np
import torch
import torch.nn as nn
from torch.autograd import Variable


class MDN(nn.Module):
    def __init__(self, n_hidden=20, n_gaussians=5):
        super().__init__()
        self.z_h = nn.Sequential(nn.Linear(1, n_hidden), nn.Tanh())
        self.z_pi = nn.Linear(n_hidden, n_gaussians)
        self.z_mu = nn.Linear(n_hidden, n_gaussians)
        self.z_sigma = nn.Linear(n_hidden, n_gaussians)

    def forward(self, x):
        z_h = self.z_h(x)
        pi = nn.functional.softmax(self.z_pi(z_h), -1)
        return pi, torch.exp(self.z_sigma(z_h)), self.z_mu(z_h)


def gaussian_distribution(y, mu, sigma):
    result = (y.expand_as(mu) - mu) * torch.reciprocal(sigma)
    result = -0.5 * (result * result)
    return (torch.exp(result) * torch.reciprocal(sigma)) * (1.0 / math.sqrt(2.0 * math.pi))


def mdn_loss_fn(pi, sigma, mu, y):
    result = gaussian_distribution(y, mu, sigma) * pi
    result = torch.sum(result, dim=1)
    result = -torch.log(result)
    return torch.mean(result)


def networks():
    return {"net": MDN()}


def train(networks, steps):
    network = networks["net"]
    optimizer = torch.optim.Adam(network.parameters())
    rng = np.random.default_rng(16)
    y = rng.uniform(-10, 10, 256)
    x = 7 * np.sin(0.75 * y) + 0.5 * y + rng.normal(size=256)
    x_variable = Variable(torch.from_numpy(np.float32(x).reshape(256, 1)))
    y_variable = Variable(torch.from_numpy(np.float32(y).reshape(256, 1)), requires_grad=False)
    losses = []
    for _ in range(steps):
        pi, sigma, mu = network(x_variable)
        loss = mdn_loss_fn(pi, sigma, mu, y_variable)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.data.tolist())
    return losses
