"""Staging: a Python function, traced once, as a graph with its arguments, results and state."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mynn.base import sharing
from mynn.base.arguments import check_call
from mynn.base.dataclass import dataclass
from mynn.base.lazy import lazy
from mynn.base.structure import flatten, leaf_names, rebuild
from mynn.core.graph import Graph, Node, input_node
from mynn.core.types import Type
from mynn.errors import ArgumentError, UsageError
from mynn.tensor import Tensor, as_array, as_tensor, graph_node
from mynn.tensor.gradients.grad_mode import keeping
from mynn.trace import tracing
from mynn.trace.effects import Watch
from mynn.trace.trace import Trace


@dataclass(frozen=True)
class Staged:
    """A traced function.

    - `graph`: inputs are the arguments, then the state; outputs are the results, then the new
      values of state.
    - `state`: the tensors behind the state inputs; `writes`: for each state input that changes, its
      output's number.
    - `structure`: the nested form of the results, with None for every leaf taken out of it.
    - `seconds`: what tracing took.
    - `seen`: the number of edits of modules up to which the trace was found valid.
    """

    graph: Graph
    arguments: tuple[Node, ...]
    state: tuple[Tensor, ...]
    writes: dict[Node, int]
    structure: Any
    results: int
    trace: Trace
    seconds: float
    seen: list[int]

    @property
    def state_nodes(self) -> tuple[Node, ...]:
        """The inputs of the graph that stand for state."""
        return self.graph.inputs[len(self.arguments) :]

    @lazy
    def state_bytes(self) -> int:
        """Bytes of the state."""
        return sum(node.type.nbytes for node in self.state_nodes)

    @lazy
    def written(self) -> tuple[Tensor, ...]:
        """The state that changes."""
        pairs = zip(self.state, self.state_nodes, strict=True)
        return tuple(tensor for tensor, node in pairs if node in self.writes)

    @lazy
    def generators(self) -> tuple[Tensor, ...]:
        """Those that change and are keys of random numbers."""
        pairs = zip(self.state, self.state_nodes, strict=True)
        return tuple(
            tensor
            for tensor, node in pairs
            if node.type.dtype.kind == "u" and node in self.writes and sharing.is_drawn(tensor)
        )

    @lazy
    def values(self) -> tuple[Tensor, ...]:
        """Those that change and are not: parameters, running means, slots of optimisers."""
        if not self.generators:
            return self.written
        return tuple(tensor for tensor in self.written if not sharing.is_drawn(tensor))

    @lazy
    def result_names(self) -> list[str]:
        """Names of the results: keys where the function returned a dict, or loss, loss1..."""
        return leaf_names(self.structure, "loss")

    @lazy
    def complete(self) -> bool:
        """Whether the trace has seen all that the function can read (`Guards.complete`)."""
        return self.trace.guards.complete

    @lazy
    def steady(self) -> bool:
        """Whether all that the trace has built in notes a change of itself."""
        return self.trace.guards.steady

    def valid(self, thoroughly: bool = False) -> bool:
        """Whether what decided the trace is as it was: parts of modules, plain values.

        Large arrays are looked at where it is asked for: where many steps are about to run.
        """
        if self.seen[0] != tracing.activity.watch:  # nothing was edited, and nobody traces
            edits = tracing.activity.edits()
            if self.seen[0] != edits:
                if not self.trace.guards.holds():
                    return False
                self.seen[0] = edits
        return self.trace.guards.unchanged() and (not thoroughly or self.trace.guards.same_large())

    def bundle(self, results: Iterable[Any]) -> Any:
        """Flat results in the form that the function returned."""
        return rebuild(self.structure, iter(results))


def stage(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    extra: Callable[[Trace], Iterable[Node]] | None = None,
) -> Staged:
    """Trace `function` for arguments of these shapes and dtypes.

    `extra(trace)` may name further nodes that become results (what `record=` asks for).
    """
    return keeping(lambda: tracing.tidy(lambda: _stage(function, arguments, extra)))


def _stage(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    extra: Callable[[Trace], Iterable[Node]] | None,
) -> Staged:
    start = time.perf_counter()
    nodes = [
        input_node(Type.of(as_array(leaf)), f"arg{i}") for i, leaf in enumerate(flatten(arguments))
    ]
    watch = Watch(function)
    with tracing.tracing() as trace:
        trace.arguments = frozenset(nodes)
        tensors = rebuild(arguments, (Tensor.from_node(node) for node in nodes))
        returned = function(*tensors)
        leaves = []
        for leaf in flatten(returned):
            if not isinstance(leaf, Tensor | np.ndarray | np.generic | int | float | bool):
                raise UsageError(
                    "a compiled function returns tensors, numbers, tuples, lists and dicts of "
                    f"them; it returned {type(leaf).__name__}: return only what was computed"
                )
            leaves.append(graph_node(as_tensor(leaf)))
        results = [*leaves, *(extra(trace) if extra is not None else ())]
    watch.compare(trace.guards, trace.effects)
    written = trace.writes()
    reads = trace.reads
    checks = tuple(dict.fromkeys(trace.checks))
    graph = Graph((*nodes, *reads.values()), (*results, *written.values()), checks)
    writes = {reads[tensor]: len(results) + i for i, tensor in enumerate(written)}
    count = iter(range(len(leaves)))
    structure = rebuild(returned, count) if leaves else returned
    return Staged(
        graph,
        tuple(nodes),
        tuple(reads),
        writes,
        structure,
        len(results),
        trace,
        time.perf_counter() - start,
        [tracing.activity.edits()],
    )


# -- arguments -------------------------------------------------------------------------------------


def is_flat(arguments: tuple[Any, ...]) -> bool:
    """Whether all arguments are arrays."""
    return all(type(x) is np.ndarray for x in arguments)


def signature_of(arguments: tuple[Any, ...]) -> Any:
    """Shapes and dtypes of arguments, in their nested form."""
    return tuple((x.shape, x.dtype) if type(x) is np.ndarray else _nested(x) for x in arguments)


def _nested(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return (type(value).__name__, *map(_nested, value))
    if isinstance(value, dict):
        return tuple((key, _nested(item)) for key, item in value.items())
    if value is None:
        return None
    kind = Type.of(as_array(value))
    return (kind.shape, kind.dtype)


def positional(
    function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[Any, ...]:
    """Arguments in the order of the parameters; those left out in between are filled in."""
    try:
        bound = inspect.signature(function).bind(*arguments, **named)
    except TypeError:
        name = getattr(function, "__name__", type(function).__name__)
        check_call(name, function, arguments, named)
        raise
    if bound.kwargs:
        bound.apply_defaults()
    if bound.kwargs:
        raise ArgumentError(
            f"a compiled function takes arguments by position; {', '.join(bound.kwargs)} can "
            "only be given by keyword: close over it, or make it a usual parameter"
        )
    return bound.args
