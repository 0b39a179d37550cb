"""Where tensors came from that a program made: their nodes, when `backward` asks for them."""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from mynn.base import recording, sharing
from mynn.base.sharing import program_mark
from mynn.core.graph import INPUT, Node, topological
from mynn.core.types import Array
from mynn.errors import UsageError
from mynn.tape.calls.several import Together
from mynn.tape.gradients.derivative import Derivative
from mynn.tape.pieces.trial import SPENT, Trial
from mynn.tensor import Parameter, Tensor, graph_node
from mynn.tensor.gradients import history
from mynn.tensor.gradients.history import array_of

if TYPE_CHECKING:
    from mynn.tape.calls.step import Mark, Step


_numbers = itertools.count(1)
# Of a run with more results there is a program for all that a loss was made from, and none for
# each.
_FEW = 4
# So many sets of results of one sequence have programs.
_WAYS = 64


class Run:
    """One run of a piece, from which the nodes of its results can be made again.

    They are made when somebody asks for them, or before memory is written that they need. A node is
    *coarse* where it runs a program back from one result to what went into the run; `inside` gives
    the one behind it that has a node for every call. Both lead to the same gradients, and a walk
    takes either: those of programs, or those that can be differentiated again.
    """

    # The identities of all that `marks` has, once somebody asks.
    _marked: frozenset[int] | None = None
    # Another one for each run, larger for later ones.
    number = 0
    # The nodes of the results with one for every call behind them, where they were made.
    nodes: list[Any] | None = None
    # The nodes that run a program of this run (`Derivative`), and the results they are of.
    coarse: tuple[tuple[int, weakref.ref[Node]], ...] = ()
    # Whether none may: what it would read is about to change.
    fine = False
    # Numbers of externals that stand in for tensors with other memory since, and these.
    stand_ins: tuple[tuple[int, Tensor], ...] = ()
    # The nodes of externals of which copies stand there, since their memory was written.
    origins: Mapping[int, Node] = MappingProxyType({})
    # Tensors that ask for a gradient since, or for none, and whether they did before.
    toggled: tuple[tuple[Tensor, bool], ...] = ()
    # Whether the calls cannot be called again as they were.
    lost = False
    # Whether all that it read has its nodes.
    known = False
    # State that was changed since, outside of programs; of that which programs back from coarse
    # nodes read, what it was; results that were.
    overwritten: frozenset[int] = frozenset()
    kept: tuple[tuple[Tensor, Array], ...] = ()
    renewed: Mapping[int, Node] = MappingProxyType({})

    def __init__(
        self,
        step: Step,
        externals: list[Any],
        saved: Sequence[tuple[Tensor, Array]],
        marks: Sequence[Mark],
    ) -> None:
        self.number = next(_numbers)
        self.step = step
        self.externals = externals
        # State that the run changed, as it was before.
        self.saved = saved
        self.results: list[weakref.ref[Tensor]] = []
        # The marks that programs left on what was read, by domain, before it was read.
        self.marks = [] if step.stepped else [*marks, *_marks(externals, step.written)]
        # Programs of tapes note what they write in the versions.
        self.buffers: tuple[tuple[Tensor, int], ...] = ()
        if step.buffers and not step.stepped:
            self.buffers = tuple([(one, one._version) for one in step.buffers])
            recording.readers[id(self)] = weakref.ref(self)
        recording.note_run(self)

    def apart(self, tensor: Tensor, before: Tensor) -> dict[str, Any] | None:
        """What is other where a tensor that was read has other memory from now on, and what stands
        in for it has that which it had; None where that cannot be.
        """
        if any(one is tensor for one, _ in self.buffers) or self.nodes is not None:
            return None
        externals, stand_ins = list(self.externals), list(self.stand_ins)
        for number, one in enumerate(externals):
            if one is tensor:
                externals[number] = before
                stand_ins.append((number, tensor))
            elif _memory(one) is tensor:
                return None
        if self.coarse or not stand_ins or self.step.stepped:
            return None
        marks = [(mark, [x for x in ones if x is not tensor]) for mark, ones in self.marks]
        left = [(mark, tuple(ones)) for mark, ones in marks if ones]
        return {
            "externals": externals,
            "stand_ins": tuple(stand_ins),
            "marks": left,
            "_marked": None,
        }

    def _let_stand_in(self) -> None:
        """Gradients come to the tensors that have other memory since; those that need what was
        there before are refused.
        """
        for number, tensor in self.stand_ins:
            before = _memory(self.externals[number])
            if before.node is None:
                before.node = history.new_leaf(tensor, before, before)
                history.set_recorded(before.node, None)

    def _has_marked(self, tensor: Tensor) -> bool:
        marked = self._marked
        if marked is None:
            marked = self._marked = frozenset([id(one) for _, ones in self.marks for one in ones])
        return id(tensor) in marked

    def has_read(self, tensor: Tensor) -> bool:
        """Whether nodes that were not made yet may need its values."""
        if self._has_marked(tensor):
            return True
        return bool(self.buffers) and any(one is tensor for one, _ in self.buffers)

    def changed(self, derivative: Derivative) -> Node | None:
        """What was changed since of what the gradients need; None where all is as it was.

        It comes as a leaf that names it.
        """
        for number, tensor in self.stand_ins:
            if number in derivative.read:
                return Node(INPUT, (), {}, tensor.spec, name=tensor.name)
        found: Tensor | None = None
        if not (self.step.stepped or self.overwritten or self.buffers or self.renewed):
            for mark, ones in self.marks:
                if (None if ones[0].shared is None else program_mark(ones[0])) is not mark:
                    break
            else:
                return None  # mostly
        for slot in derivative.used & self.renewed.keys():
            return self.renewed[slot]
        needed = derivative.needed - {id(one) for one, _ in self.kept}
        if self.step.stepped:
            found = next((one for one in self.step.parameters if id(one) in needed), None)
        else:
            externals = {id(_memory(one)) for i, one in enumerate(self.externals) if i in needed}
            for mark, ones in self.marks:
                later = program_mark(ones[0]) is not mark
                for one in ones if later or self.overwritten else ():
                    used = id(one) in needed or id(one) in externals
                    if used and (later or id(one) in self.overwritten):
                        found = one
            for one, version in self.buffers:
                if one._version != version and id(one) in needed:
                    found = one
        return None if found is None else Node(INPUT, (), {}, found.spec, name=found.name)

    def before_write(self, tensor: Tensor, values: bool = True) -> None:
        """Make the nodes, if the tensor was read, and keep what they need of its values, if those
        will be others.
        """
        if values:
            if self.buffers:
                self.keep(tensor)
            self._note_renewal(tensor)
        elif any(one is tensor for _, one in self.stand_ins):
            self._let_stand_in()
        if not self._has_marked(tensor):
            return
        self._make_nodes()
        if not self.coarse:
            return
        if not values:
            if all(one is not tensor for one, _ in self.toggled):
                self.toggled = (*self.toggled, (tensor, tensor._requires_grad))
            return
        if id(tensor) not in self.overwritten:
            self._keep_state(tensor)
        self.overwritten |= {id(tensor)}
        for i, one in enumerate(self.externals):
            if _memory(one) is tensor and not isinstance(one, Parameter):
                self._keep_copy(i, one)

    def _note_renewal(self, tensor: Tensor) -> None:
        """Other values are about to be written into a tensor, which may be a result."""
        pending = tensor.pending
        if pending is not None and pending.run is not self:
            return
        node = tensor.node if pending is None else graph_node(tensor)
        if node is None:
            return
        if node.params.get("run") is self:
            self.renewed = {**self.renewed, node.params["derivative"].slot: node}
        for slot, one in enumerate(self.nodes or ()):
            if isinstance(one, Tensor) and one.node is node:
                self.renewed = {**self.renewed, slot: node}

    def _keep_state(self, tensor: Tensor) -> None:
        """A tensor is about to be written that is read where it lies, as no program has yet."""
        nodes = [node for _, reference in self.coarse if (node := reference()) is not None]
        if all(id(tensor) not in node.params["derivative"].needed for node in nodes):
            return
        for mark, ones in self.marks:
            if any(one is tensor for one in ones) and program_mark(ones[0]) is mark:
                self.kept = (*self.kept, (tensor, array_of(tensor).copy()))
                return

    def _keep_copy(self, number: int, external: Tensor) -> None:
        """Its memory is about to be written: a copy takes its place, and what leads to it stays."""
        copy: Tensor = Tensor.from_value(array_of(external).copy())
        copy._requires_grad = external.requires_grad
        if copy._requires_grad:
            self.origins = {**self.origins, number: graph_node(external)}
        self.externals[number] = copy

    def keep(self, tensor: Tensor) -> None:
        """A buffer is about to change: nodes that were not made yet keep what they need of it."""
        if any(one is tensor and one._version == version for one, version in self.buffers):
            self.fine = True
            self._make_nodes()

    def note_write(self, tensor: Tensor) -> None:
        """A tensor is written by who can make no nodes: gradients that need it will be refused."""
        if self._has_marked(tensor):
            self.overwritten |= {id(tensor)}

    def before_edit(self) -> None:
        """What the calls read is about to change: they are called a last time."""
        self._make_nodes()
        if self.coarse and self.nodes is None:
            self.lost = self._is_toggled()
            if not self.lost:
                self._by_call()

    def note_coarse(self, slot: int, node: Node) -> None:
        """This node runs a program back from a result."""
        self.coarse = (*self.coarse, (slot, weakref.ref(node)))

    def _make_nodes(self) -> None:
        for reference in self.results:
            result = reference()
            if result is not None and result.pending is not None:
                result.pending.make(result, "node")

    def remember(self, tensor: Tensor, slot: int, by_call: bool) -> None:
        """Give a result of this run its node."""
        work = 3 * self.step.work  # with the way back
        SPENT[0] += work
        derivative: Derivative | Trial | None = None
        if not by_call and not self.fine and self.nodes is None and len(self.results) <= _FEW:
            derivative = self.derivative([slot], [tensor])
        if type(derivative) is Derivative:
            if tensor._view is None:
                tensor.node = derivative.node(self, tensor)
            elif tensor._view.base._version:
                tensor.node = tensor._view.origin = None  # it is made from that of its base
            else:
                tensor.node = derivative.node(self, tensor)
                tensor._view.origin = graph_node(tensor._view.source)
            return
        again = self._by_call()[slot]
        if type(derivative) is Trial:
            derivative.add(work)
        node = tensor.node = again.node
        if tensor._view is None:
            node.value = tensor._value
        else:
            tensor._view.origin = again._view.origin

    def inside(self, slot: int) -> Node:
        """The node of a result that has one for every call behind it."""
        return graph_node(self._by_call()[slot])

    def _by_call(self) -> list[Any]:
        """The results with a node for every call, made once."""
        if self.nodes is None:
            self._let_stand_in()
            if self.lost or self._is_toggled():
                raise UsageError(
                    "grad: requires_grad of what the outputs were computed from was changed since; "
                    "set it as it was, or compute them again"
                )
            changed: tuple[Any, ...] = self.step.changed
            changed += tuple(
                one
                for mark, ones in self.marks
                for one in ones
                if program_mark(ones[0]) is not mark or id(one) in self.overwritten
            )
            changed += tuple(one for one, version in self.buffers if one._version != version)
            slots = self._again_missing(changed) if changed else self.again()
            for slot in self.renewed:
                history.changed(slots[slot])
            if self.coarse:
                self._join(slots)
            self.nodes = slots
        return self.nodes

    def _is_toggled(self) -> bool:
        """Whether the calls would ask for other gradients now."""
        return any(tensor._requires_grad is not flag for tensor, flag in self.toggled)

    def _join(self, slots: list[Any]) -> None:
        """Put nodes call by call in the history that there is: what they are computed from stands
        for its copies, and coarse nodes for the results that they are of, so that a result is one
        node, whoever has used it.
        """
        others = {self.externals[i].node: node for i, node in self.origins.items()}
        tensors = [slot for slot in slots if isinstance(slot, Tensor)]
        ends = [graph_node(one) for one in tensors if one.requires_grad]
        for slot, reference in self.coarse:
            coarse = reference()
            if coarse is not None:
                others[graph_node(slots[slot])] = coarse
                if slots[slot]._view is None:
                    slots[slot].node.value = coarse.value
        given = {graph_node(one) for one in self.externals if isinstance(one, Tensor)}
        for node in topological(ends, stop=given.__contains__):
            if node not in given and not others.keys().isdisjoint(node.inputs):
                node.inputs = tuple(others.get(one, one) for one in node.inputs)
        for one in tensors:
            if one._view is not None:
                one._view.origin = others.get(one._view.origin, one._view.origin)

    def made(self, slot: int) -> str | None:
        """The name of what made a result."""
        calls = zip(self.step.calls, self.step.outcomes, strict=True)
        return next((o.name for call, o in calls if call.slot == slot and o is not None), None)

    def derivative(
        self, slots: Sequence[int], results: Sequence[Tensor], further: bool = False
    ) -> Derivative | Trial:
        """The program of gradients from these results, told by their slots, if it came before, or
        if it is a further one on a way that came before.
        """
        self._let_stand_in()
        known = self.step.derivatives
        key = tuple(slots)
        found = known.get(key)
        if found is None:
            if len(known) >= _WAYS:
                known.clear()
            found = known[key] = Trial()
        if type(found) is Trial and (further or found.over(len(self.step.calls), True)):
            kinds = {slot: one.spec for slot, one in zip(slots, results, strict=True)}
            try:
                found = known[key] = Derivative(self.step, kinds, self.externals)
            except UsageError:
                self.fine = True  # by their nodes they say what is wrong
        return found

    @recording.run_at_once
    def again(self) -> list[Any]:
        """The results, computed once more and call by call, with their nodes."""
        state = [one for one, _ in self.saved]
        return sharing.run_whole(lambda: self._called(state), state, write=True, noted=True)

    def _called(self, state: Sequence[Tensor]) -> list[Any]:
        """The results of the calls, made with this state as it was before the run."""
        slots: list[Any] = []
        together = Together()
        memory = [array_of(one) for one in state]
        now = [array.copy() for array in memory]
        try:
            deque(map(np.copyto, memory, [value for _, value in self.saved]), maxlen=0)
            for call in self.step.calls:
                if call.slot is not None:
                    slots.append(together.run(call, slots, self.externals))
        finally:  # one instruction of Python, so that no signal handler comes between
            deque(map(np.copyto, memory, now), maxlen=0)
        return slots

    def _again_missing(self, changed: Sequence[Tensor]) -> list[Any]:
        """The same where some tensors were changed since: the values that there were are missing,
        so that gradients that need them are refused.
        """
        memory = {id(one) for one in changed}
        tensors = [one for one in self.externals if isinstance(one, Tensor)]
        changed = (*changed, *[x for x in tensors if x._view and id(x._view.base) in memory])
        before = [one.node for one in changed]
        for one in changed:
            one.node = None
        slots = self.again()
        own = set()
        saved = {id(one) for one, _ in self.saved}
        for one, node in zip(changed, before, strict=True):
            if one.node is not None and id(_memory(one)) in saved:
                one.node.value = None  # what was computed from it was computed as it was
            elif one.node is not None:
                own.add(one.node)
            one.node = node
        given = {one.node for one in tensors} - own
        made = [slot for slot in slots if isinstance(slot, Tensor)]
        ends = tuple(slot.node for slot in made if slot.node is not None)
        for node in topological(ends, stop=given.__contains__):
            if node in own or (node not in given and not own.isdisjoint(node.inputs)):
                own.add(node)
                node.value = None
        return slots


def remember(tensor: Tensor, by_call: bool = False) -> None:
    """Give a result of a program its node, and first those their nodes that it was computed from.

    A chain of runs may be long, so that none begins within another.
    """
    waiting = [tensor]
    while waiting:
        last = waiting[-1]
        output = last.pending
        if output is None or output.run is None:
            waiting.pop()
            continue
        before: list[Any] = []
        if not output.run.known:  # a run may have many results
            before = [one for one in output.run.externals if isinstance(one, Tensor)]
        views = [one._view for one in (*before, last) if one._view is not None]
        before += [one.base for one in views]
        before += [one.source for one in views if one.source is not one.base]
        new = [one for one in before if one.pending is not None and one.pending.run is not None]
        if new:
            waiting += new
            continue
        output.run.known = True
        waiting.pop()
        output.run.remember(last, output.slot, by_call)
        last.pending = output.run = None


def _marks(externals: Sequence[Any], written: Sequence[Tensor]) -> list[Mark]:
    """Those of tensors from before that a gradient may need; of views what they look at."""
    found: list[Mark] = []
    for value in externals:
        if isinstance(value, Tensor):
            memory: Any = value if value._view is None else value._view.base
            if not written or all(one is not memory for one in written):  # `saved` has their values
                found.append((None if memory.shared is None else program_mark(memory), (memory,)))
    return found


def _memory(value: Any) -> Any:
    """The tensor in whose memory a value lies."""
    if not isinstance(value, Tensor) or value._view is None:
        return value
    return value._view.base
