"""`grad` and `value_and_grad`: derivatives of functions, as functions.

They work on arrays and tensors, eagerly and inside traced functions, and nest: `grad(grad(f))` is
the second derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import run_at_once
from mynn.core import autodiff
from mynn.core.graph import Node, topological
from mynn.errors import ArgumentError, DTypeError, UsageError
from mynn.ops import elementwise
from mynn.tensor import (
    Tensor,
    apply,
    as_array,
    as_tensor,
    check_present,
    enable_grad,
    grad_enabled,
    graph_node,
    leaf_requires_grad,
    no_grad,
    wrap,
)
from mynn.trace import tracing

ArgNums = int | tuple[int, ...]


@explained
def grad(function: Callable[..., Any], argnums: ArgNums = 0) -> Callable[..., Any]:
    """The gradient of a scalar function with respect to one or more of its arguments.

    grad(f)(x)[i] = d f(x) / d x[i]

    Args:
        function: takes arrays or tensors (others are passed through), returns a tensor of one
            element. It sees tensors where a gradient is asked for.
        argnums: the position of the argument to differentiate by, or a tuple of positions.

    Returns:
        A function of the same arguments. It returns a tensor of the shape and dtype of the chosen
        argument, or a tuple of them for a tuple of positions; zeros where f does not depend on it.

    Raises:
        ArgumentError: a position is out of range or given twice.
        DTypeError: a chosen argument does not hold floats.
        UsageError: the function does not return a tensor of one element.

    Example:
        >>> from mynn import grad
        >>> cube = lambda x: (x * x * x).sum()
        >>> grad(cube)(2.0).item(), grad(grad(cube))(2.0).item()
        (12.0, 12.0)

    Source: Griewank, Walther, "Evaluating Derivatives", 2nd edition, SIAM 2008, chapter 3.2.
    """
    both = value_and_grad(function, argnums)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return gradient


@explained
def value_and_grad(
    function: Callable[..., Any], argnums: ArgNums = 0
) -> Callable[..., tuple[Tensor, Any]]:
    """The value of a scalar function together with its gradient; see `grad`.

    Example:
        >>> from mynn import value_and_grad
        >>> value, slope = value_and_grad(lambda x: (x * x).sum())([1.0, 2.0])
        >>> value.item(), slope.tolist()
        (5.0, [2.0, 4.0])
    """
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @run_at_once
    def both(*args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        chosen = _checked_positions(positions, len(args))
        recording = grad_enabled()
        with enable_grad():
            changed = list(args)
            for position in chosen:
                changed[position] = _variable(args[position], position)
            variables = [changed[position] for position in chosen]
            # The function may change them in place.
            nodes = [graph_node(x) for x in variables]
            value = function(*changed, **kwargs)
        value = _checked_value(value)
        gradients = _reverse(value, nodes, recording)
        value = value if _depends_on_others(value, nodes, recording) else value.detach()
        return value, gradients[0] if isinstance(argnums, int) else tuple(gradients)

    return both


def _checked_positions(positions: tuple[int, ...], count: int) -> tuple[int, ...]:
    for position in positions:
        if not -count <= position < count:
            raise ArgumentError(
                f"grad: argnums names argument {position}, the function was given {count}; name "
                "one of those"
            )
    chosen = tuple(position % count for position in positions)
    if len(set(chosen)) != len(chosen):
        raise ArgumentError(f"grad: argnums {positions} names an argument twice")
    return chosen


def _variable(argument: Any, position: int) -> Tensor:
    """A tensor of the argument's value with a node of its own.

    It must not be the argument itself: in `grad(lambda y: x * y)(x)` only y is varied.
    """
    traced = tracing.active() is not None
    x = argument if isinstance(argument, Tensor) else as_tensor(as_array(argument))
    if x.dtype.kind != "f":
        raise DTypeError(
            f"grad: argument {position} is {x.dtype}, only floats have gradients; "
            "convert it with .astype"
        )
    if traced:
        node = apply(elementwise.cast, x, dtype=x.dtype).node
        assert node is not None
        return Tensor.from_node(node, requires_grad=True)
    if x.requires_grad:
        return apply(elementwise.cast, x, dtype=x.dtype)
    variable = Tensor.from_value(x.numpy())
    variable.requires_grad = True
    return variable


def _checked_value(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise UsageError(
            f"grad: the function must return a tensor of one element, it returned "
            f"{type(value).__name__}"
        )
    if value.numel() != 1 or value.dtype.kind != "f":
        raise UsageError(
            f"grad: the function must return one float, it returned {value.spec}; "
            "reduce it first, for example with .sum() or .mean()"
        )
    return value


def _depends_on_others(value: Tensor, nodes: list[Node], recording: bool) -> bool:
    """Whether somebody outside may differentiate the result again."""
    if not recording or not value.requires_grad:
        return False
    if tracing.active() is not None:
        return True
    return any(
        leaf_requires_grad(node) and node not in nodes for node in topological((graph_node(value),))
    )


def _reverse(value: Tensor, nodes: list[Node], recording: bool) -> list[Tensor]:
    wanted: set[Node] = set(nodes)
    again = _depends_on_others(value, nodes, recording)
    with enable_grad() if again else no_grad():
        seed = as_tensor(np.ones(value.shape, value.dtype))
        reached = autodiff.reverse({graph_node(value): seed}, wanted.__contains__, wrap)
        found = [reached[node] for node in nodes if node in reached]
        check_present(found)
        zeros = (as_tensor(np.zeros(node.shape, node.dtype)) for node in nodes)
        return [reached.get(node, zero) for node, zero in zip(nodes, zeros, strict=True)]
