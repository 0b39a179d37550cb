"""Linear algebra under PyTorch's names: norms, solutions, decompositions of small matrices."""

from __future__ import annotations

from mynn.linalg.norms import cross, matrix_norm, norm, vecdot, vector_norm
from mynn.linalg.solutions import (
    cholesky,
    det,
    eigh,
    eigvalsh,
    inv,
    inverse,
    logdet,
    lstsq,
    matrix_power,
    matrix_rank,
    multi_dot,
    pinv,
    qr,
    slogdet,
    solve,
    solve_triangular,
    svd,
    svdvals,
)
from mynn.tensor import matmul

__all__ = [
    "cholesky",
    "cross",
    "det",
    "eigh",
    "eigvalsh",
    "inv",
    "inverse",
    "logdet",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "multi_dot",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "vecdot",
    "vector_norm",
]
