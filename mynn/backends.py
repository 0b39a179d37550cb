"""Switches of PyTorch's libraries: they can be set, and mean nothing here."""

from __future__ import annotations

from types import SimpleNamespace


def _missing(**switches: bool) -> SimpleNamespace:
    """A library that is not there."""
    return SimpleNamespace(is_available=lambda: False, is_built=lambda: False, **switches)


cudnn = _missing(enabled=False, benchmark=False, deterministic=False)
mps = _missing()
mkldnn = _missing(enabled=False)
cuda = SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False), is_built=lambda: False)
