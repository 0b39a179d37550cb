"""Rows of a table: categories as embeddings beside numbers."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset


class TabularDataset(Dataset):
    def __init__(self, count):
        rng = np.random.default_rng(9)
        self.cats = rng.integers(0, [5, 12, 3], (count, 3)).astype(np.int64)
        self.conts = rng.normal(size=(count, 4)).astype(np.float32)
        noise = rng.normal(0, 0.1, count)
        self.y = (self.cats[:, 0] - 2 + self.conts[:, 1] + noise).astype(np.float32)[:, None]

    def __len__(self):
        return len(self.y)

    def __getitem__(self, idx):
        return self.cats[idx], self.conts[idx], self.y[idx]


class TabularModel(nn.Module):
    def __init__(self, sizes, n_cont, layers, p=0.0):
        super().__init__()
        self.embeds = nn.ModuleList([nn.Embedding(n, d) for n, d in sizes])
        self.emb_drop = nn.Dropout(p)
        self.bn_cont = nn.BatchNorm1d(n_cont)
        n_in = sum(d for _, d in sizes) + n_cont
        hidden = []
        for width in layers:
            hidden += [nn.Linear(n_in, width), nn.ReLU(inplace=True), nn.BatchNorm1d(width)]
            n_in = width
        self.layers = nn.Sequential(*hidden, nn.Linear(n_in, 1))

    def forward(self, x_cat, x_cont):
        embeddings = [e(x_cat[:, i]) for i, e in enumerate(self.embeds)]
        x = self.emb_drop(torch.cat(embeddings, 1))
        return self.layers(torch.cat([x, self.bn_cont(x_cont)], 1))


def networks():
    return {"model": TabularModel([(5, 3), (12, 6), (3, 2)], 4, [32, 16])}


def train(networks, steps):
    model = networks["model"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-2)
    loader = DataLoader(TabularDataset(64 * steps), batch_size=64, shuffle=False, drop_last=True)
    losses = []
    for x_cat, x_cont, y in loader:
        pred = model(x_cat, x_cont)
        loss = F.mse_loss(pred, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(torch.sqrt(loss).detach().cpu().item())
    return losses
