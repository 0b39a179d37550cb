"""Leaked tensors: those of a trace that has ended have no value, and belong to no other trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mynn.core.graph import Node
from mynn.errors import UsageError

_REMEDY = (
    "Return it from the function and pass it in again, or make it state: "
    "self.register_buffer({name!r}, mynn.Tensor(...)) in __init__, and self.{attribute} = ... "
    "keeps the value from call to call"
)


def error(tensor: Any, node: Node, modules: Mapping[Any, str]) -> UsageError:
    """The error for a tensor that another trace made: where it is kept, and what made it."""
    found = _keeper(tensor, modules)
    kept = f", kept as {found[0]}," if found else ""
    name = found[1] if found else "h"
    return UsageError(
        f"a tensor {node.type}{kept} was made while another call was traced"
        f"{_source(node)}; it stands for no value in this one. {_REMEDY}".format(
            name=name, attribute=name
        )
    )


def without_value(node: Node | None) -> UsageError:
    """The error for a traced tensor that is used outside of any trace."""
    source = "" if node is None else _source(node)
    return UsageError(
        f"a tensor inside a traced function has no value; it was made while the function was traced"
        f"{source}. {_REMEDY}".format(name="h", attribute="h")
    )


def _source(node: Node) -> str:
    return f" (at {node.source})" if node.source else ""


def _keeper(tensor: Any, modules: Mapping[Any, str]) -> tuple[str, str] | None:
    """The attribute of a module that holds the tensor: with its path, and alone."""
    for module, path in modules.items():
        for name, value in vars(module).items():
            items = value.values() if isinstance(value, dict) else value
            held = isinstance(value, list | tuple | dict) and any(one is tensor for one in items)
            if held or value is tensor:
                where = f"{path}.{name}" if path else name
                return f"{where} of {type(module).__name__}", name
    return None
