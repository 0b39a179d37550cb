"""A language model of LSTM layers whose state goes on from batch to batch, cut off each time."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

STEPS = 12


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.lstm = nn.LSTM(16, 32, 2, batch_first=True)
        self.output = nn.Linear(32, 20)

    def forward(self, x, state):
        y, state = self.lstm(self.embedding(x), state)
        return self.output(y), state


def networks():
    return {"net": Model()}


def train(networks, steps):
    net = networks["net"]
    text = torch.from_numpy((np.arange(4 * 600).reshape(4, 600) * 3) % 20)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    state = (torch.zeros(2, 4, 32), torch.zeros(2, 4, 32))
    losses = []
    for step in range(steps):
        start = step * STEPS % (600 - STEPS)
        x = text[:, start : start + STEPS]
        target = text[:, start + 1 : start + STEPS + 1]
        state = tuple(s.detach() for s in state)
        logits, state = net(x, state)
        loss = F.cross_entropy(logits.transpose(1, 2), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    return losses
