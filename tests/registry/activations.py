"""Activations in pieces, and others of few lines: layers and functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mynn.random import Generator
from tests.registry.draws import KINKS, uniform
from tests.registry.entries import ONLY_MADE, Case, Entry

ROWS = (6, 4)
OLD = {"min_value": ONLY_MADE, "max_value": ONLY_MADE}
IN_PLACE = {"inplace": ONLY_MADE}
X = uniform(4, 5)


def plain(name: str) -> Entry:
    """A layer with no option but `inplace`, or none at all."""
    return Entry(name, {"plain": Case(lambda nn: getattr(nn, name)(), (ROWS,))})


ACTIVATION_LAYERS: tuple[Entry, ...] = (
    *(plain(name) for name in ("LogSigmoid", "Softsign", "Tanhshrink")),
    *(
        Entry(name, {"plain": Case(lambda nn, n=name: getattr(nn, n)(), (ROWS,))}, IN_PLACE)
        for name in ("SELU", "Mish", "ReLU6", "Hardswish")
    ),
    Entry(
        "Hardsigmoid",
        {"plain": Case(lambda nn: nn.Hardsigmoid(), (ROWS,), rounded=1e-7)},
        IN_PLACE,
    ),
    *(
        Entry(
            name,
            {
                "plain": Case(lambda nn, n=name: getattr(nn, n)(), (ROWS,)),
                "alpha": Case(lambda nn, n=name: getattr(nn, n)(0.5), (ROWS,), smooth=False),
            },
            {"alpha": 2.0, **IN_PLACE},
        )
        for name in ("ELU", "CELU")
    ),
    Entry(
        "PReLU",
        {
            "plain": Case(lambda nn: nn.PReLU(), (ROWS,)),
            "channels": Case(lambda nn: nn.PReLU(3, 0.1), ((2, 3, 4),)),
        },
        {
            "num_parameters": ONLY_MADE,
            "init": ONLY_MADE,
            "device": ONLY_MADE,
            "dtype": ONLY_MADE,
        },
    ),
    Entry(
        "RReLU",
        {
            "eval": Case(lambda nn: nn.RReLU(0.1, 0.3).eval(), (ROWS,)),
            "one slope": Case(lambda nn: nn.RReLU(0.25, 0.25), (ROWS,)),
        },
        {"lower": 0.0, "upper": 0.9, **IN_PLACE, "generator": Generator(5)},
        guarded=Case(lambda nn: nn.RReLU(), (ROWS,)),
    ),
    Entry(
        "Threshold",
        {"plain": Case(lambda nn: nn.Threshold(0.1, 20.0), (ROWS,))},
        {"threshold": 0.7, "value": -3.0, **IN_PLACE},
    ),
    Entry(
        "Hardtanh",
        {
            "plain": Case(lambda nn: nn.Hardtanh(), (ROWS,)),
            "bounds": Case(lambda nn: nn.Hardtanh(-0.5, 2.0), (ROWS,)),
        },
        {
            "min_val": -0.2,
            "max_val": 0.3,
            **IN_PLACE,
            "min_value": ONLY_MADE,
            "max_value": ONLY_MADE,
        },
    ),
    *(
        Entry(
            name,
            {
                "plain": Case(lambda nn, n=name: getattr(nn, n)(), (ROWS,)),
                "lambd": Case(lambda nn, n=name: getattr(nn, n)(0.2), (ROWS,)),
            },
            {"lambd": 0.1},
        )
        for name in ("Hardshrink", "Softshrink")
    ),
    Entry(
        "GLU",
        {
            "plain": Case(lambda nn: nn.GLU(), (ROWS,)),
            "first": Case(lambda nn: nn.GLU(0), (ROWS,)),
        },
        {"dim": 0},
    ),
    Entry("Softmin", {"plain": Case(lambda nn: nn.Softmin(dim=1), (ROWS,))}, {"dim": 0}),
    Entry(
        "Softmax2d",
        {
            "plain": Case(lambda nn: nn.Softmax2d(), ((2, 3, 4, 5),)),
            "single": Case(lambda nn: nn.Softmax2d(), ((3, 4, 5),)),
        },
    ),
)


def cases(
    name: str, *given: Any, rounded: float = 0.0, nan: bool = True, **others: Callable[..., Any]
) -> Entry:
    """A function of one tensor: with no options, with some, and on numbers with kinks.

    No `nan` among them where PyTorch's gradient of NaN depends on its place in the array and on
    the processor: another one where it computes a whole vector than in what is left.
    """
    found = {"plain": Case(lambda F, x: getattr(F, name)(x), (X,))}
    if given:
        found["options"] = Case(lambda F, x: getattr(F, name)(x, *given), (X,), smooth=False)
    numbers = KINKS if nan else np.nan_to_num(KINKS, nan=0.25)
    found["kinks"] = Case(lambda F, x: getattr(F, name)(x), (numbers,), smooth=False)
    found |= {key: Case(call, (X,), smooth=False) for key, call in others.items()}
    return Entry(name, {key: replace(case, rounded=rounded) for key, case in found.items()})


def in_place(name: str, *given: Any) -> Entry:
    """A function that changes its input, here a result."""
    return Entry(name, {"plain": Case(lambda F, x: getattr(F, name)(x * 2.0, *given), (X,))})


GUMBEL = Case(
    lambda F, x: F.gumbel_softmax(x * 1000.0, hard=True).detach().sum(-1), (X,), smooth=False
)

ACTIVATION_FUNCTIONS: tuple[Entry, ...] = (
    cases("mish", inplace=lambda F, x: F.mish(x * 2.0, inplace=True)),
    cases("logsigmoid"),
    cases("softsign"),
    cases("tanhshrink"),
    cases("elu", 0.5, nan=False, inplace=lambda F, x: F.elu(x * 2.0, 0.5, True)),
    cases("celu", 0.5, nan=False, inplace=lambda F, x: F.celu(x * 2.0, 0.5, inplace=True)),
    cases("selu", nan=False, inplace=lambda F, x: F.selu(x * 2.0, inplace=True)),
    cases("hardtanh", -0.5, 2.0, nan=False, inplace=lambda F, x: F.hardtanh(x * 2, -1, 1, True)),
    cases("relu6", nan=False, inplace=lambda F, x: F.relu6(x * 4.0, inplace=True)),
    cases("hardsigmoid", rounded=1e-7, inplace=lambda F, x: F.hardsigmoid(x * 2.0, True)),
    cases("hardswish", nan=False, inplace=lambda F, x: F.hardswish(x * 2.0, inplace=True)),
    cases("hardshrink", 0.7, nan=False),
    cases("softshrink", 0.7, nan=False),
    cases("rrelu", 0.1, 0.3, inplace=lambda F, x: F.rrelu(x * 2.0, 0.2, 0.2, True, True)),
    Entry(
        "threshold",
        {
            "plain": Case(lambda F, x: F.threshold(x, 0.1, 20.0), (X,)),
            "inplace": Case(lambda F, x: F.threshold(x * 2.0, 0.1, 20.0, True), (X,)),
        },
    ),
    Entry(
        "prelu",
        {
            "plain": Case(lambda F, x, w: F.prelu(x, w), (X, (1,))),
            "channels": Case(lambda F, x, w: F.prelu(x, w), ((2, 3, 4), (3,))),
            "vector": Case(lambda F, x, w: F.prelu(x, w), ((4,), (1,))),
        },
    ),
    Entry(
        "glu",
        {
            "plain": Case(lambda F, x: F.glu(x), ((3, 4),)),
            "first": Case(lambda F, x: F.glu(x, dim=0), ((4, 3),)),
        },
    ),
    Entry(
        "softmin",
        {"plain": Case(lambda F, x: F.softmin(x, -1), (X,))},
        differs={"_stacklevel": "private"},
    ),
    Entry("gumbel_softmax", {"plain": GUMBEL}),
    in_place("relu_"),
    in_place("leaky_relu_", 0.2),
    in_place("elu_", 0.5),
    in_place("selu_"),
    in_place("celu_", 0.5),
    in_place("hardtanh_", -1.0, 1.0),
    in_place("threshold_", 0.1, 5.0),
    in_place("rrelu_", 0.1, 0.3),
)
