"""`InterpretedProgram`: a staged function that the NumPy interpreter runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mynn import debug
from mynn.base import sharing
from mynn.core import interpreter
from mynn.core.graph import Graph, Node, format_graph
from mynn.core.types import Array
from mynn.errors import MynnError, UsageError
from mynn.jit.code import signature_text
from mynn.jit.program import Notes, StateTensor
from mynn.runtime import store
from mynn.runtime.signals import uninterrupted
from mynn.runtime.threads import Threads

# What a native `Program` has besides: kernels, code, memory of its own.
NATIVE_ONLY = frozenset(
    {"kernels", "loop_ir", "llvm_ir", "assembly", "assembly_for", "lowered", "target", "profile"}
    | {"stages", "stage"}
    | {"operations", "bytes", "stack_bytes", "nbytes", "buffers", "artifact", "native"}
    | {"arguments", "outputs", "table", "run", "direct", "several", "take", "give_back", "free"}
    | {"new_instance", "argument_layouts", "result_layouts", "status_slot", "state"}
    | {"addresses"}
)


class InterpretedProgram:
    """The same as `Program`, run by the NumPy interpreter.

    Slow, and what native code is held to.
    """

    backend = "interpreter"
    compile_seconds = 0.0
    threads = 1
    adaptive = False

    def __init__(
        self,
        graph: Graph,
        arguments: int,
        writes: dict[Node, int],
        state: Sequence[StateTensor],
        threads: Threads | None = None,
        name: str = "",
        code: Any = None,
        twin: Any = None,
    ) -> None:
        debug.show(2, "traced graph", lambda: format_graph(graph))
        self.source = graph
        self.code = store.Stored()
        self.code.kind = "interpreted"
        self.code.signature = signature_text(name, graph.inputs[:arguments])
        store.STORE.add(object(), self.code)
        self.seconds: Mapping[str, float] = {}
        self.count = len(graph.outputs) - len(writes)
        self.writes = dict(writes)
        self.state_arrays = [tensor.to_native() for tensor in state]
        self.state_nodes = graph.inputs[arguments:]
        pairs = zip(state, self.state_nodes, strict=True)
        self.access = sharing.join(state, [tensor for tensor, node in pairs if node in writes])

    def __call__(self, arguments: Sequence[Any]) -> list[Array]:
        """Evaluate the graph, then change the state."""
        self.code.touched = True
        return self.access.run(lambda: self._run(arguments))

    def values(self, arguments: Sequence[Any]) -> list[Array]:
        """The same, where nothing is put off that the program reads."""
        return self(arguments)

    def quick(self) -> None:
        """There is no shorter way."""

    def call_noting(self, arguments: Sequence[Any], notes: Notes) -> None:
        """The same, with the results noted; `begun` where state may have changed."""
        self.code.touched = True
        try:
            notes.results = self.access.run(lambda: self._run(arguments))
        except MynnError:
            raise  # found before state is changed
        except BaseException:
            notes.begun = bool(self.writes)
            raise

    def _run(self, arguments: Sequence[Any]) -> list[Array]:
        values = interpreter.evaluate(self.source, [*arguments, *self.state_arrays])
        results = [np.array(value) for value in values[: self.count]]
        new = [
            np.array(values[self.writes[n]]) if n in self.writes else None for n in self.state_nodes
        ]
        with uninterrupted():
            for array, value in zip(self.state_arrays, new, strict=True):
                if value is not None:
                    array[...] = value
        return results

    @property
    def graph(self) -> str:
        """The graph as it was traced, printed."""
        return format_graph(self.source)

    def __str__(self) -> str:
        return f"InterpretedProgram of {len(self.source.nodes())} nodes"

    def __getattr__(self, name: str) -> Any:
        if name in NATIVE_ONLY:
            raise UsageError(f"an interpreted program has no {name}; compile with backend='native'")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
