"""Special functions under PyTorch's names; most are methods of tensors too."""

from __future__ import annotations

import math
from typing import Any

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.functional import log_softmax, logsumexp, sigmoid, softmax
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.functions import function, polygamma

__all__ = [
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfinv",
    "exp2",
    "expit",
    "expm1",
    "gammaln",
    "log1p",
    "log_softmax",
    "logit",
    "logsumexp",
    "multigammaln",
    "ndtr",
    "ndtri",
    "polygamma",
    "psi",
    "round",
    "sinc",
    "softmax",
    "xlog1py",
    "xlogy",
]

digamma, erf, erfc, erfinv = (function(name) for name in ("digamma", "erf", "erfc", "erfinv"))
exp2, expm1, log1p, logit = (function(name) for name in ("exp2", "expm1", "log1p", "logit"))
round, sinc, xlogy = (function(name) for name in ("round", "sinc", "xlogy"))
gammaln, multigammaln, psi, expit = function("lgamma"), function("mvlgamma"), digamma, sigmoid


@recorded
@explained
def entr(input: Any) -> Tensor:
    """-x log x, which is 0 at 0 and -infinity below."""
    x = as_tensor(input).floating()
    inside: Tensor = x > 0
    value = -x * inside.choose(x, 1.0).log()
    return inside.choose(value, (x == 0).choose(0.0, (x < 0).choose(-math.inf, x)))


@recorded
@explained
def ndtr(input: Any) -> Tensor:
    """The distribution function of the normal distribution: erfc(-x / sqrt 2) / 2.

    Example:
        >>> ndtr([0.0]).tolist()
        [0.5]
    """
    x = as_tensor(input).floating()
    return (x * -math.sqrt(0.5)).erfc() * 0.5


@recorded
@explained
def ndtri(input: Any) -> Tensor:
    """The inverse of `ndtr`: the number that is above a share x of the normal distribution."""
    x = as_tensor(input).floating()
    return (x * 2.0 - 1.0).erfinv() * math.sqrt(2)


@recorded
@explained
def xlog1py(input: Any, other: Any) -> Tensor:
    """x log(1 + other), which is 0 where x is 0, unless the other is NaN."""
    x, y = as_tensor(input).floating(), as_tensor(other).floating()
    none: Tensor = (x == 0) & ((y <= -1) | (y == math.inf))
    return x * none.choose(0.0, y).log1p()
