"""Counter-based random bits: a pure function of a key and a position.

The same key gives the same bits whatever computes them, in whatever order: so dropout is the same
interpreted and compiled, on one thread and on many.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011
(Threefry-2x32, 20 rounds).
"""

from __future__ import annotations

import math

import numpy as np

from mynn.core.graph import Node, apply
from mynn.core.primitive import Cost, Primitive, Sample
from mynn.core.types import Array, Shape, Type
from mynn.errors import ShapeError
from mynn.ops.batches import one_by_one
from mynn.ops.movement import reshape
from mynn.ops.threefry import first_word, halves_exchanged, threefry2x32


def _infer_bits(key: Type, shape: Shape) -> Type:
    if key.shape != (2,) or key.dtype != np.uint32:
        raise ShapeError(f"random_bits: the key must be u32[2], it is {key}")
    return Type(shape, key.dtype)


# So many words are made one by one.
FEW = 8


def _numpy_bits(key: Array, shape: Shape) -> Array:
    size = math.prod(shape)
    if size <= FEW:
        k0, k1 = key.tolist()
        words = [first_word(k0, k1, number) for number in range(size)]
        return np.array(words, np.uint32).reshape(shape)
    count = np.arange(size, dtype=np.uint32)
    bits, _ = threefry2x32(key[0], key[1], count, np.zeros_like(count))
    return np.asarray(bits).reshape(shape)


def _samples(rng: np.random.Generator) -> list[Sample]:
    key = rng.integers(0, 2**32, 2, np.uint32)
    return [Sample((key,), {"shape": shape}) for shape in ((), (5,), (3, 20), (2, 3, 4))]


def _batch_bits(size: int, mapped: tuple[bool], key: Node, shape: Shape) -> Node:
    """One key for all examples gives each its own numbers."""
    if mapped[0]:
        return one_by_one(random_bits)(size, mapped, key, shape=shape)
    return apply(random_bits, key, shape=(size, *shape))


# bits[i] = the first word of threefry2x32(key, (i, 0)), i counting the elements in row-major order
random_bits = Primitive(
    "random_bits",
    _infer_bits,
    _numpy_bits,
    None,
    _samples,
    batch=_batch_bits,
    draws=True,
    cost=Cost.HEAVY,
)


# -- decisions -------------------------------------------------------------------------------------

# Counters side by side, and the decisions that come of them: four each.
COUNTERS = 128
DECISIONS = 4 * COUNTERS


def _infer_bernoulli(key: Type, size: int, threshold: int) -> Type:
    _infer_bits(key, ())
    return Type((size,), np.dtype(np.bool_))


def _numpy_bernoulli(key: Array, size: int, threshold: int) -> Array:
    blocks = -(-size // DECISIONS)
    count = np.arange(blocks * COUNTERS, dtype=np.uint32)
    drawn = threefry2x32(key[0], key[1], count, np.zeros_like(count))
    words = [word for each in drawn for word in (each, halves_exchanged(each))]
    below = np.stack(words) < np.uint32(threshold)
    ordered = below.reshape(4, blocks, COUNTERS).transpose(1, 0, 2)
    return np.ascontiguousarray(ordered).reshape(-1)[:size]


def _bernoulli_samples(rng: np.random.Generator) -> list[Sample]:
    key = rng.integers(0, 2**32, 2, np.uint32)
    sizes = ((1, 2**31), (20, 2**30), (512, 99), (300, 2**31 + 7), (1300, 2**32 - 2**20))
    return [Sample((key,), {"size": n, "threshold": threshold}) for n, threshold in sizes]


def _batch_bernoulli(
    examples: int, mapped: tuple[bool], key: Node, size: int, threshold: int
) -> Node:
    """One key for all examples gives each its own decisions."""
    if mapped[0]:
        return one_by_one(bernoulli)(examples, mapped, key, size=size, threshold=threshold)
    every = apply(bernoulli, key, size=examples * size, threshold=threshold)
    return apply(reshape, every, shape=(examples, size))


# decision[i] = whether a word of 32 random bits is less than the threshold. Blocks of 512 decisions
# have 128 counters each: i = 512 b + 128 k + l has the counter c = 128 b + l, and of the words x, y
# = threefry2x32(key, (c, 0)) for k = 0..3 the word x, x with its halves exchanged, y, and y so.
#
# So each decision has the probability threshold / 2^32. Two that share a word are independent of
# each other but where a half equals that of the threshold: their correlation is less than 2^-14,
# and 0 where the threshold is a multiple of 2^16.
bernoulli = Primitive(
    "bernoulli",
    _infer_bernoulli,
    _numpy_bernoulli,
    None,
    _bernoulli_samples,
    batch=_batch_bernoulli,
    draws=True,
    cost=Cost.HEAVY,
)

PRIMITIVES = (random_bits, bernoulli)
