"""Recording: values and gradients of named layers, at chosen steps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import field
from fnmatch import fnmatchcase
from typing import Any

from mynn.base.arguments import positive
from mynn.base.dataclass import dataclass
from mynn.core.graph import Node
from mynn.core.types import Array
from mynn.errors import ArgumentError
from mynn.jit import stage
from mynn.tensor import Tensor, graph_node
from mynn.trace.trace import Trace

QUANTITIES = ("activations", "gradients", "parameters")


@dataclass(frozen=True)
class Record:
    """What to record while training.

    A step that records runs a program of its own; the others pay nothing.

    Args:
        layers: names or patterns of modules, as in `named_modules` ("0", "encoder.*"), one or
            several; all by default.
        quantities: among "activations" (outputs of the layers), "gradients" (of the loss with
            respect to these outputs and to parameters), "parameters" (their values after the step).
        every: record each step whose number is divisible by this, from 0 on.
        steps: record these steps of a run instead; the first one is 0.

    Example:
        >>> import numpy as np, mynn
        >>> from mynn import nn, optim
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
        >>> optimizer = optim.SGD(net.parameters(), lr=0.1)
        >>> def step(x):
        ...     loss = (net(x) ** 2).mean()
        ...     loss.backward()
        ...     optimizer.step()
        ...     return loss
        >>> record = mynn.Record(layers="1", quantities=["activations", "gradients"], steps=[0])
        >>> x = np.zeros((8, 2), np.float32)
        >>> history = mynn.fit(step, x, batch_size=4, record=record)
        >>> history.records[0].activations["1"].shape, history.records[0].gradients["1"].shape
        ((4, 3), (4, 3))
    """

    layers: Collection[str] | str = ("*",)
    quantities: Collection[str] | str = QUANTITIES
    every: int = 1
    steps: Collection[int] | int | None = None

    def __post_init__(self) -> None:
        unknown = [q for q in self.kinds if q not in QUANTITIES]
        if unknown:
            raise ArgumentError(f"record: quantities are among {QUANTITIES}, not {unknown}")
        positive("record: every", self.every)
        wrong = [s for s in self.numbers or () if s != int(s) or s < 0]
        if wrong:
            raise ArgumentError(f"record: steps are whole numbers from 0 on, not {wrong}")

    @property
    def patterns(self) -> tuple[str, ...]:
        """`layers`, always several."""
        return (self.layers,) if isinstance(self.layers, str) else tuple(self.layers)

    @property
    def kinds(self) -> tuple[str, ...]:
        """`quantities`, always several."""
        return (self.quantities,) if isinstance(self.quantities, str) else tuple(self.quantities)

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """`steps`, always several."""
        if self.steps is None:
            return None
        return (self.steps,) if isinstance(self.steps, int) else tuple(self.steps)

    def next_due(self, step: int) -> int | None:
        """The first recorded step from `step` on."""
        if self.numbers is None:
            return -(-step // self.every) * self.every
        return min((s for s in self.numbers if s >= step), default=None)


@dataclass
class Recorded:
    """One recorded step: arrays by the names of layers ("0") and parameters ("0.weight")."""

    step: int
    epoch: int
    activations: dict[str, Array] = field(default_factory=dict)
    gradients: dict[str, Array] = field(default_factory=dict)
    parameters: dict[str, Array] = field(default_factory=dict)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


class Recorder:
    """A step function staged once more, with the recorded quantities as further results."""

    def __init__(self, record: Record, function: Callable[..., Any], arguments: tuple[Any, ...]):
        self.record = record
        self.keys: list[tuple[str, str]] = []
        self.parameters: dict[str, Tensor] = {}
        self.staged = stage.stage(function, arguments, self._extra)
        self.results = self.staged.results - len(self.keys)

    def _extra(self, trace: Trace) -> list[Node]:
        observer = trace.observer
        names = list(observer.activations)
        for pattern in self.record.patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                known = ", ".join(repr(name) for name in names) or "none"
                raise ArgumentError(f"record: no layer is called {pattern!r}; layers are {known}")
        chosen = {
            n: x for n, x in observer.activations.items() if _matches(n, self.record.patterns)
        }
        nodes: list[Node] = []

        def add(quantity: str, name: str, node: Node) -> None:
            self.keys.append((quantity, name))
            nodes.append(node)

        if "activations" in self.record.kinds:
            for name, node in chosen.items():
                add("activations", name, node)
        if "gradients" in self.record.kinds:
            for name, node in chosen.items():
                if node in observer.cotangents:
                    add("gradients", name, graph_node(observer.cotangents[node]))
        for tensor in trace.reads:
            layer, _, _ = (tensor.name or "").rpartition(".")
            if (
                not tensor.requires_grad
                or not tensor.name
                or not _matches(layer, self.record.patterns)
            ):
                continue
            if "gradients" in self.record.kinds and tensor in trace.gradients:
                add("gradients", tensor.name, graph_node(trace.gradients[tensor]))
            if "parameters" in self.record.kinds:
                self.parameters[tensor.name] = tensor
        return nodes

    def collect(self, step: int, epoch: int, results: list[Array]) -> Recorded:
        """The record of a step from the results of its program."""
        recorded = Recorded(step, epoch)
        for (quantity, name), value in zip(self.keys, results[self.results :], strict=True):
            getattr(recorded, quantity)[name] = value
        recorded.parameters = {name: tensor.numpy() for name, tensor in self.parameters.items()}
        return recorded
