"""Hooks: functions of the user's that a module calls before and after `forward` and `backward`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.base import recording
from mynn.base.hooks import RemovableHandle, number_of_next
from mynn.core.primitive import Primitive
from mynn.core.types import Type
from mynn.errors import UsageError
from mynn.tensor import Tensor, apply
from mynn.trace import tracing

# Not empty once there were hooks: what has some in it is no single call on a tape.
hooked: list[bool] = []


class Hooks:
    """The hooks of one module, in the order in which they are called."""

    def __init__(self) -> None:
        self.before: dict[int, tuple[Callable[..., Any], bool]] = {}
        self.after: dict[int, tuple[Callable[..., Any], bool, bool]] = {}
        self.backward: dict[int, Callable[..., Any]] = {}
        self.backward_before: dict[int, Callable[..., Any]] = {}
        hooked[:] = [True]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy, or hooks that were pickled."""
        self.__dict__.update(state)
        hooked[:] = [True]

    def are_none(self) -> bool:
        """Whether all have been taken away."""
        return not (self.before or self.after or self.backward or self.backward_before)

    def __call__(self, module: Any, args: Any, kwargs: Any) -> Any:
        """`forward` with the hooks around it."""
        for hook, with_kwargs in list(self.before.values()):
            if with_kwargs:
                returned = hook(module, args, kwargs)
                if returned is not None:
                    args, kwargs = _pair_of(module, returned)
            else:
                returned = hook(module, args)
                if returned is not None:
                    args = returned if isinstance(returned, tuple) else (returned,)
        watch = None
        if self.backward or self.backward_before:
            watch = _Watch(module, self)
            args = watch.inputs(args)
        try:
            output = module.forward(*args, **kwargs)
        except BaseException:
            for hook, with_kwargs, always in list(self.after.values()):
                if always:
                    hook(module, args, *((kwargs,) if with_kwargs else ()), None)
            raise
        for hook, with_kwargs, _ in list(self.after.values()):
            returned = hook(module, args, *((kwargs,) if with_kwargs else ()), output)
            output = output if returned is None else returned
        return output if watch is None else watch.outputs(output)


def _pair_of(module: Any, returned: Any) -> tuple[Any, Any]:
    if isinstance(returned, tuple) and len(returned) == 2:
        return returned
    raise UsageError(
        f"{type(module).__name__}: a forward pre-hook with_kwargs=True must return None or a tuple "
        f"(args, kwargs), it returned {type(returned).__name__}"
    )


class Hooked:
    """Methods that register hooks. Each gives a handle, whose `remove()` takes the hook away.

    Example:
        >>> from mynn import nn
        >>> layer = nn.Linear(2, 3)
        >>> shapes = []
        >>> handle = layer.register_forward_hook(lambda m, args, out: shapes.append(out.shape))
        >>> layer([[1.0, 2.0]]).shape, shapes
        ((1, 3), [(1, 3)])
        >>> handle.remove()
    """

    _hooks: Hooks | None

    def _edited(self) -> None:
        """A part was replaced; see `Module`."""
        raise NotImplementedError

    def _add_hook(self, kind: str, entry: Any, prepend: bool) -> RemovableHandle:
        if recording.waiting:
            recording.settle()
        if self._hooks is None:
            object.__setattr__(self, "_hooks", Hooks())
        table: dict[int, Any] = getattr(self._hooks, kind)
        number = number_of_next()
        old = dict(table) if prepend else {}
        if prepend:
            table.clear()
        table[number] = entry
        table.update(old)
        self._edited()
        return RemovableHandle(table, number, self._hook_removed)

    def _hook_removed(self) -> None:
        self._edited()
        if self._hooks is not None and self._hooks.are_none():
            object.__setattr__(self, "_hooks", None)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before `forward`; what it returns are the new arguments.

        With `with_kwargs` it is `hook(module, args, kwargs)`, and returns both.
        """
        return self._add_hook("before", (hook, with_kwargs), prepend)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after `forward`; what it returns is the new output.

        With `with_kwargs` it is `hook(module, args, kwargs, output)`. In a compiled function the
        hook runs while it is traced.
        """
        return self._add_hook("after", (hook, with_kwargs, always_call), prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the inputs are there.

        Both are tuples, with None for what has no gradient; what it returns replaces grad_input.
        In eager code alone.
        """
        return self._add_hook("backward", hook, prepend)

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, grad_output)` before gradients flow into the module.

        What it returns replaces grad_output. In eager code alone.
        """
        return self._add_hook("backward_before", hook, prepend)

    register_backward_hook = register_full_backward_hook


class _Watch:
    """One call of a module whose gradients are shown to hooks.

    All inputs go through one node, and so do all outputs: gradients arrive there together.
    """

    def __init__(self, module: Any, hooks: Hooks) -> None:
        if tracing.active() is not None:
            raise UsageError(
                f"{type(module).__name__}: backward hooks are called with values, a compiled "
                "function has none while it is traced; call the module eagerly, or remove the hook"
            )
        self.module = module
        self.hooks = hooks
        self.grad_output: tuple[Any, ...] = ()
        # What stands for the gradients of inputs where none of them requires one.
        self.without: tuple[None, ...] | None = None

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, through which gradients leave the module."""
        tensors = [x for x in args if isinstance(x, Tensor | np.ndarray)]
        if not any(isinstance(x, Tensor) and x.requires_grad for x in tensors):
            self.without = (None,) * len(tensors)
        return self._through(args, self._left)

    def outputs(self, output: Any) -> Any:
        """The output, through which gradients enter the module."""
        if isinstance(output, tuple):
            return self._through(output, self._entered)
        return self._through((output,), self._entered)[0]

    def _through(self, values: tuple[Any, ...], call: Callable[..., Any]) -> tuple[Any, ...]:
        places = [i for i, x in enumerate(values) if isinstance(x, Tensor) and x.requires_grad]
        if not places:
            return values
        parts = [values[i].reshape(-1) for i in places]
        dtypes = {part.dtype for part in parts}
        if len(dtypes) > 1:
            raise UsageError(
                f"{type(self.module).__name__}: backward hooks need inputs of one dtype, they are "
                f"{sorted(map(str, dtypes))}"
            )
        shapes = [values[i].shape for i in places]
        ends = np.cumsum([part.numel() for part in parts])
        spans = list(zip([0, *ends[:-1]], ends, strict=True))

        def backward(g: Any, y: Any, x: Any) -> tuple[Any]:
            padded: list[Any] = [None] * len(values)
            for i, (start, end), shape in zip(places, spans, shapes, strict=True):
                padded[i] = g[start:end].reshape(shape)
            new = call(tuple(padded))
            if new is None:
                return (g,)
            kept = [new[i].reshape(-1) for i in places]
            return (kept[0].concatenate(kept[1:], 0),)

        seen = Primitive("hook", _same, lambda x: x, backward, lambda rng: [])
        whole = parts[0].concatenate(parts[1:], 0) if len(parts) > 1 else parts[0]
        flat = apply(seen, whole + 0.0)
        result = list(values)
        for i, (start, end), shape in zip(places, spans, shapes, strict=True):
            result[i] = flat[start:end].reshape(shape)
        return tuple(result)

    def _entered(self, gradients: tuple[Any, ...]) -> tuple[Any, ...] | None:
        changed = None
        for hook in list(self.hooks.backward_before.values()):
            returned = hook(self.module, gradients)
            if returned is not None:
                gradients = changed = returned if isinstance(returned, tuple) else (returned,)
        self.grad_output = gradients
        if self.without is not None:
            self._left(self.without)
        return changed

    def _left(self, gradients: tuple[Any, ...]) -> tuple[Any, ...] | None:
        changed = None
        for hook in list(self.hooks.backward.values()):
            returned = hook(self.module, gradients, self.grad_output)
            if returned is not None:
                gradients = changed = returned if isinstance(returned, tuple) else (returned,)
        return changed


def _same(x: Type) -> Type:
    return x
