"""`gradcheck`, `gradgradcheck`: PyTorch's way to hold gradients against differences.

`mynn.check_grads` is the other one: to any order, along random directions, also by parameters.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.autograd.gradients import grad
from mynn.base.arguments import explained, number, shown
from mynn.base.recording import run_at_once
from mynn.core.types import Array
from mynn.errors import (
    ArgumentError,
    ArgumentTypeError,
    GradcheckError,
    GradientError,
    UsageError,
)
from mynn.tensor import Tensor, enable_grad, no_grad
from mynn.trace import tracing
from mynn.transform.check import check_grads


@explained
@run_at_once  # values and gradients are compared to the last bit
def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether the gradients of func are what differences of its values say: True, or an error.

    For each pair of a result y and an input x that requires a gradient the Jacobian dy/dx by
    `backward` is compared with (func(x + eps) - func(x - eps)) / (2 eps), element by element.

    Args:
        func: takes the inputs, returns a tensor or a tuple of tensors.
        inputs: a tensor or a tuple; those that require a gradient are checked. In float64:
            differences of float32 are too coarse for these tolerances.
        eps, atol, rtol: the step; how far apart the Jacobians may be.
        raise_exception: give False instead of `GradcheckError`.
        nondet_tol: how far two backward passes may differ.
        fast_mode: sums along random directions instead of whole Jacobians.
        check_undefined_grad, check_grad_dtypes, check_backward_ad, masked: taken, without effect:
            gradients always have the dtypes of their inputs.

    Raises:
        GradcheckError: they differ; the message has both Jacobians.
        ArgumentError: no input requires a gradient; checks that are not there.

    Example:
        >>> import mynn
        >>> x = mynn.tensor([0.3, -1.2], dtype=mynn.float64, requires_grad=True)
        >>> gradcheck(lambda x: x.sin() * x, x)
        True
    """
    for name, given in (
        ("check_batched_grad", check_batched_grad),
        ("check_batched_forward_grad", check_batched_forward_grad),
        ("check_forward_ad", check_forward_ad),
    ):
        if given:
            raise ArgumentError(
                f"gradcheck: {name}=True is not there, gradients are checked in reverse mode, one "
                f"at a time; leave {name} out"
            )
    eps, atol = number("gradcheck: eps", eps), number("gradcheck: atol", atol)
    rtol = number("gradcheck: rtol", rtol)
    tensors = _checked(inputs)
    try:
        if fast_mode:
            _fast(func, tensors, eps, atol, rtol)
        else:
            _slow(func, tensors, eps, atol, rtol, nondet_tol)
    except (GradcheckError, GradientError) as error:
        if not raise_exception:
            return False
        if isinstance(error, GradcheckError):
            raise
        raise GradcheckError(str(error).replace("check_grads", "gradcheck")) from None
    return True


@explained
@run_at_once  # values and gradients are compared to the last bit
def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """`gradcheck` of the gradients of func, as functions of the inputs and of `grad_outputs`.

    `grad_outputs` are the cotangents of the results; random numbers where they are left out.

    Example:
        >>> import mynn
        >>> x = mynn.tensor([0.3, -1.2], dtype=mynn.float64, requires_grad=True)
        >>> gradgradcheck(lambda x: x**3, x)
        True
    """
    if check_fwd_over_rev:
        raise ArgumentError("gradgradcheck: check_fwd_over_rev=True is not there; leave it out")
    tensors = _checked(inputs)
    count = len(tensors)
    if grad_outputs is None:
        draw = np.random.default_rng(0)
        with enable_grad():
            outputs = _differentiable(_called(func, tensors))
        seeds = [Tensor(draw.standard_normal(y.shape).astype(y.dtype)) for y in outputs]
    else:
        seeds = [one.detach().clone() for one in _tuple(grad_outputs)]
    for seed in seeds:
        seed.requires_grad = True

    def slopes(*args: Any) -> Any:
        starts = [x for x in args[:count] if isinstance(x, Tensor) and x.requires_grad]
        ends = _differentiable(_called(func, args[:count]))
        if len(ends) != len(seeds):
            raise ArgumentError(
                f"gradgradcheck: grad_outputs are {len(seeds)}, func has {len(ends)} results that "
                "require a gradient; give one for each"
            )
        gradients = grad(ends, starts, list(args[count:]), create_graph=True, allow_unused=True)
        return tuple(one for one in gradients if one is not None)

    return gradcheck(
        slopes,
        (*tensors, *seeds),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_batched_grad=check_batched_grad,
        fast_mode=fast_mode,
    )


# -- inputs and results ----------------------------------------------------------------------------


def _tuple(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, tuple | list) else (given,)


def _checked(inputs: Any) -> tuple[Any, ...]:
    """The inputs as a tuple, some of which require a gradient."""
    if tracing.active() is not None:
        raise UsageError("gradcheck compares values: call it outside of compiled functions")
    tensors = _tuple(inputs)
    wanted = [(i, x) for i, x in enumerate(tensors) if isinstance(x, Tensor) and x.requires_grad]
    if not wanted:
        raise ArgumentError(
            "gradcheck expects at least one input tensor to require gradient, but none of them "
            "have requires_grad=True; give mynn.tensor(..., requires_grad=True)"
        )
    for place, x in wanted:
        if x.dtype != np.float64:
            warnings.warn(
                f"Input #{place} requires gradient and is not a double precision floating point: "
                f"it is {x.dtype}. Differences of it are too coarse for these tolerances; give "
                "float64",
                stacklevel=5,
            )
    return tensors


def _called(func: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, ...]:
    results = _tuple(func(*args))
    for one in results:
        if not isinstance(one, Tensor):
            raise ArgumentTypeError(
                f"gradcheck: func must return tensors, it returned {shown(one)}; leave out .item() "
                "and .numpy() there"
            )
    return results


def _differentiable(outputs: tuple[Any, ...]) -> list[Any]:
    return [y for y in outputs if y.requires_grad]


def _places(tensors: tuple[Any, ...]) -> list[int]:
    return [i for i, x in enumerate(tensors) if isinstance(x, Tensor) and x.requires_grad]


def _with(tensors: tuple[Any, ...], arrays: dict[int, Array]) -> tuple[Any, ...]:
    """The inputs with leaves of these values in the places."""
    return tuple(
        Tensor(arrays[i], requires_grad=True) if i in arrays else x for i, x in enumerate(tensors)
    )


# -- Jacobians -------------------------------------------------------------------------------------


def _slow(
    func: Callable[..., Any],
    tensors: tuple[Any, ...],
    eps: float,
    atol: float,
    rtol: float,
    nondet_tol: float,
) -> None:
    """Compare whole Jacobians [elements of an input, elements of a result]."""
    arrays = {i: tensors[i].numpy() for i in _places(tensors)}
    numerical = _numerical(func, tensors, arrays, eps)
    analytical = _analytical(func, tensors, arrays)
    again = _analytical(func, tensors, arrays)
    for (output, place), ours in analytical.items():
        apart = np.abs(ours - again[output, place]).max(initial=0.0)
        if apart > nondet_tol:
            raise GradcheckError(
                "Backward is not reentrant, i.e., running backward with same input and grad_output "
                f"multiple times gives different values: they are {apart:.6g} apart, nondet_tol is "
                f"{nondet_tol}; seed random numbers within func"
            )
    for (output, place), wanted in numerical.items():
        analytic = analytical.get((output, place))
        if analytic is None:
            if not analytical and np.abs(wanted).max(initial=0.0) > eps:
                raise GradcheckError(
                    "Numerical gradient for function expected to be zero: result "
                    f"{output} does not require a gradient, but depends on input {place}; look for "
                    "a detach"
                )
        elif not np.allclose(analytic, wanted, rtol=rtol, atol=atol):
            raise GradcheckError(
                f"Jacobian mismatch for output {output} with respect to input {place},\n"
                f"numerical:{Tensor(wanted)}\nanalytical:{Tensor(analytic)}\n"
            )
    _check_linear(func, tensors, arrays)


def _numerical(
    func: Callable[..., Any], tensors: tuple[Any, ...], arrays: dict[int, Array], eps: float
) -> dict[tuple[int, int], Array]:
    """By differences, for each result of floats and each input."""

    def values(place: int, index: Any, step: float) -> list[Array]:
        moved = arrays[place].copy()
        moved[index] += step
        results = _called(func, _with(tensors, {**arrays, place: moved}))
        return [y.numpy().reshape(-1) for y in results]

    with enable_grad():
        kinds = [y.dtype.kind for y in _called(func, _with(tensors, arrays))]
        jacobians = {}
        for place, array in arrays.items():
            moved = [
                (values(place, index, eps), values(place, index, -eps))
                for index in np.ndindex(array.shape)
            ]
            for output, kind in enumerate(kinds):
                if kind == "f" and moved:
                    rows = [(after[output] - before[output]) / (2 * eps) for after, before in moved]
                    jacobians[output, place] = np.stack(rows)
    return jacobians


def _analytical(
    func: Callable[..., Any], tensors: tuple[Any, ...], arrays: dict[int, Array]
) -> dict[tuple[int, int], Array]:
    """By gradients, for each result that has one."""
    with enable_grad():
        args = _with(tensors, arrays)
        outputs = _called(func, args)
    starts = [args[place] for place in arrays]
    jacobians = {}
    for output, y in enumerate(outputs):
        if not y.requires_grad:
            continue
        columns: list[list[Array]] = [[] for _ in starts]
        for one in range(y.numel()):
            seed = np.zeros(y.numel(), y.dtype)
            seed[one] = 1
            gradients = _grad(y, starts, seed.reshape(y.shape))
            for column, g in zip(columns, gradients, strict=True):
                column.append(g.reshape(-1))
        for place, x, column in zip(arrays, starts, columns, strict=True):
            empty = np.zeros((x.numel(), 0), x.dtype)
            jacobians[output, place] = np.stack(column, 1) if column else empty
    return jacobians


def _grad(y: Any, starts: list[Any], seed: Array) -> list[Array]:
    gradients = grad(y, starts, Tensor(seed), materialize_grads=True)
    return [one.numpy() for one in gradients if one is not None]


def _check_linear(
    func: Callable[..., Any], tensors: tuple[Any, ...], arrays: dict[int, Array]
) -> None:
    """A cotangent of zeros gives gradients of zeros."""
    with enable_grad():
        args = _with(tensors, arrays)
        outputs = _differentiable(_called(func, args))
    for y in outputs:
        for g in _grad(y, [args[place] for place in arrays], np.zeros(y.shape, y.dtype)):
            if g.any():
                raise GradcheckError(
                    "backward not multiplied by grad_output: for a cotangent of zeros it gives "
                    "other gradients than zeros"
                )


def _fast(
    func: Callable[..., Any], tensors: tuple[Any, ...], eps: float, atol: float, rtol: float
) -> None:
    """Sums along random directions."""
    places = _places(tensors)

    def of_wanted(*wanted: Any) -> tuple[Any, ...]:
        given = dict(zip(places, wanted, strict=True))
        return _called(func, tuple(given.get(i, x) for i, x in enumerate(tensors)))

    with no_grad():
        wanted = [tensors[place].detach() for place in places]
    check_grads(of_wanted, wanted, order=1, atol=atol, rtol=rtol, eps=eps)
