"""A Wasserstein GAN with a penalty on the critic's gradient, which is differentiated again."""

import numpy as np
import torch
import torch.autograd as autograd
import torch.nn as nn


def networks():
    generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(True), nn.Linear(32, 2))
    critic = nn.Sequential(
        nn.Linear(2, 32),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Linear(32, 16),
        nn.Tanh(),
        nn.Linear(16, 1),
    )
    return {"generator": generator, "critic": critic}


def gradient_penalty(critic, real, fake, alpha):
    interpolates = (alpha * real + ((1 - alpha) * fake)).requires_grad_(True)
    d_interpolates = critic(interpolates)
    gradients = autograd.grad(
        outputs=d_interpolates,
        inputs=interpolates,
        grad_outputs=torch.ones_like(d_interpolates),
        create_graph=True,
        retain_graph=True,
        only_inputs=True,
    )[0]
    gradients = gradients.view(gradients.size(0), -1)
    return ((gradients.norm(2, dim=1) - 1) ** 2).mean()


def train(networks, steps):
    generator, critic = networks["generator"], networks["critic"]
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    optimizer_d = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.9))
    rng = np.random.default_rng(3)
    losses = []
    for i in range(steps):
        real = torch.tensor(rng.normal([2, 0], 0.3, (32, 2)), dtype=torch.float)
        z = torch.tensor(rng.normal(size=(32, 4)), dtype=torch.float)
        alpha = torch.tensor(rng.random((32, 1)), dtype=torch.float)
        optimizer_d.zero_grad()
        fake = generator(z)
        penalty = gradient_penalty(critic, real.data, fake.data, alpha)
        d_loss = -torch.mean(critic(real)) + torch.mean(critic(fake)) + 10 * penalty
        d_loss.backward()
        optimizer_d.step()
        losses.append(d_loss.item())
        optimizer_g.zero_grad()
        if i % 2 == 0:
            g_loss = -torch.mean(critic(generator(z)))
            g_loss.backward()
            optimizer_g.step()
            losses.append(g_loss.item())
    return losses
