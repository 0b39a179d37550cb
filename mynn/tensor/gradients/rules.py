"""Rules of primitives by recipes, for gradients that can be differentiated again.

A rule is a function of tensors, as those that users call, and has a recipe as these have
(`mynn.tensor.at_once.recipes`): the nodes that it makes are made without the tensors on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mynn.base.recording import Tried
from mynn.core.autodiff import apply_rule
from mynn.core.graph import Node
from mynn.core.kinds import Kind
from mynn.core.placed import Placed
from mynn.core.types import Tuple
from mynn.tensor.at_once import recipes
from mynn.tensor.tensor import Tensor


class Rule:
    """The rule of a kind of node, for the cotangents of some of its inputs.

    - `odd`: whether it gives something else than tensors, whole or as slices.
    - `parts`: for each of these the input, and where a slice lies.
    """

    __slots__ = ("_kind", "_which", "odd", "parts", "tried")

    def __init__(self, kind: Kind, which: int) -> None:
        self._kind, self._which = kind, which
        self.odd = False
        self.parts: tuple[tuple[int, tuple[Any, ...] | None], ...] = ()
        self.tried = Tried(self._tensors, kind.primitive.name, parts=False)

    def _tensors(self, g: Any, y: Any, *xs: Any) -> list[Any]:
        """The tensors that the rule gives, whose places are noted."""
        vjp = self._kind.primitive.vjp
        assert vjp is not None
        parts: list[tuple[int, tuple[Any, ...] | None]] = []
        tensors: list[Any] = []
        for number, part in enumerate(vjp(g, y, *xs, **self._kind.params)):
            if part is None or not self._which >> number & 1:
                continue
            if isinstance(part, Placed):
                parts.append((number, (part.shape, part.starts, part.steps)))
                part = part.value
            else:
                parts.append((number, None))
            self.odd = self.odd or not isinstance(part, Tensor)
            tensors.append(part)
        self.parts = tuple(parts)
        return tensors


def by_recipe(
    node: Node, result: Node, g: Any, wrap: Callable[[Node], Any], which: int
) -> Sequence[Any]:
    """`apply_rule`, by a recipe where the rule has one."""
    kind = node.kind
    plain = kind is None or result is not node or not isinstance(g, Tensor)
    if plain or kind.primitive.vjp is None or isinstance(node.type, Tuple):
        return apply_rule(node, result, g, wrap, which)
    rule = kind.rules.get(which)
    if rule is None:
        rule = kind.rules[which] = Rule(kind, which)
    found = None
    if not rule.odd and rule.tried.worth:
        arguments = (g, wrap(node), *[wrap(x) for x in node.inputs])
        found = recipes.call(rule.tried, arguments, {})
    if found is None or rule.odd:
        return apply_rule(node, result, g, wrap, which)
    cotangents: list[Any] = [None] * len(node.inputs)
    for (number, placed), tensor in zip(rule.parts, found, strict=True):
        cotangents[number] = tensor if placed is None else Placed(tensor, *placed)
    return cotangents


__all__ = ["by_recipe"]
