"""Optimisers. A case makes one for parameters of several shapes."""

from __future__ import annotations

from typing import Any

from tests.registry.adaptive_optimizers import ADAPTIVE
from tests.registry.entries import Case, Entry


def groups(kind: Any, params: Any, **options: Any) -> Any:
    """The first parameter with options of its own."""
    first, *rest = params
    return kind(
        [{"params": [first], "lr": 0.005, "weight_decay": 0.2}, {"params": rest}], **options
    )


ADAM = {
    "lr": 0.3,
    "betas": (0.5, 0.6),
    "eps": 0.1,
    "weight_decay": 0.2,
    "amsgrad": True,
    "maximize": True,
}

OPTIMIZERS: tuple[Entry, ...] = (
    Entry(
        "SGD",
        {
            "plain": Case(lambda optim, p: optim.SGD(p, lr=0.05)),
            "decay": Case(lambda optim, p: optim.SGD(p, 0.05, weight_decay=0.1)),
            "momentum": Case(lambda optim, p: optim.SGD(p, lr=0.02, momentum=0.9)),
            "nesterov": Case(lambda optim, p: optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True)),
            "dampening": Case(lambda optim, p: optim.SGD(p, lr=0.05, momentum=0.8, dampening=0.3)),
            "everything": Case(
                lambda optim, p: optim.SGD(
                    p, lr=0.02, momentum=0.9, weight_decay=0.01, nesterov=True
                )
            ),
            "maximize": Case(lambda optim, p: optim.SGD(p, lr=0.01, momentum=0.5, maximize=True)),
            "groups": Case(lambda optim, p: groups(optim.SGD, p, lr=0.02, momentum=0.9)),
        },
        {
            "lr": 0.3,
            "momentum": 0.5,
            "dampening": 0.4,
            "weight_decay": 0.2,
            "nesterov": True,
            "maximize": True,
        },
        guarded=Case(lambda optim, p: optim.SGD(p, lr=0.1, momentum=0.9)),
        twin="torch.optim",
    ),
    Entry(
        "Adam",
        {
            "plain": Case(lambda optim, p: optim.Adam(p, lr=0.01)),
            "options": Case(
                lambda optim, p: optim.Adam(
                    p, lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1
                )
            ),
            "amsgrad": Case(lambda optim, p: optim.Adam(p, lr=0.01, amsgrad=True)),
            "maximize": Case(lambda optim, p: optim.Adam(p, lr=0.01, maximize=True)),
            "decoupled": Case(
                lambda optim, p: optim.Adam(
                    p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True
                )
            ),
            "no memory": Case(lambda optim, p: optim.Adam(p, lr=0.01, betas=(0.0, 0.0), eps=0.1)),
        },
        {**ADAM, "decoupled_weight_decay": True},
        guarded=Case(lambda optim, p: optim.Adam(p, lr=0.1, weight_decay=0.1)),
        twin="torch.optim",
    ),
    Entry(
        "AdamW",
        {
            "plain": Case(lambda optim, p: optim.AdamW(p)),
            "options": Case(
                lambda optim, p: optim.AdamW(
                    p, lr=0.02, betas=(0.8, 0.95), weight_decay=0.3, amsgrad=True
                )
            ),
            "groups": Case(lambda optim, p: groups(optim.AdamW, p, lr=0.02)),
        },
        ADAM,
        guarded=Case(lambda optim, p: optim.AdamW(p, lr=0.1)),
        twin="torch.optim",
    ),
    *ADAPTIVE,
)

# Those whose step evaluates a closure, which cannot be compiled.
SOLVERS: tuple[Entry, ...] = (
    Entry(
        "LBFGS",
        {
            "plain": Case(lambda optim, p: optim.LBFGS(p)),
            "wolfe": Case(
                lambda optim, p: optim.LBFGS(p, max_iter=4, line_search_fn="strong_wolfe")
            ),
            "short memory": Case(
                lambda optim, p: optim.LBFGS(
                    p, lr=0.1, max_iter=5, max_eval=20, history_size=3, tolerance_grad=1e-5
                )
            ),
        },
        {
            "lr": 0.5,
            "max_iter": 3,
            "max_eval": 2,
            "tolerance_grad": 100.0,
            "tolerance_change": 10.0,
            "history_size": 1,
            "line_search_fn": "strong_wolfe",
        },
        twin="torch.optim",
    ),
)

# For sparse gradients alone: tests/optim/test_sparse.py.
SPARSE: tuple[Entry, ...] = (
    Entry(
        "SparseAdam",
        {"plain": Case(lambda optim, p: optim.SparseAdam(p, lr=0.01))},
        {"lr": 0.3, "betas": (0.5, 0.6), "eps": 0.1, "maximize": True},
        guarded=Case(lambda optim, p: optim.SparseAdam(p, lr=0.1)),
        twin="torch.optim",
    ),
)
