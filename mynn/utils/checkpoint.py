"""`checkpoint`: parts of a network as PyTorch's programs mark them to be computed twice.

Such a mark saves memory there: what a part computes on the way is dropped, and computed once more
for its gradient. Programs of mynn plan their memory themselves, and a mark changes nothing: the
part is called once, with the same values and the same gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mynn.base.arguments import shown
from mynn.errors import ArgumentError, ArgumentTypeError

# What says in PyTorch how the second computation is to be.
_OPTIONS = frozenset(
    {"preserve_rng_state", "context_fn", "determinism_check", "debug", "early_stop"}
)


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """`function(*args, **kwargs)`, with its gradients.

    Args:
        function: a module or a function of tensors.
        use_reentrant: PyTorch's; it has no effect, nor have `preserve_rng_state`, `context_fn`,
            `determinism_check`, `debug` and `early_stop`.

    Raises:
        ArgumentTypeError: `function` cannot be called.

    Example:
        >>> import mynn
        >>> from mynn.utils.checkpoint import checkpoint
        >>> x = mynn.tensor([1.0, 2.0], requires_grad=True)
        >>> checkpoint(lambda x: x * x, x, use_reentrant=False).sum().backward()
        >>> x.grad.tolist()
        [2.0, 4.0]
    """
    if not callable(function):
        raise ArgumentTypeError(
            f"checkpoint: takes a module or a function and its arguments, not {shown(function)}"
        )
    given = {name: value for name, value in kwargs.items() if name not in _OPTIONS}
    return function(*args, **given)


def checkpoint_sequential(
    functions: Iterable[Callable[..., Any]],
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    **kwargs: Any,
) -> Any:
    """The functions one after the other, as of an `nn.Sequential`, in so many `segments`.

    Raises:
        ArgumentError: `segments` is no number from 1 on.

    Example:
        >>> import mynn
        >>> from mynn.utils.checkpoint import checkpoint_sequential
        >>> checkpoint_sequential([mynn.exp, mynn.log], 2, mynn.tensor([1.0])).tolist()
        [1.0]
    """
    if not isinstance(segments, int) or segments < 1:
        raise ArgumentError(
            f"checkpoint_sequential: segments must be an integer from 1 on, it is {shown(segments)}"
        )
    for function in functions:
        input = checkpoint(function, input, use_reentrant=use_reentrant, **kwargs)
    return input


__all__ = ["checkpoint", "checkpoint_sequential"]
