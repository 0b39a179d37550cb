"""Batches cut from a data set, measured after each epoch, with a falling rate."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

BATCH = 32


def networks():
    return {"net": nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))}


def train(networks, steps):
    net = networks["net"]
    rng = np.random.default_rng(20)
    X = torch.from_numpy(rng.normal(size=(800, 16)).astype(np.float32))
    y = torch.from_numpy(rng.integers(0, 4, 800))
    X_val, y_val, X, y = X[640:], y[640:], X[:640], y[:640]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=1000)
    losses = []
    while len(losses) < steps:
        net.train()
        for i in range(0, len(X), BATCH):
            x_batch, y_batch = X[i : i + BATCH], y[i : i + BATCH]
            loss = F.cross_entropy(net(x_batch), y_batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
        net.eval()
        correct = 0
        with torch.no_grad():
            for i in range(0, len(X_val), BATCH):
                output = net(X_val[i : i + BATCH])
                correct += (output.argmax(1) == y_val[i : i + BATCH]).sum().item()
        assert 0 <= correct <= len(X_val)
    return losses
