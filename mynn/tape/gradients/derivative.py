"""Gradients of what a program made: a program too, which computes what it needs once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mynn.core import autodiff, batching
from mynn.core.graph import INPUT, Graph, Node, input_node, next_serial, topological
from mynn.core.primitive import Primitive
from mynn.core.types import Array, Type
from mynn.errors import MynnError, UsageError
from mynn.ops.batches import spread
from mynn.tape.pieces.piece import make_program, placeholders, replay
from mynn.tape.pieces.trial import Trial
from mynn.tensor import Parameter, Tensor, grad_enabled, graph_node, wrap
from mynn.tensor.gradients import history
from mynn.tensor.gradients.history import array_of, changed_source, looked_at, missing
from mynn.tensor.view import value_of
from mynn.trace import tracing

if TYPE_CHECKING:
    from mynn.tape.calls.step import Step


# Seconds around the run of a program, roughly.
_AROUND = 2e-5
# Such a program has values of at most so many bytes, and at most so many times the nodes of one
# for one run: otherwise there is little to gain.
_MUCH, _MORE = 2**23, 4


class Source(Protocol):
    """What was run: a `Run`."""

    step: Step
    externals: list[Any]
    saved: Sequence[tuple[Tensor, Array]]
    kept: tuple[tuple[Tensor, Array], ...]
    nodes: list[Any] | None

    def changed(self, derivative: Derivative) -> Node | None:
        """What was changed since of what is needed."""
        ...

    def note_coarse(self, slot: int, node: Node) -> None:
        """This node stands for all calls that lead to a result."""
        ...


class Derivative:
    """The program from cotangents of results to those of what these were computed from.

    - `inputs`: parameters, and numbers of externals, that get one, and `numbers` those alone;
      `needed`: the numbers of externals and the identities of state whose values it uses; `used`:
      the slots of results whose values it would, if these were there; `read`: the numbers of
      externals whose values the rules read themselves.
    - `kept`: identities of state that was changed since: its values are arguments.
    - `size`: for how many runs at once it is, whose externals and cotangents come stacked, as do
      those of externals that it gives; those of state are the sums. None for one run.
    """

    # So many runs may have one program.
    together = 16

    def __init__(
        self,
        step: Step,
        kinds: Mapping[int, Type],
        externals: Sequence[Any],
        kept: frozenset[int] = frozenset(),
        size: int | None = None,
    ) -> None:
        self.kinds, self.kept, self.size = kinds, kept, size
        # The same for several runs, once that is worth its making; None where there is none.
        self.several: Derivative | Trial | None = Trial()
        # The same where some state was changed since, by which.
        self.others: dict[frozenset[int], Derivative] = {}
        # The first of the results, which are told by their slots.
        self.slot = next(iter(kinds))
        self.inputs: list[Any] = []
        graph, copied, self.saved, self.state = tracing.tidy(
            lambda: self._traced(step, kinds, externals)
        )
        self.numbers = [one for one in self.inputs if isinstance(one, int)]
        used = set(topological(graph.outputs))
        count = len(copied)
        self.copied = [i for i, node in zip(copied, graph.inputs, strict=False) if node in used]
        unused = {node for node in graph.inputs[:count] if node not in used}
        inputs = tuple([node for node in graph.inputs if node not in unused])
        self.needed = frozenset(
            tensor if isinstance(tensor, int) else id(tensor)
            for tensor, node in zip(
                [*copied, *[None] * len(kinds), *self.saved, *self.state], graph.inputs, strict=True
            )
            if node in used and tensor is not None
        )
        # What is checked of other values was checked as the calls were run.
        given = {*inputs}
        checks = tuple(
            check
            for check in graph.checks
            if all(node in given for node in topological([check]) if node.primitive is INPUT)
        )
        self.graph = Graph(inputs, graph.outputs, checks)
        self.arguments = len(self.copied) + len(kinds) + len(self.saved)
        self.program: Any = None

    def _traced(
        self, step: Step, kinds: Mapping[int, Type], externals: Sequence[Any]
    ) -> tuple[Graph, list[int], list[Tensor], list[Tensor]]:
        nodes, given = placeholders(externals)
        seeds = [input_node(self._stacked(kind), "cotangent") for kind in kinds.values()]
        many = {} if self.size is None else {x: input_node(self._stacked(x.type)) for x in nodes}
        with tracing.tracing() as trace:
            trace.named, trace.overwritten = False, {}
            slots = replay([call for call in step.calls if call.slot is not None], given)
            made = next_serial()
            leaves: dict[Node, Any] = {}
            for node, tensor in trace.leaves.items():
                if tensor.requires_grad and node is trace.reads.get(tensor):
                    leaves[node] = tensor
            for number, (external, tensor) in enumerate(zip(externals, given, strict=True)):
                if tensor is not external and tensor.requires_grad:
                    leaves[many.get(tensor.node, tensor.node)] = number
            last = [graph_node(slots[slot]) for slot in kinds]
            if self.size is not None:
                last = _of_many(last, many, self.size)
            ends: dict[Node, Tensor] = {}
            for node, seed in zip(last, seeds, strict=True):
                cotangent = Tensor.from_node(seed)
                ends[node] = ends[node] + cotangent if node in ends else cotangent
            reached = autodiff.reverse(ends, leaves.__contains__, wrap)
            outputs = [graph_node(reached[node]) for node in leaves if node in reached]
            self.inputs = [leaf for node, leaf in leaves.items() if node in reached]
            history.check_overwritten(trace, outputs)
            read = {
                source
                for node in topological(outputs)
                for x in node.inputs
                if node.serial > made
                for source in looked_at(x)
            }
            results = enumerate(slots)
            self.used = frozenset(
                i for i, x in results if isinstance(x, Tensor) and graph_node(x) in read
            )
            own = [i for i, one in enumerate(externals) if not isinstance(one, Parameter)]
            self.read = frozenset(i for i, node in zip(own, nodes, strict=True) if node in read)
        written = {id(tensor) for tensor in step.written} | self.kept
        saved = [tensor for tensor in trace.reads if id(tensor) in written]
        state = [tensor for tensor in trace.reads if id(tensor) not in written]
        inputs = (
            *(many.get(node, node) for node in nodes),
            *seeds,
            *(trace.reads[t] for t in saved),
            *(trace.reads[t] for t in state),
        )
        checks = tuple(dict.fromkeys(trace.checks))
        return Graph(inputs, tuple(outputs), checks), own, saved, state

    def _stacked(self, kind: Type) -> Type:
        return kind if self.size is None else kind.with_shape((self.size, *kind.shape))

    def of_several(self, run: Source) -> Derivative | None:
        """The program for `together` runs, of which this is one; None where there is none yet, or
        where it would not be worth while.
        """
        several = self.several
        if type(several) is Trial:
            if not several.over(len(run.step.calls), True):
                several.add(self.together * _AROUND)
                return None
            several = self.several = self._made_for_several(run)
        assert not isinstance(several, Trial)
        return several

    def _made_for_several(self, run: Source) -> Derivative | None:
        nodes = topological(self.graph.outputs)
        size = self.together * sum(node.type.nbytes for node in nodes)
        if self.saved or self.kept or not self.copied or size > _MUCH:
            return None
        try:
            made = Derivative(run.step, self.kinds, run.externals, size=self.together)
        except MynnError:  # something has no batching rule
            return None
        same = made.inputs == self.inputs and made.needed == self.needed
        few = len(topological(made.graph.outputs)) <= _MORE * len(nodes)
        return made if same and few else None

    def run_several(self, runs: Sequence[Source], cotangents: Sequence[Any]) -> list[Array]:
        """The cotangents of `inputs` of `size` runs: of externals stacked, of state their sums."""
        arguments = [np.array([_array(run.externals[i]) for run in runs]) for i in self.copied]
        arguments += map(np.array, zip(*cotangents, strict=True))
        results: list[Array] = self._program()(arguments)
        return results

    def run(self, run: Source, cotangents: Sequence[Array]) -> list[Array]:
        """The cotangents of `inputs`."""
        kept = self.needed & {id(one) for one, _ in run.kept} if run.kept else self.kept
        if kept != self.kept:
            other = self.others.get(kept)
            if other is None:
                other = self.others[kept] = Derivative(run.step, self.kinds, run.externals, kept)
            return other.run(run, cotangents)
        arguments = [_array(run.externals[i]) for i in self.copied]
        arguments += cotangents
        if self.saved:
            saved = {id(tensor): value for tensor, value in (*run.saved, *run.kept)}
            arguments += [saved[id(tensor)] for tensor in self.saved]
        results: list[Array] = self._program()(arguments)
        return results

    def _program(self) -> Any:
        program = self.program
        if program is None:
            program = make_program(self.graph, self.arguments, {}, self.state, "tape gradient")
            program.code.holders.add(self)
            self.program = program
        return program

    def forget(self, code: Any) -> None:
        """The store of programs drops this code: so do we."""
        self.program = None

    def node(self, run: Source, tensor: Tensor) -> Node:
        """The node of a result: a step back from it runs the program."""
        inputs = tuple(
            graph_node(run.externals[one] if isinstance(one, int) else one) for one in self.inputs
        )
        params = {"derivative": self, "run": run}
        node = Node(PIECE, inputs, params, tensor.spec, value=tensor._value)
        run.note_coarse(self.slot, node)
        return node


def _of_many(results: Sequence[Node], many: Mapping[Node, Node], size: int) -> list[Node]:
    """The results of so many runs, stacked, from stacked externals."""
    if not many:
        raise UsageError("runs of a piece that reads nothing are all the same")
    found = batching.batch(results, many, size, spread)
    return [found[node] if node in found else spread(node, size) for node in results]


def _array(value: Any) -> Array:
    return array_of(value) if isinstance(value, Tensor) else value


def _vjp(g: Any, y: Any, *xs: Any, derivative: Derivative, run: Source) -> tuple[Any, ...]:
    """The cotangents, where what they need is as it was."""
    # Those of a program have no history: who differentiates them goes through `Run.inside`.
    assert not grad_enabled()
    cotangent = value_of(g)
    source = None if cotangent is not None else changed_source(g)
    source = run.changed(derivative) if source is None else source
    if cotangent is None or source is not None:
        assert source is not None
        return tuple(missing(source, x.spec) for x in xs)
    return tuple(Tensor.from_value(value) for value in derivative.run(run, [cotangent]))


def _refused(*args: Any, **named: Any) -> Any:
    raise UsageError("a piece of a tape stands in no graph")


# What a program made, in the history of a tensor. It is never computed: its node has a value.
PIECE = Primitive("piece", _refused, _refused, _vjp, lambda rng: [])

__all__ = ["PIECE", "Derivative"]
