"""What a trace took for granted: the values that it read, and whether they are as they were."""

from __future__ import annotations

from collections.abc import Mapping
from types import CellType
from typing import Any

from mynn.base.notices import Place
from mynn.trace import guards, names
from mynn.trace.names import GONE, Names


class Kept:
    """The values outside that a trace has built in.

    - `guards`: attributes (object, name) that decided what was traced, with their values: a program
      made from the trace stands for the function only while they are equal (`training` of modules,
      options of optimisers).
    - `versions`: modules that were called, with the number of their parts' replacements until then
      (`note_edit`).
    - `attributes`: plain attributes of modules and optimisers that were read, with snapshots of
      their values; `Module.__setattr__` notes a change (`note_edit`).
    - `contents`: those among them that can change in place, so that they are compared each time.
    - `tables`: values that lie in the dicts of classes, Python's modules and objects, which note
      nothing; `cells`: those in closures. `held`: the content of what they hold.
    - `large`: content that is compared only where a run of many steps begins.
    - `assigned`: attributes that were assigned while tracing, with the lines.
    - `sources`: generators of random numbers behind attributes that were read, with their states.
    - `looks`: tensors whose values were looked at, with the lines and the content then.
    - `refused`: what could not be traced, with the lines.
    """

    def __init__(self) -> None:
        self.guards: dict[tuple[Any, str], Any] = {}
        self.versions: dict[Any, int] = {}
        self.attributes: dict[tuple[Any, str], Any] = {}
        self.contents: list[tuple[Any, str, Any]] = []
        self.tables: list[tuple[Mapping[str, Any], str, Any]] = []
        self.cells: list[tuple[CellType, str, Any]] = []
        self.held: list[names.Bound] = []
        self.large: list[names.Bound] = []
        self.assigned: dict[tuple[Any, str], Place] = {}
        self.sources: dict[tuple[Any, str], tuple[Any, Any]] = {}
        self.looks: dict[Any, tuple[Place, guards.ArrayContent]] = {}
        self.refused: list[tuple[str, Place]] = []

    def keep(self, owner: Any, name: str, value: Any) -> None:
        """The trace read a plain attribute from the `__dict__` of a module or an optimiser."""
        if (owner, name) not in self.attributes:
            kept = self.attributes[owner, name] = guards.snapshot(value)
            if guards.changes_in_place(kept):
                self.contents.append((owner, name, kept))
            elif isinstance(value, names.SOURCES):
                self.sources[owner, name] = (value, names.state_of(value))

    def keep_absence(self, owner: Any, name: str) -> None:
        """The trace found that there is no such attribute."""
        self.attributes.setdefault((owner, name), GONE)

    def keep_default(self, kind: type, name: str, value: Any) -> None:
        """The trace read a plain value that a class has for all its instances."""
        table = vars(kind)
        if not any(held is table and held_name == name for held, held_name, _ in self.tables):
            self.tables.append((table, name, guards.snapshot(value)))

    def keep_names(self, found: Names) -> None:
        """What the code mentions, as it is after the trace."""
        for bound in found.bound:
            if isinstance(bound.where, CellType):
                self.cells.append((bound.where, bound.name, bound.kept))
            else:
                self.tables.append((bound.where, bound.name, bound.kept))
        for bound in found.contents:
            kept = bound.kept
            large = isinstance(kept, guards.ArrayContent) and kept.nbytes > names.SMALL_BYTES
            (self.large if large else self.held).append(bound)

    def holds(self) -> bool:
        """Whether modules consist of the same parts, and what was read has the same values."""
        return all(module._edits == count for module, count in self.versions.items()) and all(
            guards.same(kept, vars(owner).get(name, GONE))
            for (owner, name), kept in self.attributes.items()
        )

    def unchanged(self) -> bool:
        """Whether that is so where nothing notes a change."""
        for owner, name, kept in self.contents:
            if not guards.same(kept, vars(owner).get(name, GONE)):
                return False
        return self.same_names() and not any(
            getattr(owner, name) != value for (owner, name), value in self.guards.items()
        )

    def same_names(self) -> bool:
        """Whether the names in the code stand for what they stood for."""
        for table, name, kept in self.tables:
            value = table.get(name, GONE)
            if value is not kept and not guards.same(kept, value):
                return False
        for cell, _, kept in self.cells:
            try:
                value = cell.cell_contents
            except ValueError:  # empty
                return False
            if value is not kept and not guards.same(kept, value):
                return False
        return not self.held or all(guards.same(one.kept, one.now()) for one in self.held)

    def same_large(self) -> bool:
        """Whether large arrays hold what they held."""
        return all(guards.same(one.kept, one.now()) for one in self.large)

    def stale(self) -> str | None:
        """The name of a value that is another now, if it is one that a program has built in."""
        named = [
            *((f"{type(o).__name__}.{n}", k, vars(o).get(n, GONE)) for (o, n), k in self._read()),
            *((name, kept, table.get(name, GONE)) for table, name, kept in self.tables),
            *((n, k, names.Bound(cell, n, k).now()) for cell, n, k in self.cells),
        ]
        return next((name for name, kept, now in named if not guards.same(kept, now)), None)

    def _read(self) -> Any:
        return self.attributes.items()
