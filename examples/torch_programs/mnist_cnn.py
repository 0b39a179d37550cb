"""A convolutional network on small pictures of digits, as PyTorch's first example has it."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, 1)
        self.conv2 = nn.Conv2d(8, 16, 3, 1)
        self.dropout = nn.Dropout(0.0)
        self.fc1 = nn.Linear(16 * 6 * 6, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(self.dropout(x)))
        return F.log_softmax(self.fc2(x), dim=1)


def digits(count):
    """Bright bars on noise: the class is the place of the bar."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, count)
    images = rng.normal(0, 0.3, (count, 1, 16, 16)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        image[0, :, label + 2 : label + 4] += 1
    return torch.from_numpy(images), torch.from_numpy(labels)


def networks():
    return {"net": Net()}


def train(networks, steps):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = networks["net"].to(device)
    optimizer = optim.Adadelta(model.parameters(), lr=1.0)
    loader = DataLoader(TensorDataset(*digits(32 * steps)), batch_size=32)
    losses, correct = [], 0
    model.train()
    for data, target in loader:
        data, target = data.to(device), target.to(device)
        optimizer.zero_grad()
        output = model(data)
        loss = F.nll_loss(output, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        for data, target in loader:
            pred = model(data).argmax(dim=1, keepdim=True)
            correct += pred.eq(target.view_as(pred)).sum().item()
    return [*losses, correct / (32 * steps)]
