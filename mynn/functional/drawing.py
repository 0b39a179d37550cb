"""Random tensors under PyTorch's names: uniform, normal, whole numbers, orders, samples.

They are drawn by `generator`, or by the one that `mynn.manual_seed` seeds; the numbers are not
PyTorch's for the same seed. `device` can only be "cpu".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn.base.arguments import as_index, explained
from mynn.base.devices import require_cpu
from mynn.core.kinds import quietly
from mynn.core.types import Array, as_dtype, default_float
from mynn.errors import ArgumentError, DTypeError, ShapeError, UsageError
from mynn.random import Generator, default_generator, units
from mynn.random import bernoulli as drawn_bernoulli
from mynn.random import normal as drawn_normal
from mynn.random import uniform as drawn_uniform
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.creation import extents, finished
from mynn.trace import tracing


def _size(name: str, given: tuple[Any, ...], size: Any) -> tuple[int, ...]:
    return extents(name, given if size is None else (size,))


@explained
def rand(
    *given: Any,
    size: Any = None,
    generator: Generator | None = None,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Numbers spread evenly over [0, 1), of the extents given.

    Example:
        >>> rand(2, 3).shape
        (2, 3)
    """
    require_cpu("rand", device)
    dtype = default_float() if dtype is None else dtype
    drawn = drawn_uniform(_size("rand", given, size), generator=generator, dtype=dtype)
    return finished("rand", drawn, requires_grad, out)


@explained
def randn(
    *given: Any,
    size: Any = None,
    generator: Generator | None = None,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Numbers from the normal distribution N(0, 1), of the extents given."""
    require_cpu("randn", device)
    dtype = default_float() if dtype is None else dtype
    drawn = drawn_normal(_size("randn", given, size), generator=generator, dtype=dtype)
    return finished("randn", drawn, requires_grad, out)


@explained
def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Whole numbers from low to high - 1, int64; with one number they start at 0.

    Example:
        >>> randint(10, (2, 3)).shape
        (2, 3)
    """
    require_cpu("randint", device)
    if size is None and isinstance(high, tuple | list):
        low, high, size = 0, low, high
    elif high is None and size is not None:
        low, high = 0, low
    if high is None or size is None:
        raise ArgumentError("randint: size is missing; write randint(low, high, (2, 3))")
    drawn = _whole("randint", low, high, extents("randint", (size,)), generator, dtype)
    return finished("randint", drawn, requires_grad, out)


def _whole(
    name: str, low: Any, high: Any, shape: tuple[int, ...], generator: Any, dtype: Any
) -> Tensor:
    low, high = int(low), int(high)
    if not low < high:
        raise ArgumentError(f"{name}: low must be below high, they are {low} and {high}")
    if high - low > 2**53:
        raise ArgumentError(f"{name}: from {low} to {high} there are more than 2^53 numbers")
    drawn = units(shape, np.float64, generator)
    if drawn is None:
        unit = drawn_uniform(shape, generator=generator, dtype=np.float64)
        places: Tensor = (unit * float(high - low)).astype(np.int64) + low
        return places if dtype is None else places.astype(dtype)
    (scaled,) = drawn
    scaled *= high - low
    found = scaled.astype(np.int64)
    found += low
    return Tensor.from_value(found if dtype is None else found.astype(as_dtype(dtype), copy=False))


@explained
def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    out: Any = None,
    dtype: Any = np.int64,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """The numbers from 0 to n - 1 in random order. Not in a trace."""
    require_cpu("randperm", device)
    count = as_index(n)
    if count is None or count < 0:
        raise ArgumentError(f"randperm: n must be a whole number of at least 0, it is {n!r}")
    if tracing.active() is not None:
        raise UsageError(
            "randperm: a traced function would have the same order each time; make it outside and "
            "give it as an argument"
        )
    words = (generator or default_generator()).numbers(1, 4, np.dtype(np.uint32))[0]
    order = np.random.default_rng(words).permutation(count).astype(as_dtype(dtype), copy=False)
    return finished("randperm", Tensor.from_value(order), requires_grad, out)


@explained
def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Numbers from the normal distribution N(mean, std^2): by element, or of `size`.

    Example:
        >>> normal(0.0, 1.0, (2, 3)).shape
        (2, 3)
    """
    require_cpu("normal", device)
    tensors = [one for one in (mean, std) if not isinstance(one, int | float)]
    if not tensors:
        if size is None:
            raise ArgumentError("normal: size is missing; write normal(mean, std, (2, 3))")
        dtype = default_float() if dtype is None else dtype
        shape = extents("normal", (size,))
        drawn = drawn_normal(shape, float(mean), float(std), generator, dtype)
        return finished("normal", drawn, requires_grad, out)
    if not isinstance(std, int | float):
        spread = as_tensor(std)
        if spread.dtype.kind != "f":
            raise DTypeError(f"normal: std must hold floats, it is {spread.dtype}")
        if spread.value is not None and bool((spread.value < 0).any()):
            raise ArgumentError(f"normal: std must be at least 0, it has {spread.value.min():g}")
    elif std < 0:
        raise ArgumentError(f"normal: std must be at least 0, it is {std}")
    centre = as_tensor(mean)
    dtype = as_tensor(tensors[0]).floating().dtype
    shape = np.broadcast_shapes(centre.shape, as_tensor(std).shape)
    unit = drawn_normal(shape, generator=generator, dtype=dtype)
    return finished("normal", (unit * std + mean).astype(dtype), requires_grad, out)


@explained
def bernoulli(input: Any, *, generator: Generator | None = None, out: Any = None) -> Tensor:
    """1 with the probability that `input` has at each place, otherwise 0; its dtype is kept."""
    chance = as_tensor(input)
    if chance.dtype.kind != "f":
        raise DTypeError(
            f"bernoulli: probabilities are floats, these are {chance.dtype}; convert with .float()"
        )
    _require_unit("bernoulli", chance)
    return finished("bernoulli", drawn_bernoulli(chance.detach(), None, generator), False, out)


def _require_unit(name: str, chance: Tensor) -> None:
    value = chance.value
    if value is not None and not bool(((value >= 0) & (value <= 1)).all()):
        raise ArgumentError(
            f"{name}: probabilities lie in [0, 1], these reach from {value.min():g} to "
            f"{value.max():g}"
        )


@explained
def poisson(input: Any, generator: Generator | None = None) -> Tensor:
    """Counts from the Poisson distribution with the rates of `input`. Not in a trace."""
    rate = as_tensor(input).floating()
    if rate.value is None:
        raise UsageError("poisson: cannot be traced; draw outside, and give the counts")
    words = (generator or default_generator()).words(4)
    drawn = np.random.default_rng(words).poisson(rate.value)
    return Tensor(np.asarray(drawn).astype(rate.dtype))


@explained
def multinomial(
    input: Any,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
    out: Any = None,
) -> Tensor:
    """Places drawn by weights: [C] -> [num_samples], [N, C] -> [N, num_samples], int64.

    Without `replacement` a place is drawn once at most.

    Example:
        >>> multinomial([0.0, 1.0], 3, replacement=True).tolist()
        [1, 1, 1]
    """
    weights = as_tensor(input)
    if weights.dtype.kind != "f" or weights.ndim not in (1, 2):
        raise ShapeError(f"multinomial: weights are floats [C] or [N, C], these are {weights.spec}")
    count = weights.shape[-1]
    if num_samples < 1 or (not replacement and num_samples > count):
        raise ArgumentError(
            f"multinomial: num_samples must lie in 1..{count} without replacement, it is "
            f"{num_samples}; give replacement=True for more"
        )
    _check_weights(weights, num_samples, replacement)
    find = _places_again if replacement else _places_once
    return finished("multinomial", find(weights, num_samples, generator), False, out)


def _places_again(weights: Tensor, num_samples: int, generator: Generator | None) -> Tensor:
    """Places that may be drawn again: how many running sums of weights a number has reached."""
    shape, last = (*weights.shape[:-1], num_samples, 1), weights.shape[-1] - 1
    value = weights.value
    drawn = None if value is None else units(shape, np.float64, generator)
    if value is None or drawn is None:
        total = weights.detach().astype(np.float64).cumsum(-1)
        unit = drawn_uniform(shape, generator=generator, dtype=np.float64)
        reached = unit * total[..., -1:].unsqueeze(-2) >= total.unsqueeze(-2)
        places: Tensor = reached.astype(np.int64).sum(-1).clip(max=last)
        return places
    return Tensor.from_value(quietly(_reached, value, drawn[0], last))


def _reached(weights: Array, unit: Array, last: int) -> Array:
    """The same of arrays."""
    sums = np.cumsum(weights, -1, dtype=np.float64)[..., None, :]
    reached = unit * sums[..., -1:] >= sums
    return np.asarray(np.minimum(reached.sum(-1, dtype=np.int64), last))


def _places_once(weights: Tensor, num_samples: int, generator: Generator | None) -> Tensor:
    """Places that are drawn once at most: the largest keys of an exponential race (Efraimidis and
    Spirakis, 2006).
    """
    shape, value = tuple(weights.shape), weights.value
    drawn = None if value is None else units(shape, np.float64, generator)
    if drawn is not None:
        return Tensor.from_value(quietly(_first, value, drawn[0], num_samples))
    weights = weights.detach()
    unit = drawn_uniform(shape, generator=generator, dtype=np.float64)
    keys = (1.0 - unit).log() / weights.astype(np.float64)
    keys = (weights > 0).choose(keys, -math.inf)
    along = Tensor(np.arange(shape[-1]))
    found = []
    for _ in range(num_samples):
        best = keys.argmax(-1, keepdim=True)
        found.append(best)
        keys = (along == best).choose(-math.inf, keys)
    joined: Tensor = found[0].concatenate(found[1:], -1)
    return joined


def _first(weights: Array, unit: Array, num_samples: int) -> Array:
    """The same of arrays, the first one where keys are equal."""
    keys = np.where(weights > 0, np.log(1.0 - unit) / weights.astype(np.float64), -np.inf)
    if num_samples == 1:
        return np.asarray(keys.argmax(-1, keepdims=True))
    return np.argsort(-keys, -1, kind="stable")[..., :num_samples]


def _check_weights(weights: Tensor, num_samples: int, replacement: bool) -> None:
    value = weights.value
    if value is None:
        return
    if not bool((np.isfinite(value) & (value >= 0)).all()):
        raise ArgumentError("multinomial: weights must be finite and at least 0; clamp them")
    some = (value > 0).sum(-1)
    least = 1 if replacement else num_samples
    if value.size and int(some.min()) < least:
        raise ArgumentError(
            f"multinomial: a row has {int(some.min())} weights above 0, {least} are needed; give "
            "fewer num_samples, or replacement=True"
        )


# -- like another tensor ---------------------------------------------------------------------------


def rand_like(
    input: Any,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Numbers spread evenly over [0, 1), in the shape and dtype of `input`."""
    like = as_tensor(input)
    return rand(
        size=like.shape,
        generator=generator,
        dtype=like.dtype if dtype is None else dtype,
        device=device,
        requires_grad=requires_grad,
    )


def randn_like(
    input: Any,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Numbers from the normal distribution N(0, 1), in the shape and dtype of `input`."""
    like = as_tensor(input)
    return randn(
        size=like.shape,
        generator=generator,
        dtype=like.dtype if dtype is None else dtype,
        device=device,
        requires_grad=requires_grad,
    )


def randint_like(
    input: Any,
    low: Any,
    high: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Whole numbers from low to high - 1, in the shape and dtype of `input`."""
    require_cpu("randint_like", device)
    like = as_tensor(input)
    first, last = (0, low) if high is None else (low, high)
    dtype = like.dtype if dtype is None else dtype
    drawn = _whole("randint_like", first, last, like.shape, generator, dtype)
    return finished("randint_like", drawn, requires_grad)
