"""Where values came from: the nodes of tensors, and the walk back over them."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from mynn.base import forks, hooks, notices, recording, sharing
from mynn.core.autodiff import differentiable
from mynn.core.graph import CONSTANT, INPUT, Node, constant, topological
from mynn.core.rows import Rows
from mynn.core.types import Array, Type
from mynn.errors import ArgumentTypeError, ShapeError, UsageError
from mynn.ops import elementwise, movement
from mynn.tensor.gradients import touched
from mynn.tensor.value import AnyTensor, Value, View
from mynn.tensor.view import follow, value_of
from mynn.trace import leaks, tracing

STOP = elementwise.stop_gradient
_lock = forks.register(threading.RLock())
# Whoever adds to the gradient of a tensor has it.
gradients = forks.register(threading.RLock())


def tensor_of(node: Node) -> AnyTensor | None:
    """The tensor that an eager leaf node stands for. It owns the node, which knows it weakly."""
    reference = node.params.get("tensor") if node.primitive is INPUT else None
    return None if reference is None else reference()


def leaf_of(node: Node) -> AnyTensor | None:
    """The tensor that a leaf stands for."""
    trace = tracing.active()
    return tensor_of(node) if trace is None else trace.leaves.get(node)


def arrived() -> Callable[[Node, Any], Any] | None:
    """What a walk back does with complete cotangents; None where no tensor has hooks."""
    return _hooked if hooks.exist() else None


def _hooked(node: Node, gradient: Any) -> Any:
    """The cotangent of a node, after the hooks of the tensor."""
    found = hooks.of(node)
    if found is None and not node.inputs:
        found = hooks.of(leaf_of(node))
    if found is None:
        return gradient
    if isinstance(gradient, Rows):
        gradient = gradient.dense()
    for hook in tuple(found.gradient.values()):
        new = hook(gradient)
        if new is None:
            continue
        if not isinstance(new, Value):
            raise ArgumentTypeError(
                f"expected Variable, but hook returned {type(new).__name__!r}; return a tensor, or "
                "None to leave the gradient as it is"
            )
        if new.shape != gradient.shape:
            raise ShapeError(
                f"hook {getattr(hook, '__name__', hook)!r} has changed the size of value: the "
                f"gradient is {gradient.shape}, it returned {new.shape}; return that shape"
            )
        gradient = new.astype(gradient.dtype)  # type: ignore[attr-defined]
    if found.keep is not None:
        found.keep(gradient)
    return gradient


def leads_to(end: Node, wanted: Callable[[Node], bool]) -> bool:
    """Whether gradients flow from a node to one that is wanted."""

    def is_cut(node: Node) -> bool:
        return node.primitive is STOP or not differentiable(node)

    return not is_cut(end) and any(map(wanted, topological((end,), stop=is_cut)))


# What hands a cotangent on without a look at any value.
_BLIND = frozenset(
    {elementwise.cast, movement.reshape, movement.transpose, movement.broadcast_to, movement.slice_}
)


def behind(tensor: AnyTensor) -> list[AnyTensor] | None:
    """The leaves that the gradient of an eager tensor goes on to, where nothing that can fail lies
    between; otherwise None.
    """
    if tensor.pending is not None:
        return None
    found: list[AnyTensor] = []
    for node in topological((graph_node(tensor),)):
        leaf = tensor_of(node)
        if leaf is not None and leaf_requires_grad(node):
            found.append(leaf)
        elif node.inputs and node.primitive not in _BLIND:
            return None
    return found


def leaf_requires_grad(node: Node) -> bool:
    """Whether an eager node stands for a tensor that asked for a gradient.

    One that was given a history in place did not ask for it.
    """
    if not node.params.get("asked"):
        return False
    tensor = tensor_of(node)
    return tensor is not None and tensor.requires_grad and tensor.is_leaf


def graph_node(tensor: AnyTensor) -> Node:
    """The node of a tensor: in a trace its present value, otherwise its eager history or a leaf."""
    if tensor._view is not None:
        return _view_node(tensor, tensor._view)
    trace = tracing.active()
    if trace is not None and tensor._value is not None:
        return trace.read(tensor)
    node = tensor.node
    if node is None or _is_old(tensor, node):
        with _lock:  # threads that use a parameter at once have one leaf
            node = tensor.node
            if node is None or _is_old(tensor, node):
                node = tensor.node = new_leaf(tensor, tensor, tensor)
    elif trace is not None:
        trace.check_own(tensor, node)
    return node


def make_node_by_call(tensor: AnyTensor) -> None:
    """Give what a tape made a node, with one for each call behind it."""
    for one in (tensor, None if tensor._view is None else tensor._view.base):
        if one is not None and one.pending is not None:
            one.pending.make(one, "node", by_call=True)


def inside(node: Node) -> Node | None:
    """Of a node that stands for many calls that a tape ran, the one that has nodes for them."""
    run = node.params.get("run")
    found: Node | None = None if run is None else run.inside(node.params["derivative"].slot)
    return found


def inside_hooked() -> Callable[[Node], Node | None] | None:
    """The same where results on the way may have hooks, which a program does not call: they have
    made these nodes. None where no result has any.
    """
    if not hooks.on_results():
        return None

    def found(node: Node) -> Node | None:
        run = node.params.get("run")
        return None if run is None or run.nodes is None else inside(node)

    return found


def _is_old(tensor: AnyTensor, node: Node) -> bool:
    """Whether a program has written the tensor since the leaf was made."""
    return not node.inputs and sharing.program_mark(tensor) is not node.params.get("mark")


def new_leaf(tensor: AnyTensor, memory: AnyTensor, seen: AnyTensor) -> Node:
    """A leaf for a tensor: what is `seen` in the memory of another one, or in its own, whether it
    asks for a gradient, and the version of what is in the memory.
    """
    params = {
        "tensor": weakref.ref(tensor),
        "memory": weakref.ref(memory),
        "asked": seen._requires_grad,
        "version": memory._version,
        "mark": sharing.program_mark(memory),
    }
    return Node(INPUT, (), params, seen.spec, value=value_of(seen), name=tensor.name)


def _view_node(tensor: AnyTensor, view: View) -> Node:
    """The node of a view, made anew where its source was changed since."""
    trace = tracing.active()
    leaf = tensor._requires_grad and not view.attached
    if trace is None:
        if leaf and tensor._value is not None:
            return _shared_leaf(tensor, view)
        if tensor._value is None and tensor.node is not None:
            return tensor.node
    source = graph_node(view.source)
    if trace is None or tensor._value is None:
        if tensor.node is None or view.origin is not source:
            cut = trace is None and not view.attached and bool(source.inputs)
            start = _without_history(source) if cut else source
            tensor.node, view.origin = _seen(start, view, trace is None), source
            if leaf and trace is not None:
                trace.leaves[tensor.node] = tensor
        return tensor.node
    known = trace.views.get(tensor)
    if known is None or known[0] is not source:
        known = trace.views[tensor] = (source, _seen(source, view, False))
        if leaf:
            trace.leaves[known[1]] = tensor
    return known[1]


def _seen(source: Node, view: View, eager: bool) -> Node:
    """What the view sees of the node of its source."""
    steps = view.steps[view.since :]
    if not view.attached and all(primitive is not STOP for primitive, _ in steps):
        steps = (*steps, (STOP, {}))
    return follow(source, steps, eager)


def _without_history(node: Node) -> Node:
    """A leaf with the value of a node: what is computed from a detached tensor keeps nothing of
    what that was computed from.
    """
    leaf = Node(INPUT, (), {}, node.type, value=node.value, name=node.name)
    _share(node, leaf)
    return leaf


def _share(node: Node, leaf: Node) -> None:
    """Note that a leaf has the value of a node, and loses it with it."""
    sharers = getattr(node, "sharers", None)
    if sharers is None:
        sharers = node.sharers = weakref.WeakSet()
    sharers.add(leaf)


def set_recorded(node: Node, value: Array | None) -> None:
    """Give a recorded node another value, or none since it was changed."""
    source = tracing.user_source() if value is None else node.source
    for one in (node, *getattr(node, "sharers", ())):
        one.value, one.source = value, source


def _shared_leaf(tensor: AnyTensor, view: View) -> Node:
    """The node of a tensor that asked for a gradient, and shares its memory with another one."""
    node = tensor.node
    if node is None or "tensor" not in node.params or _was_written(node, view.base):
        node = tensor.node = new_leaf(tensor, view.base, tensor)
        if view.base.node is not None and view.base.node.inputs:
            _share(view.base.node, node)
    return node


def _was_written(leaf: Node, memory: AnyTensor) -> bool:
    """Whether the memory of a leaf was written since it was made."""
    params = leaf.params
    if memory._version != params["version"]:
        return True
    return sharing.program_mark(memory) is not params["mark"]


def is_users_call(further: int = 0) -> bool:
    """Whether the code that called the caller, or somebody further out, is the user's."""
    return not notices.is_ours(sys._getframe(2 + further))


def array_of(tensor: AnyTensor) -> Array:
    """The memory of a tensor that has a value.

    Raises:
        UsageError: it has none.
    """
    value = value_of(tensor)
    if value is None:
        raise without_value(
            tensor, "a tensor inside a traced function has no value yet; return it, or record it"
        )
    return value


def without_value(tensor: AnyTensor, message: str) -> UsageError:
    """The error for a value that a traced tensor lacks, during its trace or afterwards."""
    if tracing.active() is not None:
        return tracing.refuse(message)
    return leaks.without_value(tensor.node)


# -- values that were changed after they were recorded ---------------------------------------------


def wrap(node: Node) -> Any:
    """A node as a tensor that knows operators; an eager node has kept its value.

    Where the value was changed since, it is missing from the tensor: rules that need no more than
    its shape work, and what is computed from the value is missing as well.
    """
    if tracing.active() is not None:
        return Value.from_node(node, requires_grad=True)
    source = _stale(node)
    if source is not None:
        return missing(source, node.type)
    tensor = tensor_of(node)
    if tensor is not None and _has_leaf(tensor, node):
        return tensor
    assert node.value is not None
    # Nobody asks for the gradient of a leaf that is gone: it is as good as a constant.
    fixed = node.primitive is CONSTANT or (tensor is None and not node.inputs)
    return Value.from_value(node.value, None if fixed else node)


def present(node: Node) -> Array | None:
    """The value of an eager node; None where it was changed since."""
    if _stale(node) is not None:
        return None
    tensor = tensor_of(node)
    return value_of(tensor) if tensor is not None and _has_leaf(tensor, node) else node.value


def _has_leaf(tensor: AnyTensor, node: Node) -> bool:
    """Whether a leaf stands for a tensor as it is now."""
    return tensor.pending is None and tensor.node is node


def _stale(node: Node) -> Node | None:
    """The node whose value was changed, if this value is it or looks at it."""
    while node.primitive.view and node.value is not None:
        node = node.inputs[0]
    if node.value is None:
        return node
    tensor = tensor_of(node)
    memory = None if tensor is None else node.params["memory"]()
    if memory is None or not _was_written(node, memory):
        return None
    # Another leaf may stand for the tensor by now, which may lie elsewhere.
    assert tensor is not None
    if tensor.node is not node and not np.may_share_memory(node.value, array_of(memory)):
        return None
    return node


def missing(source: Node, type: Type) -> Any:
    """A tensor whose value could only be computed from one that was changed since."""
    return Value.from_node(Node(INPUT, (), {"changed": source}, type))


def changed_source(tensor: AnyTensor) -> Node | None:
    """What was changed, where a tensor is `missing`."""
    return tensor.node.params.get("changed") if tensor.node is not None else None


def check_present(gradients: Iterable[AnyTensor]) -> None:
    """Raise where a gradient needs a value that was changed after it was recorded."""
    for gradient in gradients:
        source = changed_source(gradient)
        if source is None:
            continue
        made = f" at {source.source}" if source.source else ""
        what = f"{source.name} ({source.type})" if source.name else f"a {source.type}"
        if source.inputs:
            what = f"the result {source.type} of {source.primitive.name}"
        raise UsageError(
            "backward: one of the variables needed for gradient computation has been modified by "
            f"an inplace operation: {what} was changed after the forward pass{made}; use the "
            "operation that is not in-place there, or run the forward pass again"
        )


def check_overwritten(trace: Any, ends: Iterable[Node]) -> None:
    """The same for what a trace has made (`Trace.overwritten`): nodes are made from a value after
    it was overwritten by rules alone.
    """
    overwritten: dict[Node, int] | None = trace.overwritten
    if not overwritten:
        return
    for node in topological(ends):
        for x in node.inputs:
            for source in looked_at(x):
                if node.serial > overwritten.get(source, node.serial):
                    check_present([missing(source, source.type)])


def looked_at(node: Node) -> Iterator[Node]:
    """The node, and those whose memory its value looks at when it is computed at once."""
    yield node
    while node.primitive.view:
        node = node.inputs[0]
        yield node


def overwrite(tensor: AnyTensor) -> None:
    """Let a tensor, which is no view, count as one whose values are others now."""
    trace = tracing.active()
    if trace is None:
        changed(tensor)
    else:
        trace.overwrite(graph_node(tensor))


def changed(tensor: AnyTensor) -> None:
    """Called when the memory of an eager tensor, which is no view, has other values."""
    tensor._version += 1
    node = tensor.node
    if node is None or tensor._value is None:
        return
    set_recorded(node, None)
    if not node.inputs:
        tensor.node = None


def gradient_of(tensor: AnyTensor) -> Any:
    """The gradient accumulated by `backward`, or None; in a trace that of state as it is there."""
    trace = tracing.active()
    if trace is not None and tensor._value is not None:
        return trace.gradients.get(tensor)
    return tensor._grad


def set_gradient(tensor: AnyTensor, gradient: AnyTensor | None) -> None:
    """Put another gradient, or none, in the place of the one that there is."""
    trace = tracing.active()
    if trace is None or tensor._value is None:
        tensor._grad  # noqa: B018 - a gradient that was put off is made first
        tensor._grad = gradient
    elif gradient is None:
        trace.gradients.pop(tensor, None)
    else:
        trace.gradients[tensor] = gradient


def accumulate(tensor: AnyTensor, gradient: Any) -> None:
    """Add to the gradient of a tensor; where there is one, in place, as in PyTorch."""
    if tracing.active() is not None:
        _accumulate_traced(tensor, gradient)
        return
    before = tensor._grad  # one that was put off is made before there is a lock to be held
    if before is not None and (recording.waiting or recording.runs):
        recording.before_write(before if before._view is None else before._view.base)
    with gradients:
        recording.hold(gradients)
        before = tensor._grad
        if before is None:
            tensor._grad = gradient
            return
        rows = touched.both(before, gradient)
        if is_plain(before) and before._value.dtype == gradient.dtype:
            np.add(before._value, array_of(gradient), out=before._value)
            changed(before)
        else:
            before = tensor._grad = before + gradient
        touched.touch(before, rows)


def is_plain(gradient: AnyTensor) -> bool:
    """Whether it has memory of its own, which no program writes."""
    value = gradient._value
    return (
        value is not None
        and gradient._view is None
        and not gradient._requires_grad
        and value.flags.writeable
        and sharing.domain_of(gradient) is None
    )


def _accumulate_traced(tensor: AnyTensor, gradient: Any) -> None:
    before = gradient_of(tensor)
    if before is None:
        set_gradient(tensor, gradient)
        return
    rows = touched.both(before, gradient)
    if before._value is None and before._view is None and not before._requires_grad:
        before.node = graph_node(before + gradient)
    else:
        before = before + gradient
        set_gradient(tensor, before)
    touched.touch(before, rows)


def clear(tensor: AnyTensor, set_to_none: bool = True) -> None:
    """Drop the gradient of a tensor, or set it to zeros in the same memory, as in PyTorch."""
    gradient = gradient_of(tensor)
    if gradient is None or set_to_none:
        set_gradient(tensor, None)
        return
    rows: tuple[AnyTensor, ...] | None = None if gradient.touched is None else ()
    zeros = np.zeros(tensor.shape, tensor.dtype)
    if tracing.active() is None and is_plain(gradient):
        if recording.waiting or recording.runs:
            recording.before_write(gradient)
        gradient._value[...] = 0
        changed(gradient)
    elif tracing.active() is None:
        gradient = Value.from_value(zeros)
        set_gradient(tensor, gradient)
    elif gradient._value is None and gradient._view is None and not gradient._requires_grad:
        gradient.node = constant(zeros)
    else:
        gradient = Value.from_node(constant(zeros))
        set_gradient(tensor, gradient)
    touched.touch(gradient, rows)
