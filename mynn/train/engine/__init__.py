"""What runs the steps: the native loop, or the interpreter doing the same in Python."""

from __future__ import annotations

from mynn.base import forks
from mynn.jit import native_available
from mynn.train.engine.base import Executor
from mynn.train.plan import Run


def executor_for(run: Run) -> Executor:
    """The native loop, or the interpreter where there is no native code."""
    if run.compiled.backend == "native" and native_available():
        with forks.loading:
            from mynn.train.engine.native import NativeExecutor

        return NativeExecutor(run)
    with forks.loading:
        from mynn.train.engine.interpreted import InterpretedExecutor

    return InterpretedExecutor(run)
