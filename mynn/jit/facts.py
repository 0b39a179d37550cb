"""Facts about code and classes: what a function reads, what lives as long as its module."""

from __future__ import annotations

import dis
import functools
import sys
import types
from typing import Any

from mynn.base.dataclass import dataclass
from mynn.trace.free_variables import of_others

# Names of builtins that do something once, or look at what no description tells.
_EFFECTS = frozenset(
    {"print", "input", "open", "exec", "eval", "setattr", "delattr", "__import__", "breakpoint"}
    | {"globals", "locals", "vars", "getattr", "id", "hash", "dir", "repr"}
)
# Attributes that do so, and those that make a tensor of another one's values.
ATTRIBUTES = frozenset({"warn", "Tensor", "Parameter", "tensor", "from_numpy", "as_tensor"})
_INSTRUCTIONS = ("IMPORT_", "STORE_GLOBAL", "DELETE_GLOBAL", "STORE_ATTR", "YIELD", "SEND")


@dataclass(frozen=True)
class Facts:
    """What the code of a function reads: globals, and names of attributes."""

    globals: tuple[str, ...]
    attributes: frozenset[str]
    refused: bool


@functools.lru_cache(maxsize=1024)
def facts(code: types.CodeType) -> Facts:
    """Of the code, and of that of the functions within it."""
    found: dict[str, None] = {}
    refused = False
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            found[instruction.argval] = None
        refused |= instruction.opname.startswith(_INSTRUCTIONS)
    attributes = frozenset(code.co_names)
    refused |= bool(found.keys() & _EFFECTS or attributes & ATTRIBUTES)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = facts(constant)
            found.update(dict.fromkeys(inner.globals))
            attributes |= inner.attributes
            refused |= inner.refused
    return Facts(tuple(found), attributes, refused)


@functools.lru_cache(maxsize=256)
def overridable(cls: type) -> frozenset[str]:
    """What a class of the user's may put in the place of what its bases of mynn's have."""
    bases = (base for base in cls.__mro__ if base.__module__.startswith("mynn."))
    return frozenset(name for base in bases for name in vars(base))


def of_class_of_others(cls: type) -> bool:
    """Whether a class is Python's, mynn's or of a package that is installed."""
    if cls.__module__ == "builtins":
        return True
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    if file is None:
        return cls.__module__ in sys.builtin_module_names
    return of_others(file)


def is_importable_class(cls: type) -> bool:
    """Whether a class is what its module has under its name, so that it lives as long."""
    named: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        named = getattr(named, name, None)
    return named is cls


def is_importable(function: types.FunctionType) -> bool:
    """Whether a function is what its module, or a class of that, has under its name."""
    named: Any = sys.modules.get(function.__module__)
    file = getattr(named, "__file__", None)
    if file is None or not of_others(file):
        return False
    for name in function.__qualname__.split("."):
        named = vars(named).get(name) if hasattr(named, "__dict__") else None
    return named is function
