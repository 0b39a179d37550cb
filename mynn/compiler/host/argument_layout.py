"""Where the arguments and results of a step lie, as the code around it needs to know it."""

from __future__ import annotations

import math

from mynn.base.dataclass import dataclass
from mynn.core.types import Shape


@dataclass(frozen=True)
class ArgumentLayout:
    """An argument or a result of a program, whose rows are the samples of a batch.

    - `slot`: its entry in the table of addresses, None where no kernel touches it.
    - `type`: the short name of its dtype (f32); `itemsize`: the bytes of an element.
    - `shape`; `strides` in bytes, of the buffer.
    - `apart`: bytes from one sample to the next in the data, None where they lie side by side.
      Windows of a series overlap.

    A sample is `blocks` pieces of `block_bytes`; in the buffer the pieces are `pitch` bytes apart.

    Example:
        >>> padded = ArgumentLayout(0, "f32", 4, (8, 5, 3), (80, 16, 4))
        >>> padded.blocks, padded.block_bytes, padded.pitch, padded.row_bytes, padded.dense
        (5, 12, 16, 60, False)
    """

    slot: int | None
    type: str
    itemsize: int
    shape: Shape
    strides: Shape
    apart: int | None = None

    @property
    def size(self) -> int:
        """Elements of a result that is added up; it has one axis, or none."""
        return math.prod(self.shape)

    @property
    def blocks(self) -> int:
        """Pieces of a sample."""
        return math.prod(self.shape[1:-1])

    @property
    def block_bytes(self) -> int:
        """Bytes of a piece."""
        return self.itemsize * (self.shape[-1] if len(self.shape) > 1 else 1)

    @property
    def pitch(self) -> int:
        """Bytes from one piece to the next in the buffer."""
        return self.strides[-2] if len(self.shape) > 1 else self.itemsize

    @property
    def row_bytes(self) -> int:
        """Bytes of a sample where its pieces lie side by side."""
        return self.blocks * self.block_bytes

    @property
    def row_step(self) -> int:
        """Bytes from one sample to the next in the data."""
        return self.row_bytes if self.apart is None else self.apart

    @property
    def dense(self) -> bool:
        """Whether they do in the buffer."""
        return self.block_bytes == self.pitch


@dataclass(frozen=True)
class StepLayout:
    """A program as the training loop sees it: the step on batches of so many `rows`.

    - `arguments`: one for each array of the data.
    - `metrics`: the results that are added up; `outputs`: those that are kept row by row.
    - `further`: the arguments that tell a program for batches of several sizes of this one; then
      there is room for `room` rows.
    - `status`: the entry of the status word in the table, None where there are no checks.
    - `split`: whether workers share it.
    """

    rows: int
    arguments: tuple[ArgumentLayout, ...] = ()
    metrics: tuple[ArgumentLayout, ...] = ()
    outputs: tuple[ArgumentLayout, ...] = ()
    status: int | None = None
    split: bool = False
    further: tuple[ArgumentLayout, ...] = ()
    room: int = 0

    @property
    def filled(self) -> int:
        """Rows that are put into the input buffers."""
        return max(self.rows, self.room)

    @property
    def nbytes(self) -> int:
        """Bytes of a batch."""
        return self.filled * sum(argument.row_bytes for argument in self.arguments)
