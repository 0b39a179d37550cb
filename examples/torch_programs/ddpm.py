"""Diffusion on points of the plane: noise is added by a schedule, and predicted."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class SinusoidalEmbedding(nn.Module):
    def __init__(self, size, scale=1.0):
        super().__init__()
        self.size, self.scale = size, scale

    def forward(self, x):
        x = x * self.scale
        half = self.size // 2
        emb = torch.log(torch.Tensor([10000.0])) / (half - 1)
        emb = torch.exp(-emb * torch.arange(half))
        emb = x.unsqueeze(-1) * emb.unsqueeze(0)
        return torch.cat((torch.sin(emb), torch.cos(emb)), dim=-1)


class Block(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.ff = nn.Linear(size, size)
        self.act = nn.GELU()

    def forward(self, x):
        return x + self.act(self.ff(x))


class MLP(nn.Module):
    def __init__(self, hidden=32, layers=2, emb=16):
        super().__init__()
        self.time_mlp = SinusoidalEmbedding(emb)
        self.input_mlp1 = SinusoidalEmbedding(emb, scale=25.0)
        self.input_mlp2 = SinusoidalEmbedding(emb, scale=25.0)
        blocks = [nn.Linear(3 * emb, hidden), nn.GELU()]
        blocks += [Block(hidden) for _ in range(layers)]
        self.joint_mlp = nn.Sequential(*blocks, nn.Linear(hidden, 2))

    def forward(self, x, t):
        x1, x2 = self.input_mlp1(x[:, 0]), self.input_mlp2(x[:, 1])
        return self.joint_mlp(torch.cat((x1, x2, self.time_mlp(t)), dim=-1))


class NoiseScheduler:
    def __init__(self, num_timesteps=50, beta_start=1e-4, beta_end=0.02):
        self.betas = torch.linspace(beta_start, beta_end, num_timesteps, dtype=torch.float32)
        self.alphas = 1.0 - self.betas
        self.alphas_cumprod = torch.cumprod(self.alphas, axis=0)
        self.sqrt_alphas_cumprod = self.alphas_cumprod**0.5
        self.sqrt_one_minus_alphas_cumprod = (1 - self.alphas_cumprod) ** 0.5

    def add_noise(self, x_start, x_noise, timesteps):
        s1 = self.sqrt_alphas_cumprod[timesteps].reshape(-1, 1)
        s2 = self.sqrt_one_minus_alphas_cumprod[timesteps].reshape(-1, 1)
        return s1 * x_start + s2 * x_noise


def networks():
    return {"model": MLP()}


def train(networks, steps):
    model, scheduler = networks["model"], NoiseScheduler()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rng = np.random.default_rng(11)
    losses = []
    model.train()
    for _ in range(steps):
        angle = rng.uniform(0, 2 * math.pi, 64)
        batch = torch.tensor(np.stack([np.cos(angle), np.sin(angle)], 1), dtype=torch.float32)
        noise = torch.tensor(rng.normal(size=(64, 2)), dtype=torch.float32)
        timesteps = torch.from_numpy(rng.integers(0, 50, 64)).long()
        noisy = scheduler.add_noise(batch, noise, timesteps)
        loss = F.mse_loss(model(noisy, timesteps), noise)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach().item())
    return losses
