"""An operator network: the integral of a function, from its values at fixed places."""

import numpy as np
import torch
import torch.nn as nn


class DeepONet(nn.Module):
    def __init__(self, sensors, width=32):
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(sensors, width), nn.Tanh(), nn.Linear(width, width))
        self.trunk = nn.Sequential(
            nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()
        )
        self.b = nn.Parameter(torch.zeros(1))

    def forward(self, u, y):
        return torch.einsum("bi,pi->bp", self.branch(u), self.trunk(y)) + self.b


def networks():
    return {"net": DeepONet(20)}


def train(networks, steps):
    net = networks["net"]
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    rng = np.random.default_rng(14)
    x = np.linspace(0, 1, 20)
    y = torch.linspace(0, 1, 15).unsqueeze(1)
    losses = []
    for _ in range(steps):
        a, w = rng.normal(size=(2, 32, 1))
        u = torch.as_tensor(a * np.cos(w * x), dtype=torch.float32)
        s = torch.as_tensor(a / w * np.sin(w * np.linspace(0, 1, 15)), dtype=torch.float32)
        loss = ((net(u, y) - s) ** 2).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
