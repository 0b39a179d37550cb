"""Windows of a series: views that are trained on where they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.data import windows
from mynn.data.arrays import checked, first_not_finite, to_single
from mynn.errors import ArgumentError, DataError, ShapeError
from tests.train.reference import backends


def test_windows_are_the_slices_of_the_series() -> None:
    series = np.arange(40.0).reshape(20, 2)
    for length, step in ((1, 1), (3, 1), (4, 3), (20, 7)):
        found = windows(series, length, step)
        expected = [series[k : k + length] for k in range(0, 20 - length + 1, step)]
        np.testing.assert_array_equal(found, expected)
        assert np.shares_memory(found, series)
        assert not found.flags.writeable


@pytest.mark.one_in(3)
@backends
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_training_on_windows_is_training_on_their_copies(
    backend: str, dtype: str, shuffle: bool
) -> None:
    series = np.random.default_rng(0).integers(0, 9, (90, 3)).astype(dtype)
    views = windows(series, 6, step=2)
    given = views[:, :5], views[:, 5, :1], views[::2][:1].repeat(len(views), 0)
    ends = []
    for data in (given, tuple(map(np.array, given))):
        mynn.manual_seed(0)
        net = nn.Linear(15, 1)
        sgd = optim.SGD(net.parameters(), lr=1e-3)

        def step(x: Any, t: Any, u: Any, net: Any = net, sgd: Any = sgd) -> Any:
            y = net(x.reshape(-1, 15).astype(np.float32))
            loss = ((y - t.astype(np.float32)) ** 2).mean() + 0.0 * u.astype(np.float32).sum()
            loss.backward()
            sgd.step()
            return loss

        compiled = mynn.compile(step, backend=backend)
        history = mynn.fit(compiled, data, epochs=2, batch_size=8, seed=1, shuffle=shuffle)
        ends.append([history["loss"], net.weight.numpy(), net.bias.numpy()])
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_that_are_large_are_not_read_as_if_side_by_side() -> None:
    """Whole batches in order are read where they lie, if they lie there as in the buffer."""
    series = np.arange(3000.0, dtype=np.float32)
    views = windows(series, 1024)
    found = mynn.predict(lambda x: x * 1.0, views, batch_size=32)
    np.testing.assert_array_equal(found, views)
    means = mynn.evaluate(lambda x: {"mean": x.mean()}, views, batch_size=32)
    assert means["mean"] == pytest.approx(views.mean(), rel=1e-6)


def test_no_window_is_copied() -> None:
    """A series takes its own memory, also where it is rounded and looked through."""
    series = np.zeros(1 << 20, np.float64)
    views = windows(series, 1 << 12)
    assert views.nbytes > 30e9
    (kept,) = checked([views], check_finite=True)
    assert np.shares_memory(kept, series)
    (single,) = to_single([views], check_finite=True)
    assert (single.dtype, single.shape) == (np.dtype(np.float32), views.shape)
    means = mynn.evaluate(lambda x: {"mean": x.mean()}, views[: 1 << 16 : 1 << 8])
    assert means == {"mean": 0.0}


@pytest.mark.parametrize(("length", "step"), [(5, 1), (5, 2), (5, 4), (3, 3)])
def test_the_first_value_that_is_not_finite_is_found(length: int, step: int) -> None:
    for place in range(23):
        series = np.zeros((23, 2))
        series[place, 1] = np.nan
        views = windows(series, length, step)
        places = np.argwhere(np.isnan(views))
        assert first_not_finite(views) == (tuple(places[0].tolist()) if len(places) else None)


def test_what_is_wrong_is_refused() -> None:
    with pytest.raises(DataError, match="the series has 4 times, fewer than a window's length=5"):
        windows(np.zeros(4), 5)
    with pytest.raises(ShapeError, match="single number"):
        windows(3.0, 1)
    with pytest.raises(ArgumentError, match="windows: step must be at least 1"):
        windows(np.zeros(4), 2, 0)
