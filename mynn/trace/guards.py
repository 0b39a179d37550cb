"""Guards: what a trace has read of Python beside its arguments, and whether it still holds.

A trace reads plain Python values (a slope, a list of widths, a NumPy array), and the program has
them built in. So each one that was read is kept as a snapshot, and compared before the program runs
again. Values that are assigned through `Module.__setattr__` are compared only after an assignment
(`tracing.activity`); the content of lists, dicts, sets and arrays can change in place, and is
compared each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from types import CellType
from typing import Any

from mynn.base import hooks
from mynn.trace.free_variables import GONE, SMALL_BYTES, SOURCES, Bound, FreeVariables, state_of
from mynn.trace.snapshot import ArrayContent, changes_in_place, same, snapshot


class Look:
    """A tensor whose value was looked at, with what it was then."""

    __slots__ = ("kept", "tensor")

    def __init__(self, tensor: Any, kept: ArrayContent) -> None:
        self.tensor = tensor
        self.kept = kept

    def now(self) -> Any:
        """The present value."""
        return self.tensor.numpy()


class Guards:
    """The values outside that a trace has built in. A program made from it is valid while they
    hold.

    - `properties`: computed attributes (object, name) that decided what was traced, with their
      values: the mode of modules, the signature of optimisers. Compared each time.
    - `versions`: modules that were called, with the number of their parts' replacements until then
      (`Activity.note_edit`).
    - `attributes`: plain attributes of modules and optimisers that were read, with snapshots of
      their values; `Module.__setattr__` notes a change (`Activity.note_edit`).
    - `contents`: those among them that can change in place, so that they are compared each time.
    - `tables`: values that lie in the dicts of classes, Python's modules and objects, which note
      nothing; `cells`: those in closures. `held`: the content of what they hold, and of tensors
      that were looked at.
    - `large`: content that is compared only where a run of many steps begins.
    - `hooks`: which hooks the leaves have that gradients were added to; compared after an edit.
    - `sources`: generators of random numbers behind attributes that were read, with their states.
    - `complete`: whether the code can read nothing else (`FreeVariables.complete`), and did nothing
      that is done once (`Effects`); `general`: whether the values of state had no part in it.
    """

    def __init__(self) -> None:
        self.properties: dict[tuple[Any, str], Any] = {}
        self.versions: dict[Any, int] = {}
        self.attributes: dict[tuple[Any, str], Any] = {}
        self.contents: list[tuple[Any, str, Any]] = []
        self.tables: list[tuple[Mapping[str, Any], str, Any]] = []
        self.cells: list[tuple[CellType, str, Any]] = []
        self.held: list[Bound | Look] = []
        self.large: list[Bound] = []
        self.hooks: dict[Any, tuple[int, ...]] = {}
        self.sources: dict[tuple[Any, str], tuple[Any, Any]] = {}
        self.complete = True
        self.general = True

    def keep(self, owner: Any, name: str, value: Any) -> None:
        """The trace read a plain attribute from the `__dict__` of a module or an optimiser."""
        if (owner, name) not in self.attributes:
            kept = self.attributes[owner, name] = snapshot(value)
            if changes_in_place(kept):
                self.contents.append((owner, name, kept))
            elif isinstance(value, SOURCES):
                self.sources[owner, name] = (value, state_of(value))

    def again(self, owner: Any, name: str, kept: Any) -> None:
        """An attribute of another object has the value that was kept of one like it."""
        self.attributes[owner, name] = kept
        if changes_in_place(kept):
            self.contents.append((owner, name, kept))

    def keep_absence(self, owner: Any, name: str) -> None:
        """The trace found that there is no such attribute."""
        self.attributes.setdefault((owner, name), GONE)

    def keep_default(self, owner: type, name: str, value: Any) -> None:
        """The trace read a plain value that a class has for all its instances."""
        table = vars(owner)
        if not any(held is table and held_name == name for held, held_name, _ in self.tables):
            self.tables.append((table, name, snapshot(value)))

    def keep_names(self, found: FreeVariables) -> None:
        """What the code mentions, as it is after the trace."""
        self.complete &= found.complete
        for bound in found.bound:
            if isinstance(bound.where, CellType):
                self.cells.append((bound.where, bound.name, bound.kept))
            else:
                self.tables.append((bound.where, bound.name, bound.kept))
        for bound in found.contents:
            kept = bound.kept
            large = isinstance(kept, ArrayContent) and kept.nbytes > SMALL_BYTES
            (self.large if large else self.held).append(bound)

    def keep_look(self, tensor: Any, kept: ArrayContent) -> bool:
        """The trace looked at the value of a tensor; False where that is too large to compare."""
        if kept.nbytes > SMALL_BYTES:
            return False
        self.held.append(Look(tensor, kept))
        return True

    def holds(self) -> bool:
        """Whether modules consist of the same parts, and what was read has the same values."""
        return (
            all(module._edits == count for module, count in self.versions.items())
            and all(
                same(kept, vars(owner).get(name, GONE))
                for (owner, name), kept in self.attributes.items()
            )
            and all(hooks.signature(leaf) == kept for leaf, kept in self.hooks.items())
        )

    def unchanged(self) -> bool:
        """Whether that is so where nothing notes a change."""
        for owner, name, kept in self.contents:
            if not same(kept, vars(owner).get(name, GONE)):
                return False
        if not self.same_names():
            return False
        return not self.properties or not any(
            getattr(owner, name) != value for (owner, name), value in self.properties.items()
        )

    def comparison(self, settled: Set[tuple[Any, str]]) -> Callable[[], bool] | None:
        """What looks at all that notes no change, but for the properties that are `settled`; None
        where there is nothing to look at.
        """
        properties = [(o, n, v) for (o, n), v in self.properties.items() if (o, n) not in settled]
        contents = self.contents
        if not properties and not contents and not self.large:
            return self.same_names if self.by_name else None

        def same_now() -> bool:
            return (
                all(same(kept, vars(owner).get(name, GONE)) for owner, name, kept in contents)
                and self.same_names()
                and not any(getattr(owner, name) != value for owner, name, value in properties)
                and self.same_large()
            )

        return same_now

    def same_names(self) -> bool:
        """Whether the names in the code stand for what they stood for."""
        for table, name, kept in self.tables:
            value = table.get(name, GONE)
            if value is not kept and not same(kept, value):
                return False
        for cell, _, kept in self.cells:
            try:
                value = cell.cell_contents
            except ValueError:  # empty
                return False
            if value is not kept and not same(kept, value):
                return False
        return not self.held or all(same(one.kept, one.now()) for one in self.held)

    @property
    def each_time(self) -> bool:
        """Whether there is something to compare before every run, besides names in the code."""
        return bool(self.properties or self.contents)

    @property
    def by_name(self) -> bool:
        """Whether the code mentions values from outside."""
        return bool(self.tables or self.cells or self.held)

    @property
    def steady(self) -> bool:
        """Whether all that was read notes a change of itself."""
        return not self.each_time and not self.by_name

    def same_large(self) -> bool:
        """Whether large arrays hold what they held."""
        return all(same(one.kept, one.now()) for one in self.large)

    def stale(self) -> str | None:
        """The name of a value that is another now, if it is one that a program has built in."""
        named = [
            *(
                (f"{type(o).__name__}.{n}", k, vars(o).get(n, GONE))
                for (o, n), k in self.attributes.items()
            ),
            *((name, kept, table.get(name, GONE)) for table, name, kept in self.tables),
            *((n, k, Bound(cell, n, k).now()) for cell, n, k in self.cells),
        ]
        return next((name for name, kept, now in named if not same(kept, now)), None)
