"""`jacrev`, `jacfwd`, `hessian`: all products with unit vectors at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import run_at_once
from mynn.base.structure import rebuild
from mynn.functional import stack
from mynn.tensor import Tensor, as_tensor, enable_grad, no_grad
from mynn.transform.called import ArgNums, Called, ends, positions_of
from mynn.transform.products import along
from mynn.transform.vmap import vmap


@explained
def jacrev(
    func: Callable[..., Any],
    argnums: ArgNums = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Callable[..., Any]:
    """The Jacobian of a function, row by row: one walk back for each number of the result.

    jacrev(f)(x)[i.., j..] = d f(x)[i..] / d x[j..]

    Args:
        func: takes arrays and tensors, returns tensors; both may be nested.
        argnums: the position of the argument to differentiate by, or a tuple of positions.
        has_aux: whether the function returns a tuple (result, aux), of which the second is passed
            on.
        chunk_size: so many rows are computed at once; None stands for all, and 1 for one after the
            other, without `vmap`.

    Returns:
        A function of the same arguments. It returns a tensor [*shape of the result, *shape of the
        argument]; nested as the result, and within that as the argument. With `has_aux` it returns
        (Jacobian, aux).

    Example:
        >>> import mynn
        >>> from mynn.func import jacrev
        >>> jacrev(lambda x: x * x)(mynn.tensor([1.0, 2.0])).tolist()
        [[2.0, 0.0], [0.0, 4.0]]
    """

    @functools.wraps(func, updated=())
    @run_at_once
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        called = Called(
            "jacrev", func, args, kwargs, positions_of("jacrev", argnums, len(args)), has_aux
        )
        outputs, variables = called.outputs(), called.variables
        nodes = ends(outputs)

        def row(*seeds: Tensor) -> list[Tensor]:
            return called.slopes(nodes, seeds, called.nodes, True)

        rows = _for_units(called, row, outputs, chunk_size)
        blocks = {
            (i, j): part.reshape((*y.shape, *x.shape))
            for j, x in enumerate(variables)
            for (i, y), part in zip(enumerate(outputs), _parts(rows[j], outputs), strict=True)
        }
        return _nested(called, blocks, argnums, has_aux)

    return jacobian


@explained
def jacfwd(
    func: Callable[..., Any],
    argnums: ArgNums = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
) -> Callable[..., Any]:
    """The Jacobian of a function, column by column: one derivative along each unit vector.

    It is what `jacrev` gives, in less time where the argument has fewer numbers than the result.

    Args:
        func, argnums, has_aux: as for `jacrev`.
        randomness: has no effect, since the function is called once.

    Example:
        >>> import mynn
        >>> from mynn.func import jacfwd
        >>> jacfwd(lambda x: x * x)(mynn.tensor([1.0, 2.0])).tolist()
        [[2.0, 0.0], [0.0, 4.0]]
    """

    @functools.wraps(func, updated=())
    @run_at_once
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        called = Called(
            "jacfwd", func, args, kwargs, positions_of("jacfwd", argnums, len(args)), has_aux
        )
        outputs, variables = called.outputs(), called.variables
        columns = _for_units(called, along(called, outputs), variables, None)
        blocks = {
            (i, j): part.movedim(0, -1).reshape((*y.shape, *x.shape))
            for i, y in enumerate(outputs)
            for (j, x), part in zip(
                enumerate(variables), _parts(columns[i], variables), strict=True
            )
        }
        return _nested(called, blocks, argnums, has_aux)

    return jacobian


@explained
def hessian(func: Callable[..., Any], argnums: ArgNums = 0) -> Callable[..., Any]:
    """The second derivatives of a function: `jacfwd` of `jacrev`.

    hessian(f)(x)[i.., j..] = d^2 f(x) / d x[i..] d x[j..]

    Example:
        >>> import mynn
        >>> from mynn.func import hessian
        >>> hessian(lambda x: (x**3).sum())(mynn.tensor([1.0, 2.0])).tolist()
        [[6.0, 0.0], [0.0, 12.0]]
    """
    return jacfwd(jacrev(func, argnums), argnums)


# -- unit vectors ----------------------------------------------------------------------------------


def _for_units(
    called: Called,
    function: Callable[..., list[Tensor]],
    tensors: Sequence[Tensor],
    chunk_size: int | None,
) -> list[Tensor]:
    """What a linear function gives for each unit vector of the space of all tensors together."""
    total = sum(x.numel() for x in tensors)
    units, start = [], 0
    for x in tensors:
        block = np.zeros((total, x.numel()), x.dtype)
        block[start : start + x.numel()] = np.eye(x.numel())
        units.append(as_tensor(block.reshape((total, *x.shape))))
        start += x.numel()
    if not units:
        return []
    with enable_grad() if called.again(called.outputs()) else no_grad():
        if chunk_size == 1 and total:
            each = [function(*(block[number] for block in units)) for number in range(total)]
            return [stack(parts) for parts in zip(*each, strict=True)]
        found: list[Tensor] = vmap(function, chunk_size=chunk_size)(*units)
    return found


def _parts(stacked: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """What belongs to the unit vectors of each tensor."""
    parts, start = [], 0
    for x in tensors:
        parts.append(stacked[start : start + x.numel()])
        start += x.numel()
    return parts


def _nested(
    called: Called, blocks: dict[tuple[int, int], Tensor], argnums: ArgNums, has_aux: bool
) -> Any:
    """The blocks, nested as the results, and within that as the arguments."""
    table = []
    for i in range(len(called.outputs())):
        row = iter([called.released(blocks[i, j]) for j in range(len(called.variables))])
        nested = rebuild(called.arguments, row)
        table.append(nested if isinstance(argnums, tuple) else nested[0])
    found = rebuild(called.returned, iter(table))
    return (found, called.released(called.aux)) if has_aux else found
