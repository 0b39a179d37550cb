"""Fork: the child has one thread, and nothing that another thread was about stands in its way.

Locks that another thread held are free in the child (`register`), LLVM is in nobody's hands when a
process forks (`hold`) and nothing half imported (`loading`), and whoever counts threads of the
parent is told (`after_fork_in_child`).
"""

from __future__ import annotations

import contextlib
import operator
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

Lock = TypeVar("Lock")

_locks: weakref.WeakSet[Any] = weakref.WeakSet()
_renew = operator.methodcaller("_at_fork_reinit")


def register(lock: Lock) -> Lock:
    """The lock (of `threading`), which nobody holds in the child of a fork.

    What it guards must be whole between any two instructions of Python, or not matter.

    Example:
        >>> import threading
        >>> lock = register(threading.Lock())
        >>> with lock:
        ...     pass
    """
    _locks.add(lock)
    return lock


def after_fork_in_child(function: Callable[[], None]) -> Callable[[], None]:
    """Have the child of a fork call this function; a decorator."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
    return function


@after_fork_in_child
def _renew_locks() -> None:
    for lock in list(_locks):
        _renew(lock)


# -- LLVM has locks and tables of its own, and so has an import: no other thread is inside when a
# -- process forks

# Held by who imports while threads may run: the child could never import what is half imported.
loading = threading.RLock()


# Held by threads that are in LLVM; those of the second set are taken by who may hold one of the
# first, never the other way round.
_working: weakref.WeakSet[Any] = weakref.WeakSet()
_innermost: weakref.WeakSet[Any] = weakref.WeakSet()


def hold(lock: Lock, innermost: bool = False) -> Lock:
    """The lock, a `threading.RLock`, for which a fork waits; for an innermost one after all others,
    since whoever holds one of them may need it.

    Example:
        >>> import threading
        >>> with hold(threading.RLock()):
        ...     pass  # no other thread can fork
    """
    with loading:  # not while a process forks
        (_innermost if innermost else _working).add(lock)
    return lock


def _llvm_lock() -> Any:
    """The lock that llvmlite holds in most calls of LLVM, if it was imported."""
    library = getattr(sys.modules.get("llvmlite.binding.ffi"), "lib", None)
    return getattr(getattr(library, "_lock", None), "_lock", None)


_held: list[Any] = []


def _before() -> None:
    loading.acquire()
    _held.append(loading)
    # Looked for only now: LLVM itself may be what another thread was loading.
    for lock in (*_working, *_innermost, _llvm_lock()):
        if lock is not None:
            lock.acquire()
            _held.append(lock)


def _after() -> None:
    while _held:
        with contextlib.suppress(RuntimeError):
            _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
