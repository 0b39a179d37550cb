"""Register buffers as SSA values: each slot holds a vector of neighbours, or a scalar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mynn.base.dataclass import dataclass
from mynn.compiler.codegen.function import Block, Function
from mynn.compiler.codegen.lane_reduce import reduce_lanes, reduce_rows
from mynn.compiler.codegen.ops import operation
from mynn.compiler.codegen.values import Value, mask, zero
from mynn.compiler.codegen.vectors import element, insert, narrow, transpose, widen
from mynn.compiler.loop_ir.ir import Buffer, Local, Statement, Store
from mynn.compiler.loop_ir.walk import statements
from mynn.errors import CompileError


@dataclass(frozen=True)
class VectorContext:
    """The vector loop around a statement: its variable, its rounds, and the lanes they take.

    `lane` is None where there is none, or where it has one round.
    """

    lane: str | None = None
    extent: int = 1

    @property
    def lanes(self) -> int:
        """The power of two that holds the rounds."""
        return 1 << (self.extent - 1).bit_length()


SCALAR = VectorContext()


@dataclass(frozen=True, slots=True)
class Slot:
    """The present value of `valid` neighbouring elements of a register buffer: its first lanes."""

    value: Value
    valid: int


class Registers:
    """The present values of the register buffers of a function.

    `at` is the place of an element in its buffer, `step` the distance from lane to lane.
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self._slots: dict[Buffer, dict[int, Slot]] = {}

    def __contains__(self, buffer: Buffer) -> bool:
        return buffer in self._slots

    def declare(self, buffer: Buffer) -> None:
        """Make a buffer, of which nothing is known."""
        self._slots[buffer] = {}

    # -- loops and joins ---------------------------------------------------------------------------

    def changed(self, body: Sequence[Statement]) -> list[tuple[Buffer, int]]:
        """The slots that are there and that the statements may change.

        What they make for themselves is not: in an unrolled loop it may be there from the round
        before.
        """
        if not any(self._slots.values()):
            return []
        inside = list(statements(tuple(body)))
        stored = {s.buffer for s in inside if isinstance(s, Store)}
        stored -= {s.buffer for s in inside if isinstance(s, Local)}
        return [(b, at) for b, slots in self._slots.items() if b in stored for at in slots]

    def values(self, places: Sequence[tuple[Buffer, int]]) -> list[Value]:
        """Their present values."""
        return [self._slots[buffer][at].value for buffer, at in places]

    def become_parameters(self, places: Sequence[tuple[Buffer, int]], block: Block) -> None:
        """From the start of `block` on the slots are parameters of it."""
        for buffer, at in places:
            old = self._slots[buffer][at]
            value = self.function.parameter(block, old.value.type, old.value.lanes)
            self._slots[buffer][at] = Slot(value, old.valid)

    # -- elements ----------------------------------------------------------------------------------

    def store(self, buffer: Buffer, at: int, step: int, value: Value, v: VectorContext) -> None:
        """Set elements; a part of a vector is blended with what was there."""
        slots = self._slots[buffer]
        if v.lane is None:
            self._store_element(slots, at, value)
            return
        if step != 1:
            raise CompileError(f"register buffer {buffer} is stored with stride {step}")
        f, old = self.function, slots.get(at)
        value = f.broadcast(value, v.lanes)
        if old is None or old.valid <= v.extent:
            slots[at] = Slot(value, v.extent)
            return
        lanes = old.value.lanes
        blended = f.select(mask(v.extent, lanes), widen(f, value, lanes), old.value)
        slots[at] = Slot(blended, old.valid)

    def _store_element(self, slots: dict[int, Slot], at: int, value: Value) -> None:
        """Set one element: a slot of its own, or a lane of the vector that holds it."""
        for start, slot in slots.items():
            if start <= at < start + slot.valid and slot.value.lanes > 1:
                new = insert(self.function, slot.value, value, at - start)
                slots[start] = Slot(new, slot.valid)
                return
        slots[at] = Slot(value, 1)

    def is_part(self, buffer: Buffer, at: int, step: int, v: VectorContext) -> bool:
        """Whether the first lanes of a vector are meant, and there are more."""
        old = self._slots[buffer].get(at)
        wider = old is not None and old.valid > v.extent and old.value.lanes == v.lanes
        return v.lane is not None and step == 1 and wider

    def add_to_part(
        self, buffer: Buffer, at: int, factors: Iterable[Value], v: VectorContext
    ) -> None:
        """acc = fma(x, y, acc) for the first lanes of a wider accumulator.

        The lanes that are left add 0 * 0, which takes less than to put back what was there.
        """
        f, slots, old = self.function, self._slots[buffer], self._slots[buffer][at]
        none = zero(buffer.type, v.lanes)
        parts = [f.select(mask(v.extent, v.lanes), f.broadcast(x, v.lanes), none) for x in factors]
        total = operation(f, "fma", [*parts, old.value], buffer.type)
        slots[at] = Slot(total, old.valid)

    def load(self, buffer: Buffer, at: int, step: int, v: VectorContext) -> Value:
        """Elements: a vector as it was stored, a scalar, or a column."""
        slots = self._slots[buffer]
        if v.lane is None or step == 0:
            return self._element(buffer, at)
        if step != 1:
            return self._column(buffer, at, step, v)
        value = slots[at].value
        if value.lanes < v.lanes:
            raise CompileError(f"{buffer} holds {value.lanes} lanes, {v.lanes} are read")
        return narrow(self.function, value, v.lanes)

    def _element(self, buffer: Buffer, at: int) -> Value:
        """One element, out of a vector where it lies in one."""
        for start, slot in self._slots[buffer].items():
            if start <= at < start + slot.valid:
                value = slot.value
                return value if value.lanes == 1 else element(self.function, value, at - start)
        raise CompileError(f"element {at} of {buffer} was not stored")

    def _column(self, buffer: Buffer, at: int, step: int, v: VectorContext) -> Value:
        """Element `at` of every row of `step` elements; shuffles transpose the rows once."""
        f, slots = self.function, self._slots[buffer]
        rows = [slots[row * step].value for row in range(v.extent)]
        side = max(rows[0].lanes, v.lanes)

        def transposed() -> list[Value]:
            square = [widen(f, row, side) for row in rows]
            return transpose(f, square + [square[-1]] * (side - len(square)))

        columns = f.once(("columns", v.lanes, *rows), transposed)
        return narrow(f, columns[at % step], v.lanes)

    def reduce(self, op: str, buffer: Buffer, at: int, step: int, v: VectorContext) -> Value:
        """The lanes of one register combined, or of one register for each lane."""
        slots = self._slots[buffer]
        if v.lane is None or step == 0:
            return reduce_lanes(self.function, op, slots[at].value)
        rows = [slots[at + row * step].value for row in range(v.extent)]
        return reduce_rows(self.function, op, rows, v.lanes)
