"""Modules that are made anew for each call, as `nn.CrossEntropyLoss()` within a loop.

One without parameters, buffers, parts and hooks is told by its class, its mode and its plain
attributes: a *stand-in* is recorded, the same for all that are equal. So their calls are the same
calls.
"""

from __future__ import annotations

from typing import Any

from mynn.tape.calls.call import Unknown, static
from mynn.tape.calls.step import table

# Stand-ins by what tells them.
_known: dict[Any, Any] = {}
# So many at most.
_MANY = 256
_STATE = ("_parameters", "_buffers", "_modules")
_OWN = frozenset({*_STATE, "_transient", "_training", "_traced", "_kept", "_edits", "_hooks"})


def stand_in(module: Any) -> Any:
    """What is recorded in place of a module that is called for the first time: its stand-in, or
    itself.
    """
    own = vars(module)
    if "_recorded" in own or "_stands_in" in own:
        return module
    table(module)  # with its next call it is no more as good as another one
    plain = own.keys() - _OWN - {"_recorded"}
    if own["_hooks"] is not None or any(
        one is not None for name in _STATE for one in own[name].values()
    ):
        return module
    try:
        attributes = tuple([(name, _told(own[name])) for name in sorted(plain)])
    except Unknown:
        return module
    table(module).known = True
    empty = tuple([tuple(own[name]) for name in _STATE])
    key = (type(module), module._mode, attributes, empty)
    found = _known.get(key)
    if found is None:
        if len(_known) >= _MANY:
            _known.clear()
        found = object.__new__(type(module))
        fields = {name: own[name] for name in plain}
        fields.update({name: dict(own[name]) for name in _STATE})
        fields.update(_transient=set(), _traced=False, _kept=set(), _hooks=None, _edits=0)
        vars(found).update(fields, _training=module._mode, _stands_in=True)
        found = _known.setdefault(key, found)
    return found


def stands_in(module: Any) -> bool:
    """Whether it is a stand-in."""
    return "_stands_in" in vars(module)


def _told(value: Any) -> Any:
    if type(value) in (tuple, list):
        return (type(value), *[_told(one) for one in value])
    return static(value)
