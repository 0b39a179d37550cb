"""Random numbers: a seed and a count of draws make a key, and a key makes numbers.

They are the same whatever computes them.

The state of a `Generator` is one tensor. A draw inside a traced function therefore reads and
writes program state, and an interpreted, a compiled and an eager run see the same numbers.
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from mynn.base import forks, recording, sharing
from mynn.base.arguments import explained, whole_number
from mynn.base.devices import CPU, require_cpu
from mynn.base.devices import device as Device
from mynn.core.kinds import quietly
from mynn.core.primitive import Primitive
from mynn.core.types import Array, Shape, as_dtype
from mynn.errors import ArgumentError
from mynn.ops import random as ops
from mynn.tensor import Tensor, apply, as_tensor
from mynn.tensor.gradients import history
from mynn.tensor.methods import inplace
from mynn.trace import tracing

_WORD = 2**32
_UINT32 = np.dtype(np.uint32)
_PLAIN = frozenset((int, float))
# What may make the numbers of some draws from seed, counter, how many draws, how many numbers of
# each, and their dtype (`mynn.jit.draws`).
natively: list[Callable[[int, int, int, int, np.dtype[Any]], Array | None]] = []


def fold_seed(seed: int) -> int:
    """A seed of any size as 32 bits: small ones stay, wider and negative ones are hashed.

    The hash is NumPy's `SeedSequence` (O'Neill, "Simple portable C++ seed entropy", 2015).
    """
    seed = whole_number("seed", seed)
    if 0 <= seed < _WORD:
        return seed
    sign = (1,) if seed < 0 else ()
    return int(np.random.SeedSequence(abs(seed), spawn_key=sign).generate_state(1)[0])


class Generator:
    """A stream of random numbers, reproducible from `seed`.

    The state `key` is a uint32 tensor (seed, counter). Each draw gives `random_bits(key)` and adds
    1 to the counter, so a stream has 2^32 draws, each of up to 2^32 numbers. Threads may draw from
    one generator: each number is drawn once.

    Args:
        seed: any integer; None, or the device "cpu", takes one from the operating system.

    Example:
        >>> from mynn.random import Generator
        >>> Generator(7).bits((2,)).tolist() == Generator(7).bits((2,)).tolist()
        True
    """

    def __init__(self, seed: Any = None, *, device: Any = None) -> None:
        if isinstance(seed, Device) or (isinstance(seed, str) and seed.startswith(("cpu", "cuda"))):
            seed, device = None, seed
        require_cpu("Generator", device)
        word = (
            int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else fold_seed(seed)
        )
        # Shares its array, so that it is state even where a trace happens to be going on.
        self.key = Tensor.from_value(np.array([word, 0], np.uint32))
        self.key.name = "random_key"
        self._domain = sharing.establish(self.key, drawn=True)

    @property
    def device(self) -> Device:
        """Where it draws: the processor."""
        return CPU

    def initial_seed(self) -> int:
        """The seed, as 32 bits."""
        return int(self.key.data[0])

    def seed(self) -> int:
        """A new seed from the operating system, which is returned."""
        word = int(np.random.SeedSequence().generate_state(1)[0])
        self.manual_seed(word)
        return word

    def manual_seed(self, seed: int) -> Generator:
        """Start again from `seed`."""
        self.key.assign(np.array([fold_seed(seed), 0], np.uint32))
        return self

    def get_state(self) -> Array:
        """A copy of the key: uint32 [2]."""
        return self.key.numpy()

    def set_state(self, state: Any) -> None:
        """Go on from a key that `get_state` gave."""
        self.key.assign(np.asarray(state, np.uint32))

    def _draw(self, primitive: Primitive, **params: Any) -> Tensor:
        """What a primitive makes of the key, which goes on to the next one."""
        if recording.waiting:
            recording.settle_users(self.key)
        with self._domain.lock:
            recording.hold(self._domain.lock)
            drawn = apply(primitive, self.key, **params)
            self.key.assign(self.key + np.array([0, 1], np.uint32))
            return drawn

    @recording.run_at_once
    def bits(self, shape: Sequence[int] | int = ()) -> Tensor:
        """32 random bits for each element, as uint32.

        Threads that draw from one generator get different numbers, each number once.
        """
        shape = as_shape(shape)
        if tracing.active() is None:
            return Tensor.from_value(self.numbers(1, math.prod(shape), _UINT32).reshape(shape))
        return self._draw(ops.random_bits, shape=shape)

    def numbers(self, draws: int, count: int, dtype: np.dtype[Any]) -> Array:
        """What some draws at once give, `[draws, count]`: words of 32 bits (uint32), or numbers
        spread evenly over [0, 1), as `uniform` has them. Not in a trace.
        """
        keys = 2 if dtype == np.float64 else 1
        seed, counter = self._next(draws * keys)
        for make in natively:
            found = make(seed, counter, draws, count, dtype)
            if found is not None:
                return found
        words = np.empty((draws, keys, count), np.uint32)
        for number, row in enumerate(words.reshape(draws * keys, count)):
            key = np.array([seed, (counter + number) % _WORD], np.uint32)
            row[...] = ops.random_bits.numpy(key, shape=(count,))
        return words[:, 0] if dtype == _UINT32 else np.asarray(_unit(words.swapaxes(0, 1)))

    @recording.run_at_once
    def decisions(self, shape: Sequence[int] | int, p: float) -> Tensor:
        """True with probability p, which is rounded to a multiple of 2^-32; 0 <= p <= 1."""
        threshold, shape = round(p * _WORD), as_shape(shape)
        size = math.prod(shape)
        drawn = self._draw(ops.bernoulli, size=size, threshold=min(threshold, _WORD - 1))
        return (drawn if threshold < _WORD else drawn == drawn).reshape(shape)

    def words(self, count: int) -> list[int]:
        """A few numbers of 32 bits, for use outside of tensors: those of `bits(count)`."""
        found: list[int] = self.numbers(1, count, _UINT32)[0].tolist()
        return found

    def _next(self, keys: int) -> tuple[int, int]:
        """The first of so many keys, seed and counter; the state goes on to what follows them."""
        key, domain = self.key, self._domain
        if recording.waiting:
            recording.settle_users(key)
        with domain.lock:
            recording.hold(domain.lock)
            state = history.array_of(key)
            seed, counter = state.tolist()
            if recording.runs:
                recording.before_write(key)
            after = (counter + keys) % _WORD
            sharing.write_alone(domain, lambda: state.__setitem__(1, after))
            history.changed(key)
        return seed, counter

    def __reduce__(self) -> Any:
        """Copies go on from the same key."""
        return _restored, (self.get_state(),)

    def __repr__(self) -> str:
        return f"Generator(key={self.key.data.tolist()})"


def _restored(state: Array) -> Generator:
    generator = Generator(0)
    generator.set_state(state)
    return generator


# The generator that draws where none is given, and NumPy's for initial values; both are made at
# first use.
_lock = forks.register(threading.Lock())
_default: list[Generator] = []
_host: list[np.random.Generator] = []


def default_generator() -> Generator:
    """The generator that draws where none is given."""
    if not _default:
        with _lock:
            if not _default:
                _default.append(Generator())
    return _default[0]


def host_generator(
    source: np.random.Generator | Generator | int | None = None,
) -> np.random.Generator:
    """NumPy's generator for initial values: `source`, one seeded with it, or the default one."""
    if isinstance(source, np.random.Generator):
        return source
    if isinstance(source, Generator):
        return np.random.default_rng(source.words(4))
    if source is not None:
        return np.random.default_rng(source)
    with _lock:
        if not _host:
            _host.append(_host_of(None))
        return _host[0]


def _host_of(seed: int | None) -> np.random.Generator:
    """A generator of NumPy that the child of a fork can use, whoever was drawing in the parent."""
    generator = np.random.default_rng(seed)
    forks.register(generator.bit_generator.lock)
    return generator


@explained
def manual_seed(seed: int) -> Generator:
    """Seed all that is drawn by default: initial values, dropout and the functions here.

    Example:
        >>> import mynn
        >>> mynn.manual_seed(0)
        Generator(key=[0, 0])
    """
    with _lock:
        _host[:] = [_host_of(fold_seed(seed))]
    return default_generator().manual_seed(seed)


def seed() -> int:
    """Seed all that is drawn by default from the operating system; the seed is returned."""
    word = int(np.random.SeedSequence().generate_state(1)[0])
    manual_seed(word)
    return word


def initial_seed() -> int:
    """The seed of the default generator, as 32 bits."""
    return default_generator().initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default generator, to go on from with `set_rng_state`."""
    return Tensor(default_generator().get_state())


def set_rng_state(new_state: Any) -> None:
    """Go on drawing from a state that `get_rng_state` gave."""
    default_generator().set_state(as_tensor(new_state).numpy())


@contextlib.contextmanager
def fork_rng(devices: Any = None, enabled: bool = True) -> Iterator[None]:
    """After the block what is drawn by default goes on as if the block had not been.

    Args:
        devices: as in PyTorch, of whose devices there are none here beside the processor.
        enabled: False: as if there were no block.

    Example:
        >>> _ = manual_seed(0)
        >>> with fork_rng():
        ...     _ = manual_seed(5)
        >>> initial_seed()
        0
    """
    if not enabled:
        yield
        return
    key = default_generator().get_state()
    with _lock:
        host = [(generator, generator.bit_generator.state) for generator in _host]
    try:
        yield
    finally:
        default_generator().set_state(key)
        with _lock:
            for generator, state in host:
                generator.bit_generator.state = state
            _host[:] = [generator for generator, _ in host]


def as_shape(shape: Any) -> Shape:
    """A shape as a tuple; a number is a shape of one axis."""
    if isinstance(shape, str):
        raise ArgumentError(f"shape must be whole numbers, it is {shape!r}; give a tuple of ints")
    entries = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    if min(entries, default=0) < 0:
        raise ArgumentError(f"shape must hold extents of at least 0, it is {entries}")
    return tuple(map(int, entries))


@explained
def bits(shape: Sequence[int] | int = (), generator: Generator | None = None) -> Tensor:
    """32 random bits for each element, as uint32."""
    return (generator or default_generator()).bits(shape)


def units(
    shape: Shape, dtype: Any, generator: Generator | None = None, draws: int = 1
) -> list[Array] | None:
    """Numbers spread evenly over [0, 1) of some draws at once, an array each; None in a trace.

    What is made of them at once is made of arrays: a call of a tape for each operation takes
    longer than all the rest of a small draw.
    """
    if tracing.active() is not None:
        return None
    count = math.prod(shape)
    drawn = (generator or default_generator()).numbers(draws, count, np.dtype(dtype))
    return [row.reshape(shape) for row in drawn]


def are_plain(*numbers: Any) -> bool:
    """Whether these are Python's numbers, which keep the dtype of what they are combined with."""
    return _PLAIN.issuperset(map(type, numbers))


def _traced_unit(shape: Shape, dtype: Any, generator: Generator | None) -> Tensor:
    """The same in a trace: of one draw for float32, of two for float64."""
    keys = 1 if np.dtype(dtype) == np.float32 else 2
    unit: Tensor = _unit([bits(shape, generator) for _ in range(keys)])
    return unit


def _unit(words: Any) -> Any:
    """Uniform in [0, 1): 24 bits for float32, 53 bits (of two draws) for float64."""
    if len(words) == 1:
        return (words[0] >> 8).astype(np.float32) * 2.0**-24
    first, second = words
    high = (first >> 5).astype(np.float64) * 2.0**-27
    return (second >> 6).astype(np.float64) * 2.0**-53 + high


def _float_dtype(name: str, dtype: Any) -> Any:
    dtype = as_dtype(dtype)
    if dtype.kind != "f":
        raise ArgumentError(f"{name}: dtype must be float32 or float64, it is {dtype}")
    return dtype


@explained
def uniform(
    shape: Sequence[int] | int = (),
    low: float = 0.0,
    high: float = 1.0,
    generator: Generator | None = None,
    dtype: Any = np.float32,
) -> Tensor:
    """Numbers spread evenly over [low, high).

    Equation: low + (high - low) u, where u has the top 24 bits of a draw (float32) or 53 bits of
    two (float64).

    Example:
        >>> from mynn import random
        >>> random.uniform((2, 3), generator=random.Generator(0)).shape
        (2, 3)
    """
    shape, dtype = as_shape(shape), _float_dtype("uniform", dtype)
    drawn = units(shape, dtype, generator)
    if drawn is None:
        unit = _traced_unit(shape, dtype, generator)
    elif are_plain(low, high):
        return Tensor.from_value(quietly(_spread, drawn[0], low, high))
    else:
        unit = Tensor.from_value(drawn[0])
    scaled = unit if high - low == 1 else unit * (high - low)
    return scaled if low == 0 else scaled + low


def _spread(unit: Array, low: float, high: float) -> Array:
    """The same of an array, which is written."""
    if high - low != 1:
        unit *= high - low
    if low != 0:
        unit += low
    return unit


@explained
def normal(
    shape: Sequence[int] | int = (),
    mean: float = 0.0,
    std: float = 1.0,
    generator: Generator | None = None,
    dtype: Any = np.float32,
) -> Tensor:
    """Numbers from the normal distribution N(mean, std^2).

    Equation: mean + std sqrt(-2 log(1 - u)) cos(2 pi v) with u, v uniform in [0, 1).
    Source: Box and Muller, "A note on the generation of random normal deviates", 1958.

    Example:
        >>> from mynn import random
        >>> random.normal(3, generator=random.Generator(0)).dtype
        dtype('float32')
    """
    if not std >= 0:
        raise ArgumentError(f"normal: std must be at least 0, it is {std}")
    dtype = _float_dtype("normal", dtype)
    shape = as_shape(shape)
    drawn = units(shape, dtype, generator, draws=2)
    if drawn is None:
        u, v = (_traced_unit(shape, dtype, generator) for _ in range(2))
    elif are_plain(mean, std):
        return Tensor.from_value(quietly(_deviates, *drawn, mean, std))
    else:
        u, v = map(Tensor.from_value, drawn)
    radius = ((1.0 - u).log() * (-2.0 * std * std)).sqrt()
    deviate = radius * (v * (2 * math.pi)).cos()
    return deviate if mean == 0 else deviate + mean


@functools.cache
def _constants(dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """1 and 2 pi; arrays of a dtype are combined in half the time that Python's numbers take."""
    return np.array(1.0, dtype), np.array(2 * math.pi, dtype)


def _deviates(u: Array, v: Array, mean: float, std: float) -> Array:
    """The same of arrays, which are written."""
    one, turn = _constants(u.dtype)
    np.subtract(one, u, u)
    np.log(u, u)
    u *= np.array(-2.0 * std * std, u.dtype)
    np.sqrt(u, u)
    v *= turn
    np.cos(v, v)
    u *= v
    if mean != 0:
        u += mean
    return u


@explained
def bernoulli(
    p: Any, shape: Sequence[int] | int | None = None, generator: Generator | None = None
) -> Tensor:
    """1 with probability p, otherwise 0.

    Args:
        p: a probability in [0, 1], or a tensor of them.
        shape: of the result; that of `p` where left out.

    Returns:
        float32 (float64 where p is a float64 tensor).

    Example:
        >>> from mynn import random
        >>> random.bernoulli(1.0, (2,)).tolist()
        [1.0, 1.0]
    """
    if isinstance(p, int | float):
        if not 0 <= p <= 1:
            raise ArgumentError(f"bernoulli: p must lie in [0, 1], it is {p}")
        return chosen(p, as_shape(() if shape is None else shape), generator).astype(np.float32)
    probability = as_tensor(p).floating()
    target = probability.shape if shape is None else as_shape(shape)
    drawn = units(target, np.float32, generator)
    if drawn is None:
        unit = _traced_unit(target, np.float32, generator)
        return (unit.astype(probability.dtype) < probability).astype(probability.dtype)
    below = drawn[0].astype(probability.dtype) < history.array_of(probability)
    return Tensor.from_value(below.astype(probability.dtype))


# Tensors draw in place: `x.uniform_()`.
inplace.samplers.update(uniform=uniform, normal=normal, bernoulli=bernoulli)


def chosen(p: float, shape: Shape, generator: Generator | None = None) -> Tensor:
    """True with probability p; each is computed once, and stored."""
    return (generator or default_generator()).decisions(shape, p)


def chosen_anywhere(p: float, shape: Shape, generator: Generator | None = None) -> Tensor:
    """True with probability p, computed where it is needed, each by itself: nothing is stored."""
    threshold = round(p * _WORD)
    drawn = bits(shape, generator)
    if threshold >= _WORD:
        return drawn == drawn
    return drawn < np.uint32(threshold)
