"""Wrong uses of the public interface, as a table: what is called, and what its error must name.

Families are generated from signatures, so that a new layer or function is in the table at once.
"""

from __future__ import annotations

from tests.wrong_uses.calls import (
    METHODS,
    RANGES,
    TRACED,
    Use,
    constructors,
    data,
    functions,
    shapes,
)
from tests.wrong_uses.training import fits, losses, optimizers, states, torch_uses

__all__ = ["Use", "all_uses", "torch_uses"]


def all_uses() -> dict[str, Use]:
    """The whole table but for PyTorch's part."""
    found: dict[str, Use] = {}
    tables = (RANGES, {f"method: {k}": v for k, v in METHODS.items()})
    for table in (*tables, {f"traced: {k}": v for k, v in TRACED.items()}):
        found.update(table)
    for family in (constructors, shapes, data, functions, fits, optimizers, losses, states):
        found.update(family())
    return found
