"""A normalising flow of affine coupling layers: the density of points on two moons."""

import numpy as np
import torch
import torch.nn as nn
from torch import distributions


class RealNVP(nn.Module):
    def __init__(self, masks):
        super().__init__()
        self.prior = distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
        self.mask = nn.Parameter(masks, requires_grad=False)
        self.t = nn.ModuleList([self.net(nn.Identity()) for _ in range(len(masks))])
        self.s = nn.ModuleList([self.net(nn.Tanh()) for _ in range(len(masks))])

    @staticmethod
    def net(last):
        return nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(), nn.Linear(32, 2), last)

    def f(self, x):
        log_det_j, z = x.new_zeros(x.shape[0]), x
        for i in reversed(range(len(self.t))):
            z_ = self.mask[i] * z
            s = self.s[i](z_) * (1 - self.mask[i])
            t = self.t[i](z_) * (1 - self.mask[i])
            z = (1 - self.mask[i]) * (z - t) * torch.exp(-s) + z_
            log_det_j -= s.sum(dim=1)
        return z, log_det_j

    def log_prob(self, x):
        z, logp = self.f(x)
        return self.prior.log_prob(z) + logp


def networks():
    masks = torch.from_numpy(np.array([[0, 1], [1, 0]] * 2).astype(np.float32))
    return {"flow": RealNVP(masks)}


def train(networks, steps):
    flow = networks["flow"]
    optimizer = torch.optim.Adam([p for p in flow.parameters() if p.requires_grad], lr=1e-3)
    rng = np.random.default_rng(10)
    losses = []
    for _ in range(steps):
        angle, which = rng.uniform(0, np.pi, 100), rng.integers(0, 2, 100)
        moons = np.stack([np.cos(angle), np.sin(angle)], 1) * (1 - 2 * which[:, None])
        points = moons + which[:, None] * [1, 0.5] + rng.normal(0, 0.05, (100, 2))
        loss = -flow.log_prob(torch.from_numpy(points.astype(np.float32))).mean()
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
        optimizer.step()
        losses.append(loss.item())
    return losses
