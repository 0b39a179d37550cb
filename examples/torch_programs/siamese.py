"""A siamese network: do two pictures show the same class?"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim


class SiameseNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 8, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(8, 16, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d((2, 2)),
        )
        self.fc = nn.Sequential(nn.Linear(64, 32), nn.ReLU(inplace=True), nn.Linear(32, 8))

    def forward_once(self, x):
        output = self.cnn(x)
        output = output.view(output.size()[0], -1)
        return self.fc(output)

    def forward(self, input1, input2):
        return self.forward_once(input1), self.forward_once(input2)


class ContrastiveLoss(nn.Module):
    def __init__(self, margin=2.0):
        super().__init__()
        self.margin = margin

    def forward(self, output1, output2, label):
        distance = F.pairwise_distance(output1, output2, keepdim=True)
        return torch.mean(
            (1 - label) * torch.pow(distance, 2)
            + label * torch.pow(torch.clamp(self.margin - distance, min=0.0), 2)
        )


def networks():
    return {"net": SiameseNetwork()}


def train(networks, steps):
    net = networks["net"]
    criterion = ContrastiveLoss()
    optimizer = optim.RMSprop(net.parameters(), lr=1e-3, alpha=0.99, momentum=0.9)
    rng = np.random.default_rng(6)
    losses = []
    for _ in range(steps):
        a, b = rng.normal(size=(2, 16, 1, 12, 12)).astype(np.float32)
        label = rng.integers(0, 2, (16, 1))
        b = np.where(label[:, :, None, None] == 0, a + 0.1 * b, b).astype(np.float32)
        img0, img1, labels = torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(label)
        optimizer.zero_grad()
        output1, output2 = net(img0, img1)
        loss = criterion(output1, output2, labels.float())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
