"""Where a tape stands: steps of a tree, so that the same calls lead to the same step."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from mynn.base import sharing
from mynn.tape.calls.call import Beyond, Call, External, Slot
from mynn.tape.calls.outcome import Outcome
from mynn.tape.pieces.trial import Trial
from mynn.tensor import Parameter, Tensor
from mynn.tensor.gradients import history
from mynn.tensor.methods.inplace import asks

# The longest tape.
LONGEST = 1000
# So many sets of results that somebody holds are remembered of a step.
SETS = 64
# A tape holds what it is to read: no more than so many bytes, but if it is a few tensors.
MUCH, FEW = 2**25, 4
_serials = itertools.count()
_NONE: Mapping[Any, Any] = MappingProxyType({})
_NOTHING_READ: tuple[Any, ...] = (None, [], ())
# Tensors of one domain, and the mark that its last program left.
Mark: TypeAlias = tuple[object, tuple[Tensor, ...]]
# What gets gradients: a parameter, a leaf from before, what a tensor from before came from, or a
# result that asks for one.
Target: TypeAlias = Parameter | External | Beyond | Slot


def _nothing() -> None:
    """No step."""


# A call that is run at once where it stands, and one of a module whose calls are recorded.
AT_ONCE, INSIDE = object(), object()


class Step:
    """A place that a tape comes to: what was called up to there.

    - `calls`: all calls, from the beginning.
    - `outcome`: what the last one does; None for `backward` and `step`.
    - `slots`, `externals`: how many results there are, and tensors and arrays from before.
    - `children`: the steps after other calls, by their keys; those of calls of modules and
      optimisers lie with these, so that they go with them.
    - `trained`: what has got gradients on the way (`Target`); `sums`: of those that had a gradient
      before, its place.
    - `buffers`: state without gradients that is read on the way, and not changed.
    - `asking`: the results that ask for a gradient themselves.
    - `replacing`: the results that are leaves: those that tensors from before wait for which ask
      for a gradient, and what asks for one in the next round of a loop.
    - `assigned`: whether a parameter was assigned to on the way; `overwritten`: whether a result
      was changed in place that a gradient may need.
    - `written`: state that changes on the way; `stepped`: whether an optimiser has changed what it
      trains.
    - `pieces`: by which slots somebody holds, a `Trial`, later the program (`Piece`); `made`:
      whether there was one.
    - `known`: by the same, those pieces that are run as soon as they are looked at (`look`); None
      where there are none yet.
    - `derivatives`: by the slots of results, the same for gradients from them (`Derivative`);
      `passes`: by which slots somebody holds, the externals that gradients may flow to.
    - `looked`: of a first call, how often its result was looked at before anything came after it;
      `ready`: the program, where that is always so, and nothing has to be remembered of the call.
    - `parts`: of each slot, the part of the calls that it belongs to (`find_parts`).
    - `views`: the results that look at memory of others: slot, place of that, the steps from it,
      and whether gradients flow; `within`: by slot that of the memory, where that is a result too,
      the last one first.
    - `promise`: what results know that wait for the last call; `quick`: whether nothing but its
      arguments has to be looked at where it comes again; `stateful`: whether it reads buffers.
    - `work`: how long the calls up to there take, run one by one (`mynn.tape.pieces.work`).
    - `held`, `largest`: how many bytes of tensors from before a tape holds that stands here, and of
      the largest of them; `last`: whether it runs here, since that is much, or since it is long.
    - `born`: how many steps of calls were made after it.
    - `next`: the step that a call came to last, `other`: the one before, where that was another
      one; `next_of_module`: the same as `next` for calls of modules, where it is still there;
      `same`: for calls that give back an argument.
    - `function`, `gradients`, `mode`, `count`, `names`, `wants`: what is compared to see whether a
      call is the one that leads here: what is called, with gradients or not, in which mode of the
      module, the number of arguments by position, the names of the others, and for each of all the
      part of the key, or the promise of a result; `known_call`: the same for native code
      (`mynn.tape.calls.native`), False where that does not record it.
    """

    __slots__ = (
        "__weakref__",
        "asking",
        "assigned",
        "born",
        "buffers",
        "calls",
        "children",
        "count",
        "derivatives",
        "externals",
        "function",
        "gradients",
        "held",
        "keys",
        "known",
        "known_call",
        "largest",
        "last",
        "looked",
        "made",
        "mode",
        "names",
        "next",
        "next_of_module",
        "other",
        "outcome",
        "outcomes",
        "overwritten",
        "parent",
        "parts",
        "passes",
        "pieces",
        "promise",
        "quick",
        "reads",
        "ready",
        "replacing",
        "same",
        "serial",
        "slots",
        "stateful",
        "stepped",
        "sums",
        "trained",
        "views",
        "wants",
        "within",
        "work",
        "written",
    )

    def __init__(
        self,
        parent: Step | None,
        call: Call | None,
        outcome: Outcome | None,
        externals: int | None = None,
    ) -> None:
        self.serial = next(_serials)
        self.parent = parent
        self.outcome = outcome
        self.children: dict[Any, Any] = {}
        self.pieces: dict[Any, Any] = {}
        self.made = False
        self.known: Any = None
        self.derivatives: dict[Any, Any] = {}
        self.passes: dict[tuple[bool, ...], frozenset[int]] = {}
        self.last = False
        self.born = 0
        self.parts: list[int] | None = None
        self.looked = 0
        self.ready: Any = None
        # What `marks` finds out once.
        self.reads: Any = None
        self.next: Step | None = None
        self.other: Step | None = None
        self.same: Step | None = None
        self.next_of_module: Callable[[], Step | None] = _nothing
        # For which results are held, those that a program makes; used where there are views.
        self.keys: Any = None
        self.promise: Any = None
        self.known_call: Any = None
        self.quick = self.stateful = False
        if parent is None or call is None:
            self._begin(externals or 0)
        else:
            self._follow(parent, call, outcome)
            self.externals: int = parent.externals if externals is None else externals

    def _begin(self, externals: int) -> None:
        """Nothing was called up to here."""
        self.work = 0.0
        self.slots: int = 0
        self.externals = externals
        self.held = self.largest = 0
        self.calls: tuple[Call, ...] = ()
        self.outcomes: tuple[Outcome | None, ...] = ()
        self.trained: tuple[Target, ...] = ()
        self.sums: Mapping[Target, External] = _NONE
        self.written: tuple[Tensor, ...] = ()
        self.buffers: tuple[Tensor, ...] = ()
        self.stepped = self.assigned = self.overwritten = False
        self.asking: tuple[int, ...] = ()
        self.replacing: tuple[int, ...] = ()
        self.views: tuple[Any, ...] = ()
        self.within: tuple[tuple[int, int], ...] = ()

    def _follow(self, parent: Step, call: Call, outcome: Outcome | None) -> None:
        """What was called up to here is what was called up to the parent, and this call."""
        self.calls = (*parent.calls, call)
        self.outcomes = (*parent.outcomes, outcome)
        self.slots = parent.slots + (call.slot is not None)
        self.work = parent.work
        self.held, self.largest = parent.held, parent.largest
        self.trained, self.sums = parent.trained, parent.sums
        self.written, self.buffers = parent.written, parent.buffers
        self.stepped, self.assigned = parent.stepped, parent.assigned
        self.overwritten = parent.overwritten or call.overwrites is not None
        self.asking, self.replacing = parent.asking, parent.replacing
        self.views, self.within = parent.views, parent.within
        if call.function is asks:
            self.asking = (*parent.asking, self.slots - 1)
        if outcome is not None:
            self._add_effects(outcome, call)
        if self.views:
            self.keys = {}

    def _add_effects(self, outcome: Outcome, call: Call) -> None:
        """Add what the last call does."""
        self.work += outcome.work
        if outcome.view is not None:
            number, steps, attached = outcome.view
            slot, leaf = self.slots - 1, call.form.leaves[number]
            self.views = (*self.views, (slot, leaf, steps, attached))
            if isinstance(leaf, Slot):
                self.within = ((slot, leaf.number), *self.within)
        if outcome.writes:
            self.written = tuple(dict.fromkeys((*self.written, *outcome.writes)))
        if outcome.overwrites:
            self.overwritten = True
        if outcome.state:
            written = {id(tensor) for tensor in self.written}
            read = {id(tensor): tensor for tensor in (*self.buffers, *outcome.state)}
            self.buffers = tuple(
                tensor
                for number, tensor in read.items()
                if not isinstance(tensor, Parameter) and number not in written
            )

    def hold(self, sizes: Sequence[int]) -> None:
        """The last call has brought tensors of so many bytes."""
        self.held += sum(sizes)
        self.largest = max(self.largest, *sizes, 0)
        self.last = self.slots > LONGEST or self.held > max(MUCH, FEW * self.largest)

    def expect(self, wants: Sequence[Any], names: tuple[str, ...], module: Any) -> None:
        """From where this step begins, the call of it is likely to come again."""
        assert self.parent is not None
        call = self.calls[-1]
        self.function, self.gradients = call.function, call.gradients
        self.wants = tuple(wants)
        self.count, self.names = len(wants) - len(names), names
        if module is None and self.outcome is not None and self.outcome.same is not None:
            self.parent.same = self
        elif module is None:
            self.parent.turn_to(self)
        else:  # the step lies with the module, and goes with it
            self.mode = module._mode
            self.parent.next_of_module = weakref.ref(self)

    def turn_to(self, child: Step) -> None:
        """A call came to this step, which is likely to come again."""
        if self.next is not child:
            self.next, self.other = child, self.next

    def over(self, slot: int) -> Step:
        """The same place, where the result of the last call took that of an earlier one: gradients
        do not find the value of that any more.
        """
        key = ("over", slot)
        found: Step | None = self.children.get(key)
        if found is None:
            found = self.children[key] = self._over(slot) if self._is_read(slot) else self
        return found

    def _over(self, slot: int) -> Step:
        return self.again(self.calls[-1].over(slot))

    def again(self, call: Call) -> Step:
        """Another step of the same call, or of one like it."""
        step = Step(self.parent, call, self.outcome, self.externals)
        step.promise, step.quick = self.promise, self.quick
        step.held, step.largest, step.last = self.held, self.largest, self.last
        step.replacing = self.replacing
        return step

    def _is_read(self, slot: int) -> bool:
        """Whether a gradient may need the value of a result."""
        place = Slot(slot)
        return any(
            call.slot == slot or place in call.form.leaves
            for call, outcome in zip(self.calls, self.outcomes, strict=True)
            if outcome is not None and outcome.requires_grad
        )

    def marks(self, access: sharing.Access | None) -> Sequence[Mark]:
        """Of the state that is read and not changed, by domain: the mark that the last program
        left. `access` is that of a program that reads all of it.
        """
        domains = None if access is None else access.domains
        if self.reads == _NOTHING_READ:
            return ()
        if domains is None or self.reads is None or self.reads[0] != domains:
            self.reads = domains, *self._reads()
        read: list[tuple[Tensor, ...]]
        alone: tuple[Mark, ...]
        _, read, alone = self.reads
        if not read:
            return alone
        return (*alone, *[(sharing.program_mark(ones[0]), ones) for ones in read])

    def _reads(self) -> Any:
        """The tensors of each domain, and those that no program writes as marks."""
        written = {id(one) for one in self.written}
        found: dict[Any, dict[int, Tensor]] = {}
        for outcome in self.outcomes:
            for one in () if outcome is None else outcome.state:
                if id(one) not in written:
                    found.setdefault(sharing.domain_of(one), {})[id(one)] = one
        alone = tuple((None, (one,)) for one in found.pop(None, {}).values())
        return [tuple(ones.values()) for ones in found.values()], alone

    @property
    def size(self) -> int:
        """How much it is to keep, in places of a tuple."""
        return 64 + len(self.calls)

    @property
    def updates(self) -> Recorded:
        """The table of the optimizer that the calls end with."""
        update: Any = self.calls[-1].function
        return table(update.optimizer)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Those parameters that have got gradients on the way."""
        return tuple(one for one in self.trained if isinstance(one, Parameter))

    @property
    def changed(self) -> tuple[Tensor, ...]:
        """Those parameters that have other values after it, beside written state."""
        own = self.parameters if self.stepped else ()
        return (*own, *[one for one in self.written if isinstance(one, Parameter)])

    def leaves_of(self, slot: int, externals: Sequence[Any]) -> tuple[Target, ...] | None:
        """What may get a gradient from a slot; None where that cannot be said."""
        reached, found = {slot}, dict[int, Target]()
        for call, outcome in reversed(list(zip(self.calls, self.outcomes, strict=True))):
            if call.slot not in reached or outcome is None or not outcome.requires_grad:
                continue
            if call.function is asks:
                continue  # its gradient is made where somebody can ask for it
            for state in outcome.leaves:
                if not isinstance(state, Parameter):
                    return None
                found[id(state)] = state
            for leaf in call.form.leaves:
                if isinstance(leaf, Slot):
                    reached.add(leaf.number)
                    continue
                value = externals[leaf.number]
                if isinstance(value, Tensor) and value.requires_grad:
                    if isinstance(value, Parameter):
                        found[id(value)] = value
                    elif value.is_leaf:
                        found[id(value)] = leaf
                    elif history.behind(value) is not None:
                        found[id(value)] = Beyond(leaf.number)
                    else:
                        return None
        return tuple(found.values())

    def find_parts(self) -> list[int]:
        """For each slot a number, the same of two where a gradient of both comes by one call."""
        if self.parts is None:
            parts = list(range(self.slots))

            def find(slot: int) -> int:
                while parts[slot] != slot:
                    parts[slot] = slot = parts[parts[slot]]
                return slot

            flows = set[int]()
            for call, outcome in zip(self.calls, self.outcomes, strict=True):
                if call.slot is None or outcome is None or not outcome.requires_grad:
                    continue
                flows.add(call.slot)
                for leaf in call.form.leaves:
                    if isinstance(leaf, Slot) and leaf.number in flows:
                        parts[find(leaf.number)] = call.slot
            self.parts = [find(slot) for slot in range(self.slots)]
        return self.parts

    def first(self) -> Step:
        """The step after the first call."""
        step = self
        while step.parent is not None and step.parent.parent is not None:
            step = step.parent
        return step

    def passed(self, held: Sequence[bool]) -> frozenset[int]:
        """The numbers of externals that gradients may flow to, from results that somebody holds."""
        key = tuple(held)
        found = self.passes.get(key)
        if found is None:
            reached, numbers = {slot for slot, known in enumerate(held) if known}, set[int]()
            for call, outcome in reversed(list(zip(self.calls, self.outcomes, strict=True))):
                grows = call.slot in reached and outcome is not None and outcome.requires_grad
                for leaf in call.form.leaves if grows and call.function is not asks else ():
                    (reached if isinstance(leaf, Slot) else numbers).add(leaf.number)
            if len(self.passes) >= SETS:
                self.passes.clear()
            found = self.passes[key] = frozenset(numbers)
        return found

    def make_room(self) -> None:
        """Forget some of the sets of results that somebody held: those without programs first."""
        if len(self.pieces) < SETS:
            return
        programs = {key: one for key, one in self.pieces.items() if type(one) is not Trial}
        self.pieces = programs if len(programs) < SETS else {}

    def __str__(self) -> str:
        return "\n".join(map(str, self.calls))


class Recorded(dict[Any, Step]):
    """The steps that calls of a module or an optimiser lead to, by where they began.

    They belong to that one object: copies of it begin with none. `outcomes` is what its calls give,
    `programs` how many programs end in its updates, of which there were `count`; `known`: whether
    its first call is known, from a stand-in (`mynn.tape.calls.fresh`), and is not waited for;
    `sets`: which parameters had gradients in its updates, `latest`: in the last one; `turns`: how
    often that was another set than before, less what was the same.
    """

    __slots__ = ("count", "known", "latest", "outcomes", "programs", "sets", "turns")

    def __init__(self) -> None:
        super().__init__()
        self.sets: set[tuple[bool, ...]] = set()
        self.latest: tuple[bool, ...] | None = None
        self.turns = 0.0
        self.programs = self.count = 0
        self.known = False
        self.outcomes: dict[Any, Any] = {}

    def __reduce__(self) -> Any:
        return Recorded, ()

    def __deepcopy__(self, memo: Any) -> Recorded:
        return Recorded()


def table(anchor: Any) -> Recorded:
    """The steps that lie with a module or an optimiser."""
    own = vars(anchor)
    found: Recorded | None = own.get("_recorded")
    if found is None:
        found = own["_recorded"] = Recorded()
    return found


__all__ = ["AT_ONCE", "INSIDE", "External", "Recorded", "Step", "table", "weakref"]
