"""A program under a framework: its source with the import lines of that framework."""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
NO_PROGRAMS = {"__init__", "__main__", "cartpole", "loading"}
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NO_PROGRAMS)

IMPORT = re.compile(r"^(import|from) torch\b", re.MULTILINE)


def with_imports_of(framework: str, source: str) -> str:
    """The source of a program for PyTorch with its import lines changed, and nothing else."""
    source = re.sub(r"^import torch$", f"import {framework} as torch", source, flags=re.MULTILINE)
    return IMPORT.sub(rf"\1 {framework}", source)


def load(name: str, framework: str) -> types.ModuleType:
    """The program as a module of its own, under `torch` or `mynn`."""
    path = FOLDER / f"{name}.py"
    source = path.read_text(encoding="utf-8")
    if framework != "torch":
        source = with_imports_of(framework, source)
    module = types.ModuleType(f"{name}_under_{framework}", __doc__)
    module.__file__ = str(path)
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module


def copy_weights(source: dict[str, Any], target: dict[str, Any]) -> None:
    """Give networks the weights of those of PyTorch."""
    from mynn import nn  # programs under PyTorch are loaded without mynn

    for name, network in source.items():
        values = network.state_dict()
        if isinstance(target[name], nn.Module):
            values = {key: value.numpy() for key, value in values.items()}
        target[name].load_state_dict(values)
