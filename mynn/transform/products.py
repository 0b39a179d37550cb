"""Products of Jacobians with vectors: `vjp` from the results back, `jvp` along with the function.

A product with a vector in the direction of the function is the derivative of one against it:
u^T J is linear in u, and its derivative by u, times v, is J v. So both come from the rules of
reverse mode, and can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mynn.base.arguments import explained, shown
from mynn.base.recording import run_at_once
from mynn.base.structure import rebuild
from mynn.errors import ArgumentTypeError
from mynn.tensor import Tensor, graph_node
from mynn.trace import tracing
from mynn.transform.called import Called, ends, vectors


@explained
@run_at_once
def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """The value of a function, and what multiplies vectors with its Jacobian, from the left.

    vjp(f, x)[1](u) = u^T df/dx

    Args:
        func: takes the primals, returns tensors, also nested.
        primals: arrays and tensors of floats, also nested.
        has_aux: whether the function returns a tuple (result, aux), of which the second is passed
            on.

    Returns:
        (f(x), vjp_fn), or (f(x), vjp_fn, aux). `vjp_fn` takes vectors nested as the result, and
        returns a tuple with a product for each of the primals.

    Example:
        >>> import mynn
        >>> from mynn.func import vjp
        >>> value, multiply = vjp(lambda x: x * x, mynn.tensor([1.0, 2.0]))
        >>> multiply(mynn.tensor([1.0, 10.0]))[0].tolist()
        [2.0, 40.0]
    """
    called = Called("vjp", func, primals, {}, range(len(primals)), has_aux)
    outputs = called.outputs()
    again, nodes = called.again(outputs), ends(outputs)

    @run_at_once
    def vjp_fn(cotangents: Any) -> Any:
        seeds = vectors("vjp_fn", cotangents, outputs, "cotangents")
        differentiable = again or tracing.active() is not None or _ask(seeds)
        slopes = called.slopes(nodes, seeds, called.nodes, differentiable)
        return rebuild(called.arguments, iter(map(called.released, slopes)))

    value = called.released(called.returned)
    return (value, vjp_fn, called.released(called.aux)) if has_aux else (value, vjp_fn)


def _ask(tensors: Sequence[Tensor]) -> bool:
    return any(one.requires_grad for one in tensors)


@explained
@run_at_once
def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The value of a function, and the linear function that is closest to it there.

    linearize(f, x)[1](v) = df/dx v

    The function is called once, the linear one for as many tangents as are wanted: they are nested
    as the primals, and so is its result as that of the function.

    Example:
        >>> import mynn
        >>> from mynn.func import linearize
        >>> value, along = linearize(lambda x: x * x, mynn.tensor([1.0, 2.0]))
        >>> along(mynn.tensor([1.0, 10.0])).tolist()
        [2.0, 40.0]
    """
    called = Called("linearize", func, primals, {}, range(len(primals)))
    along = _along("jvp_fn", called)
    return called.released(called.returned), lambda *tangents: along(tangents)


@explained
@run_at_once
def jvp(
    func: Callable[..., Any],
    primals: Any,
    tangents: Any,
    *,
    strict: bool = False,
    has_aux: bool = False,
) -> tuple[Any, ...]:
    """The value of a function, and its derivative in a direction: the Jacobian times a vector.

    jvp(f, (x,), (v,)) = f(x), df/dx v

    Args:
        func: takes the primals, returns tensors, also nested.
        primals: a tuple of arrays and tensors of floats, also nested.
        tangents: the vectors, nested as the primals.
        strict: has no effect: where nothing depends on the primals the product is zero.
        has_aux: whether the function returns a tuple (result, aux), of which the second is passed
            on.

    Returns:
        (f(x), product), or (f(x), product, aux).

    Example:
        >>> import mynn
        >>> from mynn.func import jvp
        >>> x, v = mynn.tensor([1.0, 2.0]), mynn.tensor([1.0, 10.0])
        >>> value, product = jvp(lambda x: x * x, (x,), (v,))
        >>> product.tolist()
        [2.0, 40.0]

    Source: Griewank, Walther, "Evaluating Derivatives", 2nd edition, SIAM 2008, chapter 3.
    """
    for name, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, tuple):
            raise ArgumentTypeError(
                f"jvp: {name} must be a tuple with one for each argument of the function, they are "
                f"{shown(given)}; write ({name[:-1]},)"
            )
    called = Called("jvp", func, primals, {}, range(len(primals)), has_aux)
    product = _along("jvp", called)(tangents)
    value = called.released(called.returned)
    return (value, product, called.released(called.aux)) if has_aux else (value, product)


def along(called: Called, outputs: Sequence[Tensor]) -> Callable[..., list[Tensor]]:
    """What multiplies the Jacobian of a called function with vectors, one for each variable."""
    smooth = [y for y in outputs if y.dtype.kind == "f"]
    helpers = [called.zeros(y) for y in smooth]
    nodes = [graph_node(one) for one in helpers]
    slopes = ends(called.slopes(ends(smooth), helpers, called.nodes, True))

    def multiply(*seeds: Tensor, again: bool = True) -> list[Tensor]:
        found = iter(called.slopes(slopes, seeds, nodes, again))
        return [next(found) if y.dtype.kind == "f" else y.filled(0) for y in outputs]

    return multiply


def _along(name: str, called: Called) -> Callable[[Any], Any]:
    outputs = called.outputs()
    again = called.again(outputs)
    multiply = along(called, outputs)

    @run_at_once
    def product(tangents: Any) -> Any:
        seeds = vectors(name, tangents, called.variables, "tangents")
        products = multiply(*seeds, again=again or tracing.active() is not None or _ask(seeds))
        return rebuild(called.returned, iter(map(called.released, products)))

    return product
