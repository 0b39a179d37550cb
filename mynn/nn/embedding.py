"""Tables of vectors, picked by whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.errors import ArgumentError, ShapeError
from mynn.functional import lookup
from mynn.functional.lookup import padding_row
from mynn.nn.module import Module
from mynn.nn.placement import parameter_dtype
from mynn.random import host_generator
from mynn.tensor import Parameter, Tensor, as_array


class _Table(Module):
    """What both layers share: the table, from N(0, 1), its padding row 0."""

    def _make(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        given: Any,
        frozen: bool,
        device: Any,
        dtype: Any,
    ) -> None:
        name = type(self).__name__
        if min(num_embeddings, embedding_dim) < 0 or not embedding_dim:
            raise ArgumentError(
                f"{name}: num_embeddings and embedding_dim must be at least 1, they are "
                f"{num_embeddings} and {embedding_dim}"
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_row(name, padding_idx, num_embeddings)
        dtype = parameter_dtype(name, device, dtype)
        shape = (num_embeddings, embedding_dim)
        if given is None:
            self.weight = Parameter(np.empty(shape, dtype))
            self.reset_parameters()
            return
        array = as_array(given)
        if array.shape != shape:
            raise ShapeError(f"{name}: _weight must be {shape}, its shape is {array.shape}")
        self.weight = Parameter(array, requires_grad=not frozen)

    def reset_parameters(self, generator: np.random.Generator | int | None = None) -> None:
        """Draw the table anew."""
        shape = self.weight.shape
        values = host_generator(generator).standard_normal(shape, np.float32)
        if self.padding_idx is not None:
            values[self.padding_idx] = 0
        self.weight.data = values


class Embedding(_Table):
    """Rows of a table: y[...] = weight[x[...]].

    Args:
        num_embeddings: number of rows.
        embedding_dim: D.
        padding_idx: a row that starts as 0 and is not trained.
        max_norm: rows that are used and longer are shortened to it first; `norm_type` is the order
            of that norm.
        scale_grad_by_freq: whether gradients are divided by how often a row is used in a batch.
        sparse: whether the gradient of the table remembers which rows were read, for `SparseAdam`,
            `SGD` and `Adagrad`, which change no others then. Most optimisers refuse it, as in
            PyTorch. It is looked at as any other gradient.
        device: "cpu" or None.
        dtype: float32 or float64.

    Attributes: weight [num_embeddings, D], from N(0, 1).

    Shapes: x [...] of whole numbers, y [..., D].

    Example:
        >>> from mynn import nn
        >>> nn.Embedding(10, 3)([[1, 2], [4, 0]]).shape
        (2, 2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Any = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        size = (num_embeddings, embedding_dim, padding_idx)
        self._make(*size, _weight, _freeze, device, dtype)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """A layer with a table [rows, D] that is there already; frozen, it is not trained."""
        rows, columns = _extents_of(embeddings)
        options = (padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
        return cls(rows, columns, *options, _weight=embeddings, _freeze=freeze)

    def forward(self, input: Any) -> Tensor:
        """[...] -> [..., D]."""
        options = (self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq)
        return lookup.embedding(input, self.weight, *options, self.sparse)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        parts = [f"{self.num_embeddings}, {self.embedding_dim}"]
        options = (
            ("padding_idx", self.padding_idx, None),
            ("max_norm", self.max_norm, None),
            ("norm_type", self.norm_type, 2),
            ("scale_grad_by_freq", self.scale_grad_by_freq, False),
        )
        parts += [f"{name}={value}" for name, value, usual in options if value != usual]
        return ", ".join([*parts, "sparse=True"] if self.sparse else parts)


def _extents_of(embeddings: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = as_array(embeddings).shape
    if len(shape) != 2:
        raise ShapeError(f"from_pretrained: the table must be [rows, D], its shape is {shape}")
    return shape


class EmbeddingBag(_Table):
    """Sums, means or maxima of rows of a table: `functional.embedding_bag`.

    Args:
        num_embeddings, embedding_dim, max_norm, norm_type, scale_grad_by_freq, sparse, device,
            dtype: as in `Embedding`.
        mode: "sum", "mean" or "max".
        include_last_offset: whether offsets end with the number of entries.
        padding_idx: a row that does not count.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Any = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if mode not in ("sum", "mean", "max"):
            raise ArgumentError(
                f'EmbeddingBag: mode must be "sum", "mean" or "max", it is {mode!r}'
            )
        size = (num_embeddings, embedding_dim, padding_idx)
        self._make(*size, _weight, False, device, dtype)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.mode = mode
        self.sparse = sparse
        self.include_last_offset = include_last_offset

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """A layer with a table [rows, D] that is there already; frozen, it is not trained."""
        rows, columns = _extents_of(embeddings)
        options = (max_norm, norm_type, scale_grad_by_freq, mode, sparse, embeddings)
        layer = cls(rows, columns, *options, include_last_offset, padding_idx)
        layer.weight.requires_grad = not freeze
        return layer

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Tensor:
        """[B, N], or [N] with offsets [B] -> [B, D]."""
        return lookup.embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )

    def extra_repr(self) -> str:
        """As in PyTorch."""
        parts = [f"{self.num_embeddings}, {self.embedding_dim}"]
        options = (
            ("max_norm", self.max_norm, None),
            ("norm_type", self.norm_type, 2),
            ("scale_grad_by_freq", self.scale_grad_by_freq, False),
        )
        parts += [f"{name}={value}" for name, value, usual in options if value != usual]
        parts.append(f"mode={self.mode!r}")
        if self.padding_idx is not None:
            parts.append(f"padding_idx={self.padding_idx}")
        return ", ".join(parts)
