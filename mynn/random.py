"""Random numbers: a seed and a count of draws make a key, and a key makes numbers.

They are the same whatever computes them.

The state of a `Generator` is one tensor. A draw inside a traced function therefore reads and
writes program state, and an interpreted, a compiled and an eager run see the same numbers.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from mynn.base import forks, recording, sharing
from mynn.base.arguments import explained, whole_number
from mynn.base.devices import CPU, require_cpu
from mynn.base.devices import device as Device
from mynn.core.primitive import Primitive
from mynn.core.types import Array, Shape, as_dtype
from mynn.errors import ArgumentError
from mynn.ops import random as ops
from mynn.ops.threefry import first_word
from mynn.tensor import Tensor, apply, as_tensor, inplace
from mynn.trace import tracing

_WORD = 2**32
# What may make the words of a draw from seed, counter and their number (`mynn.jit.draws`).
natively: list[Callable[[int, int, int], Array | None]] = []


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
            recording.settle([self.key])
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
        size = math.prod(shape)
        if size > ops.FEW and natively and tracing.active() is None:
            return self._words(shape, size)
        return self._draw(ops.random_bits, shape=shape)

    def _words(self, shape: Shape, size: int) -> Tensor:
        """The same at once, by native code where there is some."""
        seed, counter = self._next()
        for words in natively:
            found = words(seed, counter, size)
            if found is not None:
                return Tensor.from_value(found.reshape(shape))
        key = np.array([seed, counter], np.uint32)
        return Tensor.from_value(ops.random_bits.numpy(key, shape=shape))

    @recording.run_at_once
    def decisions(self, shape: Sequence[int] | int, p: float) -> Tensor:
        """True with probability p, which is rounded to a multiple of 2^-32; 0 <= p <= 1."""
        threshold, shape = round(p * _WORD), as_shape(shape)
        size = math.prod(shape)
        drawn = self._draw(ops.bernoulli, size=size, threshold=min(threshold, _WORD - 1))
        return (drawn if threshold < _WORD else drawn == drawn).reshape(shape)

    def words(self, count: int) -> list[int]:
        """A few numbers of 32 bits, for use outside of tensors: those of `bits(count)`."""
        seed, counter = self._next()
        return [first_word(seed, counter, number) for number in range(count)]

    def _next(self) -> tuple[int, int]:
        """The key of a draw, seed and counter; the state goes on to the next one."""
        if recording.waiting:
            recording.settle([self.key])
        with self._domain.lock:
            recording.hold(self._domain.lock)
            seed, counter = self.key.data.tolist()
            self.key.data = np.array([seed, (counter + 1) % _WORD], np.uint32)
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
    if any(n < 0 for n in entries):
        raise ArgumentError(f"shape must hold extents of at least 0, it is {entries}")
    return tuple(int(n) for n in entries)


@explained
def bits(shape: Sequence[int] | int = (), generator: Generator | None = None) -> Tensor:
    """32 random bits for each element, as uint32."""
    return (generator or default_generator()).bits(shape)


def _words(shape: Shape, dtype: Any, generator: Generator | None) -> list[Tensor]:
    """The draws that numbers of this dtype are made of: one for float32, two for float64."""
    return [bits(shape, generator) for _ in range(1 if np.dtype(dtype) == np.float32 else 2)]


def _unit(words: list[Tensor]) -> Tensor:
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
    unit = _unit(_words(as_shape(shape), _float_dtype("uniform", dtype), generator))
    scaled = unit if high - low == 1 else unit * (high - low)
    return scaled if low == 0 else scaled + low


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
    # A draw has what waits run, so that both come before what is computed from them.
    drawn = [_words(as_shape(shape), dtype, generator) for _ in range(2)]
    u, v = map(_unit, drawn)
    radius = ((1.0 - u).log() * (-2.0 * std * std)).sqrt()
    deviate = radius * (v * (2 * math.pi)).cos()
    return deviate if mean == 0 else deviate + mean


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
    unit = _unit(_words(target, np.float32, generator)).astype(probability.dtype)
    return (unit < probability).astype(probability.dtype)


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
