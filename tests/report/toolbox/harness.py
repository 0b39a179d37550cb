"""What the tests of the report's toolbox share."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mynn.module import criterion_mse, linear, logistic, model, normal, relu, sigmoid, tanh

MANUAL = """
from mynn.module import *
mynn = model()

lin = linear(2, 25, mynn)
sig = sigmoid(mynn)
lin.forward(train_input)
sig.forward(train_input)
sig.backward(train_input)
lin.backward(train_input)
"""

AUTOMATIC = """
seq = [ linear(2, 25, mynn),
        sigmoid(mynn) ]
mynn.train(seq, input)

mynn.x
"""


def network(sizes=(2, 5, 4, 2), kind=sigmoid, dtype=np.float64, seed=0, init=None):
    """A constructor, its criterion, and `linear` and activation for each pair of sizes."""
    net = model(dtype=dtype, seed=seed)
    criterion = criterion_mse(net)
    sequence = []
    for m, n in pairwise(sizes):
        sequence += [linear(m, n, net, criterion, init=init or normal(0.7)), kind(net)]
    return net, criterion, sequence


def formulas(net, input, target, f, df):
    """Section 1.2 of the report, in NumPy, for one sample."""
    x, s = [np.asarray(input, float)], [None]
    for k in range(1, net.lt + 1):
        s.append(net.w[k] @ x[k - 1] + net.b[k])
        x.append(f(s[k]))
    dl_dx, dl_ds, dl_dw, dl_db = ([None] * (net.lt + 1) for _ in range(4))
    for k in range(net.lt, 0, -1):
        dl_dx[k] = 2 * (x[k] - target) if k == net.lt else net.w[k + 1].T @ dl_ds[k + 1]
        dl_ds[k] = df(s[k]) * dl_dx[k]
        dl_dw[k] = np.outer(dl_ds[k], x[k - 1])
        dl_db[k] = dl_ds[k]
    return {"x": x, "s": s, "dl_dx": dl_dx, "dl_ds": dl_ds, "dl_dw": dl_dw, "dl_db": dl_db}


FUNCTIONS = {
    sigmoid: (np.tanh, lambda s: 1 - np.tanh(s) ** 2),
    tanh: (np.tanh, lambda s: 1 - np.tanh(s) ** 2),
    logistic: (lambda s: 1 / (1 + np.exp(-s)), lambda s: np.exp(-s) / (1 + np.exp(-s)) ** 2),
    relu: (lambda s: np.maximum(s, 0), lambda s: (s > 0).astype(float)),
}
