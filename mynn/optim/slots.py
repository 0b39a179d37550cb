"""What an optimiser keeps for its parameters, as PyTorch's programs read and change it.

The tensors of a slot stay the same objects, because programs write them; what is put into a slot
from outside is copied into it, and what is taken away starts anew, in place.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mynn.base.arguments import shown
from mynn.errors import ArgumentTypeError, UsageError
from mynn.optim.saved import Saved
from mynn.tensor import Parameter, Tensor, no_grad
from mynn.tensor.loaded import loaded_array, numbers_of
from mynn.trace import tracing

_MISSING = object()


class Slots(dict[str, Any]):
    """The slots of one parameter by their names, and with what each begins (`first`)."""

    __slots__ = ("first",)

    def __init__(self, slots: Mapping[str, Any] = {}, first: Any = ()) -> None:
        super().__init__(slots)
        self.first: dict[str, float] = dict(first)

    def __reduce__(self) -> Any:
        return type(self), (dict(self), self.first)

    def begin(self, slots: Mapping[str, Tensor], first: Mapping[str, float]) -> None:
        """Put tensors into slots, in place of those that there are."""
        super().update(slots)
        self.first.update(first)

    def __setitem__(self, slot: str, value: Any) -> None:
        """Copy values into a slot: `state[p]["exp_avg"] = mynn.zeros_like(p)`."""
        own = self.get(slot)
        if not isinstance(own, Tensor):
            super().__setitem__(slot, value)
            return
        if own is value:
            return
        with no_grad():
            own.copy_(self.checked({slot: value})[slot])

    def checked(self, slots: Mapping[str, Any]) -> dict[str, Any]:
        """Values for slots, which have been looked at."""
        if tracing.active() is not None:
            return dict(slots)
        found = {}
        for slot, value in slots.items():
            own = self.get(slot)
            if isinstance(own, Tensor):
                value = loaded_array(f"state: {slot}", value, own.shape, own.dtype)
            found[slot] = value
        return found

    def update(self, *given: Any, **named: Any) -> None:
        """Copy values into some slots; all are looked at before any is changed."""
        for slot, value in self.checked(dict(*given, **named)).items():
            self[slot] = value

    def __delitem__(self, slot: str) -> None:
        """Let a slot begin anew."""
        if slot not in self.first:
            super().__delitem__(slot)
            return
        with no_grad():
            self[slot].fill_(self.first[slot])

    def pop(self, slot: str, default: Any = _MISSING) -> Any:
        """What a slot had, which begins anew."""
        if slot not in self and default is not _MISSING:
            return default
        had = _copied(self[slot])
        del self[slot]
        return had

    def clear(self) -> None:
        """Let all slots begin anew."""
        for slot in list(self):
            del self[slot]


class State(dict[Tensor, Any]):
    """`optimizer.state`: the slots of each parameter.

    Its keys are the parameters of the optimiser. What is taken away begins anew: `state.clear()`,
    `del state[p]` and `optimizer.state = {}` leave an optimiser as before its first step.
    """

    def __init__(self, optimizer: Any, entries: Mapping[Tensor, Any] = {}) -> None:
        super().__init__(entries)
        self._optimizer = weakref.ref(optimizer)

    def __reduce__(self) -> Any:
        return dict, (), None, None, iter(self.items())

    def adopt(self, entries: Iterable[tuple[Tensor, Any]]) -> None:
        """Take parameters with what is kept for them."""
        super().update(entries)

    def replace(self, given: Any) -> None:
        """Have the values of another state, and begin anew where it has none."""
        if not isinstance(given, Mapping):
            raise ArgumentTypeError(
                f"{self._owner()}: state must be a dict of parameters and their slots, it is "
                f"{shown(given)}"
            )
        kept = {}
        for parameter in given:
            own = self._known(parameter)
            slots = {name: _copied(value) for name, value in given[parameter].items()}
            kept[parameter] = own.checked(slots) if isinstance(own, Slots) else slots
        self.clear()
        for parameter, slots in kept.items():
            self[parameter] = slots

    def __setitem__(self, parameter: Tensor, slots: Mapping[str, Any]) -> None:
        """Copy values into the slots of a parameter; those that have none begin anew."""
        own = self._known(parameter)
        self._part(parameter)
        if not isinstance(own, Slots):
            super().__setitem__(parameter, dict(slots))
            return
        own.update(slots)
        for slot in own.keys() - slots.keys():
            del own[slot]

    def update(self, *given: Any, **named: Any) -> None:
        """Copy values into the slots of some parameters."""
        for parameter, slots in dict(*given, **named).items():
            self[parameter] = slots

    def __delitem__(self, parameter: Tensor) -> None:
        """Let what is kept for a parameter begin anew."""
        own = self._known(parameter)
        self._part(parameter)
        own.clear()

    def pop(self, parameter: Tensor, default: Any = _MISSING) -> Any:
        """What was kept for a parameter, which begins anew."""
        if parameter not in self and default is not _MISSING:
            return default
        own = self._known(parameter)
        had = {slot: _copied(value) for slot, value in own.items()}
        del self[parameter]
        return had

    def clear(self) -> None:
        """Let all begin anew."""
        for own in self.values():
            own.clear()

    def tensors(self) -> list[Tensor]:
        """The parameters, and what is kept for them."""
        found = [*self, *(slot for slots in self.values() for slot in slots.values())]
        if all(type(slots) is Slots for slots in self.values()):
            return found
        return [one for one in found if isinstance(one, Tensor)]

    def shared(self) -> dict[int, dict[str, Any]]:
        """What is kept, by the numbers of the parameters that have something: tensors that share
        its memory.
        """
        return {
            number: {n: s.detach() if isinstance(s, Tensor) else s for n, s in slots.items()}
            for number, slots in enumerate(self.values())
            if slots
        }

    def name_slots(self, shared: Iterable[str]) -> None:
        """Names for the printed graph: `0.weight.momentum_buffer`."""
        for parameter, slots in self.items():
            for name, slot in slots.items():
                if name not in shared and parameter.name and isinstance(slot, Tensor):
                    slot.name = f"{parameter.name}.{name}"

    def _part(self, parameter: Tensor) -> None:
        """Give a parameter numbers of its own that it shares with others (the count of steps)."""
        optimizer = self._optimizer()
        if optimizer is not None:
            optimizer.part([parameter])

    def _owner(self) -> str:
        return type(self._optimizer()).__name__

    def _known(self, parameter: Any) -> Any:
        own = self.get(parameter) if isinstance(parameter, Tensor) else None
        if own is None:
            raise UsageError(
                f"{self._owner()}: state is kept for its parameters alone, this is "
                f"{shown(parameter)}; give it to the optimizer first, by add_param_group"
            )
        return own


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def loaded(new: Saved, order: Sequence[Parameter]) -> list[tuple[Tensor, dict[str, Any]]]:
    """What a state dict has for parameters whose class keeps what it likes."""
    numbers = (n for group in new.numbers for n in group)
    return [
        (parameter, {name: _tensor(parameter, v) for name, v in new.slots.get(n, {}).items()})
        for n, parameter in zip(numbers, order, strict=True)
    ]


def _tensor(parameter: Parameter, value: Any) -> Any:
    """A saved value as a tensor, where it was one: floats in the dtype of the parameter, as in
    PyTorch.
    """
    if isinstance(value, np.ndarray) or hasattr(value, "detach"):
        array = np.array(numbers_of("load_state_dict", value))
        return Tensor(array.astype(parameter.dtype) if array.dtype.kind == "f" else array)
    return value
