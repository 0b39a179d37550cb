"""Modules in a trace: which attributes it reads, and under which paths it knows them."""

from __future__ import annotations

from typing import Any

from mynn.trace import tracing
from mynn.trace.snapshot import is_plain
from mynn.trace.trace import Trace

# Attributes of `Module` itself: the tables note their changes themselves, the mode is a
# guard.
OWN = frozenset(
    {"_parameters", "_buffers", "_modules", "_transient", "_training", "_traced", "_edits"}
    | {"_kept", "_hooks", "_computed", "_compiled_methods", "_recorded", "__dict__", "__class__"}
)


def read_attribute(self: Any, name: str) -> Any:
    """`Module.__getattribute__` while anything is traced: the trace keeps the plain attributes."""
    value = object.__getattribute__(self, name)
    trace = tracing.active()
    if trace is not None and name not in OWN:
        own = object.__getattribute__(self, "__dict__")
        if name in own:
            own["_kept"].add(name)
            trace.guards.keep(self, name, value)
        elif is_plain(value):
            keep_default(self, trace, name, value)
    return value


def keep_default(module: Any, trace: Trace, name: str, value: Any) -> None:
    """The trace keeps a plain value that a class of the user's has for all its instances.

    An instance may get a value of its own later on.
    """
    for base in type(module).__mro__:
        if name in vars(base):
            if vars(base)[name] is value and not base.__module__.startswith("mynn."):
                trace.guards.keep_default(base, name, value)
                module._kept.add(name)
                trace.guards.keep_absence(module, name)
            return


def enter(module: Any, trace: Trace, outermost: Any) -> None:
    """Note the paths of a module that is called and of all below it, and name the parameters by
    them. `outermost` is the module in whose `forward` the call stands, if there is one.

    The first outermost module of a trace (the network) has the path "", others (the loss, a second
    network) the name of their class, with a number where it is taken.
    """
    if module in trace.observer.modules:
        return
    if outermost is not None:
        root = trace.observer.modules.get(outermost, "")
        path = f"{root}.{type(module).__name__}" if root else type(module).__name__
    else:
        path = type(module).__name__ if trace.observer.modules else ""
    taken = set(trace.observer.modules.values())
    unique, count = path, 2
    while unique in taken:
        unique, count = f"{path}{count}", count + 1
    for name, one in module.named_modules(prefix=unique):
        trace.observer.modules.setdefault(one, name)
        trace.guards.versions[one] = one._edits
        object.__setattr__(one, "_traced", True)
    if not trace.named:
        return
    for name, tensor in [*module.named_parameters(unique), *module.named_buffers(unique)]:
        if tensor.name in (None, name.rpartition(".")[2]):
            tensor.name = name
