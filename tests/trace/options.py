"""Values of a Python module of the user's, which networks of the tests read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from mynn import nn

HELD = SimpleNamespace(scale=2.0)
NETWORKS: list[Any] = [nn.Linear(3, 2)]
