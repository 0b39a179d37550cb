"""Functions made from methods: `mynn.exp(x)` is `x.exp()`, for arrays, lists and numbers too.

A function lives once, as a method of tensors; the table here says which methods are functions of
the same name as well. A function takes the tensor as `input`, then what the method takes. With
`out=` the result is written into that tensor, which has its shape already.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from mynn.base.arguments import explained, shown
from mynn.errors import ShapeError, UsageError
from mynn.tensor.tensor import Tensor, as_tensor
from mynn.tensor.value import Value

R = TypeVar("R")

# The names, by the file of the methods.
FAMILIES = {
    "arithmetic": "abs clamp clip cos erf exp expm1 floor log log1p maximum minimum relu sigmoid "
    "sign sin sqrt tanh",
    "special": "digamma erfinv lgamma mvlgamma",
    "elementwise": "acos acosh asin asinh atan atan2 atanh bitwise_left_shift bitwise_right_shift "
    "ceil clamp_max clamp_min copysign cosh deg2rad erfc exp2 float_power floor_divide fmax fmin "
    "fmod frac heaviside hypot isfinite isinf isnan isneginf isposinf isreal ldexp log10 log2 "
    "logaddexp logaddexp2 logit nan_to_num rad2deg reciprocal round rsqrt signbit sinc sinh square "
    "tan trunc xlogy",
    "named": "absolute add addcdiv addcmul allclose arccos arccosh arcsin arcsinh arctan arctan2 "
    "arctanh bitwise_and bitwise_not bitwise_or bitwise_xor div divide eq equal fix ge greater "
    "greater_equal gt isclose le lerp less less_equal logical_and logical_not logical_or "
    "logical_xor lt mul multiply ne neg negative not_equal positive pow remainder rsub sgn sub "
    "subtract true_divide",
    "conversion": "clone is_same_size is_signed",
    "tensor": "detach",
    "inplace": "fill_ zero_ detach_",
    "movement": "broadcast_to flatten flip index_select permute reshape squeeze "
    "swapaxes take transpose unsqueeze",
    "products": "addbmm addmm addmv addr baddbmm bmm dot ger inner matmul matrix_power mm mv outer "
    "vdot",
    "selecting": "argwhere gather index_add index_copy index_fill index_put index_reduce "
    "masked_fill masked_scatter masked_select nonzero put scatter scatter_add scatter_reduce "
    "take_along_dim",
    "shapes": "chunk diag diag_embed diagflat diagonal diagonal_scatter dsplit fliplr flipud "
    "hsplit kron moveaxis movedim narrow ravel repeat_interleave roll rot90 select select_scatter "
    "slice_scatter split split_with_sizes swapdims t tensor_split tile tril triu unbind "
    "unflatten vsplit",
    "sorting": "argsort bincount bucketize histc kthvalue msort searchsorted sort topk unique "
    "unique_consecutive",
    "strided": "as_strided mode",
    "scans": "cummax cummin cumprod cumsum logcumsumexp",
    "reductions": "all amax amin any argmax argmin max mean min prod std sum var",
    "statistics": "aminmax count_nonzero dist logsumexp median nanmean nanmedian nanquantile "
    "nansum norm quantile std_mean var_mean",
}
NAMES = frozenset(name for names in FAMILIES.values() for name in names.split())


def function(name: str) -> Callable[..., Any]:
    """The function made from the method of that name.

    Example:
        >>> function("exp")([0.0, 0.0]).tolist()
        [1.0, 1.0]
    """
    method = getattr(Tensor, name)

    def call(input: Any, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        if isinstance(input, Value):
            x: Any = input
        elif name.endswith("_"):
            raise UsageError(f"{name}: changes a tensor of mynn, it was given {shown(input)}")
        else:
            x = as_tensor(input)
        result = method(x, *args, **kwargs)
        return result if out is None else written(name, result, out)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = method.__doc__
    own = inspect.signature(method).parameters.values()
    first = inspect.Parameter("input", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    out = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
    rest = [one for one in own if one.name not in ("self", "out")]
    at = next((i for i, one in enumerate(rest) if one.kind is one.VAR_KEYWORD), len(rest))
    signature = inspect.Signature([first, *rest[:at], out, *rest[at:]])
    call.__signature__ = signature  # type: ignore[attr-defined]
    return explained(call)


def written(name: str, result: R, out: Any) -> R:
    """`out` with the values of the result; a tuple of both where there are several."""
    if isinstance(result, tuple):
        if not isinstance(out, tuple | list) or len(out) != len(result):
            raise UsageError(f"{name}: out must be a tuple of {len(result)} tensors")
        for one, into in zip(result, out, strict=True):
            written(name, one, into)
        both: Any = type(result)(*out) if hasattr(result, "_fields") else tuple(out)
        return cast("R", both)
    made: Any = result
    shape = made.shape
    if not isinstance(out, Tensor):
        raise UsageError(
            f"{name}: out must be a tensor of mynn, it is a {type(out).__name__}; make it with "
            f"mynn.empty({shape}), or leave it out"
        )
    if out.shape != shape:
        raise ShapeError(
            f"{name}: out has shape {out.shape}, the result has {shape}; give a tensor of "
            "that shape, or leave out away"
        )
    return cast("R", out.copy_(made))


def in_place() -> frozenset[str]:
    """The names of functions that put their result into the tensor: `mynn.relu_(x)`."""
    own = {name for name in NAMES if name.endswith("_")}
    return frozenset({f"{name}_" for name in NAMES if hasattr(Tensor, f"{name}_")} | own)


def polygamma(n: int, input: Any) -> Any:
    """The n-th derivative of `digamma`; see `Tensor.polygamma`."""
    return as_tensor(input).polygamma(n)


def __getattr__(name: str) -> Any:
    """Functions are made when they are first asked for."""
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()[name] = function(name)
    return made
