"""Values of a Python module of the user's, which networks of the tests read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from mynn import nn

HELD = SimpleNamespace(scale=2.0)
NETWORKS: list[Any] = [nn.Linear(3, 2)]
SCALES = [2.0] * 50
SOURCES: dict[str, Any] = {"first": np.random.default_rng(1), "all": [np.random.default_rng(2)]}
