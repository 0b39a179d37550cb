"""`Module`: the base of layers and networks, which finds its parts by their attribute names."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from mynn.base import recording
from mynn.base.arguments import check_call, check_constructor, checked, nearest, shown
from mynn.base.notices import user_place
from mynn.errors import ArgumentError, MynnError, ShapeError, UsageError
from mynn.nn.conversion import Conversions
from mynn.nn.hooks import Hooked, hooked
from mynn.nn.state import LoadResult, load
from mynn.nn.traced import enter, read_attribute
from mynn.tensor import Parameter, Tensor, as_array, as_tensor, graph_node, no_grad
from mynn.tensor.state_dict import StateDict
from mynn.trace import tracing
from mynn.trace.modes import mode_of


class _Calls(threading.local):
    """The modules whose `forward` is running in a thread, outermost first."""

    def __init__(self) -> None:
        self.modules: list[Module] = []


_calls = _Calls()


class Module(Conversions, Hooked):
    """Base class of layers and networks.

    A subclass calls `super().__init__()`, then assigns parameters and submodules as attributes,
    and defines `forward`. Names are as in PyTorch: a parameter `weight` of a submodule `encoder`
    is `encoder.weight`.

    Threads may call a module at once. An eager call reads parameter by parameter, also while
    another thread trains; compiled calls, `state_dict` and `load_state_dict` see and leave whole
    steps.

    Example:
        >>> import mynn
        >>> from mynn import nn
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.hidden = nn.Linear(2, 8)
        ...         self.out = nn.Linear(8, 1)
        ...     def forward(self, x):
        ...         return self.out(self.hidden(x).tanh())
        >>> [name for name, _ in Net().named_parameters()]
        ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
    """

    _transient: set[str]
    # Whether the class is mynn's own, so that a tape records a call as a whole.
    _own: ClassVar[bool] = True
    # Whether it learns its buffers from data (`mynn.data.fitted`), so that they have any shape.
    _learns: ClassVar[bool] = False
    _traced: bool
    _kept: set[str]
    _training: bool
    _edits: int

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        check_constructor(cls)
        cls._own = cls.__module__.startswith("mynn.")

    @checked
    def __init__(self) -> None:
        self.__dict__.update(
            _parameters={},
            _buffers={},
            _modules={},
            _transient=set(),
            _training=True,
            _traced=False,
            _kept=set(),
            _edits=0,
            _hooks=None,
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; subclasses define it."""
        raise UsageError(
            f"{type(self).__name__} does not define forward; write def forward(self, x) in it"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        tape = recording.current.tape
        if tape is None:
            return self._call(args, kwargs)
        if type(self)._own and not (hooked and self._has_hooks()):
            return tape.call(self, args, kwargs, self)
        return tape.inside(self, args, kwargs)

    def _has_hooks(self) -> bool:
        """Whether this module or one below it has hooks, which see every call."""
        return any(module._hooks is not None for module in self.modules())

    def _call(self, args: Any, kwargs: Any) -> Any:
        trace = tracing.active()
        if trace is not None:
            enter(self, trace, _calls.modules[0] if _calls.modules else None)
        _calls.modules.append(self)
        try:
            hooks = self._hooks
            output = self.forward(*args, **kwargs) if hooks is None else hooks(self, args, kwargs)
        except MynnError as error:
            _name_layer(error)
            raise
        except TypeError:
            check_call(type(self).__name__, self.forward, args, kwargs)
            raise
        finally:
            _calls.modules.pop()
        if trace is not None and isinstance(output, Tensor):
            trace.observer.activations[trace.observer.modules[self]] = graph_node(output)
        return output

    # -- attributes --------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if "_modules" not in self.__dict__:
            raise UsageError(
                f"{type(self).__name__}.__init__ must call super().__init__() before it sets "
                f"{name!r}"
            )
        if type(value) not in _PLAIN and self._holds(name, value):  # as after `self.weight -= step`
            return
        self._before_edit()
        rule = self.__dict__.get("_computed", {}).get(name)
        if hasattr(rule, "assign"):
            rule.assign(self, value)
        elif isinstance(value, Parameter):
            self._release(name, self._parameters)
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._release(name, self._modules)
            self.add_module(name, value)
        elif name in self._parameters and value is not None:
            raise UsageError(
                f"{type(self).__name__}.{name} is a parameter; assign a mynn.Parameter, or "
                f"set its values with .{name}.data = ..."
            )
        elif name in self._modules and value is not None:
            raise UsageError(f"{type(self).__name__}.{name} is a module; assign a module or None")
        elif name in self._buffers and tracing.active() is not None and value is not None:
            self._write_buffer(name, value)
        elif name in self._buffers:
            self._buffers[name] = None if value is None else _as_buffer(name, value)
            self._edited()
        elif name in self._parameters:
            self._parameters[name] = None
            self._edited()
        elif name in self._modules:
            self._modules[name] = None
            self._edited()
        else:
            if name not in self.__dict__ and not hasattr(type(self), name):
                self._check_name_is_meant(name, value)
            method = inspect.isfunction(getattr(type(self), name, None))
            if method:  # as in layer.forward = f
                self._before_edit()
            object.__setattr__(self, name, value)
            if method:
                self._edited()
            if name in self._kept:
                tracing.activity.note_edit()
                trace = tracing.active()
                if trace is not None:
                    trace.effects.assigned[self, name] = user_place()

    def _write_buffer(self, name: str, value: Any) -> None:
        """In a trace a buffer is state: it gets a new value, of its shape and dtype."""
        buffer, new = self._buffers[name], as_tensor(value)
        if buffer is None:
            raise UsageError(
                f"{type(self).__name__}.{name} is None, a compiled function cannot make a buffer "
                f"of it; give it its first value in __init__: register_buffer({name!r}, ...)"
            )
        if new.shape != buffer.shape or (new.dtype.kind, buffer.dtype.kind) in _LOSSY:
            raise ShapeError(
                f"{type(self).__name__}.{name} is {buffer.spec}, a compiled function cannot make "
                f"it {new.spec}: state keeps its shape and dtype; register it as it shall be"
            )
        with no_grad():
            buffer.assign(new.detach().astype(buffer.dtype))

    def _holds(self, name: str, value: Any) -> bool:
        return value is not None and (
            self._parameters.get(name) is value
            or self._buffers.get(name) is value
            or self._modules.get(name) is value
        )

    def _check_name_is_meant(self, name: str, value: Any) -> None:
        """Refuse a new attribute that looks like one that is there, unless a method sets it.

        Layers of mynn have no others that count; a network of the user's may have any, but for a
        misspelt `training`.
        """
        if sys._getframe(2).f_locals.get("self") is self:
            return
        known = ["training"]
        if type(self).__module__.startswith("mynn."):
            known += [key for key in vars(self) if not key.startswith("_")]
            known += [*self._parameters, *self._buffers]
        close = nearest(name, known, 0.85)
        if close:
            raise ArgumentError(
                f"{type(self).__name__} has no attribute {name!r}, setting it to {value!r} would "
                f"change nothing; did you mean {close!r}?"
            )

    def __getattr__(self, name: str) -> Any:
        # Only called where the usual look-up fails. Typed Any: an attribute is a tensor, a module
        # or None.
        for table in ("_parameters", "_buffers", "_modules"):
            entries = self.__dict__.get(table, {})
            if name in entries:
                return entries[name]
        rule = self.__dict__.get("_computed", {}).get(name)
        if rule is not None:  # as of `nn.utils.weight_norm`
            return rule(self)
        trace = tracing.active()
        if trace is not None and "_kept" in self.__dict__:
            self._kept.add(name)
            trace.guards.keep_absence(self, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        self._before_edit()
        if not self._release(name):
            object.__delattr__(self, name)
        self._edited()

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _release(self, name: str, keep: Mapping[str, Any] | None = None) -> bool:
        """Forget an attribute in every table but `keep`, where it holds its place."""
        found = False
        for table in (self._parameters, self._buffers, self._modules, self.__dict__):
            if name in table and table is not keep:
                found = True
                del table[name]
        self._transient.discard(name)
        return found

    def _before_edit(self) -> None:
        """What a tape has recorded of a module of mynn's own stands for it as it is now."""
        if (self._traced or self._kept) and type(self)._own:
            recorded = recording.waiting or recording.runs
            if recorded and tracing.active() is None:
                recording.before_edit()

    def _edited(self) -> None:
        """A part was replaced: programs made from a trace of the module do not stand for it now."""
        if self._traced:
            object.__setattr__(self, "_edits", self._edits + 1)
            tracing.activity.note_edit()

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None keeps the name free for one."""
        _check_name(self, name, self._parameters)
        self._before_edit()
        if param is not None and param.name is None:
            param.name = name
        self._parameters[name] = param
        self._edited()

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Add a tensor that is not trained; a persistent one is part of `state_dict`."""
        _check_name(self, name, self._buffers)
        self._before_edit()
        self._buffers[name] = None if tensor is None else _as_buffer(name, tensor)
        self._edited()
        if persistent:
            self._transient.discard(name)
        else:
            self._transient.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under a name."""
        _check_name(self, name, self._modules)
        if module is not None and not isinstance(module, Module):
            raise ArgumentError(
                f"{type(self).__name__}: {name!r} is not a Module but {shown(module)}; give a layer"
            )
        self._before_edit()
        self._modules[name] = module
        self._edited()

    register_module = add_module

    # -- state -------------------------------------------------------------------------------------

    def _persistent(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """What `state_dict` holds: shared tensors under each of their names."""
        for name, tensor in [*self._parameters.items(), *self._buffers.items()]:
            if tensor is not None and name not in self._transient:
                yield f"{prefix}{name}", tensor
        for name, child in self._modules.items():
            if child is not None:
                yield from child._persistent(f"{prefix}{name}.")

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Parameters and persistent buffers by PyTorch's keys, as tensors that share their memory.

        They see later steps, and what is written into them is written into the module:
        `copy.deepcopy(net.state_dict())` keeps the values of now; `.numpy()` of each gives it as a
        NumPy array.

        Args:
            destination: a dict that they are put into; a new one without.
            prefix: put in front of each key.
            keep_vars: give the parameters themselves, instead of `parameter.detach()`.

        Example:
            >>> import mynn
            >>> net = mynn.nn.Linear(2, 1)
            >>> {name: tuple(value.shape) for name, value in net.state_dict().items()}
            {'weight': (1, 2), 'bias': (1,)}
        """
        state = StateDict() if destination is None else destination
        found = dict(self._persistent(prefix))
        if recording.waiting and tracing.active() is None:
            recording.settle(list(found.values()))
        for name, tensor in found.items():
            state[name] = tensor if keep_vars else tensor.detach()
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy values into the parameters and buffers.

        Args:
            state_dict: arrays by path, from `state_dict()` here or in PyTorch (its tensors and
                parameters are taken too, of any floating dtype), or lists of numbers.
            strict: whether every key must have a partner.

        Raises:
            ArgumentError: missing or unexpected keys, when strict.
            ShapeError: a value of another shape. DTypeError: no numbers, or no whole numbers for
                integers. Nothing has been changed then.
        """
        what = f"load_state_dict of {type(self).__name__}"
        own, learnt = dict(self._persistent()), {}
        for path, module in self.named_modules():
            if module._learns and tracing.active() is None:
                prefix = f"{path}." if path else ""
                learnt[module] = module._values_from(what, prefix, state_dict)
                taken = {f"{prefix}{name}" for name in learnt[module]}
                own = {name: tensor for name, tensor in own.items() if name not in taken}
                state_dict = {k: v for k, v in state_dict.items() if k not in taken}
        result = load(what, own, state_dict, strict)
        for module, values in learnt.items():
            module._learn(values)
        return result

    def train(self, mode: bool = True) -> Module:
        """Set `training` here and below: dropout is at work in training."""
        for module in self.modules():
            object.__setattr__(module, "_training", bool(mode))
        return self

    @property
    def _mode(self) -> bool:
        """The mode as this thread sees it: `evaluate` and `predict` have one of their own."""
        return mode_of(self, self._training)

    @property
    def training(self) -> bool:
        """Whether dropout and the like are at work. A trace that reads it holds for that mode."""
        trace = tracing.active()
        mode = self._mode
        if trace is not None:
            trace.guards.properties[self, "_mode"] = mode
        return mode

    @training.setter
    def training(self, mode: bool) -> None:
        object.__setattr__(self, "_training", bool(mode))

    def eval(self) -> Module:
        """`train(False)`."""
        return self.train(False)


def _watch_reads(on: bool) -> None:
    """Reading attributes costs nothing while nothing is traced: there is no Python code for it."""
    if on:
        type.__setattr__(Module, "__getattribute__", read_attribute)
    elif "__getattribute__" in vars(Module):
        type.__delattr__(Module, "__getattribute__")


tracing.observe(_watch_reads)


# Of these no parameter, buffer or module is.
_PLAIN = frozenset({bool, int, float, str, type(None)})
# Kinds of dtypes (new, old) whose values would be lost.
_LOSSY = {(new, old) for new, old in ("fi", "fu", "fb", "ib", "ub")}


def _as_buffer(name: str, value: Any) -> Tensor:
    """A tensor that is state, also where a trace is going on."""
    tensor = value if isinstance(value, Tensor) else Tensor.from_value(np.array(as_array(value)))
    tensor.name = tensor.name or name
    return tensor


def _check_name(module: Module, name: str, table: Mapping[str, Any]) -> None:
    if not isinstance(name, str) or not name or "." in name:
        raise ArgumentError(
            f"{type(module).__name__}: {name!r} is no attribute name (no dots, not empty)"
        )
    if name not in table and (name in module.__dict__ or hasattr(type(module), name)):
        raise ArgumentError(f"{type(module).__name__}: attribute {name!r} is taken")


def _name_layer(error: MynnError) -> None:
    """Put the path and class of the module that is running in front of the message, once."""
    if error.layer is not None:
        return
    calls = _calls.modules
    running = calls[-1]
    path = {module: name for name, module in calls[0].named_modules()}.get(running, "")
    error.layer = path
    where = f"layer {path!r} ({type(running).__name__})" if path else type(running).__name__
    error.args = (f"{where}: {error}",)
