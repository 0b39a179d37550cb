"""Views: tensors that look at the memory of another one, their *base*.

A view knows its base and the steps that lead from it: slices, transpositions, reshapes. What is
read from the view is read from the base as it is then; what is written to the view is put into the
base (`Primitive.put`). So both see the same values, eagerly and in traces, wherever they lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mynn.base import recording, sharing
from mynn.core import interpreter
from mynn.core.graph import Node, apply
from mynn.core.kinds import kind_of
from mynn.core.types import Array, Shape
from mynn.errors import UsageError
from mynn.ops import movement, windows
from mynn.tensor.value import AnyTensor, Step, View
from mynn.trace import tracing


def look(tensor: AnyTensor, x: AnyTensor, steps: tuple[Step, ...], attached: bool) -> View:
    """Make `tensor` a view of x, or of what x is a view of."""
    parent = x._view
    if parent is None:
        view = View(x, steps, attached, x, 0)
    else:
        source, since = parent.source, parent.since
        if x._requires_grad and not parent.attached:  # a leaf
            source, since = x, len(parent.steps)
        elif not parent.attached:
            attached = False
        view = View(parent.base, (*parent.steps, *steps), attached, source, since)
    tensor._view = view
    value = tensor._value
    if value is not None and _copied(value, view, steps):
        view.version = -1
    return view


def _copied(value: Array, view: View, steps: tuple[Step, ...]) -> bool:
    """Whether the value does not lie in the memory of the base. Only reshapes copy."""
    if value.size == 1:
        return False
    if len(view.steps) == len(steps) and not any(p is movement.reshape for p, _ in steps):
        return False
    whole, memory = view.base._value, value.base
    if whole is None or (memory is not None and (memory is whole or memory is whole.base)):
        return False
    return not np.may_share_memory(value, whole)


def memory_of(tensor: AnyTensor) -> AnyTensor:
    """The tensor whose memory holds the value: that which a view looks at, or itself."""
    return tensor if tensor._view is None else tensor._view.base


def current(tensor: AnyTensor, view: View) -> Array | None:
    """The value of a view as its base is now."""
    base = view.base
    if view.version != base._version and base._value is not None:
        value = base._value
        for primitive, params in view.steps:
            value = primitive.numpy(value, **params)
        tensor._value = value
        view.version = base._version if np.may_share_memory(value, base._value) else -1
    return tensor._value


def value_of(tensor: AnyTensor) -> Array | None:
    """The value of a tensor, or None where it has none."""
    pending = tensor.pending
    if pending is not None and pending.tape is not None:
        pending.make(tensor, "_value")
    view = tensor._view
    return tensor._value if view is None else current(tensor, view)


def store(tensor: AnyTensor, value: Array) -> None:
    """Write a value of the same shape into the memory of an eager tensor.

    Where programs write it too, this is a step of its own among theirs.
    """
    base = memory_of(tensor)
    if recording.waiting or recording.runs:
        recording.before_write(base)
    if sharing.domain_of(base) is None:
        _store(tensor, value)
    else:
        sharing.run_whole(lambda: _store(tensor, value), [base], write=True, noted=True)


def _store(tensor: AnyTensor, value: Array) -> None:
    view = tensor._view
    if not value.size:  # there may be nothing that could be written
        return
    if view is None:
        assert tensor._value is not None
        tensor._value[...] = value
        return
    assert view.base._value is not None
    write_to(view.base._value, view.steps, value)


def write_to(memory: Array, steps: Sequence[Step], value: Array) -> None:
    """Write a value to the place in memory that these steps lead to."""
    parts = [memory]
    for primitive, params in steps:
        parts.append(primitive.numpy(parts[-1], **params))
    if not value.size:
        return
    parts[-1][...] = value
    for before, part in zip(reversed(parts[:-1]), reversed(parts[1:]), strict=True):
        if not np.may_share_memory(before, part):
            # A reshape that had to copy.
            before[...] = np.reshape(part, before.shape)


def own_memory(tensor: AnyTensor, x: AnyTensor) -> None:
    """A reshape of x that is no view: it keeps its values when x is changed."""
    tensor._view = None
    value = tensor._value
    if value is not None and x._value is not None and np.may_share_memory(value, x._value):
        tensor._value = value.copy()
        if tensor.node is not None:
            tensor.node.value = tensor._value


def check_written(name: str, view: View) -> None:
    """Raise where one value of the base stands in several places of the view."""
    for primitive, _ in view.steps:
        if primitive.put is None:
            raise UsageError(
                f"{name}: the tensor comes from {primitive.name}, which shows one value in several "
                "places, so that it cannot be written to; use the operation that is not in-place"
            )


def follow(node: Node, steps: Sequence[Step], eager: bool) -> Node:
    """The node of a view, from that of its base."""
    for primitive, params in steps:
        kind = kind_of(primitive, params, [node.type]) if eager else None
        if kind is None:
            before, node = node, apply(primitive, node, **params)
            if eager and before.value is not None:
                node.value = interpreter.compute(node, [before.value])
            continue
        value = None if node.value is None else kind.compute(node.value)
        node = Node(primitive, (node,), kind.params, kind.type, value)
        node.kind = kind
    return node


def put(base: Node, steps: Sequence[Step], new: Node) -> Node:
    """The node of the base after `new` was written to a view of it."""
    befores = [base]
    for primitive, params in steps:
        befores.append(apply(primitive, befores[-1], **params))
    for (primitive, params), before in zip(reversed(steps), reversed(befores[:-1]), strict=True):
        assert primitive.put is not None
        new = primitive.put(before, new, **params)
    return new


# -- which reshapes are views ----------------------------------------------------------------------


def can_view(x: AnyTensor, shape: Shape) -> bool:
    """Whether a reshape of x looks at the same memory, by the rules of PyTorch.

    Bases count as contiguous, however they are stored.
    """
    view = x._view
    base, steps = (x, ()) if view is None else (view.base, view.steps)
    if _layout(base) is None and all(primitive is movement.reshape for primitive, _ in steps):
        return True
    return _strides(base, (*steps, (movement.reshape, {"shape": shape}))) is not None


def strides_of(x: AnyTensor) -> Shape | None:
    """Strides in elements, by the rules of PyTorch; None for windows, which show a value in several
    places. What waits on a tape goes on waiting.
    """
    steps: tuple[Step, ...] = ()
    while (pending := x.pending) is not None:
        if pending.view is None and pending.tape is not None:
            return _strides(x, steps)
        seen = pending.seen()
        if seen is None:
            break
        x, steps = seen, (*pending.view, *steps)
    view = x._view
    if view is not None:
        x, steps = view.base, (*view.steps, *steps)
    return _strides(x, steps)


def is_contiguous(x: AnyTensor) -> bool:
    """Whether the values follow each other in memory, by the rules of PyTorch."""
    return _follow(x.shape, strides_of(x))


def _follow(shape: Shape, strides: Shape | None) -> bool:
    """Whether values with these strides follow each other."""
    if strides is None or 0 in shape:
        return 0 in shape
    wanted = zip(shape, strides, _contiguous(shape), strict=True)
    return all(extent == 1 or stride == whole for extent, stride, whole in wanted)


def _strides(base: AnyTensor, steps: Sequence[Step]) -> Shape | None:
    """Strides in elements of a view, or None where they do not exist."""
    extents = base.shape
    layout = _layout(base)
    strides: Shape | None = _contiguous(extents) if layout is None else layout.strides
    for primitive, params in steps:
        if strides is None:
            return None
        if primitive is movement.reshape:
            strides = _reshaped(extents, strides, params["shape"])
            extents = params["shape"]
        elif primitive is movement.transpose:
            strides = tuple(strides[axis] for axis in params["axes"])
            extents = tuple(extents[axis] for axis in params["axes"])
        elif primitive is movement.slice_:
            strides = tuple(s * n for s, n in zip(strides, params["steps"], strict=True))
            extents = tuple(
                -(-(stop - start) // step)
                for start, stop, step in zip(
                    params["starts"], params["stops"], params["steps"], strict=True
                )
            )
        elif primitive is movement.flip:
            strides = tuple(-s if i in params["axes"] else s for i, s in enumerate(strides))
        elif primitive is movement.broadcast_to:
            repeated = zip(strides, extents, params["shape"], strict=True)
            strides = tuple(0 if old != new else s for s, old, new in repeated)
            extents = params["shape"]
        elif primitive is windows.windows:
            return None
    return strides


class Layout(NamedTuple):
    """How a tensor lies in memory that is not contiguous: None for `strides` of windows."""

    strides: Shape | None


def layout_of(x: AnyTensor) -> Layout | None:
    """How a tensor lies in memory; None where it is contiguous."""
    if x.pending is None and x._view is not None and _is_plain(x._value, x._view):
        return None
    strides = strides_of(x)
    return None if _follow(x.shape, strides) else Layout(strides)


def _is_plain(value: Array | None, view: View) -> bool:
    """Whether NumPy says of a view that it is contiguous, and its base lies as it counts."""
    if value is None or view.version != view.base._version or not value.flags.c_contiguous:
        return False
    whole = view.base._value
    if whole is None or not whole.flags.c_contiguous:
        return False
    return all(primitive is not windows.windows for primitive, _ in view.steps)


def _layout(base: AnyTensor) -> Layout | None:
    """What a trace knows of a tensor that it was given (`Trace.layouts`)."""
    trace = tracing.active()
    return None if trace is None else trace.layouts.get(id(base))


def _contiguous(shape: Shape) -> Shape:
    strides = [1] * len(shape)
    for axis in reversed(range(len(shape) - 1)):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(strides)


def _reshaped(old: Shape, strides: Shape, new: Shape) -> Shape | None:
    """Strides under another shape: axes that lie one within the other are merged, then split."""
    if 0 in old:
        return _contiguous(new)
    result = [1] * len(new)
    position, merged, split = len(new), 1, 1
    axes = [i for i, n in enumerate(old) if n != 1]
    for number, axis in reversed(list(enumerate(axes))):
        merged *= old[axis]
        if merged == old[axis]:
            step = strides[axis]
        if number and strides[axes[number - 1]] == strides[axis] * old[axis]:
            continue
        while position and (split < merged or new[position - 1] == 1):
            position -= 1
            result[position] = step * split
            split *= new[position]
        if split != merged:
            return None
        merged = split = 1
    return tuple(result)
