"""`mynn.functional` under PyTorch's path: `import mynn.nn.functional as F`."""

from __future__ import annotations

from typing import Any

from mynn import functional


def __getattr__(name: str) -> Any:
    found = getattr(functional, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(functional.__all__)
