"""`Value`: what a tensor consists of, without what can be done with it.

The methods of tensors stand in classes above this one, a family a file (`Arithmetic`, `Movement`,
`Reductions`...), and `Tensor` is all of them together. They are generic in what operations make,
the type variable `T`: `Tensor` is an `Arithmetic["Tensor"]`, so that `x + y` is known to be a
`Tensor` in files that know nothing of that class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar, overload

import numpy as np

from mynn.base import recording
from mynn.core.graph import Node
from mynn.core.primitive import Primitive
from mynn.core.types import Array, Shape, Type
from mynn.errors import ShapeError
from mynn.ops import elementwise
from mynn.ops.rules import normalize_axes
from mynn.trace import tracing

# What operations make.
T = TypeVar("T", bound="Value[Any]")

Step = tuple[Primitive, Mapping[str, Any]]

# The fields that a tape may put off.
_PUT_OFF = frozenset({"_value", "node", "_view", "_grad"})


class View:
    """How a tensor hangs on its base.

    - `base`: a tensor that is no view.
    - `steps`: primitives with their parameters, from the base to the tensor.
    - `source`: where its history comes from: the base, or a view that asks for a gradient itself,
      to which the first `since` steps lead.
    - `attached`: whether a gradient flows from the tensor to its source.
    - `origin`: the node of the source that the tensor's own node was made from.
    - `version`: that of the base when the value was made; -1 where it is a copy, made at each
      reading (the storage of a parameter has gaps, so that not all reshapes can share it).
    """

    __slots__ = ("attached", "base", "origin", "since", "source", "steps", "version")

    def __init__(
        self,
        base: AnyTensor,
        steps: tuple[Step, ...],
        attached: bool,
        source: AnyTensor,
        since: int,
    ) -> None:
        self.base = base
        self.steps = steps
        self.source = source
        self.since = since
        self.attached = attached
        self.origin: Node | None = None
        self.version = base._version


class Value(Generic[T]):
    """The fields of a tensor, and how one is made out of a value or a node."""

    __slots__ = (
        "__weakref__",
        "_grad",
        "_requires_grad",
        "_value",
        "_version",
        "_view",
        "hooks",
        "is_native",
        "name",
        "node",
        "pending",
        "shared",
        "touched",
    )

    # What `from_node` and `from_value` make, for parameters too: `Tensor` enters itself here.
    _made: ClassVar[Any]
    # The value; that of a view may be older than its base, so that it is read through `data`.
    _value: Array | None
    # How often the value was changed in place.
    _version: int
    # Whose memory this tensor looks at, where that is another tensor's.
    _view: View | None
    node: Node | None
    _requires_grad: bool
    name: str | None
    is_native: bool
    _grad: T | None
    # Those of a leaf, where there are any (`mynn.base.hooks`); otherwise it is not set.
    hooks: Any
    # Kept by `mynn.base.sharing`; None before a program uses the tensor.
    shared: Any
    # What a tape knows of a tensor that it made (`type`, `make`); other tensors have None. Of what
    # it has not made yet the fields are not set, and are made when somebody asks (`__getattr__`).
    pending: Any
    # Of the gradient of a table, which of its rows are not zeros
    # (`mynn.tensor.gradients.touched`); None where nothing is known of that.
    touched: Any

    def _setup(
        self, value: Array | None, node: Node | None, requires_grad: bool, name: str | None
    ) -> None:
        self._value = value
        self._version = 0
        self._view = None
        self.node = node
        self._requires_grad = requires_grad
        self.name = name
        self.is_native = False
        self._grad = None
        self.shared = None
        self.pending = None
        self.touched = None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A field that is not set: a tape has put off what sets it."""
            if name in _PUT_OFF:
                pending = self.pending
                if pending is None:
                    return recording.made(self, name)
                pending.make(self, name)
                return object.__getattribute__(self, name)
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
            )

    @classmethod
    def from_node(cls, node: Node, requires_grad: bool = False) -> T:
        """A traced tensor (or an eager one, where the node has a value)."""
        tensor: T = cls._made.__new__(cls._made)
        tensor._setup(None, node, requires_grad, node.name)
        return tensor

    @classmethod
    def from_value(cls, value: Array, node: Node | None = None) -> T:
        """An eager tensor that shares `value` instead of copying it."""
        made = cls._made
        tensor: T = made.__new__(made)
        tensor._value = value  # `_setup`, in a hurry
        tensor._version = 0
        tensor._view = None
        tensor.node = node
        tensor._requires_grad = node is not None
        tensor.name = None
        tensor.is_native = False
        tensor._grad = None
        tensor.shared = None
        tensor.pending = None
        tensor.touched = None
        return tensor

    @staticmethod
    def _sum_of_many(parts: Sequence[AnyTensor]) -> Any:
        """Eager cotangents of one type added one after the other, as `+` would; or None."""
        first = parts[0]
        if first._value is None:
            return None
        for part in parts:
            plain = part._value is not None and part._view is None and not part.requires_grad
            if not plain or part.dtype != first.dtype or part.shape != first.shape:
                return None
        total = first._value + parts[1]._value
        for part in parts[2:]:
            total += part._value
        return Value.from_value(np.asarray(total))

    # -- what it is --------------------------------------------------------------------------------

    @property
    def spec(self) -> Type:
        """Shape and dtype together."""
        if self.pending is not None:
            kind: Type = self.pending.type
            return kind
        value = self._value
        if value is not None:
            return Type(value.shape, value.dtype)
        assert self.node is not None
        return self.node.type

    @property
    def shape(self) -> Shape:
        """Extents of the axes."""
        if self.pending is not None:
            return self.spec.shape
        value = self._value
        return self.spec.shape if value is None else value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the elements."""
        if self.pending is not None:
            return self.spec.dtype
        value = self._value
        return self.spec.dtype if value is None else value.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def numel(self) -> int:
        """Number of elements."""
        return self.spec.size

    @overload
    def size(self, dim: None = None) -> Shape: ...

    @overload
    def size(self, dim: int) -> int: ...

    def size(self, dim: int | None = None) -> Shape | int:
        """The shape, or the extent of axis `dim`; `numel()` is the number of elements."""
        shape = self.shape
        if dim is None:
            return shape
        axes = normalize_axes(dim, len(shape), "size")
        if not axes:
            raise ShapeError("size: a tensor without axes has no extents")
        return shape[axes[0]]

    # -- gradients ---------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether `backward` finds a gradient for this tensor, or for what it came from."""
        pending = self.pending
        if self._requires_grad:
            return True
        if pending is not None:  # it may be going to look at one that has got a history since
            base = pending.base
            return base is not None and pending.attached and base.requires_grad and not base.is_leaf
        if self._view is None:
            return False
        source = self._view.source
        return self._view.attached and source._requires_grad and not source.is_leaf

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self._value  # noqa: B018 - what was put off is made first
        trace = tracing.active()
        if value != self._requires_grad and trace is None:
            recording.before_write(self, values=False)
        recording.toggles[0] += 1
        if value != self.requires_grad and self.is_leaf:
            self._begin_history(value)
        self._requires_grad = value

    def _begin_history(self, asked: bool) -> None:
        """What was computed before from this leaf leads to it no more."""
        trace, view, node = tracing.active(), self._view, self.node
        if view is not None and asked:
            view.attached = False
        if self._value is None:
            if trace is not None and node is not None:
                self.node = Node(elementwise.stop_gradient, (node,), {}, node.type)
                if asked:
                    trace.leaves[self.node] = self
            return
        self.node = None
        if view is not None:
            view.origin = None
            if trace is not None:
                trace.views.pop(self, None)

    @property
    def is_leaf(self) -> bool:
        """Whether gradients are collected here: it is no result of tensors that require one."""
        if not self.requires_grad:
            return True
        if self.pending is not None:
            leaf: bool = self.pending.leaf
            return leaf
        if self._view is not None:
            return not self._view.attached
        node = self.node
        trace = tracing.active()
        if self._value is None:
            return trace is not None and node is not None and trace.leaves.get(node) is self
        if node is not None and node.inputs:
            return False
        return trace is None or self not in trace.promoted


# A tensor, where nothing is said of what its operations make.
AnyTensor: TypeAlias = Value[Any]
