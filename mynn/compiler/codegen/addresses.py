"""Addresses of elements: what is equal in them is computed once."""

from __future__ import annotations

from collections.abc import Mapping

from mynn.compiler.codegen.function import Function, index
from mynn.compiler.codegen.memory import offset
from mynn.compiler.codegen.values import Value, memory_type
from mynn.compiler.loop_ir.ir import INDEX, Buffer, Kernel
from mynn.compiler.memory.scratch import scratch_offsets
from mynn.errors import CompileError

# The terms of an index that vary: each a value and its coefficient.
Terms = tuple[tuple[Value, int], ...]


class Addresses:
    """Where the buffers of a function lie, and their elements; `bases` are known addresses."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.bases: dict[Buffer, Value] = {}

    def base(self, buffer: Buffer) -> Value:
        """The address of a buffer."""
        return self.bases[buffer]

    def sum(self, terms: Terms) -> Value:
        """The sum of the terms."""
        return self.function.once(("sum", terms), lambda: self._add(terms))

    def _add(self, terms: Terms) -> Value:
        f, total = self.function, None
        # What changes least comes first: it goes before the loops that do not change it.
        for value, coefficient in sorted(terms, key=lambda term: f.depth(term[0])):
            part = value if coefficient == 1 else f.binary("mul nsw", value, index(coefficient))
            total = part if total is None else f.binary("add nsw", total, part)
        assert total is not None
        return total

    def pointer(self, buffer: Buffer, constant: int, terms: Terms) -> Value:
        """The address of an element at a scalar offset."""
        f, base = self.function, self.base(buffer)
        if terms:
            base = f.once((buffer, terms), lambda: self._element(buffer, terms))
        if constant:
            # Here, and not before a loop: it is part of the instruction that uses it.
            kind = memory_type(buffer.type)
            base = f.here(f"getelementptr inbounds {kind}, {base.typed}, i64 {constant}", "ptr")
        return base

    def _element(self, buffer: Buffer, terms: Terms) -> Value:
        """The address of an element: what the innermost loop changes is added to an address that
        is found before it, so that few registers change with its counter.
        """
        f, base = self.function, self.base(buffer)
        depth = max(f.depth(value) for value, _ in terms)
        outer = tuple(term for term in terms if f.depth(term[0]) < depth)
        if outer:
            base = offset(f, buffer.type, base, self.sum(outer))
            terms = tuple(term for term in terms if f.depth(term[0]) == depth)
        return offset(f, buffer.type, base, self.sum(terms), inbounds=not outer)


class KernelAddresses(Addresses):
    """Where the buffers of a kernel lie: those in the table are looked up once.

    Args:
        slots: each buffer's place in the table.
        scratch: a worker's share of the memory that lives within a kernel.
        numbers: where it is given, the function takes a list of slots, and the addresses of these
            buffers are where the entries of these numbers say.
        worker: the number of the worker, where the kernel is shared.
    """

    def __init__(
        self,
        function: Function,
        kernel: Kernel,
        slots: Mapping[Buffer, int],
        scratch: Buffer | None,
        numbers: Mapping[Buffer, int],
        worker: Value | None,
    ) -> None:
        super().__init__(function)
        self.kernel = kernel
        self.slots = slots
        self.scratch = scratch
        self.numbers = numbers
        self.worker = worker
        self.offsets, self.share_bytes = scratch_offsets(kernel)

    def base(self, buffer: Buffer) -> Value:
        """The address of a buffer, which is in the table or in scratch memory."""
        if buffer not in self.bases:
            scratch = buffer.storage == "scratch"
            self.bases[buffer] = (self._in_scratch if scratch else self._in_table)(buffer)
        return self.bases[buffer]

    def _in_table(self, buffer: Buffer) -> Value:
        f = self.function
        slot = str(self.slots[buffer]) if buffer not in self.numbers else ""
        if not slot:
            number = self.numbers[buffer]
            entry = f.first(f"getelementptr i64, ptr %slots, i64 {number}", "ptr")
            slot = f.first(f"load i64, ptr {entry.text}, align 8", INDEX).text
        place = f.first(f"getelementptr ptr, ptr %table, i64 {slot}", "ptr")
        return f.first(f"load ptr, ptr {place.text}, align 8", "ptr")

    def _in_scratch(self, buffer: Buffer) -> Value:
        """An address in this worker's share of the scratch memory."""
        f, scratch, at = self.function, self.scratch, str(self.offsets[buffer])
        if scratch is None or self.share_bytes > scratch.nbytes:
            raise CompileError(
                f"{self.kernel.name} needs {self.share_bytes} bytes of scratch memory"
            )
        start = self.base(scratch).text
        if self.worker is not None:
            share = f.first(f"mul i64 {self.worker.text}, {scratch.nbytes}", INDEX)
            at = f.first(f"add i64 {share.text}, {at}", INDEX).text
        return f.first(f"getelementptr inbounds i8, ptr {start}, i64 {at}", "ptr")
