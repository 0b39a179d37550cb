"""From graph to native code; `mynn.compiler.pipeline` lists the passes."""

from __future__ import annotations

from mynn.compiler.pipeline import compile_graph

__all__ = ["compile_graph"]
