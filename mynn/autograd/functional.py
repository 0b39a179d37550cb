"""Jacobians, Hessians and their products with vectors, of functions of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.autograd.gradients import grad
from mynn.base.arguments import explained, shown
from mynn.errors import ArgumentTypeError, ShapeError, UsageError
from mynn.functional import stack
from mynn.tensor import Tensor, as_array, as_tensor, enable_grad


def _variables(inputs: Any, create_graph: bool) -> tuple[tuple[Tensor, ...], bool]:
    """Tensors of the inputs' values that ask for gradients; and whether it was one input."""
    single = not isinstance(inputs, tuple)
    found = []
    for x in (inputs,) if single else inputs:
        given = x if isinstance(x, Tensor) else as_tensor(as_array(x))
        if create_graph and given.requires_grad:
            found.append(given * 1.0)
        else:
            found.append(Tensor(given.detach().numpy(), requires_grad=True))
    return tuple(found), single


def _called(func: Callable[..., Any], variables: tuple[Tensor, ...]) -> tuple[list[Tensor], bool]:
    """What the function returns, and whether it is one tensor."""
    results = func(*variables)
    single = isinstance(results, Tensor)
    found = list(results) if isinstance(results, tuple | list) else [results]
    for one in found:
        if not isinstance(one, Tensor):
            raise ArgumentTypeError(
                f"func must return tensors, it returned {shown(one)}; leave out .item() and "
                ".numpy() there"
            )
    return found, single


def _slopes(
    outputs: list[Tensor], variables: tuple[Tensor, ...], cotangents: Any, again: bool
) -> list[Tensor]:
    """Gradients with respect to all variables, zeros where outputs do not depend on them."""
    pairs = [(y, g) for y, g in zip(outputs, cotangents, strict=True) if y.requires_grad]
    if not pairs:
        return [as_tensor(np.zeros(x.shape, x.dtype)) for x in variables]
    found = grad(
        [y for y, _ in pairs],
        variables,
        [g for _, g in pairs],
        create_graph=again,
        materialize_grads=True,
    )
    return [one for one in found if one is not None]


def _vectors(name: str, v: Any, tensors: Any) -> list[Tensor]:
    """The vectors `v` for tensors; ones where left out and the tensor is one number."""
    if v is None:
        if len(tensors) != 1 or tensors[0].numel() != 1:
            raise UsageError(f"{name}: v can only be left out for one number; give v")
        return [as_tensor(np.ones(tensors[0].shape, tensors[0].dtype))]
    found = [as_tensor(one) for one in (v if isinstance(v, tuple) else (v,))]
    shapes = [one.shape for one in found], [one.shape for one in tensors]
    if shapes[0] != shapes[1]:
        raise ShapeError(f"{name}: v has shapes {shapes[0]}, it must have {shapes[1]}")
    return found


def _result(values: list[Any], single: bool) -> Any:
    return values[0] if single else tuple(values)


@explained
def vjp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The value of func, and v times its Jacobian: v[j] d func[j] / d inputs[i], summed over j.

    Example:
        >>> value, product = vjp(lambda x: x * x, Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))
        >>> product.tolist()
        [2.0, 40.0]
    """
    with enable_grad():
        variables, single = _variables(inputs, create_graph)
        outputs, alone = _called(func, variables)
        slopes = _slopes(outputs, variables, _vectors("vjp", v, outputs), create_graph)
    values = outputs if create_graph else [y.detach() for y in outputs]
    return _result(values, alone), _result(slopes, single)


@explained
def jvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The value of func, and its Jacobian times v: d func[j] / d inputs[i] v[i], summed over i.

    It is the gradient, with respect to u, of u times the Jacobian, times v.

    Example:
        >>> value, product = jvp(lambda x: x * x, Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))
        >>> product.tolist()
        [2.0, 40.0]
    """
    with enable_grad():
        variables, _ = _variables(inputs, create_graph)
        outputs, alone = _called(func, variables)
        vectors = _vectors("jvp", v, variables)
        helpers = tuple(Tensor(np.zeros(y.shape, y.dtype), requires_grad=True) for y in outputs)
        slopes = _slopes(outputs, variables, helpers, True)
        products = _slopes(slopes, helpers, vectors, create_graph)
    values = outputs if create_graph else [y.detach() for y in outputs]
    return _result(values, alone), _result(products, alone)


@explained
def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """d func[j] / d inputs[i] as a tensor [*shape of func[j], *shape of inputs[i]].

    One gradient for each number of the result. `vectorize` and `strategy` have no effect.

    Example:
        >>> jacobian(lambda x: x * x, Tensor([1.0, 2.0])).tolist()
        [[2.0, 0.0], [0.0, 4.0]]
    """
    with enable_grad():
        variables, single = _variables(inputs, create_graph)
        outputs, alone = _called(func, variables)
        table = []
        for output in outputs:
            rows = []
            for number in range(output.numel()):
                seed = np.zeros(output.numel(), output.dtype)
                seed[number] = 1
                cotangent = as_tensor(seed.reshape(output.shape))
                rows.append(_slopes([output], variables, [cotangent], create_graph))
            columns = [
                stack([row[i] for row in rows]).reshape((*output.shape, *x.shape))
                if rows
                else as_tensor(np.zeros((*output.shape, *x.shape), x.dtype))
                for i, x in enumerate(variables)
            ]
            table.append(_result(columns, single))
    return _result(table, alone)


def _scalar(func: Callable[..., Any]) -> Callable[..., Tensor]:
    def call(*inputs: Tensor) -> Tensor:
        value = func(*inputs)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise UsageError(
                f"func must return a tensor of one element, it returned {shown(value)}; reduce it "
                "with .sum() or .mean()"
            )
        return value.reshape(())

    return call


def _gradient(func: Callable[..., Any], count: int) -> Callable[..., Any]:
    """The gradients of a function of one number, which can be differentiated."""
    scalar = _scalar(func)

    def call(*inputs: Tensor) -> tuple[Tensor, ...]:
        value = scalar(*inputs)
        one = as_tensor(np.ones((), value.dtype))
        return tuple(_slopes([value], inputs, [one], True))

    return call


@explained
def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """Second derivatives of a function of one number: [*shape of inputs[i], *shape of inputs[j]].

    Example:
        >>> hessian(lambda x: (x * x * x).sum(), Tensor([1.0, 2.0])).tolist()
        [[6.0, 0.0], [0.0, 12.0]]
    """
    count = len(inputs) if isinstance(inputs, tuple) else 1
    found = jacobian(_gradient(func, count), inputs, create_graph)
    return found if isinstance(inputs, tuple) else found[0]


@explained
def hvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The value of a function of one number, and its Hessian times v.

    Example:
        >>> cubes = lambda x: (x * x * x).sum()
        >>> value, product = hvp(cubes, Tensor([1.0, 2.0]), Tensor([1.0, 1.0]))
        >>> value.item(), product.tolist()
        (9.0, [6.0, 12.0])
    """
    with enable_grad():
        variables, single = _variables(inputs, create_graph)
        value = _scalar(func)(*variables)
        one = as_tensor(np.ones((), value.dtype))
        slopes = _slopes([value], variables, [one], True)
        products = _slopes(slopes, variables, _vectors("hvp", v, variables), create_graph)
    return (value if create_graph else value.detach()), _result(products, single)


# The Hessian is symmetric.
vhp = hvp
