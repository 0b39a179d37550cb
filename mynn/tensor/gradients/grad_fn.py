"""`grad_fn`: what made a tensor, under the names that PyTorch has for it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from mynn.core.graph import Node, topological
from mynn.tensor.gradients import history
from mynn.tensor.value import AnyTensor

# Functions whose name says less than PyTorch's, by the function that was called, and by the
# primitive where none is known.
_NAMES = {
    "__add__": "Add",
    "__radd__": "Add",
    "__sub__": "Sub",
    "__rsub__": "Rsub",
    "__mul__": "Mul",
    "__rmul__": "Mul",
    "__truediv__": "Div",
    "__rtruediv__": "Mul",
    "__neg__": "Neg",
    "__abs__": "Abs",
    "__mod__": "Remainder",
    "multiply": "Mul",
    "divide": "Div",
    "true_divide": "Div",
    "subtract": "Sub",
    "negative": "Neg",
    "logistic": "Sigmoid",
    "log1p": "Log1P",
    "cast": "ToCopy",
    "astype": "ToCopy",
    "to": "ToCopy",
    "float": "ToCopy",
    "double": "ToCopy",
    "concatenate": "Cat",
    "reshape": "View",
    "view_as": "View",
    "reshape_as": "View",
    "flatten": "View",
    "contiguous": "Clone",
    "repeat_interleave": "IndexSelect",
    "broadcast_to": "Expand",
    "expand_as": "Expand",
    "T": "Permute",
    "swapaxes": "Transpose",
    "slice": "Slice",
    "take": "Index",
    "take_along": "Gather",
    "update_slice": "CopySlices",
    "windows": "Unfold",
    "mod": "Remainder",
    "conv": "Convolution",
    "conv1d": "Convolution",
    "conv2d": "Convolution",
    "conv3d": "Convolution",
    "conv_transpose1d": "Convolution",
    "conv_transpose2d": "Convolution",
    "conv_transpose3d": "Convolution",
    "cross_entropy": "NllLoss",
    "norm": "LinalgVectorNorm",
    "batch_norm": "NativeBatchNorm",
    "layer_norm": "NativeLayerNorm",
    "group_norm": "NativeGroupNorm",
    "binary_cross_entropy_with_logits": "BinaryCrossEntropyWithLogits",
    "max_pool2d": "MaxPool2DWithIndices",
    "avg_pool2d": "AvgPool2D",
    "adaptive_avg_pool2d": "AdaptiveAvgPool2D",
    "clip": "Clamp",
    "square": "Pow",
    "leaky_relu": "LeakyRelu",
    "l1_loss": "Mean",
    "slogdet": "LinalgSlogdet",
}
# Of these one form takes axes or a tensor, and has another number.
_ALONG = frozenset({"sum", "mean", "prod", "max", "min", "amax", "amin", "squeeze", "std", "var"})
_LATER = frozenset({"Sum", "Mean", "Prod", "Squeeze"})
# Of these one form gives values and indices, and it is the later one, or not.
_PARTED = {"Max": False, "Min": False, "Median": True, "Nanmedian": True}


def of(tensor: AnyTensor) -> GradFn | None:
    """What made a tensor; None where it is a leaf, or has no history."""
    name = name_of(tensor)
    return None if name is None else _kind(name)(name, tensor)


def name_of(tensor: AnyTensor) -> str | None:
    """The name of what made a tensor; None where it is a leaf, or has no history."""
    if not tensor.requires_grad or tensor.is_leaf:
        return None
    made: str | None = tensor.pending.made(tensor) if tensor.pending is not None else None
    return name_of_node(history.graph_node(tensor)) if made is None else made


def name_of_node(node: Node) -> str:
    """The name of what made a node."""
    inner = node
    while inner.primitive.name in ("cast", "stop_gradient") and inner.inputs:
        if inner.primitive.name == "cast" and inner.dtype != inner.inputs[0].dtype:
            break
        inner = inner.inputs[0]
    for one in (node, inner):
        called = getattr(one, "function", None)
        if called is not None:
            return _numbered(called, one)
    if inner.primitive.name == "function_result":
        return f"{inner.inputs[1].params['called'].function.__name__}Backward"
    if inner.primitive.name == "piece":
        made: str = inner.params["run"].made(inner.params["derivative"].slot)
        return made
    return _numbered(inner.primitive.name if inner.inputs else "clone", inner)


def _numbered(called: str, node: Node) -> str:
    """The name of a function, with the number of its form."""
    if called == "__getitem__":
        called = _index(node)
    if called in ("__matmul__", "matmul", "linear"):
        return f"{_product(called, node)}Backward0"
    if called in ("__pow__", "pow"):
        tensor = node.primitive.name == "pow" and not _is_number(node.inputs[1])
        return f"PowBackward{int(tensor)}"
    parted = called.endswith("[]")
    called = called.removesuffix("[]")
    name = _NAMES.get(called) or "".join(part.capitalize() for part in called.split("_") if part)
    if called in ("__rtruediv__", "__rsub__"):
        return "MulBackward0" if called == "__rtruediv__" else "RsubBackward1"
    if name == "Clamp":
        return "ClampBackward1"
    number = int(name in _LATER and called in _ALONG and bool(node.shape))
    if name in _PARTED:
        number = int(parted is _PARTED[name])
    return f"{name}Backward{number}"


def _index(node: Node) -> str:
    """Which form of indexing it was."""
    if node.primitive.name == "slice":
        return "slice"
    return "select" if node.primitive.name == "reshape" else "index"


def _is_number(node: Node) -> bool:
    """Whether a node may stand for a number that was given instead of a tensor."""
    while node.primitive.name in ("broadcast_to", "cast"):
        node = node.inputs[0]
    return not node.shape


def _product(called: str, node: Node) -> str:
    axes = len(node.shape)
    if called == "linear":
        added = node.primitive.name == "add"
        return ("Addmm" if added else "Mm") if axes == 2 else ("View" if added else "UnsafeView")
    return {0: "Dot", 1: "Mv", 2: "Mm", 3: "Bmm"}.get(axes, "UnsafeView")


class GradFn:
    """What made a tensor, as PyTorch shows it.

    `next_functions` are those of what it was computed from. Of a call of an `autograd.Function` the
    attributes of its `ctx` can be read too.
    """

    def __init__(self, name: str, tensor: AnyTensor | None, node: Node | None = None) -> None:
        self._name = name
        self._tensor = tensor
        self._own = node
        self.metadata: dict[Any, Any] = {}

    def name(self) -> str:
        """As PyTorch has it: MulBackward0."""
        return self._name

    @property
    def _node(self) -> Node:
        if self._own is None:
            assert self._tensor is not None
            self._own = history.graph_node(self._tensor)
        return self._own

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """Pairs of what made an input, None where that requires no gradient or is a leaf that
        nobody holds any more, and a number.
        """
        return tuple((_next(node), 0) for node in _inputs(self._node))

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and self._node.primitive.name == "function_result":
            return getattr(self._node.inputs[1].params["called"].ctx, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<{self._name} object at {id(self):#x}>"


class AccumulateGrad(GradFn):
    """Where a gradient is added to `.grad` of a leaf, `variable`."""

    def __init__(self, variable: AnyTensor) -> None:
        super().__init__("AccumulateGrad", variable)
        self.variable = variable


def _inputs(node: Node) -> Iterator[Node]:
    """What a node was made from, past its own casts and repetitions."""
    node = _by_call(node)
    if node.primitive.name == "function_result":
        yield from node.inputs[1].inputs
    else:
        yield from node.inputs


def _by_call(node: Node) -> Node:
    """A node that stands for all calls of a program as the last of them, past its casts."""
    found = history.inside(node)
    while found is not None and found.primitive.name in ("cast", "stop_gradient") and found.inputs:
        found = found.inputs[0]
    return node if found is None else found


def _next(node: Node) -> GradFn | None:
    while node.primitive.name in ("cast", "broadcast_to") and node.inputs:
        node = node.inputs[0]
    if not node.inputs:
        leaf = history.leaf_of(node)
        return None if leaf is None or not leaf.requires_grad else AccumulateGrad(leaf)
    if not any(history.leaf_requires_grad(one) for one in topological((node,))):
        return None
    name = name_of_node(node)
    return _kind(name)(name, None, node)


@functools.cache
def _kind(name: str) -> type[GradFn]:
    """A class of that name, as PyTorch has one for each."""
    return type(name, (GradFn,), {})
