"""Names of a package whose modules are imported when somebody asks for one of them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any


def find(package: str, modules: Mapping[str, str], name: str) -> Any:
    """What `name` stands for in a package, which has it from then on.

    Args:
        package: its full name.
        modules: for each module of it, under its name there, the names that it has, in one text.
        name: what somebody asked for.

    Raises:
        AttributeError: no module has the name.
    """
    for module, names in modules.items():
        if name in names.split():
            found = getattr(importlib.import_module(f"{package}.{module}"), name)
            setattr(sys.modules[package], name, found)
            return found
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
