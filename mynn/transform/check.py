"""`check_grads`: gradients held against differences of the function, to any order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from mynn.base.arguments import explained, number, positive, shown
from mynn.base.dataclass import dataclass
from mynn.base.recording import run_at_once
from mynn.core import autodiff
from mynn.core.types import Array
from mynn.errors import ArgumentError, ArgumentTypeError, GradientError, UsageError
from mynn.tensor import Tensor, enable_grad, graph_node, no_grad, wrap
from mynn.trace import tracing

# So many elements of an argument are looked at, one by one, for the place that an error names.
_SEARCHED = 1000


@dataclass(frozen=True)
class _Leaf:
    """A tensor of floats that the function depends on, and the direction in which it is moved."""

    name: str
    tensor: Tensor
    direction: Array


@dataclass(frozen=True)
class _Tolerances:
    eps: float
    atol: float
    rtol: float

    def accept(self, slope: float, difference: float, size: float) -> bool:
        """Whether a slope agrees with a difference of values of a size."""
        allowed = self.atol * max(1.0, size) + self.rtol * abs(difference)
        return bool(abs(slope - difference) <= allowed)


@explained
def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = ("rev",),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
) -> None:
    """Raise `GradientError` where a derivative of `f` is not what differences of `f` say.

    For g(x) = sum of w * f(x) with random factors w (1 where f is one number), and random
    directions d, d' of every argument:

    order 1: sum(grad g(x) * d) is compared with (g(x + eps d) - g(x - eps d)) / (2 eps);
    order 2: the same for x -> sum(grad g(x) * d'), and so on.

    All arguments move at once, and one by one where the two differ then.

    Only f is trusted, so a rule of a gradient that is wrong, a `detach` too many and an operation
    in place that is not followed are all found. Points where f has no derivative (`relu` at 0) give
    errors too: keep away from them.

    Args:
        f: takes `args`, returns tensors or nested tuples, lists and dicts of them; those that hold
            no floats are not looked at. It must give the same values each time. A module is checked
            by its parameters too.
        args: what f is called with. Arrays and tensors of floats are checked, also within nested
            tuples, lists and dicts; modules by the parameters that require a gradient; the rest is
            passed on. All of them are left as they are.
        order: how often f is differentiated: derivatives of the orders 1 to `order` are checked.
        modes: only "rev" exists, gradients by reverse mode.
        atol: largest difference that is allowed, times the size of g(x) where that is above 1; by
            default four times `eps`.
        rtol: the same, times the derivative.
        eps: how far the arguments are moved; by default the cube root of the rounding of the
            coarsest dtype, 6e-6 for float64 and 5e-3 for float32. Check in float64 where you can.

    Raises:
        GradientError: a derivative differs; the message names the order, the argument, the place in
            it and both numbers.
        ArgumentError: `order`, `modes` or a tolerance is out of range.
        UsageError: f returns no floats, takes none, or gives other values when called again.

    Example:
        >>> import numpy as np
        >>> import mynn
        >>> from mynn import nn
        >>> mynn.check_grads(lambda x: x.tanh() / (1 + x * x), [np.array([0.3, -1.2])], order=3)
        >>> layer = nn.Linear(3, 2, dtype="float64")
        >>> mynn.check_grads(layer, [np.ones((4, 3))])
        >>> mynn.check_grads(lambda x: x * x.detach(), [np.array([0.3, -1.2])])
        Traceback (most recent call last):
        mynn.errors.GradientError: check_grads: derivative 1 of f by argument 0 at [1] is ...

    Source: Griewank, Walther, "Evaluating Derivatives", 2nd edition, SIAM 2008, chapter 1.1.
    """
    order = positive("check_grads: order", order)
    if not modes or set(modes) != {"rev"}:
        raise ArgumentError(
            f'check_grads: modes is {shown(modes)}; there is reverse mode alone: give ("rev",)'
        )
    if isinstance(args, str) or not isinstance(args, Sequence):
        raise ArgumentTypeError(
            f"check_grads: args must be a list or tuple of what f takes, it is {shown(args)}; "
            "write check_grads(f, [x])"
        )
    if tracing.active() is not None:
        raise UsageError("check_grads compares values: call it outside of compiled functions")
    generator = np.random.default_rng(0)
    changed: list[Tensor] = []
    owners: dict[int, str] = {}
    for path, module in _modules(f, args):
        for key, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if id(tensor) not in owners:
                owners[id(tensor)] = f"{path}parameter {key!r}"
                changed.append(tensor)
    arguments, copies = _with_tensors(args)
    leaves = [
        _Leaf(name, x, generator.normal(size=x.shape))
        for name, x in [*copies, *((owners[id(x)], x) for x in changed if x.requires_grad)]
    ]
    if not leaves:
        raise UsageError(
            "check_grads: f was given no floats to differentiate by; give arrays of floats, "
            "tensors or modules"
        )
    tolerances = _tolerances([leaf.tensor.dtype for leaf in leaves], atol, rtol, eps)
    with _restored(changed), np.errstate(all="ignore"):
        value = _weighted(f, arguments, generator)
        for nth in range(1, order + 1):
            _check(value, leaves, nth, tolerances)
            value = _slope(value, leaves, generator)


# -- what is differentiated ------------------------------------------------------------------------


def _is_module(value: Any) -> bool:
    return hasattr(value, "named_parameters") and hasattr(value, "named_buffers")


def _walk(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The leaves of nested tuples, lists and dicts, with names such as `argument 0['w'][2]`."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, f"{name}[{key!r}]")
    elif isinstance(value, tuple | list):
        for position, item in enumerate(value):
            yield from _walk(item, f"{name}[{position}]")
    else:
        yield name, value


def _modules(f: Any, args: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Modules that are differentiated by their parameters, with what stands before their names."""
    if _is_module(f):
        yield "", f
    for position, argument in enumerate(args):
        for name, leaf in _walk(argument, f"argument {position}"):
            if _is_module(leaf):
                yield f"{name}, ", leaf


def _with_tensors(args: Sequence[Any]) -> tuple[list[Any], list[tuple[str, Tensor]]]:
    """The arguments with a leaf of its own for every array and tensor of floats, and those."""
    copies: list[tuple[str, Tensor]] = []

    def replaced(value: Any, name: str) -> Any:
        if isinstance(value, Mapping):
            return {key: replaced(item, f"{name}[{key!r}]") for key, item in value.items()}
        if isinstance(value, tuple | list):
            items = [replaced(item, f"{name}[{i}]") for i, item in enumerate(value)]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        if isinstance(value, Tensor | np.ndarray | np.floating | float):
            array = value.numpy() if isinstance(value, Tensor) else np.array(value)
            if array.dtype.kind == "f":
                copies.append((name, Tensor(array, requires_grad=True)))
                return copies[-1][1]
        return value

    return [replaced(x, f"argument {i}") for i, x in enumerate(args)], copies


@contextmanager
def _restored(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Afterwards the tensors have the values that they have before."""
    before = [tensor.numpy() for tensor in tensors]
    try:
        yield
    finally:
        with no_grad():
            for tensor, array in zip(tensors, before, strict=True):
                tensor.assign(array)


# -- values ----------------------------------------------------------------------------------------


def _weighted(
    f: Callable[..., Any], args: Sequence[Any], generator: np.random.Generator
) -> Callable[[], Tensor]:
    """g: the sum of all outputs of f, each with a factor, in float64."""
    factors: list[Array] = []

    def value() -> Tensor:
        with enable_grad():
            found = list(_walk(f(*args), "result"))
            for name, y in found:
                if not isinstance(y, Tensor):
                    raise UsageError(
                        f"check_grads: f must return tensors, its {name} is {shown(y)}; compute it "
                        "with operations on the arguments"
                    )
            outputs = [y for _, y in found if y.dtype.kind == "f"]
            if not outputs:
                raise UsageError("check_grads: f returns no floats, so it has no derivative")
            for y in outputs[len(factors) :]:
                one = y.numel() == 1
                factors.append(np.ones(y.shape) if one else generator.uniform(0.5, 1.5, y.shape))
            return _dot(outputs, factors)

    return value


def _dot(tensors: Sequence[Tensor], factors: Sequence[Array]) -> Tensor:
    """The sum of all products, in float64."""
    total = Tensor(np.zeros(()))
    for x, factor in zip(tensors, factors, strict=True):
        total = total + (x.astype("float64") * factor).sum()
    return total


def _check_repeats(value: Callable[[], Tensor]) -> None:
    first, second = value().item(), value().item()
    if first != second and not (np.isnan(first) and np.isnan(second)):
        raise UsageError(
            "check_grads: f gives other values when it is called again, so differences of it say "
            "nothing; call eval() on layers that draw random numbers, or seed a generator within f"
        )


@run_at_once
def _gradients(value: Callable[[], Tensor], leaves: Sequence[_Leaf]) -> tuple[float, list[Tensor]]:
    """g and its gradient for each leaf, which can be differentiated again."""
    with enable_grad():
        y = value()
        nodes = [graph_node(leaf.tensor) for leaf in leaves]
        seed = Tensor(np.ones(y.shape, y.dtype))
        reached = autodiff.reverse({graph_node(y): seed}, set(nodes).__contains__, wrap)
        zeros = (Tensor(np.zeros(node.shape, node.dtype)) for node in nodes)
        found = [reached.get(node, zero) for node, zero in zip(nodes, zeros, strict=True)]
        return float(y.item()), found


def _slope(
    value: Callable[[], Tensor], leaves: Sequence[_Leaf], generator: np.random.Generator
) -> Callable[[], Tensor]:
    """The derivative of g in a random direction, as a function that can be differentiated."""
    directions = [generator.normal(size=leaf.tensor.shape) for leaf in leaves]

    def slope() -> Tensor:
        with enable_grad():
            return _dot(_gradients(value, leaves)[1], directions)

    return slope


# -- comparison ------------------------------------------------------------------------------------


def _tolerances(
    dtypes: Sequence[np.dtype[Any]], atol: float | None, rtol: float | None, eps: float | None
) -> _Tolerances:
    rounding = max(float(np.finfo(dtype).eps) for dtype in dtypes)
    chosen = []
    for name, given, times in (("eps", eps, 1), ("atol", atol, 4), ("rtol", rtol, 4)):
        usual = times * rounding ** (1 / 3)
        size = usual if given is None else number(f"check_grads: {name}", given)
        if size < 0 or (name == "eps" and size == 0) or not np.isfinite(size):
            raise ArgumentError(f"check_grads: {name} is {size}; give a small positive number")
        chosen.append(size)
    return _Tolerances(*chosen)


def _difference(value: Callable[[], Tensor], moves: Sequence[_Leaf], eps: float) -> float:
    """The central difference of g where each of some tensors moves in its direction."""
    before = [one.tensor.numpy() for one in moves]
    values = []
    try:
        for step in (eps, -eps):
            with no_grad():
                for one, start in zip(moves, before, strict=True):
                    one.tensor.assign((start + step * one.direction).astype(start.dtype))
            values.append(value().item())
    finally:
        with no_grad():
            for one, start in zip(moves, before, strict=True):
                one.tensor.assign(start)
    return float(values[0] - values[1]) / (2 * eps)


def _check(
    value: Callable[[], Tensor], leaves: Sequence[_Leaf], nth: int, tolerances: _Tolerances
) -> None:
    size, gradients = _gradients(value, leaves)
    slopes = [
        float((gradient.numpy().astype(np.float64) * leaf.direction).sum())
        for leaf, gradient in zip(leaves, gradients, strict=True)
    ]
    # All at once; one by one where that is not within the part of the tolerance that each has.
    alike = replace(tolerances, rtol=0.0)
    if alike.accept(sum(slopes), _difference(value, leaves, tolerances.eps), abs(size)):
        return
    for leaf, gradient, slope in zip(leaves, gradients, slopes, strict=True):
        difference = _difference(value, [leaf], tolerances.eps)
        if tolerances.accept(slope, difference, abs(size)):
            continue
        _check_repeats(value)
        where, slope, difference = _worst(
            value, leaf, gradient.numpy(), slope, difference, tolerances
        )
        place = f"{leaf.name} {where}".rstrip()
        below = "f" if nth == 1 else f"derivative {nth - 1}"
        raise GradientError(
            f"check_grads: derivative {nth} of f by {place} is {slope:.6g} by its gradient, but "
            f"{difference:.6g} by differences of {below}; look for a detach, a wrong rule, or a "
            "point without a derivative"
        )


def _worst(
    value: Callable[[], Tensor],
    leaf: _Leaf,
    gradient: Array,
    slope: float,
    difference: float,
    tolerances: _Tolerances,
) -> tuple[str, float, float]:
    """The element where gradient and difference are furthest apart, and both there."""
    found = [("in a random direction", slope, difference)]
    for index in itertools.islice(np.ndindex(gradient.shape), _SEARCHED):
        alone = np.zeros(gradient.shape)
        alone[index] = 1
        moved = _difference(value, [replace(leaf, direction=alone)], tolerances.eps)
        found.append((f"at {list(index)}" if index else "", float(gradient[index]), moved))
    elements = [one for one in found[1:] if not tolerances.accept(one[1], one[2], 0)]
    return max(elements or found[:1], key=lambda one: abs(one[1] - one[2]))
