"""`Called`: a function called with variables in place of some arguments, to be differentiated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from mynn.base.arguments import shown
from mynn.base.structure import flatten, rebuild
from mynn.core import autodiff
from mynn.core.graph import Node, constant, topological
from mynn.errors import ArgumentError, ArgumentTypeError, DTypeError, ShapeError, UsageError
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
from mynn.tensor.gradients.history import arrived
from mynn.trace import tracing
from mynn.transform.structures import with_arrays

ArgNums = int | tuple[int, ...]


class Called:
    """What a function returned for arguments of which some are variables.

    - `arguments`: the arguments by which it is differentiated, with tensors for arrays and numbers.
    - `variables`: the leaves of those; `nodes`: theirs, before the function could change them.
    - `returned`: what it returned; `aux`: its second part, where that is passed on as it is.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Any,
        positions: Sequence[int],
        has_aux: bool = False,
    ) -> None:
        self.name = name
        self._recording = grad_enabled()
        self.variables: list[Tensor] = []
        with enable_grad():
            changed = list(args)
            for position in positions:
                given = with_arrays(args[position])
                leaves = [self._variable(leaf, position) for leaf in flatten(given)]
                changed[position] = rebuild(given, iter(leaves))
            self.arguments = tuple(changed[position] for position in positions)
            self.nodes = [graph_node(x) for x in self.variables]
            # Nodes of this derivative alone: nobody outside can differentiate by them.
            self.own = set(self.nodes)
            returned = function(*changed, **kwargs)
        if has_aux and not (isinstance(returned, tuple) and len(returned) == 2):
            raise UsageError(
                f"{name}: with has_aux=True the function returns a tuple (result, aux), it "
                f"returned {shown(returned)}"
            )
        self.returned: Any = returned[0] if has_aux else returned
        self.aux: Any = returned[1] if has_aux else None

    def _variable(self, argument: Any, position: int) -> Tensor:
        """A tensor of the argument's value with a node of its own.

        It must not be the argument itself: in `grad(lambda y: x * y)(x)` only y is varied.
        """
        x = argument if isinstance(argument, Tensor) else as_tensor(as_array(argument))
        if x.dtype.kind != "f":
            raise DTypeError(
                f"{self.name}: argument {position} is {x.dtype}, only floats have gradients; "
                "convert it with .astype"
            )
        if tracing.active() is not None:
            node = apply(elementwise.cast, x, dtype=x.dtype).node
            assert node is not None
            variable = Tensor.from_node(node, requires_grad=True)
        elif x.requires_grad:
            variable = apply(elementwise.cast, x, dtype=x.dtype)
        else:
            variable = Tensor.from_value(x.numpy())
            variable.requires_grad = True
        self.variables.append(variable)
        return variable

    def outputs(self) -> list[Tensor]:
        """The tensors that the function returned."""
        found = list(flatten(self.returned))
        for one in found:
            if not isinstance(one, Tensor):
                raise ArgumentTypeError(
                    f"{self.name}: the function must return tensors, it returned {shown(one)}; "
                    "leave out .item() and .numpy() there, or pass it on with has_aux=True"
                )
        return found

    def again(self, results: Iterable[Tensor]) -> bool:
        """Whether somebody outside may differentiate what comes of these results again."""
        asking = [one for one in results if one.requires_grad]
        if not self._recording or not asking:
            return False
        if tracing.active() is not None:
            return True
        return any(
            leaf_requires_grad(node) and node not in self.own
            for node in topological(map(graph_node, asking))
        )

    def released(self, structure: Any) -> Any:
        """Results without a history that ends in the variables alone."""
        leaves = (
            one if not isinstance(one, Tensor) or self.again([one]) else one.detach()
            for one in flatten(structure)
        )
        return rebuild(structure, leaves)

    def zeros(self, tensor: Tensor) -> Tensor:
        """Zeros of its type, by which one can differentiate."""
        value = np.zeros(tensor.shape, tensor.dtype)
        if tracing.active() is not None:
            zeros = Tensor.from_node(constant(value), requires_grad=True)
        else:
            zeros = Tensor.from_value(value)
            zeros.requires_grad = True
        self.own.add(graph_node(zeros))
        return zeros

    def slopes(
        self,
        ends: Sequence[Node | None],
        seeds: Sequence[Tensor],
        starts: Sequence[Node],
        again: bool,
    ) -> list[Tensor]:
        """The sums over the ends y of seed^T dy/dx, for each start x; zeros where none depends."""
        with enable_grad() if again else no_grad():
            given: dict[Node, Any] = {}
            for node, seed in zip(ends, seeds, strict=True):
                if node is not None:
                    given[node] = given[node] + seed if node in given else seed
            reached = autodiff.reverse(given, set(starts).__contains__, wrap, arrived=arrived())
            check_present(reached[node] for node in starts if node in reached)
            return [
                reached[node] if node in reached else as_tensor(np.zeros(node.shape, node.dtype))
                for node in starts
            ]


def ends(results: Iterable[Tensor]) -> list[Node | None]:
    """The nodes of results; None for those that depend on nothing.

    A trace that begins later takes the results for tensors from outside.
    """
    return [graph_node(one) if one.requires_grad else None for one in results]


def positions_of(name: str, argnums: Any, count: int) -> tuple[int, ...]:
    """Which of so many arguments are named, as numbers from 0 on."""
    positions = argnums if isinstance(argnums, tuple) else (argnums,)
    for position in positions:
        if isinstance(position, bool) or not isinstance(position, int | np.integer):
            raise ArgumentTypeError(
                f"{name}: argnums is {shown(argnums)}; give the position of an argument, or a "
                "tuple of positions"
            )
        if not -count <= position < count:
            raise ArgumentError(
                f"{name}: argnums names argument {position}, the function was given {count}; name "
                "one of those"
            )
    chosen = tuple(int(position) % count for position in positions)
    if len({*chosen}) != len(chosen):
        raise ArgumentError(f"{name}: argnums {positions} names an argument twice")
    return chosen


def vectors(name: str, given: Any, tensors: Sequence[Tensor], what: str) -> list[Tensor]:
    """Nested vectors as tensors of the types of these tensors.

    Raises:
        ShapeError: they are not as many, or have other shapes.
    """
    found = [
        one if isinstance(one, Tensor) else as_tensor(as_array(one))
        for one in flatten(with_arrays(given))
    ]
    shapes, wanted = [one.shape for one in found], [one.shape for one in tensors]
    if shapes != wanted:
        raise ShapeError(
            f"{name}: the {what} have the shapes {_listed(shapes)}, they must have "
            f"{_listed(wanted)}"
        )
    return [one.astype(x.dtype) for one, x in zip(found, tensors, strict=True)]


def _listed(shapes: Sequence[Any]) -> str:
    return ", ".join(map(str, shapes)) or "none"
