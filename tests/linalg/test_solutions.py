"""Solutions and decompositions: values, derivatives to second order, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor, check_grads, linalg
from mynn.errors import DataError, DTypeError, MynnError, ShapeError

RNG = np.random.default_rng(0)
A = RNG.normal(size=(2, 4, 4)) + 3 * np.eye(4)
S = A + np.swapaxes(A, -1, -2) + 4 * np.eye(4)
B = RNG.normal(size=(2, 4, 3))
TALL = RNG.normal(size=(5, 3))


def _symmetric(x: Any) -> Any:
    return (x + x.mT) * 0.5


SMOOTH: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "inv": (linalg.inv, (A,)),
    "solve": (linalg.solve, (A, B)),
    "solve vectors": (linalg.solve, (A[0], B[0, :, 0])),
    "solve right": (lambda a, b: linalg.solve(a, b.mT, left=False), (A, B)),
    "solve broadcast": (linalg.solve, (A[0], B)),
    "lower": (lambda a, b: linalg.solve_triangular(a, b, upper=False), (A, B)),
    "upper": (lambda a, b: linalg.solve_triangular(a, b, upper=True), (A, B)),
    "unit": (
        lambda a, b: linalg.solve_triangular(a, b, upper=True, unitriangular=True),
        (A, B),
    ),
    "det": (linalg.det, (A,)),
    "logabsdet": (lambda a: linalg.slogdet(a).logabsdet, (A,)),
    "cholesky": (lambda a: linalg.cholesky(_symmetric(a)), (S,)),
    "qr": (lambda a: linalg.qr(a).Q * 2 + linalg.qr(a).R.sum(), (TALL,)),
    "eigh": (lambda a: linalg.eigh(_symmetric(a)).eigenvectors ** 2, (S,)),
    "eigvalsh": (lambda a: linalg.eigvalsh(_symmetric(a)), (S,)),
    "svd": (lambda a: linalg.svd(a, False).U ** 2, (TALL,)),
    "svdvals": (linalg.svdvals, (TALL,)),
    "pinv": (linalg.pinv, (TALL,)),
    "norm": (linalg.norm, (A,)),
    "norm 3": (lambda a: linalg.vector_norm(a, 3, -1), (A,)),
    "nuc": (lambda a: linalg.matrix_norm(a, "nuc"), (A,)),
    "cross": (linalg.cross, (TALL, TALL[::-1].copy())),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives(name: str) -> None:
    function, arrays = SMOOTH[name]
    check_grads(function, arrays, order=2, rtol=1e-4, atol=1e-5)


NATIVE = tuple(name for name in SMOOTH if name not in ("solve vectors", "solve right", "cross"))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NATIVE)
def test_native_code_is_as_the_interpreter(name: str, dtype: str) -> None:
    """Values and gradients, of float64 also the gradient of these."""
    function, arrays = SMOOTH[name]
    given = [array.astype(dtype) for array in arrays]

    def first(*x: Any) -> Any:
        return function(*x).sin().sum()

    def second(*x: Any) -> Any:
        grads = mynn.grad(first, tuple(range(len(x))))(*x)
        return sum((g.sin().sum() for g in grads), start=Tensor(np.zeros((), dtype)))

    tolerance = 2e-3 if dtype == "float32" else 1e-9
    numbers = tuple(range(len(given)))
    orders = (function, mynn.grad(first, numbers), mynn.grad(second, numbers))
    for made in orders if dtype == "float64" else orders[:2]:
        expected = made(*map(Tensor, given))
        found = mynn.compile(made)(*given)
        several = isinstance(expected, tuple)
        pairs = zip(found, expected, strict=True) if several else [(found, expected)]
        for one, other in pairs:
            wanted = np.asarray(other)
            scale = max(1.0, float(np.abs(wanted).max()))
            np.testing.assert_allclose(one, wanted, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("n", [0, 1, 2, 17])
def test_native_solutions_of_any_size(n: int) -> None:
    a = RNG.normal(size=(3, n, n))
    a[:, :1] = 0.5 * a[:, -1:]  # the first pivots lie elsewhere
    a += np.eye(n) * 1e-3
    b = RNG.normal(size=(3, n, 2))
    for function, given, expected in (
        (linalg.solve, (a, b), np.linalg.solve(a, b)),
        (linalg.inv, (a,), np.linalg.inv(a)),
        (linalg.det, (a,), np.linalg.det(a)),
        (linalg.slogdet, (a,), np.linalg.slogdet(a)),
    ):
        compiled: Any = mynn.compile(function)  # type: ignore[arg-type]
        found = compiled(*given)
        np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-8, atol=1e-8)


def test_native_solutions_of_many_examples_and_of_no_number() -> None:
    b = B[..., 0]
    mapped: Any = mynn.compile(mynn.vmap(linalg.solve))
    np.testing.assert_allclose(mapped(A, b), np.linalg.solve(A, B)[..., 0], atol=1e-12)
    compiled: Any = mynn.compile(linalg.inv)
    assert np.isnan(compiled(np.full((2, 2), np.nan))).all()
    cofactors: Any = mynn.compile(mynn.grad(linalg.det))
    np.testing.assert_allclose(
        cofactors(np.array([[1.0, 2.0], [2.0, 4.0]])), [[4, -2], [-2, 1]], atol=1e-6
    )
    found = cofactors(np.diag([2.0, 0.0, 3.0]))
    np.testing.assert_allclose(found, np.diag([0, 6.0, 0]), atol=1e-15)


def test_singular_matrices_have_a_gradient_of_the_determinant() -> None:
    x = Tensor([[1.0, 2.0], [2.0, 4.0]], requires_grad=True)
    linalg.det(x).backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), [[4, -2], [-2, 1]], atol=1e-5)


def test_parts_make_the_matrix_again() -> None:
    q, r = linalg.qr(TALL)
    np.testing.assert_allclose((q @ r).numpy(), TALL, atol=1e-12)
    values, vectors = linalg.eigh(S)
    np.testing.assert_allclose(
        ((vectors * values.unsqueeze(-2)) @ vectors.mT).numpy(), S, atol=1e-12
    )
    u, s, vh = linalg.svd(TALL)
    assert u.shape == (5, 5)
    np.testing.assert_allclose((u @ u.mT).numpy(), np.eye(5), atol=1e-12)
    np.testing.assert_allclose((u[:, :3] * s @ vh).numpy(), TALL, atol=1e-12)
    solution = linalg.lstsq(TALL, TALL @ np.ones((3, 2))).solution
    np.testing.assert_allclose(solution.numpy(), np.ones((3, 2)), atol=1e-12)
    assert linalg.matrix_rank(np.ones((3, 3))).item() == 1
    np.testing.assert_allclose(linalg.matrix_power(A, -2).numpy(), np.linalg.inv(A @ A))


def test_solutions_of_tensors() -> None:
    a = (np.eye(6) + 0.1 * RNG.normal(size=(6, 6))).reshape(2, 3, 6)
    x = RNG.normal(size=6)
    b = np.tensordot(a, x, 1)
    np.testing.assert_allclose(linalg.tensorsolve(a, b).numpy(), x, atol=1e-12)
    np.testing.assert_allclose(np.tensordot(linalg.tensorinv(a).numpy(), b, 2), x, atol=1e-12)
    factor = linalg.cholesky(S[0])
    expected = np.linalg.solve(S[0], B[0])
    np.testing.assert_allclose(mynn.cholesky_solve(B[0], factor).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(mynn.cholesky_inverse(factor).numpy(), np.linalg.inv(S[0]))


def test_backward_of_a_tape() -> None:
    with mynn.eager("tape"):
        x = Tensor(A, requires_grad=True)
        for _ in range(3):
            x.grad = None
            (linalg.solve(x * 2, B) ** 2).sum().backward()
        assert x.grad is not None
        got = x.grad.numpy()
    with mynn.eager("at once"):
        x = Tensor(A, requires_grad=True)
        (linalg.solve(x * 2, B) ** 2).sum().backward()
        assert x.grad is not None
        np.testing.assert_allclose(got, x.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: linalg.inv(np.ones((2, 3))), ShapeError, "square matrices .*(2, 3)"),
        (lambda: linalg.inv(np.ones(3)), ShapeError, "takes matrices"),
        (lambda: linalg.inv(np.ones((2, 2), int)), DTypeError, "convert with .float"),
        (lambda: linalg.inv(np.ones((2, 2))), DataError, "Singular matrix; give another"),
        (lambda: linalg.cholesky(-np.eye(2)), DataError, "not positive definite"),
        (lambda: linalg.solve(A, B[:, :3]), ShapeError, "must have as many rows"),
        (lambda: linalg.norm(A, "fro"), ShapeError, "needs dim"),
        (lambda: linalg.matrix_norm(A, 3), MynnError, "ord must be"),
        (lambda: mynn.compile(linalg.eigh)(TALL), ShapeError, "square matrices .*(5, 3)"),
        (lambda: mynn.compile(linalg.inv)(np.ones((2, 2))), DataError, "Singular matrix; give"),
        (lambda: mynn.compile(linalg.solve)(0 * A, B), DataError, "linalg.solve: Singular"),
        (lambda: mynn.compile(linalg.cholesky)(-np.eye(2)), DataError, "not positive definite"),
    ],
)
def test_refusals(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
