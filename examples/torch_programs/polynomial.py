"""A sine fitted by a polynomial, with nothing but tensors and their gradients."""

import math

import torch

RATE = 1e-6


def networks():
    return {}


def train(networks, steps):
    x = torch.linspace(-math.pi, math.pi, 2000)
    y = torch.sin(x)
    a, b, c, d = (torch.full((), v, requires_grad=True) for v in (0.1, 0.2, -0.1, 0.3))
    losses = []
    for _ in range(steps):
        y_pred = a + b * x + c * x**2 + d * x**3
        loss = (y_pred - y).pow(2).sum()
        loss.backward()
        with torch.no_grad():
            for p in (a, b, c, d):
                p -= RATE * p.grad
                p.grad = None
        losses.append(loss.item())
    return losses
