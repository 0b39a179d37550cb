"""A piece: what a tape recorded between two looks, as one program."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mynn.base import forks
from mynn.base.cycles import WAITING
from mynn.core.graph import Graph, Node, input_node
from mynn.core.types import Array, Type
from mynn.jit import native_available
from mynn.jit.stage import Staged
from mynn.tape.calls.alike import stage_calls
from mynn.tape.calls.call import Call, Slot
from mynn.tensor import Parameter, Tensor, graph_node
from mynn.tensor.gradients import history
from mynn.tensor.gradients.history import array_of
from mynn.trace import tracing

if TYPE_CHECKING:
    from mynn.jit.program import Notes
    from mynn.tape.calls.step import Step, Target


def placeholders(externals: Sequence[Any]) -> tuple[list[Node], list[Any]]:
    """Inputs of a graph for tensors and arrays, and traced tensors; parameters are themselves."""
    nodes: list[Node] = []
    given: list[Any] = []
    for i, value in enumerate(externals):
        if isinstance(value, Parameter):
            given.append(value)
            continue
        grown = isinstance(value, Tensor) and value.requires_grad
        kind = value.spec if isinstance(value, Tensor) else Type.of(value)
        nodes.append(input_node(kind, f"arg{i}"))
        given.append(Tensor.from_node(nodes[-1], grown))
    return nodes, given


def replay(calls: Sequence[Call], externals: Sequence[Any]) -> list[Any]:
    """The results of calls, made one after the other on these externals."""
    slots: list[Any] = []
    for call in calls:
        result = call.run(slots, externals)
        if call.slot is not None:
            slots.append(result)
    return slots


def make_program(
    graph: Graph,
    arguments: int,
    writes: dict[Node, int],
    state: Sequence[Tensor],
    name: str,
    code: Any = None,
    twin: Any = None,
) -> Any:
    """A native program where there can be one, or an interpreted one; `code`: of an earlier one of
    the same graph, if there is one.

    The tape calls its programs one by one, so that small ones are made for one thread.
    """
    with forks.loading:
        from mynn.jit.interpreted import InterpretedProgram
        from mynn.jit.program import Program
        from mynn.runtime.threads import CALLS

    kind = Program if native_available() else InterpretedProgram
    return kind(graph, arguments, writes, state, CALLS, name, code, twin)


def stage(
    calls: Sequence[Call],
    externals: Sequence[Any],
    wanted: Sequence[int],
    trained: Sequence[Target],
) -> Staged:
    """The calls traced, on other values of the externals.

    The results are the slots in `wanted`, then the gradients of those of `trained` that get one;
    which these are, by number, says the `structure`.
    """
    return tracing.tidy(lambda: _stage(calls, externals, wanted, trained))


def _stage(
    calls: Sequence[Call],
    externals: Sequence[Any],
    wanted: Sequence[int],
    trained: Sequence[Target],
) -> Staged:
    start = time.perf_counter()
    nodes, given = placeholders(externals)
    with tracing.tracing() as trace:
        trace.named, trace.overwritten = False, {}
        targets: dict[Target, Tensor] = {
            one: one if isinstance(one, Parameter) else given[one.number]
            for one in trained
            if not isinstance(one, Slot)
        }
        for one, target in targets.items():
            if not isinstance(one, Parameter):
                trace.leaves[graph_node(target)] = target
        slots = replay(calls, given)
        targets.update({one: slots[one.number] for one in trained if isinstance(one, Slot)})
        leaves = [graph_node(slots[number]) for number in wanted]
        reached = tuple(i for i, one in enumerate(trained) if targets[one].grad is not None)
        gradients: list[Any] = [targets[trained[i]].grad for i in reached]
        leaves += map(graph_node, gradients)
        history.check_overwritten(trace, leaves)
    properties = trace.guards.properties  # calls have the modes of their recording
    trace.guards.properties = {key: properties[key] for key in properties if key[1] != "_mode"}
    written, reads = trace.writes(), trace.reads
    checks = tuple(dict.fromkeys(trace.checks))
    graph = Graph((*nodes, *reads.values()), (*leaves, *written.values()), checks)
    writes = {reads[tensor]: len(leaves) + i for i, tensor in enumerate(written)}
    return Staged(
        graph,
        tuple(nodes),
        tuple(reads),
        writes,
        reached,
        len(leaves),
        trace,
        time.perf_counter() - start,
        [tracing.activity.edits()],
    )


class Piece:
    """The program for a path of the tape, and for which of its results somebody still holds.

    - `family`: that of paths with the same calls (`mynn.tape.pieces.lengths`), which it keeps
      alive; `room`: what lets it run in the program of a longer one.
    """

    family: Any = None
    room: Any = None

    def __init__(
        self,
        step: Step,
        externals: Sequence[Any],
        wanted: Sequence[int],
        trained: Sequence[Target],
        grown: bool,
        staged: Staged | None = None,
    ) -> None:
        self.wanted = tuple(wanted)
        # Whether gradients flow through some of the results.
        self.grown = grown
        self._known: Any = None
        if staged is None:
            given = step.calls, externals, wanted, trained
            staged, self._known = stage_calls(*given, lambda: stage(*given))
        self.staged = staged
        # What gets gradients.
        self.reached = tuple([trained[i] for i in self.staged.structure])
        self.copied = tuple(
            i for i, value in enumerate(externals) if not isinstance(value, Parameter)
        )
        self.program: Any = None
        # Runs a program that writes nothing (`Program.quick`).
        self.quick: Any = None
        WAITING.add(self, 2 * sum(node.type.nbytes for node in self.staged.state_nodes))

    def holds(self) -> bool:
        """Whether nothing that the trace has built in is another now."""
        # `watch` is more than any number of edits while somebody traces.
        unedited = self.staged.steady and self.staged.seen[0] == tracing.activity.watch
        if self.room is not None and not self.room.holds():
            return False
        return unedited or self.staged.valid()

    @property
    def access(self) -> Any:
        """How the program gets at state; None where it has none, or is gone."""
        return getattr(self.program, "access", None)

    def prepare(self) -> None:
        """Make the program itself, if need be."""
        if self.program is None:
            self.program = self._made()

    def run(self, externals: Sequence[Any], notes: Notes) -> None:
        """The values of the results and of the gradients are noted; state has changed."""
        program = self.program
        if program is None:  # the store has dropped it just now
            program = self.program = self._made()
        room = self.room
        if room is not None:
            notes = room.noting(notes)
        program.call_noting(self.arrays(externals), notes)

    def values(self, externals: Sequence[Any]) -> list[Array]:
        """The values of the results, of a piece with a program that changes nothing."""
        values: list[Array] = self.program.values(self.arrays(externals))
        if self.room is not None:
            values = self.room.cut(values)
        return values

    def arrays(self, externals: Sequence[Any]) -> list[Any]:
        arrays = []
        for i in self.copied:
            value = externals[i]
            if type(value) is Tensor:
                plain = value.pending is None and value._view is None
                value = value._value if plain else array_of(value)
            arrays.append(value)
        if self.room is not None:
            arrays = self.room.filled(arrays)
        return arrays

    def _made(self) -> Any:
        if self.room is not None:
            return self.hold(self.room.program())
        staged, known = self.staged, self._known
        program = make_program(
            staged.graph,
            len(staged.arguments),
            staged.writes,
            staged.state,
            "tape",
            None if known is None else known.code,
        )
        if known is not None and known.code is not program.code:
            known.keep(program.code)
        return self.hold(program)

    def hold(self, program: Any) -> Any:
        """A program that is ours from now on, until the store drops it."""
        program.code.holders.add(self)
        self.quick = program.quick() if self.room is None else None
        return program

    def forget(self, code: Any) -> None:
        """The store of programs drops this code: so do we."""
        self.program = self.quick = None
