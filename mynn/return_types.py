"""What functions with several results return: named tuples, printed as PyTorch prints its own."""

from __future__ import annotations

from typing import Any, NamedTuple


class _Shown:
    """Prints as its name and a field a line."""

    __slots__ = ()

    def __repr__(self) -> str:
        fields = type(self)._fields  # type: ignore[attr-defined]
        shown = ",\n".join(f"{field}={getattr(self, field)!r}" for field in fields)
        return f"mynn.return_types.{type(self).__name__}(\n{shown})"


class _Picked(NamedTuple):
    values: Any
    indices: Any


class _Extremes(NamedTuple):
    min: Any
    max: Any


class _Determinant(NamedTuple):
    sign: Any
    logabsdet: Any


class _Inverse(NamedTuple):
    inverse: Any
    info: Any


class _Solution(NamedTuple):
    result: Any
    info: Any


class _Cholesky(NamedTuple):
    L: Any
    info: Any


class _QR(NamedTuple):
    Q: Any
    R: Any


class _LU(NamedTuple):
    P: Any
    L: Any
    U: Any


class _Eigen(NamedTuple):
    eigenvalues: Any
    eigenvectors: Any


class _SVD(NamedTuple):
    U: Any
    S: Any
    V: Any


class _SVDh(NamedTuple):
    U: Any
    S: Any
    Vh: Any


class _Lstsq(NamedTuple):
    solution: Any
    residuals: Any
    rank: Any
    singular_values: Any


class max(_Shown, _Picked):
    """Largest values along an axis, and the indices of the first of them (int64)."""

    __slots__ = ()


class min(_Shown, _Picked):
    """Smallest values along an axis, and the indices of the first of them (int64)."""

    __slots__ = ()


class sort(_Shown, _Picked):
    """Values in order along an axis, and where they stood (int64)."""

    __slots__ = ()


class topk(_Shown, _Picked):
    """The k largest or smallest values along an axis, and where they stood (int64)."""

    __slots__ = ()


class kthvalue(_Shown, _Picked):
    """The k-th smallest value along an axis, and where it stood (int64)."""

    __slots__ = ()


class mode(_Shown, _Picked):
    """The most frequent values along an axis, and where they stand last (int64)."""

    __slots__ = ()


class median(_Shown, _Picked):
    """The middle value of each row, and its place (int64)."""

    __slots__ = ()


class nanmedian(_Shown, _Picked):
    """The middle of those values of each row that are not NaN, and its place (int64)."""

    __slots__ = ()


class cummax(_Shown, _Picked):
    """The largest value so far along an axis, and where it last stood (int64)."""

    __slots__ = ()


class cummin(_Shown, _Picked):
    """The smallest value so far along an axis, and where it last stood (int64)."""

    __slots__ = ()


class aminmax(_Shown, _Extremes):
    """Smallest and largest values."""

    __slots__ = ()


class linalg_slogdet(_Shown, _Determinant):
    """The sign of a determinant and the logarithm of its size."""

    __slots__ = ()


class linalg_inv_ex(_Shown, _Inverse):
    """An inverse, and 0 for each matrix (int32)."""

    __slots__ = ()


class linalg_solve_ex(_Shown, _Solution):
    """A solution, and 0 for each matrix (int32)."""

    __slots__ = ()


class linalg_cholesky_ex(_Shown, _Cholesky):
    """L with A = L L^T, and 0 for each matrix (int32)."""

    __slots__ = ()


class qr(_Shown, _QR):
    """Q with orthonormal columns and R, upper triangular."""

    __slots__ = ()


class linalg_lu(_Shown, _LU):
    """A permutation P, L with ones on its diagonal, and U, upper triangular, with A = P L U."""

    __slots__ = ()


class linalg_qr(_Shown, _QR):
    """Q with orthonormal columns and R, upper triangular."""

    __slots__ = ()


class linalg_eigh(_Shown, _Eigen):
    """Eigenvalues, in ascending order, and eigenvectors, the columns of a matrix."""

    __slots__ = ()


class svd(_Shown, _SVD):
    """U, the singular values in descending order, and V."""

    __slots__ = ()


class linalg_svd(_Shown, _SVDh):
    """U, the singular values in descending order, and V transposed."""

    __slots__ = ()


class linalg_lstsq(_Shown, _Lstsq):
    """The solution, the sums of squares that are left, the rank, the singular values."""

    __slots__ = ()
