"""The first two steps, written down by hand, without PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tests.optim.test_optimizers import CASES, assert_state, slopes, start, steps

WRITTEN = ("SGD", "Adam", "AdamW", "Lion", "LAMB")


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", [n for n in CASES if n.split("-")[0] in WRITTEN])
def test_formulas_against_numpy(name: str) -> None:
    """The first two steps, written down by hand, without PyTorch."""
    params, ours = steps(name, "float64", 2)
    expected = [value.copy() for value in start("float64")]
    memory: list[dict[str, Any]] = [{} for _ in expected]
    members = {id(p): group for group in ours.param_groups for p in group["params"]}
    for t, (i, p) in itertools.product((1, 2), enumerate(params)):
        a, x = slopes("float64")[i], expected[i]
        gradient = a * np.cos(a * x) + a * x * 0.5
        expected[i] = by_hand(type(ours).__name__, dict(members[id(p)]), memory[i], x, gradient, t)
    assert_state(params, expected, 1e-12)


def by_hand(kind: str, o: dict[str, Any], memory: dict[str, Any], p: Any, g: Any, t: int) -> Any:
    """One step as the papers and PyTorch's documentation write it."""
    g = -g if o["maximize"] else g
    if kind in ("Lion", "LAMB"):
        pass
    elif kind == "AdamW" or o.get("decoupled_weight_decay"):
        p = p - o["lr"] * o["weight_decay"] * p
    else:
        g = g + o["weight_decay"] * p
    if kind == "SGD":
        if o["momentum"]:
            old = memory.get("v")
            v = g if old is None else o["momentum"] * old + (1 - o["dampening"]) * g
            memory["v"] = v
            g = g + o["momentum"] * v if o["nesterov"] else v
        return p - o["lr"] * g
    b1, b2 = o["betas"]
    if kind == "Lion":
        m = memory.get("m", 0)
        memory["m"] = b2 * m + (1 - b2) * g
        return p - o["lr"] * (np.sign(b1 * m + (1 - b1) * g) + o["weight_decay"] * p)
    memory["m"] = b1 * memory.get("m", 0) + (1 - b1) * g
    memory["v"] = b2 * memory.get("v", 0) + (1 - b2) * g * g
    memory["top"] = np.maximum(memory.get("top", 0), memory["v"])
    second = memory["top"] if o.get("amsgrad") else memory["v"]
    corrected = np.sqrt(second / (1 - b2**t)) + o["eps"]
    if kind == "LAMB":
        u = memory["m"] / (1 - b1**t) / corrected + o["weight_decay"] * p
        return p - o["lr"] * np.sqrt(np.sum(p * p) / np.sum(u * u)) * u
    return p - o["lr"] * memory["m"] / (1 - b1**t) / corrected
