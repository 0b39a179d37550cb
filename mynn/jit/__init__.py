"""A Python function as a program: what a trace depends on beside its arguments."""

from __future__ import annotations

import functools
import threading

from mynn import debug
from mynn.base import forks
from mynn.errors import ArgumentError, MynnError

_trying = forks.register(threading.RLock())


def native_available() -> bool:
    """Whether LLVM can make code for this processor; if not, standard error says so once."""
    with _trying:
        return _native_available()


@functools.cache
def _native_available() -> bool:
    try:
        with forks.loading:
            from mynn.runtime.llvm_jit import self_test

        self_test()
    except ArgumentError:  # in an environment variable
        raise
    except (ImportError, OSError, RuntimeError, MynnError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        debug.say(
            f"mynn: no native code on this machine ({reason}); running interpreted, which is slower"
        )
        return False
    return True
