"""A graph convolutional network: communities of a random graph."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.nn.parameter import Parameter


class GraphConvolution(nn.Module):
    def __init__(self, in_features, out_features, bias=True):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(torch.FloatTensor(in_features, out_features))
        if bias:
            self.bias = Parameter(torch.FloatTensor(out_features))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self):
        stdv = 1.0 / math.sqrt(self.weight.size(1))
        self.weight.data.uniform_(-stdv, stdv)
        if self.bias is not None:
            self.bias.data.uniform_(-stdv, stdv)

    def forward(self, input, adj):
        support = torch.mm(input, self.weight)
        output = torch.mm(adj, support)
        return output if self.bias is None else output + self.bias

    def __repr__(self):
        return f"{self.__class__.__name__} ({self.in_features} -> {self.out_features})"


class GCN(nn.Module):
    def __init__(self, nfeat, nhid, nclass, dropout):
        super().__init__()
        self.gc1 = GraphConvolution(nfeat, nhid)
        self.gc2 = GraphConvolution(nhid, nclass)
        self.dropout = dropout

    def forward(self, x, adj):
        x = F.relu(self.gc1(x, adj))
        x = F.dropout(x, self.dropout, training=self.training)
        return F.log_softmax(self.gc2(x, adj), dim=1)


def graph(count=60):
    rng = np.random.default_rng(13)
    labels = rng.integers(0, 3, count)
    near = np.where(labels[:, None] == labels, 0.3, 0.03)
    edges = np.triu(rng.random((count, count)) < near, 1)
    adj = edges + edges.T + np.eye(count)
    scale = adj.sum(1) ** -0.5
    features = rng.normal(size=(count, 16))
    adj = scale[:, None] * adj * scale
    return torch.FloatTensor(features), torch.FloatTensor(adj), torch.LongTensor(labels)


def accuracy(output, labels):
    preds = output.max(1)[1].type_as(labels)
    correct = preds.eq(labels).double()
    return correct.sum() / len(labels)


def networks():
    return {"model": GCN(16, 16, 3, 0.0)}


def train(networks, steps):
    model = networks["model"]
    optimizer = optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    features, adj, labels = graph()
    idx_train, idx_val = torch.LongTensor(range(40)), torch.LongTensor(range(40, 60))
    losses = []
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        output = model(features, adj)
        loss_train = F.nll_loss(output[idx_train], labels[idx_train])
        loss_train.backward()
        optimizer.step()
        model.eval()
        output = model(features, adj)
        losses += [loss_train.item(), F.nll_loss(output[idx_val], labels[idx_val]).item()]
    return [*losses, accuracy(output[idx_val], labels[idx_val]).item()]
