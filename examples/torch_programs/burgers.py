"""Burgers' equation by a network whose own derivatives stand in the loss."""

import numpy as np
import torch
import torch.nn as nn


class PhysicsInformedNN(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.activation = nn.Tanh()
        self.linears = nn.ModuleList(
            [nn.Linear(layers[i], layers[i + 1]) for i in range(len(layers) - 1)]
        )
        for linear in self.linears:
            nn.init.xavier_normal_(linear.weight.data, gain=1.0)
            nn.init.zeros_(linear.bias.data)

    def forward(self, x, t):
        a = torch.cat([x, t], dim=1)
        for linear in self.linears[:-1]:
            a = self.activation(linear(a))
        return self.linears[-1](a)

    def residual(self, x, t):
        u = self.forward(x, t)
        ones = torch.ones_like(u)
        u_t = torch.autograd.grad(u, t, grad_outputs=ones, retain_graph=True, create_graph=True)[0]
        u_x = torch.autograd.grad(u, x, grad_outputs=ones, retain_graph=True, create_graph=True)[0]
        u_xx = torch.autograd.grad(
            u_x, x, grad_outputs=torch.ones_like(u_x), retain_graph=True, create_graph=True
        )[0]
        return u_t + u * u_x - (0.01 / np.pi) * u_xx


def networks():
    return {"net": PhysicsInformedNN([2, 20, 20, 20, 1])}


def train(networks, steps):
    net, mse = networks["net"], nn.MSELoss(reduction="mean")
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    rng = np.random.default_rng(15)
    x0 = torch.tensor(rng.uniform(-1, 1, (50, 1)), requires_grad=True).float()
    u0 = -torch.sin(np.pi * x0).detach()
    x = torch.tensor(rng.uniform(-1, 1, (200, 1)), dtype=torch.float32, requires_grad=True)
    t = torch.tensor(rng.uniform(0, 1, (200, 1)), dtype=torch.float32, requires_grad=True)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss_u = mse(net(x0, torch.zeros_like(x0)), u0)
        f = net.residual(x, t)
        loss = loss_u + mse(f, torch.zeros_like(f))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
