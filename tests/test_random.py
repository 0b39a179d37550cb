from __future__ import annotations

import copy
import doctest
import pickle
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import random
from mynn.errors import ArgumentError
from mynn.jit import draws, native_available
from mynn.ops.threefry import threefry2x32
from mynn.random import Generator, fold_seed
from mynn.trace import tracing
from tests.registry.running import BACKENDS, Program, assert_all_close

DRAWS: dict[str, Any] = {
    "bits": lambda g: random.bits((3, 20), g),
    "uniform": lambda g: random.uniform((3, 20), -1, 3, g),
    "uniform_64": lambda g: random.uniform(33, dtype=np.float64, generator=g),
    "normal": lambda g: random.normal((5, 7), 2.0, 0.5, g),
    "normal_64": lambda g: random.normal((5, 7), dtype=np.float64, generator=g),
    "bernoulli": lambda g: random.bernoulli(0.3, (41,), g),
    "bernoulli_tensor": lambda g: random.bernoulli(np.linspace(0, 1, 18), generator=g),
}


def test_doctest() -> None:
    assert doctest.testmod(random).failed == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", DRAWS)
def test_same_numbers_eager_and_traced(name: str, backend: str) -> None:
    draw = DRAWS[name]
    eager, traced = Generator(5), Generator(5)
    program = Program(lambda: (draw(traced), draw(traced)), backend)
    for _ in range(2):
        expected = [draw(eager).numpy(), draw(eager).numpy()]
        assert not np.array_equal(*expected)
        got = program()
        if name.startswith("normal"):
            assert_all_close(got, expected, 3e-6)
        else:
            for a, b in zip(got, expected, strict=True):
                np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(eager.get_state(), traced.get_state())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform_moments(dtype: Any) -> None:
    u = random.uniform((200, 500), generator=Generator(1), dtype=dtype).value
    assert u.dtype == dtype
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 3e-3
    assert abs(u.var() - 1 / 12) < 1e-3
    # Neighbours do not depend on one another.
    assert abs(np.corrcoef(u[:, :-1].ravel(), u[:, 1:].ravel())[0, 1]) < 0.01
    counts, _ = np.histogram(u, 50, (0, 1))
    assert ((counts - 2000.0) ** 2 / 2000).sum() < 100


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_moments(dtype: Any) -> None:
    z = random.normal((200, 500), generator=Generator(2), dtype=dtype).value
    assert z.dtype == dtype
    assert np.isfinite(z).all()
    assert abs(z.mean()) < 0.01
    assert abs(z.var() - 1) < 0.02
    assert abs((z**3).mean()) < 0.05
    assert abs((z**4).mean() - 3) < 0.1
    shifted = random.normal(100_000, 3.0, 2.0, Generator(3)).value
    assert abs(shifted.mean() - 3) < 0.03
    assert abs(shifted.std() - 2) < 0.03


def test_float32_uniforms_are_the_top_24_bits() -> None:
    bits = Generator(9).bits(100).value
    u = random.uniform(100, generator=Generator(9)).value
    np.testing.assert_array_equal(u, (bits >> 8).astype(np.float32) / np.float32(2**24))


@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
def test_bernoulli(p: float) -> None:
    draws = random.bernoulli(p, (20_000,), Generator(4)).value
    assert set(np.unique(draws)) <= {0, 1}
    assert abs(draws.mean() - p) < 0.01


def test_seeds() -> None:
    assert fold_seed(7) == 7
    assert fold_seed(2**32 - 1) == 2**32 - 1
    wide = [fold_seed(seed) for seed in (2**32, 2**32 + 1, 2**64, 10**40, -1, -2, 2**32 - 2)]
    assert all(0 <= seed < 2**32 for seed in wide)
    assert len(set(wide)) == len(wide)
    assert Generator().key.tolist() != Generator().key.tolist()


def test_manual_seed_repeats_all_defaults() -> None:
    def draw() -> list[Any]:
        layer = mynn.nn.Linear(3, 2)
        dropped = mynn.functional.dropout(np.ones(50), 0.5).tolist()
        return [layer.weight.tolist(), random.normal(4).tolist(), dropped]

    first = mynn.manual_seed(3)
    once = draw()
    assert mynn.manual_seed(3) is first
    assert draw() == once
    mynn.manual_seed(2**40)
    assert draw() != once


def test_state_and_copies() -> None:
    generator = Generator(1)
    random.bits(3, generator)
    state = generator.get_state()
    twins = [copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))]
    expected = random.bits(3, generator).tolist()
    for twin in twins:
        assert random.bits(3, twin).tolist() == expected
    generator.set_state(state)
    assert random.bits(3, generator).tolist() == expected
    assert repr(Generator(4)) == "Generator(key=[4, 0])"


@pytest.mark.parametrize("key", [(0, 0), (7, 3), (2**32 - 1, 2**32 - 1)])
def test_few_words_are_those_of_many(key: tuple[int, int]) -> None:
    """They are made one by one, or in Python's integers, from the same key."""
    one, other = Generator(0), Generator(0)
    one.set_state(key)
    other.set_state(key)
    many = one.bits(100).tolist()
    assert other.words(2) == many[:2]
    np.testing.assert_array_equal(one.get_state(), other.get_state())
    one.set_state(key)
    assert one.bits((2, 3)).tolist() == np.reshape(many[:6], (2, 3)).tolist()


@pytest.mark.parametrize("dtype", [np.uint32, np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 9, 32, 64, 1001])
def test_native_code_draws_the_same(size: int, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes after a few draws, from the same stream; also where the counter begins anew."""
    dtype = np.dtype(dtype)
    for counter in (2**32 - 1, 0, 1):
        streams, found = (Generator(0), Generator(0)), []
        for generator, drawn in zip(streams, (-1000, draws.FEW), strict=True):
            generator.set_state((2**32 - 5, counter))
            monkeypatch.setattr(draws, "_drawn", [drawn])
            found.append(np.stack([generator.numbers(3, size, dtype) for _ in range(2)]))
        assert found[0].dtype == found[1].dtype == dtype
        np.testing.assert_array_equal(*found)
        assert streams[0].get_state().tolist() == streams[1].get_state().tolist()
    monkeypatch.setattr(draws, "_drawn", [0])
    assert draws.numbers(1, 2, 1, size, dtype) is None
    if native_available():
        monkeypatch.setattr(draws, "_drawn", [draws.FEW])
        assert draws.numbers(1, 2, 1, size, dtype) is not None


def _weights(dtype: Any, *shape: int) -> Any:
    weights = np.linspace(0, 2, int(np.prod(shape)), dtype=dtype).reshape(shape)
    weights[..., 1] = 0
    return mynn.tensor(weights / weights.max())


AT_ONCE: dict[str, Any] = {
    **{name: draw for name, draw in DRAWS.items() if name != "bits"},
    "normal_shifted": lambda g: random.normal((), 3, 0.1, g),
    "uniform_one": lambda g: random.uniform((), 2, 3, g),
    "randn": lambda g: mynn.randn(40, generator=g, dtype=np.float64),
    "randn_empty": lambda g: mynn.randn(0, 3, generator=g),
    "randint": lambda g: mynn.randint(-3, 99, (50,), generator=g),
    "randint_32": lambda g: mynn.randint(9, (), generator=g, dtype=np.int32),
    "bernoulli_64": lambda g: mynn.bernoulli(_weights(np.float64, 3, 7), generator=g),
    "bernoulli_one": lambda g: mynn.bernoulli(mynn.tensor(0.4), generator=g),
    "multinomial_again": lambda g: mynn.multinomial(_weights(np.float32, 9), 4, True, generator=g),
    "multinomial_rows": lambda g: mynn.multinomial(
        _weights(np.float64, 5, 9), 3, True, generator=g
    ),
    "multinomial_once": lambda g: mynn.multinomial(_weights(np.float32, 5, 9), 7, generator=g),
    "multinomial_best": lambda g: mynn.multinomial(_weights(np.float32, 9), 1, generator=g),
}


@pytest.mark.parametrize("natively", [False, True])
@pytest.mark.parametrize("name", AT_ONCE)
def test_draws_at_once_are_those_of_the_interpreter(
    name: str, natively: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls at once work on arrays, traces on primitives: bit by bit the same."""
    monkeypatch.setattr(draws, "_drawn", [draws.FEW if natively else -1000])
    at_once, traced = Generator(5), Generator(5)
    program = Program(lambda: AT_ONCE[name](traced), "interpreter")
    for _ in range(3):
        (expected,) = program()
        found = AT_ONCE[name](at_once).numpy()
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(at_once.get_state(), traced.get_state())


def test_draws_do_not_repeat_in_recorded_functions() -> None:
    """What a recorded function draws is drawn anew for each call, however often it is called."""
    mynn.manual_seed(0)
    logits = mynn.zeros(4, 8)
    for mode in ("at once", "tape"):
        with mynn.eager(mode):
            found = [mynn.functional.gumbel_softmax(logits).tolist() for _ in range(40)]
            assert len({str(one) for one in found}) == 40


def test_generator_made_in_a_trace_is_state() -> None:
    with tracing.tracing() as trace:
        generator = Generator(0)
        generator.bits(2)
    assert list(trace.writes()) == [generator.key]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random.normal(3, std=-1.0), "std"),
        (lambda: random.normal(3, std=float("nan")), "nan"),
        (lambda: random.bernoulli(1.5), "1.5"),
        (lambda: random.uniform((-1, 2)), "-1"),
        (lambda: random.uniform(2, dtype=np.int32), "int32"),
    ],
)
def test_bad_arguments(call: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


def test_decisions_have_their_probability_and_no_pattern() -> None:
    for p in (0.1, 0.5, 0.97, 1e-4):
        drawn = random.bernoulli(p, (1000, 4096), Generator(3)).value
        deviation = np.sqrt(p * (1 - p) / drawn.size)
        assert abs(drawn.mean() - p) < 4 * deviation
        # The four that come of one counter, and neighbours.
        for apart in (1, 16, 128, 256, 384, 512):
            both = (drawn[:, apart:] * drawn[:, :-apart]).mean()
            assert abs(both - p * p) < 5 * np.sqrt(p * p * (1 - p * p) / drawn.size) + 1e-9


def test_decisions_compare_all_bits_of_a_word() -> None:
    """The words of a counter, and these with their halves exchanged, beside a threshold."""
    x, y = (int(word[0]) for word in threefry2x32(7, 0, [0], [0]))
    words = [x, (x << 16 | x >> 16) % 2**32, y, (y << 16 | y >> 16) % 2**32]
    for k, word in enumerate(words):
        for threshold in (word, word + 1):
            drawn = random.bernoulli(threshold / 2**32, (512,), Generator(7)).value
            assert drawn[128 * k] == (threshold > word)


def test_decisions_that_are_certain_draw_all_the_same() -> None:
    for p, expected in ((0.0, 0.0), (1.0, 1.0), (1 - 1e-12, 1.0)):
        generator = Generator(2)
        assert random.bernoulli(p, (5,), generator).tolist() == [expected] * 5
        assert generator.get_state().tolist() == [2, 1]
