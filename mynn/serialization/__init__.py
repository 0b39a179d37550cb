"""Tensors in files: `mynn.save`, `mynn.load`. Nothing that lies in a file is ever executed."""

from __future__ import annotations

from mynn.serialization.objects import load, save

__all__ = ["load", "save"]
