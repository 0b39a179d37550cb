"""`orthogonal`: a weight that stays orthogonal however its parameter is changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.core.types import Array
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.joining import cat
from mynn.linalg import matrix_exp, solve, solve_triangular
from mynn.nn.module import Module
from mynn.nn.utils.parametrize import register_parametrization
from mynn.nn.utils.weights import parameter_of
from mynn.random import host_generator
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.gradients.history import array_of

MAPS = ("matrix_exp", "cayley", "householder")
# So many times the rounding error of a dtype a product of orthogonal columns may be off.
_EXACT = 10.0


class _Orthogonal(Module):
    """A matrix with orthonormal columns, or rows where those are fewer, from any matrix X.

    - `base`: an orthogonal matrix that the computed one is multiplied with, so that training can
      begin at any; None where it begins at what X itself gives.
    """

    def __init__(self, shape: tuple[int, ...], orthogonal_map: str, trivialized: bool) -> None:
        super().__init__()
        self.shape = shape
        self.orthogonal_map = orthogonal_map
        self.trivialized = trivialized
        self.register_buffer("base", None)

    def forward(self, X: Any) -> Tensor:
        """Any matrix -> an orthogonal one of its shape."""
        wide = X.shape[-2] < X.shape[-1]
        if wide:
            X = X.mT
        made = _reflected(X) if self.orthogonal_map == "householder" else self._turned(X)
        if self.base is not None:
            made = self.base @ made
        found: Tensor = made.mT if wide else made
        return found

    def _turned(self, X: Any) -> Any:
        """Of a skew matrix A = L - L^T: exp(A), or (1 - A/2)^-1 (1 + A/2)."""
        n, k = X.shape[-2:]
        X = X.tril()
        if n != k:
            X = cat([X, as_tensor(np.zeros((*X.shape[:-1], n - k), X.dtype))], -1)
        A = X - X.mT
        if self.orthogonal_map == "matrix_exp":
            made: Any = matrix_exp(A)
        else:
            one = np.eye(n, dtype=X.dtype)
            made = solve(one - A * 0.5, one + A * 0.5)
        return made if n == k else made[..., :k]

    def right_inverse(self, Q: Any) -> Tensor:
        """The matrix to begin with, so that the computed one is orthogonal and, where Q is so, Q.

        What Q lacks is made up: of columns that are not orthonormal those of its QR decomposition
        are taken, and a narrow matrix is completed by columns drawn at random.
        """
        if tuple(Q.shape) != self.shape:
            raise ShapeError(
                f"orthogonal: the weight has shape {self.shape}, it is given one of {Q.shape}"
            )
        given = array_of(Q.detach()).astype(Q.dtype)
        wide = given.shape[-2] < given.shape[-1]
        tall = given.swapaxes(-1, -2) if wide else given
        if not self.trivialized:
            start = _reflectors(tall)
            return Tensor.from_value((start.swapaxes(-1, -2) if wide else start).copy())
        n, k = tall.shape[-2:]
        if n != k:
            drawn = host_generator().standard_normal((*tall.shape[:-1], n - k))
            tall = np.concatenate([tall, drawn.astype(tall.dtype)], -1)
        self.base = Tensor.from_value(tall.copy() if _is_orthogonal(tall) else _columns_of(tall))
        start = np.zeros_like(given)
        places = np.arange(min(n, k))
        start[..., places, places] = -1  # what every map turns into the columns of 1
        return Tensor.from_value(start)


class _Begun(_Orthogonal):
    """The same, which begins at what the map makes of the weight: no inverse of it is known."""

    right_inverse: Any = None


def _reflected(X: Any) -> Any:
    """The first columns of the product of the reflections at the columns of X below its diagonal,
    with the signs of that, as a whole: 1 - V U^-1 V^T, where U + U^T = V^T V.
    """
    n, k = X.shape[-2:]
    A = X.tril(-1)
    V = A + np.eye(n, k, dtype=X.dtype)
    halves = ((A * A).sum(-2) + 1.0) * 0.5
    one = np.eye(k, dtype=X.dtype)
    U = (V.mT @ V).triu(1) + halves.unsqueeze(-2) * one
    product = np.eye(n, k, dtype=X.dtype) - V @ solve_triangular(U, V[..., :k, :].mT, upper=True)
    signs = X.detach().diagonal(0, -2, -1).trunc()
    return product * signs.unsqueeze(-2)


def _reflectors(Q: Array) -> Array:
    """The matrix that `_reflected` makes a matrix with orthonormal columns of."""
    raw, scales = np.linalg.qr(Q, mode="raw")
    made = np.array(raw.swapaxes(-1, -2), Q.dtype)
    places = np.arange(made.shape[-1])
    diagonal = np.sign(made[..., places, places])
    made[..., places, places] = np.where(scales == 0, -diagonal, diagonal)
    return made


def _is_orthogonal(Q: Array) -> bool:
    n, k = Q.shape[-2:]
    product = Q.swapaxes(-1, -2) @ Q
    return bool(np.allclose(product, np.eye(k), atol=_EXACT * n * np.finfo(Q.dtype).eps))


def _columns_of(A: Array) -> Array:
    """Orthonormal columns that span the same, with R's diagonal above 0."""
    q, r = np.linalg.qr(A)
    signs = np.sign(np.diagonal(r, 0, -2, -1))
    made: Array = (q * np.where(signs == 0, 1, signs)[..., None, :]).astype(A.dtype)
    return made


@explained
def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """Keep a weight orthogonal: Q^T Q = 1, or Q Q^T = 1 where it has fewer rows than columns.

    The weight is computed from a parameter X of its shape, which is free: with L, the part of X on
    and below the diagonal, and A = L - L^T,

        matrix_exp: Q = exp(A);  cayley: Q = (1 - A/2)^-1 (1 + A/2);
        householder: Q = H_1 H_2 ... H_k,  H_i = 1 - 2 v_i v_i^T / |v_i|^2,

    v_i the i-th column of X below the diagonal, and 1 on it. It begins at the weight that there is
    if that is orthogonal, otherwise at the Q of its QR decomposition.

    Args:
        module: it is changed, and returned.
        name: the name of a parameter of two or more axes; stacks of matrices are so one by one.
        orthogonal_map: "matrix_exp", "cayley" or "householder"; None: "matrix_exp" for square
            matrices, "householder" for others.
        use_trivialization: whether Q is multiplied with a base, so that it can begin at any weight.
            Without it only "householder" begins at the weight; the other maps begin at what they
            make of it.

    Raises:
        ArgumentError: no such parameter, too few axes, or another map.

    Example:
        >>> import mynn
        >>> from mynn.nn.utils.parametrizations import orthogonal
        >>> layer = orthogonal(mynn.nn.Linear(4, 4))
        >>> bool(mynn.allclose(layer.weight @ layer.weight.T, mynn.eye(4), atol=1e-5))
        True

    Source: Lezcano-Casado and Martinez-Rubio 2019, https://arxiv.org/abs/1901.08428
    """
    weight = parameter_of(module, name)
    if weight.ndim < 2:
        raise ArgumentError(
            f"orthogonal: {name} has shape {weight.shape}; what is made orthogonal are matrices, "
            "of two axes or more"
        )
    chosen = orthogonal_map
    if chosen is None:
        chosen = "matrix_exp" if weight.shape[-2] == weight.shape[-1] else "householder"
    if chosen not in MAPS:
        raise ArgumentError(
            f"orthogonal: orthogonal_map must be one of {', '.join(MAPS)}, it is {chosen!r}"
        )
    kind = _Orthogonal if use_trivialization or chosen == "householder" else _Begun
    made = kind(tuple(weight.shape), chosen, use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)


__all__ = ["orthogonal"]
