"""Representations by contrast: two views of a sample belong together, all others apart."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class SimCLR(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(24, 48), nn.LayerNorm(48), nn.SiLU(), nn.Linear(48, 32)
        )
        self.projector = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 16, bias=False))

    def forward(self, x):
        return self.projector(self.encoder(x))


def info_nce_loss(features, batch_size, temperature=0.2):
    labels = torch.cat([torch.arange(batch_size) for i in range(2)], dim=0)
    labels = (labels.unsqueeze(0) == labels.unsqueeze(1)).float()
    features = F.normalize(features, dim=1)
    similarity_matrix = torch.matmul(features, features.T)
    mask = torch.eye(labels.shape[0], dtype=torch.bool)
    labels = labels[~mask].view(labels.shape[0], -1)
    similarity_matrix = similarity_matrix[~mask].view(similarity_matrix.shape[0], -1)
    positives = similarity_matrix[labels.bool()].view(labels.shape[0], -1)
    negatives = similarity_matrix[~labels.bool()].view(similarity_matrix.shape[0], -1)
    logits = torch.cat([positives, negatives], dim=1)
    return logits / temperature, torch.zeros(logits.shape[0], dtype=torch.long)


def networks():
    return {"model": SimCLR()}


def train(networks, steps):
    model = networks["model"]
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), 3e-4, weight_decay=1e-4)
    rng = np.random.default_rng(17)
    losses = []
    for _ in range(steps):
        batch = rng.normal(size=(16, 24))
        views = [batch + 0.1 * rng.normal(size=batch.shape) for _ in range(2)]
        images = torch.cat([torch.from_numpy(view).float() for view in views], dim=0)
        logits, labels = info_nce_loss(model(images), 16)
        loss = criterion(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
