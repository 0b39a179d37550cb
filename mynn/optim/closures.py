"""Closures: functions that compute a loss and its gradients anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mynn.base.arguments import shown
from mynn.errors import ArgumentTypeError
from mynn.tensor.gradients.grad_mode import enable_grad


def evaluated(name: str, closure: Callable[[], Any]) -> Any:
    """What a closure returns, which computes a loss and its gradients."""
    if not callable(closure):
        raise ArgumentTypeError(
            f"step of {name}: closure must be a function that computes the loss, calls backward() "
            f"and returns the loss; it is {shown(closure)}. Write optimizer.step() or "
            "optimizer.step(closure)"
        )
    with enable_grad():
        return closure()
