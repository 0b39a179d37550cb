"""Which public names of PyTorch are there under the same path, and which are not.

`python -m tests.torch_names` says what has neither a home nor a reason.
"""

from __future__ import annotations

import fnmatch
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.torch_names.left_out import LEFT_OUT, NOT_YET

# Modules and classes whose names are compared, PyTorch's path after `torch.`; ours is the same.
PLACES = (
    "",
    "Tensor",
    "nn",
    "nn.functional",
    "nn.init",
    "nn.utils",
    "nn.utils.parametrizations",
    "nn.utils.parametrize",
    "nn.utils.prune",
    "nn.utils.rnn",
    "optim",
    "optim.lr_scheduler",
    "optim.swa_utils",
    "utils.checkpoint",
    "utils.data",
    "distributions",
    "func",
    "autograd",
    "autograd.functional",
    "linalg",
    "special",
)


@dataclass
class Found:
    """The public names of one place: there, not there with a reason, with neither."""

    there: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def _at(top: str, place: str) -> Any:
    """A module or class by its path, or None."""
    if place == "Tensor":
        return importlib.import_module(top).Tensor
    try:
        return importlib.import_module(f"{top}.{place}".rstrip("."))
    except ModuleNotFoundError:
        return getattr(importlib.import_module(top), place, None)


def public(place: str) -> Iterator[str]:
    """PyTorch's public names at a place, without modules and what is imported from elsewhere."""
    home = _at("torch", place)
    names = dir(home)
    if place != "Tensor" and hasattr(home, "__all__"):
        names = sorted(set(home.__all__))
    for name in names:
        value = getattr(home, name, None)
        if name.startswith("_") or inspect.ismodule(value):
            continue
        module = getattr(value, "__module__", None) or "torch"
        if place == "Tensor" or module.partition(".")[0] == "torch":
            yield name


def compare(place: str) -> Found:
    """What of a place is there."""
    found, ours = Found(), _at("mynn", place)
    reasons = LEFT_OUT.get(place, {})
    for name in public(place):
        if ours is not None and hasattr(ours, name):
            found.there.append(name)
            continue
        for reason, patterns in reasons.items():
            if any(fnmatch.fnmatchcase(name, one) for one in patterns.split()):
                found.left_out.setdefault(reason, []).append(name)
                break
        else:
            if name in NOT_YET.get(place, "").split():
                found.left_out.setdefault("not there yet", []).append(name)
            else:
                found.unknown.append(name)
    return found


def stale(place: str) -> list[str]:
    """Patterns of names left out that match what is there, or nothing."""
    names, there = list(public(place)), set(compare(place).there)
    said = []
    for patterns in LEFT_OUT.get(place, {}).values():
        for one in patterns.split():
            matched = fnmatch.filter(names, one)
            if not matched or there.intersection(matched):
                said.append(one)
    return said
