"""Calls as a tape keeps them: a function, with places of tensors in place of its tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.core.types import Type
from mynn.tensor import Parameter, Tensor, enable_grad, grad_enabled, graph_node, no_grad
from mynn.tensor.gradients import history
from mynn.tensor.methods.inplace import kept
from mynn.tensor.view import Layout
from mynn.trace import tracing
from mynn.trace.modes import called_in_modes

# Plain values that are part of a key by type and value.
_PLAIN = (bool, int, str, type(None), type, np.dtype, type(Ellipsis))


class Unknown(Exception):
    """A value that cannot be part of a key: the call is run at once."""


def static(value: Any) -> Any:
    """A plain value as a part of a key: equal keys stand for the same value, 1 is not 1.0.

    Raises:
        Unknown: the value is not plain.
    """
    kind = type(value)
    if kind is float:
        return (float, value.hex())
    if kind in _PLAIN or isinstance(value, np.dtype):
        return (kind, value)
    if kind is slice:
        return (slice, static(value.start), static(value.stop), static(value.step))
    if isinstance(value, np.generic):
        return (kind, value.tobytes())
    raise Unknown


def whole(value: tuple[Any, ...] | list[Any]) -> tuple[Any, ...] | None:
    """What a key says of some integers; None where there is something else among them."""
    for one in value:
        if type(one) is not int:
            return None
    return ("ints", type(value), *value)


@dataclass(frozen=True)
class Slot:
    """The result of an earlier call on the tape."""

    number: int


@dataclass(frozen=True)
class External:
    """A tensor or an array that was there before."""

    number: int


@dataclass(frozen=True)
class Beyond:
    """What a tensor from before was computed from: its gradient goes on to that."""

    number: int


# A function within another one that calls itself would be a circle, which waits for the collector.
def _placed(value: Any, place: Any, found: dict[Any, None]) -> Any:
    """An argument with places, which are noted, where tensors and arrays were."""
    if isinstance(value, Tensor | np.ndarray):
        leaf = place(value)
        found[leaf] = None
        return leaf
    if type(value) in (tuple, list):
        return type(value)([_placed(item, place, found) for item in value])
    return value


def _filled(value: Any, value_of: Callable[[Any], Any]) -> Any:
    """An argument with values in the places."""
    if type(value) is Slot or type(value) is External:
        return value_of(value)
    if type(value) in (tuple, list):
        return type(value)([_filled(item, value_of) for item in value])
    return value


class Form:
    """The arguments of a call, with `Slot` and `External` where tensors and arrays were."""

    __slots__ = ("args", "kwargs", "leaves")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], place: Any = None):
        found: dict[Any, None] = {}
        self.args = tuple([_placed(value, place, found) for value in args])
        self.kwargs = {name: _placed(value, place, found) for name, value in kwargs.items()}
        # Each tensor once, in the order in which they stand.
        self.leaves = tuple(found)

    def fill(self, value_of: Callable[[Any], Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments, with what `value_of(leaf)` gives in the places."""
        args = [_filled(value, value_of) for value in self.args]
        return args, {name: _filled(value, value_of) for name, value in self.kwargs.items()}

    def text(self) -> str:
        """The arguments that are no tensors, and where the tensors stand."""
        names = {leaf: number for number, leaf in enumerate(self.leaves)}
        args, kwargs = self.fill(lambda leaf: ("leaf", names[leaf]))
        return repr((args, list(kwargs.items())))


_with_gradients = {True: enable_grad, False: no_grad}


class Call:
    """One recorded call.

    - `function`: a function, a module, or a method of a tensor or an optimiser.
    - `form`: its arguments.
    - `gradients`: whether results remembered where they came from (`no_grad`).
    - `modes`: those of modules, as they were when it was recorded.
    - `slot`: the number of the result; None where there is none.
    - `overwrites`: that of an earlier result, the first argument, which has another value after it.
    """

    __slots__ = ("flat", "form", "function", "gradients", "modes", "overwrites", "slot")

    def __init__(
        self,
        function: Callable[..., Any],
        form: Form,
        slot: int | None,
        modes: Mapping[Any, bool] | None = None,
    ) -> None:
        self.function = function
        self.form = form
        self.gradients = grad_enabled()
        self.modes = modes
        # Whether tensors stand nowhere but among the arguments by position.
        self.flat = not form.kwargs and not any(type(one) in (tuple, list) for one in form.args)
        self.slot = slot
        self.overwrites: int | None = None

    def over(self, slot: int) -> Call:
        """The same call, whose result takes the place of an earlier one."""
        call = copy.copy(self)
        call.overwrites = slot
        call.flat = False
        return call

    def run(self, slots: Sequence[Any], externals: Sequence[Any]) -> Any:
        """The result, for these values of the slots and of what was there before."""
        if self.flat and not self.modes and self.gradients is grad_enabled():
            args = [
                slots[one.number]
                if type(one) is Slot
                else externals[one.number]
                if type(one) is External
                else one
                for one in self.form.args
            ]
            return self.function(*args)

        def value_of(leaf: Any) -> Any:
            return (slots if type(leaf) is Slot else externals)[leaf.number]

        args, kwargs = self.form.fill(value_of)
        if self.overwrites is not None:
            before = slots[self.overwrites]
            if args and args[0] is before:
                args[0] = kept(before)
            result = self._in_modes(args, kwargs)
            history.overwrite(before)
            return result
        return self._in_modes(args, kwargs)

    def _in_modes(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if self.modes:
            return called_in_modes(self.modes, lambda: self._called(args, kwargs))
        return self._called(args, kwargs)

    def _called(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if self.gradients is grad_enabled():
            return self.function(*args, **kwargs)
        return _with_gradients[self.gradients](self.function)(*args, **kwargs)

    @property
    def differentiates(self) -> bool:
        """Whether it asks for gradients."""
        return getattr(self.function, "differentiates", False)

    @property
    def name(self) -> str:
        """For messages and printed tapes."""
        name = getattr(self.function, "__name__", None)
        return name if isinstance(name, str) else type(self.function).__name__

    def __str__(self) -> str:
        args, kwargs = self.form.fill(_shown)
        text = [str(one) for one in args] + [f"{name}={value}" for name, value in kwargs.items()]
        result = "" if self.slot is None else f"%{self.slot} = "
        return f"{result}{self.name}({', '.join(text)})"


class _shown:
    """A place as it is printed."""

    def __init__(self, leaf: Any) -> None:
        self.text = f"%{leaf.number}" if type(leaf) is Slot else f"%arg{leaf.number}"

    def __repr__(self) -> str:
        return self.text


class Update:
    """`optimizer.step()`, with gradients that were there before as its arguments."""

    def __init__(self, optimizer: Any, trained: list[Parameter]) -> None:
        self.optimizer = optimizer
        self.trained = trained
        self.__name__ = "step"

    def parts(self) -> tuple[Any, ...]:
        """What it is made of (`mynn.tape.calls.alike`)."""
        return self.optimizer, self.trained

    def __call__(self, *gradients: Tensor) -> None:
        for parameter, gradient in zip(self.trained, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()


class Backward:
    """`loss.backward()`.

    - `parameters`, `others`: what gets gradients and has some already: parameters, and places of
      tensors from before; those that there are, in that order, are arguments after the loss and the
      tensors in `others`.
    """

    differentiates = True

    def __init__(self, parameters: Sequence[Parameter], others: Sequence[Any]) -> None:
        self.parameters = parameters
        self.others = others
        self.__name__ = "backward"

    def parts(self) -> tuple[Any, ...]:
        """What it is made of (`mynn.tape.calls.alike`)."""
        return list(self.parameters), list(self.others)

    def __call__(self, loss: Tensor, *given: Tensor) -> None:
        if tracing.active() is not None and given:
            count = len(self.others)
            targets = (*self.parameters, *given[:count])
            for target, gradient in zip(targets, given[count:], strict=True):
                before = Tensor.from_node(graph_node(gradient))
                target.grad = before
        loss.backward()


class Leaf(NamedTuple):
    """What is known of a tensor that a call is given.

    - `layout`: how it lies in memory, where it is not contiguous.
    - `array`: whether it is no tensor, but an array; `state`: the parameter that it is.
    """

    type: Type
    requires_grad: bool
    layout: Layout | None
    array: bool
    state: Parameter | None
