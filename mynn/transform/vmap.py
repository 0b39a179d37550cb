"""`vmap`: a function of one example becomes a function of many.

The function is traced for one example. The batching rules of its primitives (`mynn.core.batching`)
make of that graph the one of all examples, which is computed at once, or is a part of the trace in
which the call stands.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mynn.base import sharing
from mynn.base.arguments import explained, positive, shown
from mynn.base.dataclass import dataclass
from mynn.base.recording import run_at_once
from mynn.base.structure import flatten, rebuild
from mynn.core import batching
from mynn.core.graph import Node, apply, input_node
from mynn.core.types import Type
from mynn.errors import ArgumentError, ArgumentTypeError, ShapeError, UsageError
from mynn.functional import cat
from mynn.ops.batches import spread
from mynn.ops.elementwise import stop_gradient
from mynn.tensor import Tensor, as_tensor, enable_grad, grad_enabled, graph_node
from mynn.tensor.checks import require
from mynn.tensor.gradients.grad_mode import keeping
from mynn.tensor.gradients.replay import replay
from mynn.trace import tracing
from mynn.trace.trace import Trace
from mynn.transform.structures import dims_of

RANDOMNESS = ("error", "different", "same")


@explained
def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function of many examples, from a function of one.

    vmap(f)(xs)[i] = f(xs[i]), computed for all i at once.

    The function is called once, with tensors that stand for one example: they have shapes and
    dtypes, and no values that Python could look at. Tensors that it takes from outside are the
    same for all examples. Nested calls map over several axes; gradients go through it, and it
    through gradients: `vmap(grad(f))` is the gradient for each example. Arguments given by name
    are passed on.

    Args:
        func: takes and returns tensors, also in tuples, lists and dicts.
        in_dims: which axis of each argument counts the examples; None where an argument, a tensor
            or none, is the same for all. One number for all arguments, or a tuple with an entry for
            each; that of a nested argument may be nested alike.
        out_dims: where that axis is in the results; None where they are the same for all.
        randomness: what functions that draw random numbers do: raise an error, draw "different"
            numbers for each example, or the "same" ones for all.
        chunk_size: so many examples are computed at once; None stands for all.

    Raises:
        ArgumentError: dims that do not fit the arguments or results, no argument to map over.
        ShapeError: the arguments hold different numbers of examples.
        UsageError: the function looks at values, draws random numbers without being allowed to, or
            writes a value of each example to a tensor that is the same for all.

    Example:
        >>> import mynn
        >>> from mynn.func import grad, vmap
        >>> x, y = mynn.arange(6.0).reshape(2, 3), mynn.ones(2, 3)
        >>> vmap(mynn.dot)(x, y).tolist()
        [3.0, 12.0]
        >>> square = lambda w, x: (w * x).sum() ** 2
        >>> vmap(grad(square), in_dims=(None, 0))(mynn.ones(3), x).tolist()
        [[0.0, 6.0, 12.0], [72.0, 96.0, 120.0]]

    Source: Bradbury et al., "JAX: composable transformations of Python+NumPy programs", 2018.
    """
    if not callable(func):
        raise ArgumentTypeError(f"vmap: func must be a function, it is {shown(func)}")
    if randomness not in RANDOMNESS:
        raise ArgumentError(
            f"vmap: randomness must be one of {', '.join(RANDOMNESS)}, it is {shown(randomness)}"
        )
    if chunk_size is not None:
        positive("vmap: chunk_size", chunk_size)

    @functools.wraps(func, updated=())
    @run_at_once
    def over_examples(*args: Any, **kwargs: Any) -> Any:
        given = _examples(args, in_dims)
        step = given.size if chunk_size is None else int(chunk_size)
        call = functools.partial(func, **kwargs)
        parts = [
            _mapped(call, args, given.part(start, start + step), out_dims, randomness)
            for start in range(0, max(given.size, 1), max(step, 1))
        ]
        structure, results = parts[0][0], [part[1] for part in parts]
        dims = list(dims_of("vmap: out_dims", out_dims, structure, _RETURNED))
        whole = (
            part[0] if len(part) == 1 or dim is None else cat(part, dim)
            for dim, part in zip(dims, zip(*results, strict=True), strict=True)
        )
        return rebuild(structure, whole)

    return over_examples


_RETURNED = "the function returned"


# -- arguments -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Examples:
    """The leaves of the arguments; those that are mapped are tensors with the examples in front."""

    leaves: list[Any]
    mapped: list[bool]
    size: int

    def part(self, start: int, stop: int) -> _Examples:
        """Some of the examples."""
        stop = min(stop, self.size)
        if (start, stop) == (0, self.size):
            return self
        pairs = zip(self.leaves, self.mapped, strict=True)
        leaves = [leaf[start:stop] if there else leaf for leaf, there in pairs]
        return _Examples(leaves, self.mapped, stop - start)


def _examples(args: tuple[Any, ...], in_dims: Any) -> _Examples:
    if not isinstance(in_dims, int | tuple) or isinstance(in_dims, bool):
        raise ArgumentTypeError(
            f"vmap: in_dims must be a whole number or a tuple with an entry for each argument, it "
            f"is {shown(in_dims)}"
        )
    if not args:
        raise ArgumentError(
            "vmap: the function was called without positional arguments, so that there is nothing "
            "to map over; arguments given by name are passed on as they are"
        )
    leaves = list(flatten(args))
    dims = list(dims_of("vmap: in_dims", in_dims, args, "the arguments are"))
    sizes: dict[int, int] = {}
    for number, dim in enumerate(dims):
        if dim is not None:
            x = leaves[number] = _tensor(leaves[number], dim)
            if not -x.ndim <= dim < x.ndim:
                raise ArgumentError(
                    f"vmap: in_dims names axis {dim} of a tensor {x.spec}, whose axes lie in "
                    f"{-x.ndim}..{x.ndim - 1}; name one of those, or None to pass it on as it is"
                    if x.ndim
                    else f"vmap: in_dims names axis {dim} of a single number {x.spec}, which has "
                    "none; give None for it"
                )
            leaves[number] = x.movedim(dim, 0) if dim % x.ndim else x
            sizes[number] = leaves[number].shape[0]
    if not sizes:
        raise ArgumentError(
            f"vmap: there is nothing to map over: in_dims={in_dims} names no axis of any argument; "
            "give the axis of at least one"
        )
    if len({*sizes.values()}) > 1:
        raise ShapeError(
            f"vmap: the arguments hold different numbers of examples: the mapped axes have extents "
            f"{', '.join(map(str, sizes.values()))}; give None in in_dims for what is not mapped"
        )
    return _Examples(leaves, [dim is not None for dim in dims], next(iter(sizes.values())))


def _tensor(leaf: Any, dim: int) -> Tensor:
    foreign = type(leaf).__module__.partition(".")[0] == "torch"
    if not isinstance(leaf, Tensor | np.ndarray | np.generic) and not foreign:
        raise ArgumentTypeError(
            f"vmap: in_dims names axis {dim} of {shown(leaf)}, which is no tensor; give None for "
            "it in in_dims"
        )
    x: Tensor = as_tensor(leaf)
    return x


# -- the function ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Traced:
    """What the function did with one example.

    - `order`: the nodes of the tensors that it returned; `written`: by the number of a leaf of the
      arguments the node of its value, where it was changed in place.
    - `results`, `changed`: whether those ask for gradients.
    """

    trace: Trace
    structure: Any
    order: list[Node]
    results: dict[Node, bool]
    written: dict[int, Node]
    changed: dict[Node, bool]


def _mapped(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    given: _Examples,
    out_dims: Any,
    randomness: str,
) -> tuple[Any, list[Tensor]]:
    """The structure of the results, and their leaves."""
    leaves = list(given.leaves)
    nodes: dict[int, Node] = {}
    for number, there in enumerate(given.mapped):
        if there:
            x = leaves[number]
            nodes[number] = input_node(Type(x.shape[1:], x.dtype))
            leaves[number] = Tensor.from_node(nodes[number], requires_grad=x.requires_grad)
    arguments = rebuild(args, iter(leaves))
    traced = keeping(lambda: tracing.tidy(lambda: _trace(function, arguments, leaves, nodes)))
    trace, writes = traced.trace, _writes(traced.trace, randomness)
    dims = list(dims_of("vmap: out_dims", out_dims, traced.structure, _RETURNED))
    whole = {node: given.leaves[number] for number, node in nodes.items()}
    many = {
        node: input_node(x.spec) if trace.outer is None else graph_node(x)
        for node, x in whole.items()
    }
    asking = {
        **dict.fromkeys([*(check.inputs[0] for check in trace.checks), *writes.values()], False),
        **traced.changed,
        **traced.results,
    }
    found = batching.batch(asking, many, given.size, spread, randomness == "different")
    for tensor, node in writes.items():
        if node in found:
            raise _not_mapped(tensor)
    known = {many[node]: x for node, x in whole.items()}
    values = _outside(trace, asking, found, known)
    for check in trace.checks:
        require(values[check.inputs[0]], check.params, check.source)
    results = [
        _placed(values[node], node in found, dim, given.size)
        for node, dim in zip(traced.order, dims, strict=True)
    ]
    for tensor, node in writes.items():
        tensor.assign(values[node])
    for number, node in traced.written.items():
        given.leaves[number].copy_(values[node])
    return traced.structure, results


def _trace(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    leaves: Sequence[Any],
    nodes: Mapping[int, Node],
) -> _Traced:
    with enable_grad(), tracing.tracing(example=True) as trace:
        returned = function(*arguments)
        found = list(flatten(returned))
        for one in found:
            if not isinstance(one, Tensor):
                raise ArgumentTypeError(
                    f"vmap: the function must return tensors, it returned {shown(one)}; make one "
                    "of it, or leave it out"
                )
        order = [graph_node(one) for one in found]
        results = dict(zip(order, (one.requires_grad for one in found), strict=True))
        written = {
            number: graph_node(leaves[number])
            for number, node in nodes.items()
            if leaves[number].node is not node
        }
    if trace.gradients:
        raise UsageError(
            "vmap: backward() within the function: gradients of many examples are no `.grad`; use "
            "mynn.func.grad in the function, or backward() outside of it"
        )
    changed = {node: leaves[number].requires_grad for number, node in written.items()}
    return _Traced(trace, returned, order, results, written, changed)


def _writes(trace: Trace, randomness: str) -> dict[Tensor, Node]:
    """The tensors from outside that the function changes in place."""
    writes: dict[Tensor, Node] = trace.writes()
    if randomness == "error" and any(map(sharing.is_drawn, writes)):
        raise UsageError(
            'vmap: the function draws random numbers; say with randomness="different" that each '
            'example gets its own, or with "same" that all get the same'
        )
    return writes


def _not_mapped(tensor: Tensor) -> UsageError:
    return UsageError(
        f"vmap: the function writes a value of each example in place to {tensor.name or 'a tensor'}"
        f" {tensor.spec}, which is the same for all; return the value, or pass the tensor as an "
        "argument that is mapped"
    )


def _outside(
    trace: Trace,
    asking: Mapping[Node, bool],
    found: Mapping[Node, Node],
    known: Mapping[Node, Tensor],
) -> dict[Node, Tensor]:
    """The tensors of all examples: with values, or of the trace that goes on."""
    whole = [found.get(node, node) for node in asking]
    if trace.outer is None:
        state = {node: tensor for tensor, node in trace.reads.items()}
        return dict(zip(asking, replay(whole, {**state, **known}), strict=True))
    tensors = []
    for node, differentiable in zip(whole, asking.values(), strict=True):
        if differentiable and not grad_enabled():
            node = apply(stop_gradient, node)
        tensors.append(Tensor.from_node(node, differentiable and grad_enabled()))
    return dict(zip(asking, tensors, strict=True))


def _placed(y: Tensor, mapped: bool, dim: int | None, size: int) -> Tensor:
    """A result with the axis of the examples where it is wanted."""
    if dim is None:
        if mapped:
            raise ArgumentError(
                f"vmap: out_dims is None for a result {y.spec} that depends on the example; give "
                "the axis at which the examples shall lie"
            )
        return y
    ndim = y.ndim + (not mapped)
    if not -ndim <= dim < ndim:
        raise ArgumentError(
            f"vmap: out_dims names axis {dim} of a result that has {ndim} axes with that of the "
            f"examples; axes lie in {-ndim}..{ndim - 1}"
        )
    if not mapped:
        y = y.unsqueeze(0).broadcast_to((size, *y.shape))
    return y.movedim(0, dim) if dim % ndim else y
