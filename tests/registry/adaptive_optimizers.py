"""Optimisers beside SGD and Adam: steps scaled by what gradients were before."""

from __future__ import annotations

from typing import Any

from tests.registry.entries import Case, Entry


def matrices(params: Any) -> list[Any]:
    return [p for p in params if len(p.shape) == 2]


ADAPTIVE: tuple[Entry, ...] = (
    Entry(
        "RMSprop",
        {
            "plain": Case(lambda optim, p: optim.RMSprop(p, lr=0.01)),
            "options": Case(
                lambda optim, p: optim.RMSprop(
                    p, 0.01, 0.9, 1e-3, 0.1, 0.5, centered=True, maximize=True
                )
            ),
        },
        {
            "lr": 0.3,
            "alpha": 0.5,
            "eps": 0.1,
            "weight_decay": 0.2,
            "momentum": 0.5,
            "centered": True,
            "maximize": True,
        },
        guarded=Case(lambda optim, p: optim.RMSprop(p, lr=0.05)),
        twin="torch.optim",
    ),
    Entry(
        "Adadelta",
        {
            "plain": Case(lambda optim, p: optim.Adadelta(p)),
            "options": Case(lambda optim, p: optim.Adadelta(p, 0.5, 0.8, 1e-3, 0.1, maximize=True)),
        },
        {"lr": 0.3, "rho": 0.5, "eps": 0.1, "weight_decay": 0.2, "maximize": True},
        guarded=Case(lambda optim, p: optim.Adadelta(p, eps=1e-2)),
        twin="torch.optim",
    ),
    Entry(
        "Adagrad",
        {
            "plain": Case(lambda optim, p: optim.Adagrad(p, lr=0.1)),
            "options": Case(
                lambda optim, p: optim.Adagrad(p, 0.1, 0.2, 0.1, 0.3, 1e-3, maximize=True)
            ),
        },
        {
            "lr": 0.3,
            "lr_decay": 0.5,
            "weight_decay": 0.2,
            "initial_accumulator_value": 0.5,
            "eps": 0.1,
            "maximize": True,
        },
        guarded=Case(lambda optim, p: optim.Adagrad(p, lr=0.1)),
        twin="torch.optim",
    ),
    Entry(
        "Adamax",
        {
            "plain": Case(lambda optim, p: optim.Adamax(p)),
            "options": Case(
                lambda optim, p: optim.Adamax(p, 0.01, (0.8, 0.9), 1e-3, 0.1, maximize=True)
            ),
        },
        {"lr": 0.3, "betas": (0.5, 0.6), "eps": 0.1, "weight_decay": 0.2, "maximize": True},
        guarded=Case(lambda optim, p: optim.Adamax(p, lr=0.1)),
        twin="torch.optim",
    ),
    Entry(
        "NAdam",
        {
            "plain": Case(lambda optim, p: optim.NAdam(p)),
            "options": Case(
                lambda optim, p: optim.NAdam(p, 0.01, (0.8, 0.9), 1e-3, 0.1, 0.05, maximize=True)
            ),
            "decoupled": Case(
                lambda optim, p: optim.NAdam(p, weight_decay=0.1, decoupled_weight_decay=True)
            ),
        },
        {
            "lr": 0.3,
            "betas": (0.5, 0.6),
            "eps": 0.1,
            "weight_decay": 0.2,
            "momentum_decay": 0.5,
            "decoupled_weight_decay": True,
            "maximize": True,
        },
        guarded=Case(lambda optim, p: optim.NAdam(p, lr=0.1, weight_decay=0.1)),
        twin="torch.optim",
    ),
    Entry(
        "RAdam",
        {
            "plain": Case(lambda optim, p: optim.RAdam(p, lr=0.01)),
            "options": Case(
                lambda optim, p: optim.RAdam(p, 0.01, (0.8, 0.9), 1e-3, 0.1, maximize=True)
            ),
            "short": Case(lambda optim, p: optim.RAdam(p, 0.01, (0.8, 0.6))),
        },
        {
            "lr": 0.3,
            "betas": (0.5, 0.95),
            "eps": 0.5,
            "weight_decay": 0.2,
            "decoupled_weight_decay": True,
            "maximize": True,
        },
        guarded=Case(lambda optim, p: optim.RAdam(p, 0.1, (0.5, 0.9), weight_decay=0.1)),
        twin="torch.optim",
    ),
    Entry(
        "Rprop",
        {
            "plain": Case(lambda optim, p: optim.Rprop(p)),
            "options": Case(
                lambda optim, p: optim.Rprop(p, 0.02, (0.4, 1.5), (1e-3, 0.1), maximize=True)
            ),
        },
        {"lr": 0.3, "etas": (0.25, 3.0), "step_sizes": (1e-2, 0.02), "maximize": True},
        guarded=Case(lambda optim, p: optim.Rprop(p, lr=0.1)),
        twin="torch.optim",
    ),
    Entry(
        "ASGD",
        {
            "plain": Case(lambda optim, p: optim.ASGD(p)),
            "options": Case(lambda optim, p: optim.ASGD(p, 0.02, 0.1, 0.5, 5, 0.1, maximize=True)),
        },
        {
            "lr": 0.3,
            "lambd": 0.5,
            "alpha": 0.2,
            "t0": 0.0,
            "weight_decay": 0.2,
            "maximize": True,
        },
        guarded=Case(lambda optim, p: optim.ASGD(p, lr=0.1, lambd=0.1)),
        twin="torch.optim",
    ),
    Entry(
        "Adafactor",
        {
            "plain": Case(lambda optim, p: optim.Adafactor(p)),
            "options": Case(
                lambda optim, p: optim.Adafactor(
                    p, 0.02, -0.5, (1e-2, 1e-2), 1.5, 0.1, maximize=True
                )
            ),
        },
        {
            "lr": 0.01,
            "beta2_decay": -0.1,
            "eps": (100.0, 1e-2),
            "d": 1.5,
            "weight_decay": 0.2,
            "maximize": True,
        },
        guarded=Case(lambda optim, p: optim.Adafactor(p, lr=0.1)),
        twin="torch.optim",
    ),
    Entry(
        "Muon",
        {
            "plain": Case(lambda optim, p: optim.Muon(matrices(p))),
            "options": Case(
                lambda optim, p: optim.Muon(
                    matrices(p), 0.002, 0.2, 0.8, False, (3.4, -4.7, 2.0), 1e-6, 6
                )
            ),
            "adjusted": Case(
                lambda optim, p: optim.Muon(matrices(p), adjust_lr_fn="match_rms_adamw")
            ),
        },
        {
            "lr": 0.3,
            "weight_decay": 0.5,
            "momentum": 0.5,
            "nesterov": False,
            "ns_coefficients": (3.0, -4.0, 2.0),
            "eps": 100.0,
            "ns_steps": 2,
            "adjust_lr_fn": "match_rms_adamw",
        },
        guarded=Case(lambda optim, p: optim.Muon(p, lr=0.1)),
        twin="torch.optim",
        differs={"decimals": "X is computed with the precision of the parameter, not in bfloat16"},
    ),
    Entry(
        "Lion",
        {
            "plain": Case(lambda optim, p: optim.Lion(p, lr=0.01)),
            "options": Case(lambda optim, p: optim.Lion(p, 0.01, (0.7, 0.8), 0.1, maximize=True)),
        },
        {"lr": 0.3, "betas": (0.05, 0.01), "weight_decay": 0.2, "maximize": True},
        guarded=Case(lambda optim, p: optim.Lion(p, lr=0.2)),
        twin=None,
    ),
    Entry(
        "LAMB",
        {
            "plain": Case(lambda optim, p: optim.LAMB(p, lr=0.01)),
            "options": Case(
                lambda optim, p: optim.LAMB(p, 0.01, (0.8, 0.9), 1e-3, 0.1, maximize=True)
            ),
        },
        {"lr": 0.3, "betas": (0.5, 0.6), "eps": 0.1, "weight_decay": 0.2, "maximize": True},
        guarded=Case(lambda optim, p: optim.LAMB(p, lr=0.1)),
        twin=None,
    ),
)
