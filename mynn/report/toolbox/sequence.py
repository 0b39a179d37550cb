"""A sequence of tools with the data that it is run on, checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mynn.core.types import Array
from mynn.report.toolbox.tools import criterion_mse, linear


@dataclass(frozen=True)
class Arguments:
    """Input, target and sequence, checked against each other."""

    tools: tuple[Any, ...]
    layers: tuple[linear, ...]
    given: Any
    input: Array
    target: Array | None
    criterion: criterion_mse | None
