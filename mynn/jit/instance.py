"""The memory of one run of a program, and what is said when a check fails in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mynn.compiler.graph.status import STOPS
from mynn.core import interpreter
from mynn.core.graph import Graph
from mynn.core.types import Array
from mynn.errors import DataError
from mynn.jit.code import Code
from mynn.runtime.binding import Memory


class Instance:
    """The memory of one run: arguments, results, arena, and the table of all addresses.

    One thread at a time has it; `Program.take` lends it.
    """

    __slots__ = (
        "address",
        "arguments",
        "function",
        "memory",
        "muted",
        "outputs",
        "ran",
        "source",
        "state",
        "status",
    )

    def __init__(
        self,
        code: Code,
        source: Graph,
        function: Callable[[int], Any],
        memory: Memory,
        state: list[Array],
        muted: list[int],
    ) -> None:
        self.source = source
        self.muted = muted
        self.function = function
        # Whether the last run has been, or may have been where several threads shared it.
        self.ran = False
        self.memory = memory
        self.arguments = memory.arguments
        self.state = state
        self.outputs, self.status = memory.outputs, None
        if code.artifact.status:
            *self.outputs, self.status = memory.outputs
        self.address = memory.address

    def run(self) -> None:
        """Run on what lies in `arguments`; the results lie in `outputs` afterwards.

        Raises `DataError` or `IndexRangeError` where a check fails; the state is not changed then.
        """
        self.ran = True  # no signal handler runs between this and a call of native code
        self.function(self.address)
        if self.status is not None and self.status.item():
            self.explain(self.status.item())

    def explain(self, status: int) -> None:
        """Raise what the check that failed has to say; or warn, once for each check."""
        if status & ~self.muted[0]:
            explain(self.source, [*self.arguments, *self.state], status)
            self.muted[0] |= status


def explain(graph: Graph, values: Sequence[Array], status: int) -> None:
    """Raise what the check that failed natively says where the inputs of the graph are `values`, or
    warn.
    """
    stops = status & STOPS
    for found in interpreter.failures(graph, interpreter.bound(graph, values)):
        if not found.warns:
            raise found.error()
        if not stops:
            found.warn()
    if stops:
        raise DataError(
            "a label or an index is out of range natively, and in range where the step is "
            "interpreted: it comes from rounded numbers at the edge of what it may be"
        )
