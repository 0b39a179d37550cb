"""Where rows lie, followed through shapes: held against arrays whose elements are row numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mynn.core.types import Shape
from mynn.jit.lengths.axis import NotAlike, Rows, Sizes, agreed, moved, reduced

SIZES = Sizes(6, 4)


def rows_of(shape: Shape, rows: Rows) -> np.ndarray:
    """The row of each element, as `rows` says it."""
    after = rows.after or shape[rows.axis] // SIZES.whole
    line = np.arange(shape[rows.axis]) // after % SIZES.whole
    column = [1] * len(shape)
    column[rows.axis] = shape[rows.axis]
    return np.broadcast_to(line.reshape(column), shape)


SHAPES: list[tuple[Shape, int]] = [((6, 4), 0), ((2, 6, 3), 1), ((5, 6), 1), ((2, 6, 2, 2), 1)]
NEW: dict[int, list[Shape]] = {
    24: [(24,), (6, 2, 2), (2, 12), (6, 4, 1), (3, 8), (1, 6, 4), (12, 2)],
    36: [(12, 3), (2, 18), (36,), (2, 6, 3, 1), (4, 9), (6, 6), (2, 2, 3, 3)],
    30: [(30,), (5, 6, 1), (5, 2, 3), (10, 3)],
    48: [(12, 4), (2, 6, 4), (2, 24), (48,), (12, 2, 2), (4, 3, 4)],
}


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_reshaped_rows_are_those_of_the_elements(shape: Shape, axis: int) -> None:
    """Or it is said that they are taken apart, where no axis has them."""
    values = rows_of(shape, Rows(axis, 1))
    for new in NEW[values.size]:
        candidates = [
            Rows(place, after)
            for place, extent in enumerate(new)
            for after in range(1, extent + 1)
            if extent % (SIZES.whole * after) == 0
        ]
        right = [rows for rows in candidates if (rows_of(new, rows) == values.reshape(new)).all()]
        if right:
            assert SIZES.reshaped(Rows(axis, 1), shape, new) in right
        else:
            with pytest.raises(NotAlike, match="apart"):
                SIZES.reshaped(Rows(axis, 1), shape, new)


def test_moved_and_reduced_rows() -> None:
    shape = (2, 6, 3)
    values = rows_of(shape, Rows(1, 1))
    for axes in itertools.permutations(range(3)):
        found = moved(Rows(1, 1), axes)
        np.testing.assert_array_equal(
            rows_of(tuple(shape[a] for a in axes), found), values.transpose(axes)
        )
    assert reduced(Rows(1, 1), (0, 2)) == Rows(0, 1)


def test_what_is_repeated_fits_whatever_is_counted() -> None:
    assert SIZES.repeated((24, 3), (16, 3)) == Rows(0, None)
    assert agreed((Rows(0, None), None, Rows(0, 4))) == Rows(0, 4)
    with pytest.raises(NotAlike):
        agreed((Rows(0, 1), Rows(0, 4)))
    with pytest.raises(NotAlike):
        agreed((Rows(0, 1), Rows(1, 1)))
    with pytest.raises(NotAlike, match="more than one axis"):
        SIZES.first_axis((6, 6), (4, 4))
    with pytest.raises(NotAlike, match="as the batches do"):
        SIZES.first_axis((7, 3), (5, 3))
