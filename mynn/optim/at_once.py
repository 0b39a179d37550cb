"""Updates at once: the primitives of a step, without a tensor for each.

A step is made of operations of tensors. Where an optimiser takes the same step again (the same
options but the rate, the same parameters with gradients of the same types), it is traced, and run
on the memory of parameters and slots from then on (`mynn.tensor.at_once.straight`): the same
primitives in the same order, and the same bits. Another optimiser that is alike (`_likeness`) takes
the same program, from its first step on.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from mynn.base import forks
from mynn.core.graph import Graph, Node, input_node
from mynn.core.kinds import quietly
from mynn.core.types import default_float
from mynn.errors import MynnError
from mynn.optim.options import ParamGroup
from mynn.tensor import Tensor, graph_node
from mynn.tensor.at_once.straight import Straight
from mynn.tensor.gradients.history import changed
from mynn.tensor.view import value_of
from mynn.tensor.write import same_value
from mynn.trace import tracing

# Options that two steps have in common where they are equal.
_PLAIN = (int, float, bool, str, type(None))


class Optimizer(Protocol):
    """What is asked of an optimiser (`mynn.optim.optimizer`)."""

    own_attributes: ClassVar[frozenset[str]]
    needs_sparse: ClassVar[bool]
    state: dict[Tensor, dict[str, Tensor]]
    param_groups: list[ParamGroup]

    @property
    def signature(self) -> tuple[Any, ...]:
        """What a step has built in."""
        ...

    def _step(self) -> None: ...


class Update(NamedTuple):
    """A step of an optimiser.

    - `key`: what it was made for; `tensors`: parameters, slots and rates that there were.
    - `reads`, `writes`: those that the program is given, and whose values it gives; gradients of
      `trained` come after what it reads.
    """

    key: tuple[Any, ...]
    tensors: list[Tensor]
    reads: list[Tensor]
    trained: list[Tensor]
    writes: list[Tensor]
    program: Straight

    def take(self) -> None:
        """Take the step, in the memory of what it writes."""
        arguments = [one._value for one in self.reads]
        gradients: list[Any] = [one._grad for one in self.trained]
        arguments += map(value_of, gradients)
        values = quietly(self.program.run, arguments)
        for tensor, value in zip(self.writes, values, strict=True):
            memory = tensor._value
            assert memory is not None
            memory[...] = value
            changed(tensor)
            if tensor.node is not None:
                tensor.node = same_value(tensor.node, memory)


# The latest step of an optimiser: its key, and from the second on the update, or None.
_latest: weakref.WeakKeyDictionary[Optimizer, tuple[Any, list[Tensor], Update | None]]
_latest = weakref.WeakKeyDictionary()


class Pattern(NamedTuple):
    """An update of any optimiser of a kind: tensors as numbers in the order of its state."""

    reads: tuple[int, ...]
    trained: tuple[int, ...]
    writes: tuple[int, ...]
    program: Straight

    @staticmethod
    def of(update: Update) -> Pattern:
        """That of an update."""
        places: dict[int, int] = {}
        for i, one in enumerate(update.tensors):
            places.setdefault(id(one), i)
        found = (update.reads, update.trained, update.writes)
        reads, trained, writes = (tuple([places[id(x)] for x in some]) for some in found)
        return Pattern(reads, trained, writes, update.program)

    def bind(self, key: tuple[Any, ...], state: list[Tensor]) -> Update:
        """The update of an optimiser with this state."""
        reads, trained, writes = ([state[i] for i in some] for some in self[:3])
        return Update(key, state, reads, trained, writes, self.program)


# The updates that are known, by what optimisers of their kind have in common; so many at most.
_patterns: dict[Any, Pattern] = {}
_MANY = 256
_lock = forks.register(threading.RLock())


def update_of(optimizer: Optimizer, tensors: Sequence[Tensor]) -> Update | None:
    """The step of an optimiser with these parameters and slots, if it came before."""
    key = _key(optimizer)
    if key is None:
        return None
    state = [*tensors, *(rate for group in optimizer.param_groups for rate in group.tensors())]
    known = _latest.get(optimizer)
    if known is not None and known[0] == key and _are(known[1], state):
        return known[2]
    seen = known is not None and known[0] == (key,) and _are(known[1], state)
    found = _found(optimizer, key, state, seen)
    with _lock:
        _latest[optimizer] = (key if seen or found else (key,)), state, found
    return found


def _found(
    optimizer: Optimizer, key: tuple[Any, ...], state: list[Tensor], seen: bool
) -> Update | None:
    """The step, if one like it is known, or if it was `seen` before."""
    plain = _is_plain(optimizer, optimizer.own_attributes)
    if not plain or any(one._view is not None for one in state):
        return None
    kind = _likeness(optimizer, key, state)
    pattern = _patterns.get(kind)
    if pattern is not None:
        return pattern.bind(key, state)
    found = _traced(optimizer, key, state) if seen else None
    if found is not None:
        if len(_patterns) >= _MANY:
            _patterns.clear()
        _patterns[kind] = Pattern.of(found)
    return found


def _likeness(optimizer: Optimizer, key: tuple[Any, ...], state: list[Tensor]) -> Any:
    """What decides an update: the class, options, and how parameters, slots and rates lie among
    groups; equal ones have the same program.
    """
    places: dict[int, int] = {}
    numbers = [places.setdefault(id(one), len(places)) for one in state]
    kinds = [(one.shape, one.dtype, one._requires_grad) for one in state]
    groups = [
        (tuple([places[id(p)] for p in group["params"]]), *group.options, Ellipsis, *group.varied)
        for group in optimizer.param_groups
    ]
    slots = [tuple(one) for one in optimizer.state.values()]
    own = type(optimizer), repr(key), default_float()
    return own, tuple(numbers), tuple(kinds), tuple(groups), tuple(slots)


def _are(some: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether both hold the same objects."""
    return len(some) == len(others) and all(map(_is, some, others))


def _is(one: Any, other: Any) -> bool:
    return one is other


def _key(optimizer: Optimizer) -> tuple[Any, ...] | None:
    """What a step depends on beside values; None where that cannot be said."""
    kinds: list[Any] = []
    for parameter in optimizer.state:
        gradient = parameter._grad
        if gradient is None:
            kinds.append(None)
        elif gradient.touched is not None:
            return None
        else:
            kinds.append((gradient.shape, gradient.dtype))
    return (optimizer.signature, *kinds)


def _is_plain(optimizer: Optimizer, own: frozenset[str]) -> bool:
    """Whether a step reads nothing but options that are numbers, parameters and slots."""
    if not type(optimizer).__module__.startswith("mynn.") or optimizer.needs_sparse:
        return False
    if any(name not in own for name in vars(optimizer)):
        return False
    for one in optimizer.signature:
        values = one if isinstance(one, tuple) else (one,)
        if not all(isinstance(value, _PLAIN) for value in values):
            return False
    return True


def _traced(optimizer: Optimizer, key: tuple[Any, ...], state: list[Tensor]) -> Update | None:
    try:
        return tracing.tidy(lambda: _made(optimizer, key, state))
    except MynnError:  # taken as before, the step says what is wrong
        return None


def _made(optimizer: Optimizer, key: tuple[Any, ...], state: list[Tensor]) -> Update | None:
    trained: list[Any] = [one for one in optimizer.state if one._grad is not None]
    with tracing.tracing() as trace:
        trace.named = False
        given = [input_node(one._grad.spec, "gradient") for one in trained]
        for parameter, node in zip(trained, given, strict=True):
            trace.gradients[parameter] = Tensor.from_node(node)
        optimizer._step()
        writes = trace.writes()
        ends = [graph_node(one) for one in writes]
        effects = trace.effects
        if trace.checks or trace.promoted or effects.looks or effects.refused:
            return None
    reads = list(trace.reads)
    if not {id(one) for one in (*reads, *writes)} <= {id(one) for one in state}:
        return None
    for tensor, end in zip(writes, ends, strict=True):
        source = _memory(end)
        if source is not trace.reads[tensor] and source in trace.reads.values():
            return None  # it would be written before it is read
    inputs = (*(trace.reads[one] for one in reads), *given)
    program = Straight(Graph(inputs, tuple(ends)))
    return Update(key, state, reads, trained, list(writes), program)


def _memory(node: Node) -> Node:
    """What a value is seen through."""
    while node.primitive.view and node.inputs:
        node = node.inputs[0]
    return node


__all__ = ["Update", "update_of"]
