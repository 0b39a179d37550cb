"""Modules as functions of their parameters and buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mynn.base.arguments import explained, shown
from mynn.base.recording import run_at_once
from mynn.core.graph import next_serial
from mynn.errors import ArgumentError, ArgumentTypeError
from mynn.functional import stack
from mynn.nn.module import Module
from mynn.nn.normalization import _BatchNorm
from mynn.tensor import Tensor, as_tensor, no_grad
from mynn.trace import tracing

# A module, which of its tables a tensor stands in, and under which name.
Place = tuple[Module, dict[str, Any], str]


@explained
@run_at_once
def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Any,
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a module with other tensors in place of its parameters and buffers.

    The module itself is as it was afterwards; what it writes in place, such as running means, is
    written to the tensors that were given. Other threads must not use it meanwhile.

    Args:
        module: what is called.
        parameter_and_buffer_dicts: tensors by path, as of `named_parameters`, or several such
            dicts. What is not named keeps its own.
        args: the arguments, in a tuple where there are several; kwargs: those by name.
        tie_weights: whether a tensor that stands in several places is replaced in all of them.
        strict: whether every parameter and buffer must be named, and nothing else.

    Raises:
        ArgumentError: a name is given twice, or different tensors for places that are tied; when
            strict, names that are missing or unknown.

    Example:
        >>> import mynn
        >>> from mynn import nn
        >>> from mynn.func import functional_call
        >>> net = nn.Linear(2, 1, bias=False)
        >>> functional_call(net, {"weight": mynn.tensor([[1.0, 10.0]])}, mynn.tensor([2.0, 3.0]))
        tensor([32.])
    """
    if not isinstance(module, Module):
        raise ArgumentTypeError(f"functional_call: {shown(module)} is no module; give a layer")
    given = _merged(parameter_and_buffer_dicts)
    places = _places(module)
    if strict and given.keys() != places.keys():
        missing = ", ".join(sorted(places.keys() - given.keys())) or "nothing"
        unknown = ", ".join(sorted(given.keys() - places.keys())) or "nothing"
        raise ArgumentError(
            f"functional_call: {missing} is missing and {unknown} is unknown; give every parameter "
            "and buffer, or strict=False"
        )
    changed = {name: as_tensor(value) for name, value in given.items() if name in places}
    if tie_weights:
        _tie(places, changed)
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _Replaced([(places[name], value) for name, value in changed.items()]):
        return module(*args, **(kwargs or {}))


def _merged(dicts: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    given = dicts if isinstance(dicts, tuple | list) else [dicts]
    for one in given:
        if not isinstance(one, Mapping):
            raise ArgumentTypeError(
                f"functional_call: parameters are given as a dict of tensors by their paths, not "
                f"as {shown(one)}; write dict(module.named_parameters())"
            )
        twice = merged.keys() & one.keys()
        if twice:
            raise ArgumentError(
                f"functional_call: {', '.join(sorted(twice))} is given in more than one dict; give "
                "each tensor once"
            )
        merged.update(one)
    return merged


def _places(module: Module) -> dict[str, Place]:
    """Where each parameter and buffer stands, by all of its paths."""
    return {
        f"{path}.{name}" if path else name: (owner, table, name)
        for path, owner in module.named_modules(remove_duplicate=False)
        for table in (owner._parameters, owner._buffers)
        for name, tensor in table.items()
        if tensor is not None
    }


def _tie(places: dict[str, Place], changed: dict[str, Tensor]) -> None:
    """Give a tensor to all places that hold what it stands for."""
    tied: dict[int, list[str]] = {}
    for path, (_, table, name) in places.items():
        tied.setdefault(id(table[name]), []).append(path)
    for paths in tied.values():
        named = [path for path in paths if path in changed]
        if any(changed[path] is not changed[named[0]] for path in named):
            raise ArgumentError(
                f"functional_call: {', '.join(named)} are one tensor in the module, and are given "
                "different ones; give one of them, or tie_weights=False"
            )
        changed.update((path, changed[named[0]]) for path in paths if named)


class _Replaced:
    """A block in which tensors stand in places of modules.

    Programs that were made of these modules do not stand for them meanwhile.
    """

    def __init__(self, tensors: Sequence[tuple[Place, Tensor]]) -> None:
        self._tensors = tensors
        self._edits: dict[Module, int] = {}
        self._before: list[tuple[Place, Any]] = []

    def __enter__(self) -> None:
        for owner in {owner: None for (owner, _, _), _ in self._tensors}:
            owner._before_edit()
            self._edits[owner] = owner._edits
        if tracing.active() is None:
            # A number that no other state of the modules has.
            self._number(dict.fromkeys(self._edits, -next_serial()))
        for (owner, table, name), value in self._tensors:
            self._before.append(((owner, table, name), table[name]))
            table[name] = value

    def __exit__(self, *error: object) -> None:
        for (_, table, name), value in reversed(self._before):
            table[name] = value
        self._number(self._edits)

    def _number(self, edits: Mapping[Module, int]) -> None:
        for owner, number in edits.items():
            if owner._edits != number:
                object.__setattr__(owner, "_edits", number)
                tracing.activity.note_edit()


def replace_all_batch_norm_modules_(root: Module) -> Module:
    """Have batch normalisation here and below use the statistics of each batch alone, in place.

    Running statistics are one state for all examples, which `vmap` does not write.

    Example:
        >>> from mynn import nn
        >>> from mynn.func import replace_all_batch_norm_modules_
        >>> net = replace_all_batch_norm_modules_(nn.Sequential(nn.BatchNorm1d(3)))
        >>> net[0].running_mean is None
        True
    """
    for module in root.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    return root


@explained
def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the buffers of alike modules, each stacked along a new first axis.

    They are leaves of their own, for `vmap` of `functional_call`: an ensemble as one module.

    Raises:
        ArgumentError: no models, models of different classes or modes, or with other parameters.

    Example:
        >>> from mynn import nn
        >>> from mynn.func import stack_module_state
        >>> parameters, buffers = stack_module_state([nn.Linear(2, 3) for _ in range(5)])
        >>> {name: one.shape for name, one in parameters.items()}
        {'weight': (5, 3, 2), 'bias': (5, 3)}
    """
    models = list(models)
    if not models:
        raise ArgumentError("stack_module_state: there are no models; give at least one")
    kinds = {type(model) for model in models}
    if len(kinds) > 1 or len({model.training for model in models}) > 1:
        raise ArgumentError(
            "stack_module_state: the models must be of one class, and all in training or all in "
            f"evaluation mode; their classes are {', '.join(sorted(k.__name__ for k in kinds))}"
        )
    return tuple(  # type: ignore[return-value]
        _stacked([dict(getattr(model, named)()) for model in models])
        for named in ("named_parameters", "named_buffers")
    )


def _stacked(tables: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    stacked = {}
    for name in {name: None for table in tables for name in table}:
        first = tables[0].get(name)
        alike = [table.get(name) for table in tables]
        kinds = {None if one is None else (one.spec, one.requires_grad) for one in alike}
        if len(kinds) > 1 or first is None:
            raise ArgumentError(
                f"stack_module_state: {name!r} has not the same shape, dtype and requires_grad in "
                "all models; stack models that are built alike"
            )
        with no_grad():
            one = stack(alike)
        one.requires_grad = first.requires_grad
        stacked[name] = one
    return stacked
