"""Hooks of tensors: `register_hook`, `retain_grad`; `grad_fn`, what made a tensor."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from mynn.base import hooks, recording
from mynn.base.hooks import RemovableHandle
from mynn.errors import UsageError
from mynn.tensor.gradients import grad_fn, history
from mynn.tensor.gradients.backward import own_gradient
from mynn.tensor.gradients.grad_fn import GradFn
from mynn.tensor.value import Value
from mynn.trace import tracing

T = TypeVar("T", bound="Hooked[Any]")


class Hooked(Value[T]):
    """What is called with gradients, and where values came from."""

    __slots__ = ()

    def register_hook(self, hook: Callable[[T], Any]) -> RemovableHandle:
        """Call `hook(gradient)` when the gradient of this tensor is known, in every backward pass.

        What it returns, if that is not None, takes the place of the gradient. Hooks are called in
        the order in which they were registered. In a compiled function the hook is traced.

        Raises:
            UsageError: the tensor requires no gradient.

        Example:
            >>> import mynn
            >>> x = mynn.tensor([1.0, 2.0], requires_grad=True)
            >>> handle = x.register_hook(lambda g: g * 10)
            >>> (x * x).sum().backward()
            >>> x.grad.tolist()
            [20.0, 40.0]
        """
        if not self.requires_grad:
            raise UsageError(
                f"cannot register a hook on a tensor that doesn't require gradient ({self.spec}); "
                "set requires_grad_() first"
            )
        own = self._own_hooks()
        return self._added(own.gradient, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[T], None]) -> RemovableHandle:
        """Call `hook(tensor)` each time after a backward pass has added to its `.grad`.

        Raises:
            UsageError: the tensor is no leaf, or requires no gradient.

        Example:
            >>> import mynn
            >>> x = mynn.tensor([1.0, 2.0], requires_grad=True)
            >>> norms = []
            >>> handle = x.register_post_accumulate_grad_hook(lambda x: norms.append(x.grad.norm()))
            >>> (x * 2).sum().backward()
            >>> round(norms[0].item(), 4)
            2.8284
        """
        if not self.requires_grad:
            raise UsageError(
                f"cannot register a hook on a tensor that doesn't require gradient ({self.spec}); "
                "set requires_grad_() first"
            )
        if not self.is_leaf:
            raise UsageError(
                "post accumulate grad hooks cannot be registered on non-leaf tensors: this one is "
                f"a result ({self.spec}); use register_hook"
            )
        return self._added(self._own_hooks().accumulated, hook)

    def retain_grad(self) -> None:
        """Have `.grad` of a result filled too; of a leaf it is.

        Example:
            >>> import mynn
            >>> x = mynn.tensor([1.0, 2.0], requires_grad=True)
            >>> y = x * 3
            >>> y.retain_grad()
            >>> (y * y).sum().backward()
            >>> y.grad.tolist(), y.retains_grad
            ([6.0, 12.0], True)
        """
        if not self.requires_grad:
            raise UsageError(
                f"can't retain_grad on Tensor that has requires_grad=False ({self.spec}); set "
                "requires_grad_() on what it is computed from"
            )
        if self.is_leaf:
            return
        there = weakref.ref(self)

        def keep(gradient: Any) -> None:
            tensor = there()
            if tensor is not None:
                history.accumulate(tensor, own_gradient(gradient))

        self._own_hooks().keep = keep

    @property
    def retains_grad(self) -> bool:
        """Whether `.grad` of this result is filled, because of `retain_grad`."""
        if self.is_leaf or not hooks.on_results():
            return False
        own = hooks.of(history.graph_node(self))
        return own is not None and own.keep is not None

    @property
    def grad_fn(self) -> GradFn | None:
        """What made the tensor, for those who look: None for leaves.

        Example:
            >>> import mynn
            >>> x = mynn.tensor([1.0], requires_grad=True)
            >>> y = x * 2
            >>> y.grad_fn.name(), y.grad_fn.next_functions[0][0].name()
            ('MulBackward0', 'AccumulateGrad')
        """
        return grad_fn.of(self)

    def _own_hooks(self) -> hooks.TensorHooks:
        if not self.is_leaf:
            # Every call has a node, so that there is one for this result, whoever used it.
            history.make_node_by_call(self)
            node = history.graph_node(self)
            history.inside(node)
            return hooks.made(node, "results")
        if tracing.active() is None:
            recording.before_write(self, values=False)
        return hooks.made(self, "leaves")

    def _added(self, table: dict[int, Any], hook: Any) -> RemovableHandle:
        if not callable(hook):
            raise UsageError(f"a hook is a function of a tensor, not {type(hook).__name__}")
        number = hooks.number_of_next()
        table[number] = hook
        if not self.is_leaf:
            return RemovableHandle(table, number, lambda: None)
        tracing.activity.note_edit()
        return RemovableHandle(table, number, tracing.activity.note_edit)
