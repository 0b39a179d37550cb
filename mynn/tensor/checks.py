"""Ranges of values that must hold: looked at now, or by whoever runs the graph of the trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mynn.core.failure import failure, wrong_places
from mynn.core.graph import CONSTANT, Node
from mynn.core.types import Array
from mynn.ops.checks import outside
from mynn.tensor.gradients.history import graph_node
from mynn.tensor.value import AnyTensor
from mynn.tensor.view import value_of
from mynn.trace import tracing


def require_range(
    x: AnyTensor,
    name: str,
    kind: str,
    low: float,
    high: float,
    ignore: int | None = None,
    axis: int = 0,
    warns: bool = False,
) -> None:
    """Raise where a value of `x` lies outside low..high and is not the one to ignore.

    In a trace the check becomes a part of the graph, unless the values are constants.

    Args:
        name: the function that asks for it.
        kind: what the values are: "labels", "index" (into `axis`), "probabilities" or "parameter".
        warns: warn instead, once for each line of the user's code.

    Raises:
        DataError: for all but indices.
        IndexRangeError: for indices.
    """
    words = {"name": name, "kind": kind, "axis": axis, "warns": warns}
    require(x, {"low": low, "high": high, "ignore": ignore, **words})


def require(x: AnyTensor, params: Mapping[str, Any], source: str | None = None) -> None:
    """`require_range` with the parameters of the check, and the line that asked for it, if that is
    not the one which calls.
    """
    trace = tracing.active()
    node = None if trace is None else graph_node(x)
    value: Array | None = value_of(x) if node is None else node.value
    if node is not None and (node.primitive is not CONSTANT or value is None):
        assert trace is not None
        source = source or tracing.user_source()
        check = Node(outside, (node,), params, outside.infer(node.type), source=source)
        trace.checks.append(check)
    elif value is not None and is_wrong(value, **params):
        source = source or tracing.user_source()
        found = failure(Node(outside, (), params, outside.infer(x.spec), source=source), value)
        assert found is not None
        if not found.warns:
            raise found.error()
        found.warn()


def is_wrong(value: Array, low: float, high: float, ignore: int | None, **words: Any) -> bool:
    """Whether a check with these parameters fails."""
    return bool(wrong_places(value, low, high, ignore).any())
