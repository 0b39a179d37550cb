"""Tensors as text, which is PyTorch's: `tensor([1., 2.], requires_grad=True)`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from mynn.base.arguments import explained, number, shown
from mynn.base.dataclass import dataclass
from mynn.core.types import Array, default_float
from mynn.errors import ArgumentError
from mynn.tensor.gradients.grad_fn import name_of
from mynn.tensor.value import AnyTensor

_PREFIX = "tensor("


@dataclass
class Options:
    """How tensors are printed; see `set_printoptions`."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


# Precision, threshold and edge items of the profiles.
_PROFILES: dict[str, tuple[int, float, int]] = {
    "default": (4, 1000, 3),
    "short": (2, 1000, 2),
    "full": (4, math.inf, 3),
}
options = Options()


@explained
def set_printoptions(
    precision: Any = None,
    threshold: Any = None,
    edgeitems: Any = None,
    linewidth: Any = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """How tensors are printed from now on; what is left out stays as it is.

    Args:
        precision: digits after the point; 4 at first.
        threshold: tensors of more elements are shortened; 1000 at first.
        edgeitems: how many are shown then at both ends of an axis; 3 at first.
        linewidth: characters in a line; 80 at first.
        profile: "default", "short" or "full" values of all these.
        sci_mode: whether numbers have exponents; by their sizes where it is left out.

    Example:
        >>> import mynn
        >>> mynn.set_printoptions(precision=2)
        >>> mynn.tensor([1.0, 0.123456])
        tensor([1.00, 0.12])
        >>> mynn.set_printoptions(profile="default")
    """
    if profile is not None:
        known = _PROFILES.get(profile)
        if known is None:
            raise ArgumentError(
                f"set_printoptions: profile must be one of {', '.join(_PROFILES)}, it is "
                f"{shown(profile)}"
            )
        options.precision, options.threshold, options.edgeitems = known
        options.linewidth = 80
    for name, given in (
        ("precision", precision),
        ("threshold", threshold),
        ("edgeitems", edgeitems),
        ("linewidth", linewidth),
    ):
        if given is not None:
            size = number(f"set_printoptions: {name}", given)
            if size < 0 or size != size:
                raise ArgumentError(f"set_printoptions: {name} is {size}; give 0 or more")
            setattr(options, name, size if math.isinf(size) else int(size))
    options.sci_mode = sci_mode


def text_of(tensor: AnyTensor, value: Array) -> str:
    """The text of a tensor with this value."""
    notes = []
    own = value.dtype == default_float()
    if not value.size:
        if value.ndim != 1:
            notes.append(f"size={tuple(value.shape)}")
        body = "[]"
    else:
        if not options.edgeitems:
            notes.append(f"size={tuple(value.shape)}")
        own = own or value.dtype in (np.int64, np.bool_)
        body = _body(value)
    if not own:
        notes.append(f"dtype=torch.{value.dtype}")
    made = name_of(tensor)
    if made is not None:
        notes.append(f"grad_fn=<{made}>")
    elif tensor.requires_grad:
        notes.append("requires_grad=True")
    return _with_notes(_PREFIX + body, notes)


def _with_notes(text: str, notes: list[str]) -> str:
    """What is said behind the numbers, in a new line where it does not fit."""
    indent = len(_PREFIX)
    length = len(text) - text.rfind("\n") + 1
    for note in notes:
        if length + len(note) + 2 > options.linewidth:
            text += ",\n" + " " * indent + note
            length = indent + len(note)
        else:
            text += ", " + note
            length += len(note) + 2
    return text + ")"


def _body(value: Array) -> str:
    """The numbers, nested in brackets."""
    short = value.size > options.threshold
    layout = _Layout(_ends(value) if short else value)
    return _nested(value, len(_PREFIX), short, layout)


def _ends(value: Array) -> Array:
    """What is left of a tensor that is shortened."""
    edge = options.edgeitems
    for axis, extent in enumerate(value.shape):
        if extent > 2 * edge:
            kept = [*range(edge), *range(extent - edge, extent)]
            value = np.take(value, kept, axis)
    return value


def _nested(value: Array, indent: int, short: bool, layout: _Layout) -> str:
    if value.ndim == 0:
        return layout.number(value.item())
    edge = options.edgeitems
    cut = short and len(value) > 2 * edge
    ends = (value[:edge], value[len(value) - edge :]) if cut else (value,)
    if value.ndim == 1:
        return _row(
            [[layout.number(one) for one in part.tolist()] for part in ends], indent, layout
        )
    parts = [[_nested(one, indent + 1, short, layout) for one in part] for part in ends]
    items = [*parts[0], "...", *parts[1]] if cut else parts[0]
    return "[" + ("," + "\n" * (value.ndim - 1) + " " * (indent + 1)).join(items) + "]"


def _row(parts: list[list[str]], indent: int, layout: _Layout) -> str:
    """One axis, in lines."""
    items = [*parts[0], " ...", *parts[1]] if len(parts) > 1 else parts[0]
    if len(parts) > 1 and not options.edgeitems:
        items = ["..."]
    count = max(1, (options.linewidth - indent) // (layout.width + 2))
    lines = [", ".join(items[i : i + count]) for i in range(0, len(items), count)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


class _Layout:
    """How wide numbers are, and whether they are written as integers or with exponents."""

    def __init__(self, value: Array) -> None:
        self.floats = value.dtype.kind == "f"
        self.whole, self.exponents, self.width = True, False, 1
        if not self.floats:
            self.width = max([1, *(len(str(one)) for one in value.reshape(-1).tolist())])
            return
        flat = value.reshape(-1)
        sized = flat[np.isfinite(flat) & (flat != 0)]
        if sized.size:
            self._measure(sized)

    def _measure(self, sized: Array) -> None:
        sizes = np.abs(sized.astype(np.float64))
        low, high = float(sizes.min()), float(sizes.max())
        self.whole = bool((sized == np.ceil(sized)).all())
        self.exponents = high / low > 1000 or high > 1e8 or low < 1e-4
        if options.sci_mode is not None:
            self.exponents = options.sci_mode
        if self.exponents:
            lengths: Iterator[int] = (len(f"{x:.{options.precision}e}") for x in sized.tolist())
        elif self.whole:
            lengths = (len(f"{x:.0f}") + 1 for x in sized.tolist())
        else:
            lengths = (len(f"{x:.{options.precision}f}") for x in sized.tolist())
        self.width = max(1, *lengths)

    def number(self, value: Any) -> str:
        """One number, as wide as all."""
        if not self.floats:
            text = str(value)
        elif self.exponents:
            text = f"{value:.{options.precision}e}"
        elif self.whole:
            text = f"{value:.0f}" + ("." if math.isfinite(value) else "")
        else:
            text = f"{value:.{options.precision}f}"
        return text.rjust(self.width)
