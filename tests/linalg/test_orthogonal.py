"""QR, eigh and svd in native code: as NumPy's, for matrices of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import linalg
from mynn.core.types import Array
from mynn.linalg import orthogonal

RNG = np.random.default_rng(3)
SHAPES = [(1, 1), (2, 2), (3, 5), (5, 3), (17, 17), (2, 3, 4, 4), (33, 8), (8, 33)]
EMPTY = [(0, 3, 3), (4, 0), (0, 4), (0, 0)]


def _parts(name: str, a: Array) -> list[Array]:
    compiled: Any = mynn.compile(lambda x: tuple(_called(name, x)))
    return [np.asarray(part) for part in compiled(a)]


def _called(name: str, x: Any) -> Any:
    return linalg.svd(x, False) if name == "svd" else getattr(linalg, name)(x)


def _matrices(name: str, shape: tuple[int, ...]) -> Array:
    a = RNG.normal(size=shape)
    return a + np.swapaxes(a, -1, -2) if name == "eigh" else a


def _product(name: str, parts: list[Array]) -> Array:
    if name == "qr":
        return np.asarray(parts[0] @ parts[1])
    if name == "eigh":
        return np.asarray((parts[1] * parts[0][..., None, :]) @ np.swapaxes(parts[1], -1, -2))
    return np.asarray((parts[0] * parts[1][..., None, :]) @ parts[2])


def _check(name: str, a: Array, tolerance: float) -> None:
    """The parts make the matrix again, and vectors are orthonormal."""
    parts = _parts(name, a)
    size = np.abs(a).max(initial=0)
    np.testing.assert_allclose(_product(name, parts), a, atol=tolerance * size)
    for vectors in {"qr": parts[:1], "eigh": parts[1:], "svd": parts[::2]}[name]:
        tall = vectors if vectors.shape[-2] >= vectors.shape[-1] else np.swapaxes(vectors, -1, -2)
        unit = np.broadcast_to(np.eye(tall.shape[-1]), (*tall.shape[:-2], *tall.shape[-1:] * 2))
        np.testing.assert_allclose(np.swapaxes(tall, -1, -2) @ tall, unit, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["qr", "eigh", "svd"])
def test_parts_are_numpys(name: str, dtype: str) -> None:
    tolerance = 3e-4 if dtype == "float32" else 1e-12
    for shape in [*SHAPES, *EMPTY]:
        if name == "eigh" and shape[-1] != shape[-2]:
            continue
        a = _matrices(name, shape).astype(dtype)
        expected = _called(name, mynn.tensor(a))
        for one, other in zip(_parts(name, a), expected, strict=True):
            np.testing.assert_allclose(one, other.numpy(), atol=tolerance * 4, err_msg=str(shape))
        _check(name, a, tolerance)


def _odd_ones(n: int) -> dict[str, Array]:
    a = RNG.normal(size=(n, n))
    a = a + a.T
    graded = np.diag(10.0 ** -np.arange(n)) + 1e-9 * a
    return {
        "zeros": np.zeros((n, n)),
        "one": np.eye(n),
        "equal values": np.diag([2.0] * (n - 2) + [-1.0, 3.0]),
        "rank one": np.outer(a[0], a[0]),
        "two equal columns": np.stack([a[:, 0], *a.T[1:-1], a[:, 0]], 1),
        "huge": a * 1e300,
        "tiny": a * 1e-300,
        "graded": graded,
        "with equal sizes": np.full((n, n), 1.0) + np.eye(n),
    }


@pytest.mark.parametrize("kind", _odd_ones(4))
def test_matrices_of_every_kind(kind: str) -> None:
    for n in (4, 7):
        a = _odd_ones(n)[kind]
        for name in ("qr", "eigh", "svd"):
            if name != "eigh" or (a == a.T).all():
                _check(name, a, 1e-12)
    values = _parts("svd", a)[1]
    np.testing.assert_allclose(
        values, np.linalg.svd(a)[1], rtol=1e-9, atol=1e-13 * np.abs(a).max(initial=0)
    )


def test_signs_are_those_of_the_first_large_value() -> None:
    equal = np.array([[2.0, 1.0], [1.0, 2.0]])  # vectors of values of one size
    for a in (equal, -equal, np.diag([1.0, -2.0, 3.0]), RNG.normal(size=(6, 6))):
        a = a + a.T
        for vectors in (_parts("eigh", a)[1], linalg.eigh(a).eigenvectors.numpy()):
            assert (orthogonal.signs(vectors) == 1).all()
        np.testing.assert_allclose(_parts("eigh", a)[1], linalg.eigh(a).eigenvectors.numpy())
        u, _, vh = linalg.svd(a, False)
        assert (orthogonal.signs(u.numpy()) == 1).all()
        found = _parts("svd", a)
        if len(a) == 6:  # of others two values have the same size
            np.testing.assert_allclose(found[0], u.numpy(), atol=1e-12)
            np.testing.assert_allclose(found[2], vh.numpy(), atol=1e-12)


def test_completed_vectors_are_the_same_in_native_code() -> None:
    a = RNG.normal(size=(2, 5, 3))
    compiled: Any = mynn.compile(lambda x: tuple(linalg.svd(x)))
    for one, other in zip(compiled(a), linalg.svd(a), strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-12)
    u, s, vh = compiled(a)
    assert u.shape == (2, 5, 5)
    np.testing.assert_allclose(u @ np.swapaxes(u, -1, -2), [np.eye(5)] * 2, atol=1e-12)
    np.testing.assert_allclose((u[..., :3] * s[:, None]) @ vh, a, atol=1e-12)


def test_numbers_that_are_not_finite_end_the_loops() -> None:
    a = np.eye(5)
    a[1, 2] = a[2, 1] = np.nan
    for name in ("qr", "eigh", "svd"):
        assert any(np.isnan(part).any() for part in _parts(name, a))


def test_what_is_made_of_them() -> None:
    a = RNG.normal(size=(6, 4))
    cases: dict[str, Any] = {
        "pinv": linalg.pinv,
        "rank": linalg.matrix_rank,
        "cond": linalg.cond,
        "two": lambda x: linalg.matrix_norm(x, 2),
        "least squares": lambda x: linalg.lstsq(x, x.sum(1, keepdim=True)).solution,
        "mapped": mynn.vmap(lambda x: linalg.eigvalsh(x.mT @ x)),
    }
    for name, function in cases.items():
        given = np.stack([a, a[::-1]]) if name == "mapped" else a
        found = np.asarray(mynn.compile(function)(given))
        np.testing.assert_allclose(found, np.asarray(function(mynn.tensor(given))), atol=1e-10)


@pytest.mark.parametrize("name", ["qr", "eigh", "svd"])
def test_an_eager_loop_goes_on_as_a_program(name: str) -> None:
    """The vectors of a call that has become a program have the signs that they had before."""
    a = _matrices(name, (5, 5))
    with mynn.eager("at once"):
        expected = [part.numpy() for part in _called(name, mynn.tensor(a))]
    with mynn.eager("tape"):
        for _ in range(120):
            found = [part.numpy() for part in _called(name, mynn.tensor(a) * 1.0)]
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-12)
