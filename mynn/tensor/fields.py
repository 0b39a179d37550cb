"""`Fields`: what a tensor consists of, without what can be done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, overload

import numpy as np

from mynn.core.graph import Node
from mynn.core.types import Array, Shape, Type
from mynn.errors import ShapeError
from mynn.ops.rules import normalize_axes

if TYPE_CHECKING:
    from mynn.tensor.tensor import Tensor
    from mynn.tensor.view import View

    Kind: TypeAlias = type[Tensor]


class Fields:
    """The fields of a tensor, and how one is made out of a value or a node.

    Operations make tensors, and tensors have operations as methods: `Tensor` needs the operations,
    so they know this class alone. `Tensor` enters itself as `_kind`, what they make.
    """

    __slots__ = (
        "__weakref__",
        "_grad",
        "_requires_grad",
        "_value",
        "_version",
        "_view",
        "homed",
        "name",
        "node",
        "shared",
    )

    _kind: ClassVar[Kind]
    # The value; that of a view may be older than its base, so that it is read through `data`.
    _value: Array | None
    # How often the value was changed in place.
    _version: int
    # Whose memory this tensor looks at, where that is another tensor's.
    _view: View | None
    node: Node | None
    _requires_grad: bool
    name: str | None
    homed: bool
    _grad: Tensor | None
    # Kept by `mynn.base.sharing`; not set before a program uses the tensor.
    shared: Any

    def _setup(
        self, value: Array | None, node: Node | None, requires_grad: bool, name: str | None
    ) -> None:
        self._value = value
        self._version = 0
        self._view = None
        self.node = node
        self._requires_grad = requires_grad
        self.name = name
        self.homed = False
        self._grad = None

    @classmethod
    def from_node(cls, node: Node, requires_grad: bool = False) -> Tensor:
        """A traced tensor (or an eager one, where the node has a value)."""
        tensor = Fields._kind.__new__(Fields._kind)
        tensor._setup(None, node, requires_grad, node.name)
        return tensor

    @classmethod
    def from_value(cls, value: Array, node: Node | None = None) -> Tensor:
        """An eager tensor that shares `value` instead of copying it."""
        tensor = Fields._kind.__new__(Fields._kind)
        tensor._setup(value, node, node is not None, None)
        return tensor

    @property
    def spec(self) -> Type:
        """Shape and dtype together."""
        value = self._value
        if value is not None:
            return Type(value.shape, value.dtype)
        assert self.node is not None
        return self.node.type

    @property
    def shape(self) -> Shape:
        """Extents of the axes."""
        value = self._value
        return self.spec.shape if value is None else value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the elements."""
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
