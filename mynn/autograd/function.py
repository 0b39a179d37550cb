"""`Function`: a function of the user's with a gradient of the user's.

One call makes these nodes, where `call` is one without a value, and each result goes through it:

    call  = function_call(x1, x2, ...)       cotangent: those of all results together (`Gathered`)
    y1    = function_result(value1, call)    the identity on its value
    y2    = function_result(value2, call)

So `backward` is called once, when the cotangents of all results are there. In a trace `forward` and
`backward` are traced as the functions of tensors that they call; to the compiler a result is its
value, and the call is nothing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from mynn.autograd.context import FunctionCtx
from mynn.base.arguments import shown
from mynn.base.dataclass import dataclass
from mynn.base.recording import run_at_once
from mynn.core.graph import INPUT, Node, apply
from mynn.core.primitive import Primitive
from mynn.core.types import Array, Type
from mynn.errors import (
    ArgumentTypeError,
    MynnError,
    NotWrittenError,
    ShapeError,
    UsageError,
)
from mynn.ops.batches import spread
from mynn.tensor import Tensor, enable_grad, grad_enabled, graph_node, no_grad
from mynn.tensor.gradients.history import array_of
from mynn.tensor.write import write
from mynn.trace import tracing

_SCALAR = Type((), np.dtype(np.float32))
_NOTHING: Array = np.zeros((), np.float32)
_NOTHING.flags.writeable = False


class Gathered:
    """The cotangents of the results of a call, by their numbers."""

    def __init__(self, parts: dict[int, Any]) -> None:
        self.parts = parts

    def __add__(self, other: Gathered) -> Gathered:
        together = dict(self.parts)
        for number, g in other.parts.items():
            together[number] = together[number] + g if number in together else g
        return Gathered(together)


@dataclass(eq=False)
class Called:
    """One call. It has no field that code goes by: it is for gradients alone."""

    def __post_init__(self) -> None:
        self.function: Any = None
        self.ctx: Any = None
        # By result: its type, where it is a tensor of floats that has a gradient.
        self.results: list[Type | None] = []
        # By argument: the place among the inputs of the node, for tensors.
        self.places: list[int | None] = []
        self.inputs: tuple[Node, ...] = ()

    def back(self, node: Node, g: Gathered) -> tuple[Any, ...]:
        """The cotangents of the inputs of the node."""
        ctx, name = self.ctx, self.function.__name__
        grads = []
        for number, kind in enumerate(self.results):
            gradient = g.parts.get(number)
            if gradient is None and kind is not None and ctx._materialize:
                gradient = Tensor(np.zeros(kind.shape, kind.dtype))
            grads.append(gradient)
        before, ctx._result = ctx._result, lambda value, number: _result(value, node, number)
        try:
            returned = _called(f"{name}.backward", _backward_of(self.function), ctx, *grads)
        finally:
            ctx._result = before
        return self._checked(returned if isinstance(returned, tuple) else (returned,))

    def _checked(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        name, wanted = self.function.__name__, len(self.places)
        if any(one is not None for one in gradients[wanted:]) or len(gradients) < wanted:
            raise UsageError(
                f"function {name}Backward returned an incorrect number of gradients (expected "
                f"{wanted}, got {len(gradients)}); backward returns one for each argument of "
                "forward after ctx, None for what has none"
            )
        parts: list[Any] = [None] * len(self.inputs)
        for number, (place, one) in enumerate(zip(self.places, gradients, strict=False)):
            if one is None:
                continue
            if place is None:
                raise UsageError(
                    f"function {name}Backward returned a gradient different than None at position "
                    f"{number + 1}, but the corresponding forward input was not a Variable; return "
                    "None there"
                )
            if not isinstance(one, Tensor):
                raise ArgumentTypeError(
                    f"function {name}Backward: expected Variable or None (got {shown(one)}) at "
                    f"position {number + 1}; return a tensor"
                )
            if self.ctx.needs_input_grad[number]:
                parts[place] = _fitted(name, number, one, self.inputs[place].type)
        return tuple(parts)


def _fitted(name: str, number: int, g: Tensor, wanted: Type) -> Tensor:
    """A gradient in the shape and dtype of its input; repeated axes are added up."""
    if g.shape != wanted.shape:
        extra = g.ndim - len(wanted.shape)
        fits = extra >= 0 and all(
            n in (1, m) for n, m in zip(wanted.shape, g.shape[extra:], strict=True)
        )
        if not fits:
            raise ShapeError(
                f"Function {name}Backward returned an invalid gradient at index {number} - got "
                f"{list(g.shape)} but expected shape compatible with {list(wanted.shape)}"
            )
        axes = [i for i, n in enumerate(g.shape) if i < extra or wanted.shape[i - extra] != n]
        g = g.sum(axes).reshape(wanted.shape) if axes else g.reshape(wanted.shape)
    return g if g.dtype == wanted.dtype else g.astype(wanted.dtype)


def _refused(*args: Any, **params: Any) -> NoReturn:
    raise UsageError("a call of a Function has no samples")


def _through() -> NoReturn:
    raise UsageError(
        "a gradient through vmap of a Function with a backward of its own: ask for it within, as "
        "in vmap(grad(f)), or write the function with functions of tensors alone"
    )


def _batch_call(size: int, mapped: Any, *xs: Node, **params: Any) -> Node:
    return apply(_CALLS, *xs)


def _batch_result(
    size: int, mapped: tuple[bool, bool], value: Node, call: Node, **params: Any
) -> Node:
    return apply(_RESULTS, value if mapped[0] else spread(value, size), call)


# Both for many examples: gradients are asked for within `vmap`, not through it.
_CALLS = Primitive(
    "function_call",
    lambda *xs: _SCALAR,
    lambda *xs: _NOTHING,
    lambda g, y, *xs: _through(),
    _refused,
    batch=_batch_call,
)
_RESULTS = Primitive(
    "function_result",
    lambda value, call: value,
    lambda value, call: value,
    lambda g, y, value, call: _through(),
    _refused,
    expand=lambda value, call: value,
    batch=_batch_result,
)


# The call: an input of its results, so that their gradients meet there.
CALL = Primitive(
    "function_call",
    lambda *xs, called: _SCALAR,
    lambda *xs, called: _NOTHING,
    lambda g, y, *xs, called: called.back(graph_node(y), g),
    _refused,
    batch=_batch_call,
)

# One of its results.
RESULT = Primitive(
    "function_result",
    lambda value, call, number: value,
    lambda value, call, number: value,
    lambda g, y, value, call, number: (None, Gathered({number: g})),
    _refused,
    expand=lambda value, call, number: value,
    batch=_batch_result,
)

# A result of what can be differentiated once.
ONCE = Primitive(
    "once_differentiable",
    lambda value, *xs: value,
    lambda value, *xs: value,
    lambda g, y, value, *xs: _twice(),
    _refused,
    expand=lambda value, *xs: value,
    batch={},
)


def _twice() -> NoReturn:
    raise UsageError(
        "trying to differentiate twice a function that was marked with @once_differentiable; "
        "write its backward with functions of tensors, and without the decorator"
    )


def _value_node(value: Tensor) -> Node:
    """A node of these values, which has no history."""
    if tracing.active() is not None:
        return graph_node(value)
    return Node(INPUT, (), {}, value.spec, value=array_of(value))


def _joined(primitive: Primitive, value: Tensor, others: tuple[Node, ...], **params: Any) -> Tensor:
    """A tensor of these values, with a history of its own."""
    node = Node(
        primitive,
        (_value_node(value), *others),
        params,
        value.spec,
        source=tracing.user_source(),
    )
    if tracing.active() is not None:
        return Tensor.from_node(node, True)
    node.value = array_of(value)
    return Tensor.from_value(node.value, node)


def _result(value: Tensor, call: Node, number: int) -> Tensor:
    return _joined(RESULT, value, (call,), number=number)


def _own(value: Tensor) -> Tensor:
    """The values in memory that nobody else looks at."""
    if tracing.active() is not None:
        return value
    array = array_of(value)
    return Tensor.from_value(array if value._view is None else array.copy())


def _called(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """What the user's function returns; in a trace errors say which one it is."""
    try:
        return function(*args)
    except MynnError as error:
        if tracing.active() is not None and not getattr(error, "of_function", False):
            error.args = (f"{name}, which is traced: {error}", *error.args[1:])
            error.of_function = True  # type: ignore[attr-defined]
        raise


def _backward_of(function: type[Function]) -> Callable[..., Any]:
    own: Callable[..., Any] = function.backward
    if own is Function.backward:
        own = function.vjp
    if own is Function.vjp:
        raise NotWrittenError(
            "You must implement either the backward or vjp method for your custom "
            f"autograd.Function to use it with backward mode AD: {function.__name__} has neither"
        )
    return own


class Function:
    """A function with a gradient of its own: a subclass says how both are computed.

    - `forward(ctx, *args)`: the result, or a tuple of results. Or `forward(*args)` and
      `setup_context(ctx, inputs, output)`.
    - `backward(ctx, *grads)`: from a cotangent of each result one for each argument, None for what
      has none. With the functions of tensors it can be differentiated again.

    Both are static methods. The function is called by `apply`. `forward` runs without history;
    `ctx` keeps what `backward` needs (`FunctionCtx`). In compiled functions both are traced, and
    must be made of the functions of tensors.

    Raises:
        UsageError: too many gradients or too few, one for what is no tensor; a saved tensor was
            changed in place.
        ShapeError: a gradient of another shape than its input.

    Example:
        >>> import mynn
        >>> class Round(mynn.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         return x.round()
        ...
        ...     @staticmethod
        ...     def backward(ctx, grad):
        ...         return grad
        >>> x = mynn.tensor([0.4, 1.7], requires_grad=True)
        >>> Round.apply(x).sum().backward()
        >>> x.grad.tolist()
        [1.0, 1.0]
    """

    generate_vmap_rule = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise UsageError(
            f"{type(self).__name__} is not made, it is called: {type(self).__name__}.apply(x), "
            "with static methods forward(ctx, x) and backward(ctx, grad)"
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The result; to be written by the subclass."""
        raise NotWrittenError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """What `backward` needs is put into ctx, where `forward` is not given it."""
        raise NotWrittenError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of the arguments; to be written by the subclass."""
        raise NotWrittenError("backward is not implemented.")

    @staticmethod
    def vjp(ctx: Any, *grad_outputs: Any) -> Any:
        """Another name of `backward`."""
        raise NotWrittenError("vjp is not implemented.")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """The result of `forward`, whose gradient is that of `backward`."""
        split = cls.setup_context is not Function.setup_context
        if split:
            bound = inspect.signature(cls.forward).bind(*args, **kwargs)
            bound.apply_defaults()
            args, kwargs = bound.args, bound.kwargs
        if kwargs:
            raise ArgumentTypeError(
                f"{cls.__name__}.apply() takes no keyword arguments, it was given "
                f"{', '.join(kwargs)}; give them by position"
            )
        for name in ("forward", "backward"):
            if not isinstance(inspect.getattr_static(cls, name), staticmethod | classmethod):
                raise UsageError(
                    f"{cls.__name__}.{name} is not a static method (legacy autograd function); "
                    f"write @staticmethod and def {name}(ctx, ...)"
                )
        return _apply(cls, split, args)


@run_at_once
def _apply(cls: type[Function], split: bool, args: tuple[Any, ...]) -> Any:
    given = [one if isinstance(one, Tensor) else None for one in args]
    ctx = FunctionCtx(cls, tuple(one is not None and one.requires_grad for one in given))
    recorded = grad_enabled() and any(ctx.needs_input_grad)
    called = Called()
    if recorded:
        called.function, called.ctx = cls, ctx
        count = iter(range(len(args)))
        called.places = [None if one is None else next(count) for one in given]
        called.inputs = tuple(graph_node(one) for one in given if one is not None)
    with no_grad():
        if split:
            output = _called(f"{cls.__name__}.forward", cls.forward, *args)
            _called(f"{cls.__name__}.setup_context", cls.setup_context, ctx, args, output)
        else:
            output = _called(f"{cls.__name__}.forward", cls.forward, ctx, *args)
    outputs = output if isinstance(output, tuple) else (output,)
    if not any(isinstance(one, Tensor) for one in outputs):
        raise ArgumentTypeError(
            f"{cls.__name__}.forward: expected to return a Tensor or a tuple with one, it returned "
            f"{shown(output)}"
        )
    dirty = ctx._kept("mark_dirty")
    if any(all(one is not other for other in outputs) for one in dirty):
        raise UsageError(
            f"{cls.__name__}: some elements marked as dirty during the forward method were not "
            "returned as output. The inputs that are modified inplace must all be outputs of the "
            "Function."
        )
    if not recorded:
        return output
    results = _with_history(called, outputs, given, dirty)
    return tuple(results) if isinstance(output, tuple) else results[0]


def _with_history(
    called: Called, outputs: tuple[Any, ...], given: list[Any], dirty: tuple[Any, ...]
) -> list[Any]:
    """The results as tensors whose gradient is that of the call."""
    ctx = called.ctx
    still = [*ctx._kept("mark_non_differentiable")]
    node = Node(CALL, called.inputs, {"called": called}, _SCALAR, _NOTHING)
    results = []
    values: list[Any] = []
    for number, one in enumerate(outputs):
        called.results.append(one.spec if isinstance(one, Tensor) else None)
        values.append(None)
        if not isinstance(one, Tensor):
            results.append(one)
            continue
        if one.dtype.kind != "f" or any(one is other for other in still):
            results.append(one.detach() if any(one is x for x in given) else one)
            continue
        changed = any(one is other for other in dirty)
        shared = not changed and any(one is x for x in given)
        values[-1] = value = _own(one.detach() if shared or changed else one)
        new = _result(value, node, number)
        if changed:
            with enable_grad():
                results.append(write(one, new, called.function.__name__, derived=True))
        else:
            results.append(new)
    ctx._save(outputs, values, results)
    return results


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """For a `backward` that cannot be differentiated: it runs without history.

    To differentiate its results is an error, and not silently wrong.

    Example:
        >>> import mynn
        >>> class Cube(mynn.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x**3
        ...
        ...     @staticmethod
        ...     @once_differentiable
        ...     def backward(ctx, grad):
        ...         (x,) = ctx.saved_tensors
        ...         return mynn.tensor(3 * x.numpy() ** 2) * grad
        >>> x = mynn.tensor([2.0], requires_grad=True)
        >>> Cube.apply(x).backward()
        >>> x.grad.item()
        12.0
    """

    @functools.wraps(function)
    def call(ctx: Any, *args: Any) -> Any:
        with no_grad():
            outputs = function(ctx, *args)
        asking = [one for one in args if isinstance(one, Tensor) and one.requires_grad]
        if not grad_enabled() or not asking:
            return outputs
        nodes = tuple(graph_node(one) for one in asking)
        found = [
            _joined(ONCE, one, nodes) if isinstance(one, Tensor) else one
            for one in (outputs if isinstance(outputs, tuple) else (outputs,))
        ]
        return tuple(found) if isinstance(outputs, tuple) else found[0]

    return call


__all__ = ["Function", "FunctionCtx", "once_differentiable"]
