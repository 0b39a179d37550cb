"""`summary`: the layers of a network with shapes, parameters, operations and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mynn import nn
from mynn.base.arguments import explained, shown, whole_number
from mynn.base.structure import flatten
from mynn.errors import ArgumentError, ArgumentTypeError, MynnError
from mynn.jit.compile import compile
from mynn.tensor import Tensor, as_array, no_grad


@dataclass(frozen=True)
class Row:
    """A layer: its path and class, the shape of its output (of several, a list), numbers in its
    parameters, and what its program costs: arithmetic operations, bytes read and written (None
    where it is no layer of one program).
    """

    path: str
    kind: str
    shape: Any
    parameters: int
    operations: int | None
    nbytes: int | None


@dataclass(frozen=True)
class Summary:
    """What `summary` found; printed, a table.

    - `rows`: the layers, in the order of their calls.
    - `parameters`, `trainable`: numbers in all parameters, in those that are not frozen.
    - `operations`, `nbytes`: of the program of the whole network, which joins what layers do.
    """

    name: str
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    operations: int
    nbytes: int

    def __repr__(self) -> str:
        head = ("layer", "class", "output", "parameters", "operations", "bytes")
        lines = [
            (r.path, r.kind, str(r.shape), *map(_number, (r.parameters, r.operations, r.nbytes)))
            for r in self.rows
        ]
        widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]

        def text(line: Sequence[str]) -> str:
            left = [cell.ljust(width) for cell, width in zip(line[:3], widths, strict=False)]
            right = [cell.rjust(width) for cell, width in zip(line[3:], widths[3:], strict=True)]
            return "  ".join([*left, *right]).rstrip()

        return "\n".join(
            [
                text(head),
                *map(text, lines),
                f"{self.name}: {self.parameters:,} parameters, {self.trainable:,} of them trained; "
                f"{self.operations:,} operations, {self.nbytes:,} bytes",
            ]
        )


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _is_shape(given: Any) -> bool:
    return isinstance(given, tuple) and all(isinstance(n, int | np.integer) for n in given)


@explained
def summary(network: nn.Module, *inputs: Any, input_size: Any = None) -> Summary:
    """The layers of a network as they are called for such inputs, and what each of them costs.

    Args:
        network: in evaluation mode for it; nothing of it is changed.
        inputs: arrays, one for each argument; or
        input_size: the shape of one float32 input; a tuple of whole numbers that stands alone is
            one, too: `summary(net, (8, 2))`.

    Operations and bytes are those of native programs: each layer's by itself, and that of the whole
    network.

    Raises:
        ArgumentError: neither inputs nor input_size are given, or both.

    Example:
        >>> import mynn
        >>> from mynn import nn
        >>> net = nn.Sequential(nn.Linear(2, 25), nn.Tanh(), nn.Linear(25, 2))
        >>> found = mynn.summary(net, input_size=(8, 2))
        >>> [(row.path, row.shape, row.parameters) for row in found.rows]
        [('0', (8, 25), 75), ('1', (8, 25), 0), ('2', (8, 2), 52)]
        >>> found.parameters
        127
    """
    if not isinstance(network, nn.Module):
        raise ArgumentTypeError(f"summary: network must be a module, it is {shown(network)}")
    if input_size is None and len(inputs) == 1 and _is_shape(inputs[0]):
        (input_size,), inputs = inputs, ()
    if bool(inputs) == (input_size is not None):
        raise ArgumentError(
            "summary: give the inputs of the network, arrays, or input_size=, the shape of one"
        )
    if input_size is not None:
        sizes = input_size if isinstance(input_size, list | tuple) else (input_size,)
        shape = tuple(whole_number("summary: input_size", size) for size in sizes)
        inputs = (np.zeros(shape, np.float32),)
    arrays = tuple(as_array(one) for one in inputs)
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        rows = _rows(network, arrays)
        whole = compile(network).program(*arrays)
    finally:
        for module, mode in modes.items():
            object.__setattr__(module, "_training", mode)
            module.training = mode
    parameters = list(network.parameters())
    return Summary(
        type(network).__name__,
        rows,
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if p.requires_grad),
        whole.operations,
        whole.bytes,
    )


def _rows(network: nn.Module, arrays: tuple[Any, ...]) -> tuple[Row, ...]:
    """A row for each call of a layer that has no layers in it."""
    calls: list[tuple[str, nn.Module, tuple[Any, ...], Any]] = []
    handles = []
    for path, module in network.named_modules():
        if not list(module.children()):

            def note(layer: Any, given: Any, output: Any, path: str = path) -> None:
                calls.append((path, layer, given, output))

            handles.append(module.register_forward_hook(note))
    try:
        with no_grad():
            network(*(Tensor.from_value(array) for array in arrays))
    finally:
        for handle in handles:
            handle.remove()
    return tuple(_row(*call) for call in calls)


def _row(path: str, layer: nn.Module, given: tuple[Any, ...], output: Any) -> Row:
    shapes = [tuple(one.shape) for one in flatten(output)]
    operations = nbytes = None
    if all(isinstance(one, Tensor) for one in given):
        try:
            program = compile(layer).program(*(one.numpy() for one in given))
            operations, nbytes = program.operations, program.bytes
        except MynnError:  # it needs what a program cannot have
            pass
    return Row(
        path,
        type(layer).__name__,
        shapes[0] if len(shapes) == 1 else shapes,
        sum(p.numel() for p in layer.parameters(recurse=False)),
        operations,
        nbytes,
    )
