"""A generative adversarial network: points on a ring."""

import numpy as np
import torch
import torch.nn as nn


class Generator(nn.Module):
    def __init__(self, latent=8):
        super().__init__()

        def block(n_in, n_out, normalize=True):
            layers = [nn.Linear(n_in, n_out)]
            if normalize:
                layers.append(nn.BatchNorm1d(n_out, 0.8))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            return layers

        self.model = nn.Sequential(
            *block(latent, 32, normalize=False), *block(32, 64), nn.Linear(64, 2), nn.Tanh()
        )

    def forward(self, z):
        return self.model(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(2, 64),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(64, 32),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(32, 1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.model(x)


def networks():
    return {"generator": Generator(), "discriminator": Discriminator()}


def train(networks, steps):
    generator, discriminator = networks["generator"], networks["discriminator"]
    adversarial_loss = nn.BCELoss()
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    rng = np.random.default_rng(2)
    losses = []
    for _ in range(steps):
        angle = rng.uniform(0, 2 * np.pi, 64)
        points = np.stack([np.cos(angle), np.sin(angle)], 1) * 0.7
        real_points = torch.from_numpy(points).float()
        valid = torch.ones(64, 1)
        fake = torch.zeros(real_points.size(0), 1)

        optimizer_g.zero_grad()
        z = torch.FloatTensor(rng.normal(0, 1, (64, 8)))
        gen_points = generator(z)
        g_loss = adversarial_loss(discriminator(gen_points), valid)
        g_loss.backward()
        optimizer_g.step()

        optimizer_d.zero_grad()
        real_loss = adversarial_loss(discriminator(real_points), valid)
        fake_loss = adversarial_loss(discriminator(gen_points.detach()), fake)
        d_loss = (real_loss + fake_loss) / 2
        d_loss.backward()
        optimizer_d.step()
        losses += [d_loss.item(), g_loss.item()]
    return losses
