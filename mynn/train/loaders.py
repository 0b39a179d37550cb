"""A `DataLoader` as data of `fit`: its arrays, batches and orders."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.core.types import Array


def from_loader(loader: Any) -> tuple[tuple[Array, ...], int, bool, bool, int | None] | None:
    """The arrays of a loader, its batch size, whether it shuffles and drops the last batch, and a
    seed where it has a generator of its own.

    None where it is no loader, or its samples must be asked for one by one.
    """
    found = loader.as_arrays() if hasattr(loader, "as_arrays") else None
    if found is None:
        return None
    sampler = loader.sampler
    random = hasattr(sampler, "replacement")
    if random and (sampler.replacement or sampler._num_samples is not None):
        return None
    arrays, rows = found
    chosen = tuple(array if rows is None else array[rows] for array in arrays)
    seed = None
    if random and isinstance(sampler.generator, np.random.Generator):
        seed = int(sampler.generator.integers(2**62))
    elif random and sampler.generator is not None:
        high, low = sampler.generator.words(2)
        seed = high << 32 | low
    return chosen, loader.batch_size, random, loader.batch_sampler.drop_last, seed
