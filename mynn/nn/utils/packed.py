"""Sequences of several lengths, step after step without gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mynn.core.types import Array
from mynn.errors import ArgumentError, DataError, ShapeError, UsageError
from mynn.functional.joining import cat, where
from mynn.tensor import Tensor, as_tensor
from mynn.trace import tracing


class PackedSequence(NamedTuple):
    """Sequences of several lengths: the first step of all of them, then the second...

    - `data`: [sum of the lengths, ...].
    - `batch_sizes`: for each step how many sequences have it, int64.
    - `sorted_indices`: the sequences from the longest to the shortest; None where they were given
      so. `unsorted_indices`: the way back.

    Made by `pack_padded_sequence` and `pack_sequence`.
    """

    data: Any
    batch_sizes: Any
    sorted_indices: Any = None
    unsorted_indices: Any = None

    @property
    def batch_first(self) -> bool:
        """Steps come first."""
        return False


def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """The first `lengths[n]` steps of each sequence n, packed.

    Args:
        input: [L, N, ...], or [N, L, ...] with `batch_first`.
        lengths: [N] whole numbers from 1 to L, known when a function is traced.
        enforce_sorted: whether lengths must fall from one sequence to the next; otherwise they are
            sorted, and recurrent layers give their states in the order of the input again.

    Raises:
        DataError: a length of less than 1, or larger than L.
        ShapeError: as many lengths as sequences are needed.

    Example:
        >>> from mynn import tensor
        >>> from mynn.nn.utils.rnn import pack_padded_sequence
        >>> x = tensor([[1, 2, 3], [4, 5, 0]])
        >>> pack_padded_sequence(x, [3, 2], batch_first=True).data.tolist()
        [1, 4, 2, 5, 3]
    """
    x = as_tensor(input)
    if x.ndim < 2:
        raise ShapeError(
            f"pack_padded_sequence: the input must have the axes of steps and of sequences, its "
            f"shape is {x.shape}"
        )
    if batch_first:
        x = x.transpose(0, 1)
    known = _known("pack_padded_sequence", lengths)
    steps, count = x.shape[:2]
    if known.shape != (count,):
        raise ShapeError(
            f"pack_padded_sequence: lengths must be [{count}], one for each sequence, its shape is "
            f"{known.shape}"
        )
    _check_lengths("pack_padded_sequence", known, steps)
    order = np.argsort(-known, kind="stable")
    if enforce_sorted and (np.diff(known) > 0).any():
        raise DataError(
            f"pack_padded_sequence: lengths must not grow with enforce_sorted=True, they are "
            f"{known.tolist()}; give enforce_sorted=False"
        )
    if not enforce_sorted:
        known = known[order]
    sizes, step, row = _places(known)
    rows = row if enforce_sorted else order[row]
    data = x.reshape((steps * count, *x.shape[2:]))[step * count + rows]
    if enforce_sorted:
        return PackedSequence(data, as_tensor(sizes))
    return PackedSequence(
        data, as_tensor(sizes), as_tensor(order), as_tensor(np.argsort(order, kind="stable"))
    )


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The sequences with gaps behind the shorter ones, and their lengths.

    Args:
        sequence: a `PackedSequence`.
        batch_first: whether the result is [N, L, ...] instead of [L, N, ...].
        padding_value: what stands in the gaps.
        total_length: L, where it is to be more than the longest sequence has.

    Raises:
        ArgumentError: `total_length` is less than that.

    Example:
        >>> from mynn import tensor
        >>> from mynn.nn.utils.rnn import pack_sequence, pad_packed_sequence
        >>> packed = pack_sequence([tensor([1, 2, 3]), tensor([4, 5])])
        >>> padded, lengths = pad_packed_sequence(packed, batch_first=True)
        >>> padded.tolist(), lengths.tolist()
        ([[1, 2, 3], [4, 5, 0]], [3, 2])
    """
    lengths = lengths_of(sequence)
    longest = int(lengths.max(initial=0))
    steps = longest if total_length is None else total_length
    if steps < longest:
        raise ArgumentError(
            f"pad_packed_sequence: total_length must be at least {longest}, the length of the "
            f"longest sequence, it is {total_length}"
        )
    x = padded(sequence, steps)
    inside = np.arange(steps).reshape(-1, 1) < lengths
    inside = inside.reshape((*inside.shape, *(1,) * (x.ndim - 2)))
    x = where(as_tensor(inside), x, padding_value).astype(x.dtype)
    if sequence.unsorted_indices is not None:
        back = _known("pad_packed_sequence", sequence.unsorted_indices)
        x, lengths = x[:, back], lengths[back]
    return x.transpose(0, 1) if batch_first else x, as_tensor(lengths)


def pack_sequence(sequences: Sequence[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences [L_n, ...], packed; see `pack_padded_sequence`.

    Example:
        >>> from mynn import tensor
        >>> from mynn.nn.utils.rnn import pack_sequence
        >>> pack_sequence([tensor([1, 2]), tensor([3])]).batch_sizes.tolist()
        [2, 1]
    """
    parts = [as_tensor(one) for one in sequences]
    if not parts:
        raise DataError("pack_sequence: there are no sequences")
    x = pad_sequence(parts)
    return pack_padded_sequence(x, [part.shape[0] for part in parts], False, enforce_sorted)


def pad_sequence(
    sequences: Sequence[Any],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences [L_n, ...] as one tensor [L, N, ...], with `padding_value` behind the shorter ones.

    Args:
        batch_first: whether the result is [N, L, ...].
        padding_side: "right", or "left" for values before the shorter ones.

    Raises:
        DataError: there are no sequences. ShapeError: they differ in more than their lengths.
        ArgumentError: another side.

    Example:
        >>> from mynn import tensor
        >>> from mynn.nn.utils.rnn import pad_sequence
        >>> pad_sequence([tensor([1, 2]), tensor([3])], batch_first=True).tolist()
        [[1, 2], [3, 0]]
    """
    parts = [as_tensor(one) for one in sequences]
    if not parts:
        raise DataError("pad_sequence: there are no sequences")
    if padding_side not in ("left", "right"):
        raise ArgumentError(
            f"pad_sequence: padding_side must be 'left' or 'right', it is {padding_side!r}"
        )
    if any(not part.ndim or part.shape[1:] != parts[0].shape[1:] for part in parts):
        raise ShapeError(
            "pad_sequence: sequences are [L, ...], alike but for their lengths; their shapes are "
            f"{[part.shape for part in parts]}"
        )
    steps = max(part.shape[0] for part in parts)
    full = []
    for part in parts:
        shape = (steps - part.shape[0], *part.shape[1:])
        padding = Tensor(np.full(shape, padding_value, part.dtype))
        both = [part, padding] if padding_side == "right" else [padding, part]
        full.append(cat(both).unsqueeze(0 if batch_first else 1))
    return cat(full, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences [L_n, ...] of those lengths that `pad_sequence` has put together."""
    x = as_tensor(padded_sequences)
    x = x if batch_first else x.transpose(0, 1)
    known = _known("unpad_sequence", lengths)
    if known.shape != (x.shape[0],):
        raise ShapeError(
            f"unpad_sequence: lengths must be [{x.shape[0]}], their shape is {known.shape}"
        )
    return [x[n, : int(length)] for n, length in enumerate(known)]


def invert_permutation(permutation: Any) -> Tensor | None:
    """The way back from an order, as an order; None of None."""
    if permutation is None:
        return None
    return as_tensor(np.argsort(_known("invert_permutation", permutation), kind="stable"))


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences [L_n, ...] that were packed.

    Example:
        >>> from mynn import tensor
        >>> from mynn.nn.utils.rnn import pack_sequence, unpack_sequence
        >>> [x.tolist() for x in unpack_sequence(pack_sequence([tensor([1, 2]), tensor([3])]))]
        [[1, 2], [3]]
    """
    x, lengths = pad_packed_sequence(packed_sequences)
    return [x[: int(length), n] for n, length in enumerate(lengths.tolist())]


# -- what layers need ------------------------------------------------------------------------------


def lengths_of(sequence: PackedSequence) -> Array:
    """The lengths of the sequences, from the longest to the shortest."""
    sizes = _known("PackedSequence", sequence.batch_sizes)
    count = int(sizes[0]) if sizes.size else 0
    found: Array = (sizes.reshape(-1, 1) > np.arange(count)).sum(0)
    return found


def padded(sequence: PackedSequence, steps: int | None = None) -> Tensor:
    """[L, N, ...], from the longest to the shortest; behind their ends stands anything."""
    lengths = lengths_of(sequence)
    sizes, step, row = _places(lengths)
    index = np.zeros((len(sizes) if steps is None else steps, len(lengths)), np.int64)
    index[step, row] = np.arange(len(step))
    return as_tensor(sequence.data)[index]


def packed_like(sequence: PackedSequence, x: Tensor) -> PackedSequence:
    """x [L, N, ...] in the form of another packed sequence."""
    _, step, row = _places(lengths_of(sequence))
    data = x.reshape((x.shape[0] * x.shape[1], *x.shape[2:]))[step * x.shape[1] + row]
    return sequence._replace(data=data)


def _places(lengths: Array) -> tuple[Array, Array, Array]:
    """For falling lengths the sizes of the steps; the step and the sequence of each entry."""
    steps = int(lengths.max(initial=0))
    inside = np.arange(steps).reshape(-1, 1) < lengths
    step, row = np.nonzero(inside)
    return inside.sum(1).astype(np.int64), step, row


def _known(name: str, values: Any) -> Array:
    tensor = as_tensor(values)
    if tracing.active() is not None and tensor._value is None and tensor.node is not None:
        value = tensor.node.value
        if value is None:
            raise UsageError(
                f"{name}: lengths must be known when the function is traced, since the shape of "
                "what is packed depends on them; give a list of numbers"
            )
        return np.asarray(value)
    array = tensor.numpy()
    if array.dtype.kind not in "iu":
        raise DataError(f"{name}: lengths must be whole numbers, they are {array.dtype}")
    return array.astype(np.int64)


def _check_lengths(name: str, lengths: Array, steps: int) -> None:
    wrong = (lengths < 1) | (lengths > steps)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise DataError(
            f"{name}: lengths must lie in 1..{steps}, that of sequence {place} is {lengths[place]}"
            "; leave out empty sequences, and pad the others to the longest"
        )
