"""`Trace`: what one trace has recorded: state that was read and written, what was observed, guards.

A tensor that has a value (it was made before the trace) is *state*: reading it makes an input of
the graph, assigning to it an output.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, TypeAlias

from mynn.base.dataclass import dataclass
from mynn.core.graph import CONSTANT, Node, input_node, next_serial
from mynn.core.types import Type
from mynn.trace import leaks
from mynn.trace.effects import Effects
from mynn.trace.guards import Guards

# A tensor that was made before the trace. What tensors can do is of no account here.
State: TypeAlias = Any


@dataclass
class Observer:
    """What layers and backward passes note for those who look at the trace.

    - `modules`: modules that were called, with their paths.
    - `activations`: outputs of modules by their path, in the order of the calls.
    - `cotangents`: for each node the cotangent that the latest backward pass found.
    """

    modules: dict[Any, str] = field(default_factory=dict)
    activations: dict[str, Node] = field(default_factory=dict)
    cotangents: dict[Node, Any] = field(default_factory=dict)


class Trace:
    """The record of one trace.

    - `reads`: for each state tensor the input node that stands for its value at the start.
    - `current`: for each state tensor the node of its present value.
    - `gradients`: `.grad` of the state tensors, as set by backward passes inside the trace.
    - `leaves`: for each node that is or was the present value of a state tensor with
      `requires_grad`, the tensor: where gradients are collected.
    - `promoted`: state tensors that were changed in place by values that have a gradient. They are
      no leaves in this trace.
    - `views`: for state tensors that look at the memory of others, the node of their base and the
      node that was made from it.
    - `overwritten`: nodes that were the values of tensors until these were changed in place, with
      the serial number that a node would have got then; None where a gradient may use them all the
      same (`history.check_overwritten`).
    - `layouts`: by identity, how arguments lie in memory that are not contiguous there
      (`mynn.tensor.view.Layout`); others count as contiguous.
    - `checks`: nodes of `mynn.ops.checks`, in the order in which they were made.
    - `first`: nodes with smaller serial numbers, but for the `arguments`, are of other traces
      (where these are given).
    - `named`: whether parameters get the paths of modules as names.
    - `example`: whether it is of a function of one example (`mynn.transform.vmap`); `outer`: the
      trace in which that goes on, if there is one: state has the values that it has there.
    - `observer`: activations and cotangents; `guards`: what was read of Python, and must hold;
      `effects`: what happened that will not happen again.
    """

    def __init__(self, outer: Trace | None = None, example: bool = False) -> None:
        self.first = next_serial()
        self.outer = outer
        self.example = example
        self.named: bool = outer is None or outer.named
        self.arguments: frozenset[Node] | None = None
        self.reads: dict[State, Node] = {}
        self.current: dict[State, Node] = {}
        self.gradients: dict[State, Any] = {}
        self.leaves: dict[Node, State] = {}
        self.promoted: set[State] = set()
        self.views: dict[State, tuple[Node, Node]] = {}
        self.overwritten: dict[Node, int] | None = None if outer is None else outer.overwritten
        self.layouts: dict[int, Any] = {}
        self.checks: list[Node] = []
        self.observer: Observer = Observer({} if outer is None else outer.observer.modules)
        self.guards: Guards = Guards() if outer is None else outer.guards
        self.effects: Effects = Effects() if outer is None else outer.effects

    def read(self, tensor: State) -> Node:
        """The node of a state tensor's present value."""
        node = self.current.get(tensor)
        if node is None:
            if self.outer is not None:
                node = self.outer.read(tensor)
            else:
                name = tensor.name or f"state{len(self.reads)}"
                node = input_node(Type(tensor.shape, tensor.dtype), name)
            self.reads[tensor] = node
            self.current[tensor] = node
            self.leaves[node] = tensor
        return node

    def write(self, tensor: State, node: Node) -> None:
        """Make `node` the present value of a state tensor."""
        self.read(tensor)
        self.current[tensor] = node
        if tensor not in self.promoted:
            self.leaves.setdefault(node, tensor)

    def promote(self, tensor: State) -> None:
        """A state tensor is about to get a value with a history: until the trace ends."""
        self.promoted.add(tensor)
        tensor.requires_grad = True

    def overwrite(self, node: Node) -> None:
        """The tensor that had this value has another one now."""
        if self.overwritten is not None:
            self.overwritten.setdefault(node, next_serial())

    def writes(self) -> dict[State, Node]:
        """State tensors whose value changed, with the nodes of their new values."""
        return {t: node for t, node in self.current.items() if node is not self.reads[t]}

    def check_own(self, tensor: State, node: Node) -> None:
        """Raise `UsageError` for a traced tensor of another trace, which has ended."""
        if self.outer is not None:
            self.outer.check_own(tensor, node)
        arguments = self.arguments
        if arguments is None or node.serial > self.first or node.primitive is CONSTANT:
            return
        if node not in arguments:
            raise leaks.error(tensor, node, self.observer.modules)
