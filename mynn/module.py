"""The toolbox of the report, under its names: a constructor and tool modules.

    from mynn.module import *
    mynn = model()

    # 1. manual way
    lin = linear(2, 25, mynn)
    sig = sigmoid(mynn)
    lin.forward(train_input)
    sig.forward(train_input)
    sig.backward(train_input)
    lin.backward(train_input)

    # 2. automatic way
    seq = [linear(2, 25, mynn), sigmoid(mynn)]
    mynn.train(seq, input)

    mynn.x

What a tool computes is written once, with operators of the engine (`mynn.report.toolbox.tools`);
forward and backward passes, and the native program of `model.fit`, all come from there. `sigmoid`
computes tanh, as the report's reference program does; `logistic` is the logistic function.

Source: "Mini deep-learning framework", sections 1.1 to 1.3 (the report).
"""

from __future__ import annotations

from mynn.report.toolbox.constructor import model
from mynn.report.toolbox.disc import generate_disc_set
from mynn.report.toolbox.optimizer import optimizer_sgd
from mynn.report.toolbox.tools import (
    activation,
    criterion_mse,
    lecun,
    linear,
    logistic,
    normal,
    relu,
    sigmoid,
    tanh,
)

__all__ = [
    "activation",
    "criterion_mse",
    "generate_disc_set",
    "lecun",
    "linear",
    "logistic",
    "model",
    "normal",
    "optimizer_sgd",
    "relu",
    "sigmoid",
    "tanh",
]
