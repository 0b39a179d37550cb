"""The command line."""

from __future__ import annotations

from mynn.cli.app import main

__all__ = ["main"]
