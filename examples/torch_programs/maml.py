"""Learning to learn: sine waves, an inner step that is differentiated through."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class MAMLModel(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.fc1 = nn.Linear(1, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, 1)

    def parameterised(self, x, weights):
        x = F.relu(F.linear(x, weights[0], weights[1]))
        x = F.relu(F.linear(x, weights[2], weights[3]))
        return F.linear(x, weights[4], weights[5])


def networks():
    return {"model": MAMLModel()}


def inner_loop(model, criterion, x, y, inner_lr=0.01):
    temp_weights = [w.clone() for w in model.parameters()]
    loss = criterion(model.parameterised(x, temp_weights), y)
    grads = torch.autograd.grad(loss, temp_weights, create_graph=True)
    return [w - inner_lr * g for w, g in zip(temp_weights, grads, strict=True)]


def train(networks, steps):
    model, criterion = networks["model"], nn.MSELoss()
    weights = list(model.parameters())
    meta_optimiser = torch.optim.Adam(weights, 1e-3)
    rng = np.random.default_rng(12)
    losses = []
    for _ in range(steps):
        meta_loss = 0
        for _ in range(4):
            amplitude, phase = rng.uniform(0.1, 5), rng.uniform(0, np.pi)
            x = torch.tensor(rng.uniform(-5, 5, (20, 1)), dtype=torch.float)
            y = torch.sin(x + phase) * amplitude
            temp_weights = inner_loop(model, criterion, x[:10], y[:10])
            meta_loss = meta_loss + criterion(model.parameterised(x[10:], temp_weights), y[10:])
        meta_grads = torch.autograd.grad(meta_loss / 4, weights)
        for w, g in zip(weights, meta_grads, strict=True):
            w.grad = g
        meta_optimiser.step()
        losses.append(meta_loss.item() / 4)
    return losses
