"""Jacobians, Hessians and their products with vectors, of functions of tensors.

They are those of `mynn.func` with the arguments in a tuple, and without a history where
`create_graph` does not ask for one. `strict` has no effect: where nothing depends on an input, its
derivative is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.structure import flatten, rebuild
from mynn.errors import ArgumentError, UsageError
from mynn.tensor import Tensor, as_array, as_tensor, enable_grad
from mynn.transform import products
from mynn.transform.grad import grad_and_value
from mynn.transform.jacobians import jacfwd, jacrev

Function = Callable[..., Any]


def _given(inputs: Any, create_graph: bool) -> tuple[Any, ...]:
    """The inputs as tensors, those with a history only where it is to go on."""
    found = (as_tensor(as_array(x)) if not isinstance(x, Tensor) else x for x in _tuple(inputs))
    return tuple(x if create_graph else x.detach() for x in found)


def _tuple(inputs: Any) -> tuple[Any, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _kept(results: Any, create_graph: bool) -> Any:
    if create_graph:
        return results
    return rebuild(results, (one.detach() for one in flatten(results)))


def _vectors(name: str, v: Any, tensors: Any) -> Any:
    """The vectors `v` for tensors; 1 where left out and the tensor is one number."""
    if v is not None:
        return v
    alone = list(flatten(tensors))
    if len(alone) != 1 or alone[0].numel() != 1:
        raise UsageError(f"{name}: v can only be left out for one number; give v")
    return as_tensor(np.ones(alone[0].shape, alone[0].dtype))


@explained
def vjp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The value of func, and v times its Jacobian: v[j] d func[j] / d inputs[i], summed over j.

    Example:
        >>> value, product = vjp(lambda x: x * x, Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))
        >>> product.tolist()
        [2.0, 40.0]
    """
    with enable_grad():
        value, multiply = products.vjp(func, *_given(inputs, create_graph))
        slopes = multiply(_vectors("vjp", v, value))
    found = slopes if isinstance(inputs, tuple) else slopes[0]
    return _kept(value, create_graph), _kept(found, create_graph)


@explained
def jvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The value of func, and its Jacobian times v: d func[j] / d inputs[i] v[i], summed over i.

    Example:
        >>> value, product = jvp(lambda x: x * x, Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))
        >>> product.tolist()
        [2.0, 40.0]
    """
    with enable_grad():
        given = _given(inputs, create_graph)
        value, product = products.jvp(func, given, _tuple(_vectors("jvp", v, given)))
    return _kept(value, create_graph), _kept(product, create_graph)


@explained
def jacobian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """d func[j] / d inputs[i] as a tensor [*shape of func[j], *shape of inputs[i]].

    One gradient for each number of the result, one after the other, or all at once (`vectorize`);
    with strategy="forward-mode" one derivative for each number of the inputs, all at once.

    Example:
        >>> jacobian(lambda x: x * x, Tensor([1.0, 2.0])).tolist()
        [[2.0, 0.0], [0.0, 4.0]]
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ArgumentError(
            f'jacobian: strategy must be "reverse-mode" or "forward-mode", it is {strategy!r}'
        )
    if strategy == "forward-mode" and not vectorize:
        raise ArgumentError(
            'jacobian: strategy="forward-mode" is there with vectorize=True alone; give both'
        )
    given = _given(inputs, create_graph)
    argnums = tuple(range(len(given))) if isinstance(inputs, tuple) else 0
    with enable_grad():
        if strategy == "forward-mode":
            found = jacfwd(func, argnums)(*given)
        else:
            found = jacrev(func, argnums, chunk_size=None if vectorize else 1)(*given)
    return _kept(found, create_graph)


@explained
def hessian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """Second derivatives of a function of one number: [*shape of inputs[i], *shape of inputs[j]].

    It is the `jacobian` of the gradient, by `outer_jacobian_strategy`.

    Example:
        >>> hessian(lambda x: (x * x * x).sum(), Tensor([1.0, 2.0])).tolist()
        [[6.0, 0.0], [0.0, 12.0]]
    """
    slopes = _slopes(func, inputs)
    return jacobian(
        lambda *given: slopes(*given)[0],
        inputs,
        create_graph,
        strict,
        vectorize,
        outer_jacobian_strategy,
    )


def _slopes(func: Function, inputs: Any) -> Function:
    """The gradients of a function of one number, and its value."""
    return grad_and_value(func, tuple(range(len(inputs))) if isinstance(inputs, tuple) else 0)


@explained
def hvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The value of a function of one number, and its Hessian times v.

    Example:
        >>> cubes = lambda x: (x * x * x).sum()
        >>> value, product = hvp(cubes, Tensor([1.0, 2.0]), Tensor([1.0, 1.0]))
        >>> value.item(), product.tolist()
        (9.0, [6.0, 12.0])
    """
    with enable_grad():
        given = _given(inputs, create_graph)
        vectors = _tuple(_vectors("hvp", v, given))
        _, product, value = products.jvp(_slopes(func, inputs), given, vectors, has_aux=True)
    return _kept(value, create_graph), _kept(product, create_graph)


# The Hessian is symmetric.
vhp = hvp
