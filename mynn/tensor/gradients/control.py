"""Scans of tensors, and their gradients: a scan the other way round.

The step of the reverse scan is the gradient of the body, differentiated like any graph. It needs
values of the forward pass: what the body computed is *saved*, a stack of the values of all steps,
which the reverse scan reads step by step; what moves or repeats saved values is done again.

What the body reads in every step and does not change (a weight) gets a cotangent from every step.
Where that is a product, sum over t of a[t]^T b[t], the operands are stacked and one product after
the loop sums over the steps too; where it is a sum, so is that. What is left is added up step by
step.

What depends on such constants alone, a transposed weight, is computed once, before the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from mynn.core import autodiff, interpreter
from mynn.core.graph import (
    CONSTANT,
    Graph,
    Node,
    apply,
    constant,
    input_node,
    substituted,
    topological,
)
from mynn.core.primitive import Primitive
from mynn.core.types import Tuple, Type
from mynn.ops import contraction, control, elementwise, movement, reduce
from mynn.tensor import promotion
from mynn.tensor.gradients.grad_mode import enable_grad
from mynn.tensor.gradients.history import graph_node
from mynn.tensor.promotion import as_tensor
from mynn.tensor.value import AnyTensor, Value
from mynn.tensor.view import value_of
from mynn.trace import tracing

# What is computed again from saved values: values at other places.
_MOVEMENT = (
    movement.reshape,
    movement.transpose,
    movement.broadcast_to,
    movement.slice_,
    movement.flip,
)


def several(
    primitive: Primitive, operands: Sequence[Any], asking: bool | Sequence[bool], **params: Any
) -> list[Any]:
    """The values of a node that has several: in a trace as nodes, otherwise computed now.

    `asking`: whether they have a gradient, those that are floats; or which of them.
    """
    nodes = tuple([graph_node(x) for x in operands])
    whole = primitive.infer(*[node.type for node in nodes], **params)
    assert isinstance(whole, Tuple)
    node = Node(primitive, nodes, params, whole, source=tracing.user_source())
    found: Any = None
    if tracing.active() is None:
        arrays: list[Any] = [value_of(x) for x in operands]
        found = interpreter.apply(primitive, arrays, params, whole)
        node.value = found
    asks = [asking] * len(whole.parts) if isinstance(asking, bool) else asking
    results: list[Any] = []
    for number, (type, ask) in enumerate(zip(whole.parts, asks, strict=True)):
        piece = Node(control.part, (node,), {"number": number}, type)
        differentiable = ask and type.dtype.kind == "f"
        if found is None:
            if type.dtype.kind == "f" and not differentiable:
                piece = Node(elementwise.stop_gradient, (piece,), {}, type)
            results.append(Value.from_node(piece, differentiable))
        else:
            piece.value = found[number]
            results.append(Value.from_value(found[number], piece if differentiable else None))
    return results


def scanned(operands: Sequence[Any], asking: bool | Sequence[bool], **params: Any) -> list[Any]:
    """The values of a scan."""
    return several(control.scan, operands, asking, **params)


def depending(nodes: Iterable[Node], roots: Iterable[Node]) -> set[Node]:
    """Of nodes in topological order those that depend on `roots`, and these."""
    found = set(roots)
    for node in nodes:
        if any(x in found for x in node.inputs):
            found.add(node)
    return found


def scan_cotangents(
    self: Any, g: Sequence[Any], operands: Sequence[Any], body: Graph, **params: Any
) -> tuple[Any, ...]:
    """The cotangents of the operands of a scan, from those of its values (None: none arrives)."""
    return _Reverse(g, operands, body, **params).cotangents()


class _Reverse:
    """Makes a reverse scan."""

    def __init__(
        self,
        g: Sequence[Any],
        operands: Sequence[Any],
        body: Graph,
        carry: int,
        sequences: int,
        length: int,
        reverse: bool,
    ) -> None:
        self.g = g
        self.operands = operands
        self.body = body
        self.params = {"carry": carry, "sequences": sequences, "length": length}
        self.back = reverse
        self.carried = body.inputs[:carry]
        self.steps = dict(zip(body.inputs[carry:][:sequences], operands[carry:], strict=False))
        self.fixed = dict(
            zip(body.inputs[carry + sequences :], operands[carry + sequences :], strict=True)
        )
        self.forward = set(body.nodes())
        # The cotangents that a step is given: of the carry behind it, and of what it gave.
        self.later = {
            number: input_node(node.type)
            for number, node in enumerate(body.outputs)
            if node.dtype.kind == "f" and (number < carry or g[number] is not None)
        }
        self.found = self._differentiated()
        order = topological(self.found.values())
        self.late = depending(order, self.later.values())
        self.moving = depending(order, (*self.carried, *self.steps))
        self.known: dict[Node, Node] = {}
        # Inputs of the reverse scan: for a node of a step its input, and what is given there.
        self.saved: list[Node] = []
        self.read: list[tuple[Node, Callable[[], Any]]] = []
        self.constants: list[tuple[Node, Any]] = []
        self.results: list[Node] = []
        self.replayed: dict[Node, Any] = dict(self.fixed)

    def _differentiated(self) -> dict[Node, Node]:
        """For the inputs of the body the nodes of their cotangents, within a step."""
        with tracing.tracing(), enable_grad():
            seeds: dict[Node, Any] = {}
            for number, later in self.later.items():
                node, g = self.body.outputs[number], wrapped(later)
                seeds[node] = seeds[node] + g if node in seeds else g
            wanted = {node for node in self.body.inputs if node.dtype.kind == "f"}
            reached = autodiff.reverse(seeds, wanted.__contains__, wrapped)
            return {node: graph_node(reached[node]) for node in wanted if node in reached}

    # -- what a step needs of the forward pass -----------------------------------------------------

    def settle(self, node: Node) -> None:
        """See to it that a node that no cotangent goes into can be computed in a step."""
        if node in self.known or node.primitive is CONSTANT:
            return
        if node not in self.moving:
            self._settle_fixed(node)
        elif node in self.steps:
            operand = self.steps[node]
            self._read(node, lambda: operand)
        elif node in self.forward and node.primitive not in _MOVEMENT:
            self._read(node, self._save(node))
        else:
            for x in node.inputs:
                self.settle(x)

    def _settle_fixed(self, node: Node) -> None:
        """What is the same in all steps is computed before; but repeats of it are not stored."""
        if not depending(topological((node,)), self.fixed) & {node}:
            return
        if node.inputs and node.primitive in (movement.broadcast_to, movement.reshape):
            self.settle(node.inputs[0])
            return
        self.known[node] = placeholder = input_node(node.type)
        self.constants.append((placeholder, self.replay(node)))

    def _read(self, node: Node, stack: Callable[[], Any]) -> None:
        self.known[node] = placeholder = input_node(node.type)
        self.read.append((placeholder, stack))

    def _save(self, node: Node) -> Callable[[], Any]:
        """The stack of a node's values, once the forward scan has been made anew."""
        if node not in self.saved:
            self.saved.append(node)
        number = self.saved.index(node)
        return lambda: self.stacks[number]

    def replay(self, node: Node) -> Any:
        """The value, outside of the loop, of a node that is the same in all steps."""
        for one in topological((node,), stop=self.replayed.__contains__):
            if one in self.replayed:
                continue
            if one.primitive is CONSTANT:
                self.replayed[one] = as_tensor(one.value)
                continue
            inputs = [self.replayed[x] for x in one.inputs]
            self.replayed[one] = promotion.apply(one.primitive, *inputs, **one.params)
        return self.replayed[node]

    # -- sums over the steps -----------------------------------------------------------------------

    def stack(self, node: Node) -> Callable[[], Any]:
        """The values of a node in all steps."""
        if node in self.steps:
            operand = self.steps[node]
            return lambda: operand
        if node in self.moving and node in self.forward and node not in self.late:
            return self._save(node)
        if node.primitive is movement.transpose:
            inner = self.stack(node.inputs[0])
            axes = (0, *(axis + 1 for axis in node.params["axes"]))
            return lambda: inner().permute(axes)
        if node not in self.results:
            self.results.append(node)
        number = self.results.index(node)
        return lambda: self.made[len(self.carries) + number]

    def total(self, node: Node) -> Callable[[], Any] | None:
        """The sum over the steps of a node; None where it is to be added up step by step."""
        primitive, params = node.primitive, node.params
        if primitive in (elementwise.add, elementwise.sub):
            sides = [self.total(x) for x in node.inputs]
            left, right = sides
            if left is None or right is None:
                return None
            return lambda: promotion.apply(primitive, left(), right())
        if primitive in (elementwise.neg, movement.transpose, movement.reshape):
            inner = self.total(node.inputs[0])
            return None if inner is None else lambda: promotion.apply(primitive, inner(), **params)
        if primitive is reduce.sum:
            each, axes = self.stack(node.inputs[0]), params["axes"]
            over = (0, *(axis + 1 for axis in axes))
            return lambda: promotion.apply(reduce.sum, each(), axes=over)
        dims = _dims(node)
        if dims is None or any(x not in self.moving | self.late for x in node.inputs):
            return None
        a, b = map(self.stack, node.inputs)
        return lambda: _contracted(a(), b(), *dims)

    # -- all together ------------------------------------------------------------------------------

    def cotangents(self) -> tuple[Any, ...]:
        """Those of the operands of the forward scan."""
        totals = {node: self.total(self.found[node]) for node in self.fixed if node in self.found}
        added = [node for node, total in totals.items() if total is None]
        sums = {node: input_node(node.type) for node in added}
        self.carries = [self.later[j] for j, node in enumerate(self.carried) if j in self.later]
        self.carries += sums.values()
        outputs = [
            self.found.get(node) or constant(np.zeros(node.shape, node.dtype))
            for j, node in enumerate(self.carried)
            if j in self.later
        ]
        outputs += [apply(elementwise.add, sums[node], self.found[node]) for node in added]
        stepwise = [node for node in self.steps if node in self.found]
        for node in stepwise:
            self.stack(self.found[node])
        outputs += self.results
        self.late = depending(topological(outputs), [*self.later.values(), *sums.values()])
        self._settle_all(outputs)
        self._run_forward()
        made = self._run_backward(outputs, added)
        result: list[Any] = []
        count = sum(j in self.later for j in range(len(self.carried)))
        firsts = iter(made[:count])
        result += [next(firsts) if j in self.later else None for j in range(len(self.carried))]
        self.made = made
        result += [
            self._stacked(self.found[node]) if node in self.found else None for node in self.steps
        ]
        by_steps = dict(zip(added, made[count:], strict=False))
        for node in self.fixed:
            total = totals.get(node)
            result.append(by_steps.get(node) if total is None else total())
        return tuple(result)

    def _stacked(self, node: Node) -> Any:
        return self.stack(node)()

    def _settle_all(self, outputs: Sequence[Node]) -> None:
        for node in topological(outputs, stop=lambda node: node not in self.late):
            if node in self.late:
                for x in node.inputs:
                    if x not in self.late:
                        self.settle(x)
        for node in outputs:
            if node not in self.late:
                self.settle(node)

    def _run_forward(self) -> None:
        """The forward scan once more, with what has to be saved; the compiler makes one of both."""
        count = len(self.body.outputs)
        body = Graph(self.body.inputs, (*self.body.outputs, *self.saved))
        self.stacks = []
        if self.saved:
            params = {"body": body, **self.params, "reverse": self.back}
            self.stacks = scanned(self.operands, True, **params)[count:]

    def _run_backward(self, outputs: Sequence[Node], added: Sequence[Node]) -> list[Any]:
        count = len(self.carried)
        firsts = [
            self._seed(j, node.type) for j, node in enumerate(self.carried) if j in self.later
        ]
        firsts += [zeros(node.type) for node in added]
        reads = [(self.later[j], self.g[j]) for j in self.later if j >= count]
        reads += [(placeholder, stack()) for placeholder, stack in self.read]
        names = [node for node, _ in reads]
        inputs = (*self.carries, *names, *(node for node, _ in self.constants))
        body = Graph(inputs, substituted(outputs, self.known))
        operands = [*firsts, *(x for _, x in reads), *(x for _, x in self.constants)]
        params = {
            "body": body,
            "carry": len(firsts),
            "sequences": len(reads),
            "length": self.params["length"],
            "reverse": not self.back,
        }
        return scanned(operands, True, **params)

    def _seed(self, number: int, type: Type) -> Any:
        g = self.g[number]
        return zeros(type) if g is None else g


def wrapped(node: Node) -> AnyTensor:
    """A node as a tensor that has a gradient."""
    tensor: AnyTensor = Value.from_node(node, requires_grad=True)
    return tensor


def zeros(type: Type) -> Any:
    """A tensor of zeros of a type."""
    return as_tensor(np.zeros(type.shape, type.dtype))


def _dims(node: Node) -> tuple[int, int] | None:
    """How many axes of a product are batch, and how many are summed."""
    if node.primitive is contraction.contract:
        return node.params["batch"], node.params["summed"]
    if node.primitive is contraction.matmul and node.dtype.kind == "f":
        return len(node.shape) - 2, 1
    return None


def _contracted(a: Any, b: Any, batch: int, summed: int) -> Any:
    """The sum over the steps, the first axis of both, of products of so many axes."""
    kept = a.ndim - 1 - batch - summed
    # a [T, B.., P.., K..] -> [B.., P.., T, K..];  b [T, B.., K.., Q..] -> [B.., T, K.., Q..]
    before = range(1, 1 + batch + kept)
    left = a.permute((*before, 0, *range(1 + batch + kept, a.ndim)))
    right = b.permute((*range(1, 1 + batch), 0, *range(1 + batch, b.ndim)))
    return left.contract(right, batch, summed + 1)
