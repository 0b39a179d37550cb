"""Arguments of public calls: what is wrong with one is said with its name, its value and what to
give instead.

Constructors of layers are checked before they run (`checked`), by the plain types among their
annotations: int, float, bool, str, alone or `| None`. Functions are looked at when they raised a
raw error (`explained`), so that calls that are right cost nothing.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from mynn.errors import ArgumentError, ArgumentTypeError, MynnError

P = ParamSpec("P")
R = TypeVar("R")

# What other toolboxes and NumPy call arguments, and what is written here instead.
HABITS: dict[str, str] = {
    "out": "results are returned; write the method, such as x.sum(), instead of NumPy's function",
    "lr": "give lr to the optimiser, as in optim.SGD(net.parameters(), lr=0.1)",
    "learning_rate": 'the learning rate is called "lr" and belongs to the optimiser',
    "threads": "give threads to mynn.compile(step, threads=...), or set MYNN_THREADS",
    "optimizer": "the step itself calls optimizer.step()",
    "loss": "the step itself computes and returns the loss",
    "metrics": "return a dict of what is to be measured from the step",
    "validation_data": "call mynn.evaluate in a callback",
    "validation_split": "split the data, and call mynn.evaluate in a callback",
    "x": "give the data as one tuple: fit(step, (x, t))",
    "y": "give the data as one tuple: fit(step, (x, t))",
    "input_shape": "the first layer takes the number of its inputs",
    "activation": "put the activation behind the layer: nn.Sequential(nn.Linear(2, 3), nn.ReLU())",
    "units": 'the number of outputs is called "out_features"',
    "filters": 'the number of outputs is called "out_channels"',
    "axes": 'it is called "axis"',
    "backward": "call loss.backward() in the step",
}
_SHOWN = 60


def shown(value: Any) -> str:
    """A value as errors show it: short, on one line; arrays and tensors by shape and dtype."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    kind = type(value).__name__
    if dtype is not None and isinstance(shape, tuple) and math.prod(shape) != 1:
        return f"an array {kind} of shape {tuple(shape)} and dtype {dtype}"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # whatever the user's __repr__ raises
        return f"a {kind}"
    text = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    return text if isinstance(value, int | float | str | bool | None) else f"{text} ({kind})"


# -- single values ---------------------------------------------------------------------------------


def whole_number(name: str, value: Any) -> int:
    """`value` as a Python integer."""
    found = as_index(value)
    if found is None:
        raise ArgumentTypeError(
            f"{name} must be a whole number, it is {shown(value)}{_as_whole(value)}"
        )
    return found


def as_index(value: Any) -> int | None:
    """A whole number: an integer of Python or NumPy, or an integer array or tensor of one element;
    None for anything else.
    """
    if type(value) is int:
        return value
    if isinstance(value, int | np.integer):
        return None if isinstance(value, bool) else int(value)
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if kind in ("i", "u") and math.prod(value.shape) == 1:
        return int(value.item()) if isinstance(value, np.ndarray) else operator.index(value)
    return None


def one_by_one(given: tuple[Any, ...]) -> Any:
    """Numbers that were given one by one, or as one sequence."""
    if len(given) != 1 or (as_index(given[0]) is not None and not getattr(given[0], "ndim", 0)):
        return given
    return given[0]


def _as_whole(value: Any) -> str:
    if isinstance(value, float | np.floating) and math.isfinite(value):
        return f"; write {round(value)}"
    if isinstance(value, str) and value.strip().isdigit():
        return f"; write {int(value)}, without quotes"
    return "; give an int"


def positive(name: str, value: Any) -> int:
    """`value` as a whole number of at least 1."""
    number = whole_number(name, value)
    if number < 1:
        raise ArgumentError(f"{name} must be at least 1, it is {number}; give a positive number")
    return number


def flag(name: str, value: Any) -> bool:
    """`value` as True or False; a text would count as true."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise ArgumentTypeError(
        f"{name} must be True or False, it is {shown(value)}; give one of the two"
    )


def number(name: str, value: Any) -> float:
    """`value` as a float."""
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        hint = "; give a float"
        if isinstance(value, str):
            hint += ", without quotes"
        raise ArgumentTypeError(f"{name} must be a number, it is {shown(value)}{hint}")
    return float(value)


def in_range(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """`value` as a float in [low, high), so that it is finite."""
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):  # the last for tensors of several numbers
        raise ArgumentTypeError(
            f"{name} must be a number, it is {shown(value)}; give a float"
        ) from None
    if not low <= number < high:
        limits = f"at least {low:g} and finite" if high == math.inf else f"in [{low:g}, {high:g})"
        limits = "finite" if low == -math.inf else limits
        raise ArgumentError(f"{name} must be {limits}, it is {value}")
    return number


def truth(name: str, value: Any) -> bool:
    """Like `flag`, and 0 or 1, which PyTorch's layers take."""
    return bool(value) if isinstance(value, int) and value in (0, 1) else flag(name, value)


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ArgumentTypeError(f"{name} must be a text, it is {shown(value)}; give a str in quotes")


_KINDS: dict[str, Callable[[str, Any], Any]] = {
    "int": whole_number,
    "float": number,
    "bool": truth,
    "str": _text,
}
# The types of values that need no look.
_EXACT: dict[Callable[[str, Any], Any], type] = {
    whole_number: int,
    number: float,
    truth: bool,
    _text: str,
}


# So many kinds of calls of a constructor are kept.
_MOST_KINDS = 256


# -- calls -----------------------------------------------------------------------------------------


@functools.cache
def _rules(
    function: Callable[..., Any],
) -> tuple[inspect.Signature, dict[str, tuple[Callable[[str, Any], Any], bool]]]:
    """The signature, and for arguments of plain types the check and whether None is allowed."""
    signature = inspect.signature(function)
    rules = {}
    for name, parameter in signature.parameters.items():
        words = [word.strip() for word in str(parameter.annotation).split("|")]
        plain = [word for word in words if word != "None"]
        if len(plain) == 1 and plain[0] in _KINDS:
            rules[name] = _KINDS[plain[0]], "None" in words or parameter.default is None
    return signature, rules


def check_call(
    owner: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Raise `ArgumentTypeError` where arguments are too many, missing or unknown, or one is not of
    the type that its annotation says.
    """
    _checked_by_type(owner, function, args, kwargs)


def _checked_by_type(
    owner: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> bool:
    """The same; whether all arguments of these types do."""
    names = _names(function)
    if names is None and not kwargs and _any_by_place(function):
        return True
    signature, rules = _rules(function)
    given = _matched(names, args, kwargs)
    if given is None:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            reason = _binding(owner, signature, len(args), kwargs, str(error))
            raise ArgumentTypeError(reason) from None
    exact = True
    for name, (check, optional) in rules.items():
        if name in given:
            value = given[name]
            if type(value) is _EXACT[check] or (optional and value is None):
                continue
            exact = False
            if not _is_tensor(value):
                check(f"{owner}: {name}", value)
    return exact


class _Names(NamedTuple):
    """The parameters of a function: by position or keyword, those without a default, all."""

    places: tuple[str, ...]
    needed: frozenset[str]
    known: frozenset[str]


@functools.cache
def _names(function: Callable[..., Any]) -> _Names | None:
    """The parameters, where each of them has a name of its own."""
    found = _rules(function)[0].parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if any(p.kind not in kinds for p in found):
        return None
    return _Names(
        tuple(p.name for p in found if p.kind is kinds[0]),
        frozenset(p.name for p in found if p.default is p.empty),
        frozenset(p.name for p in found),
    )


@functools.cache
def _any_by_place(function: Callable[..., Any]) -> bool:
    """Whether it takes whatever is given by position, itself and nothing else, as containers do."""
    signature, rules = _rules(function)
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    first = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return not rules and kinds == [first, inspect.Parameter.VAR_POSITIONAL]


def _matched(
    names: _Names | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What `inspect.Signature.bind` finds, in a tenth of its time; None where it raises or is not
    so simple to say.
    """
    if names is None or len(args) > len(names.places):
        return None
    found = dict(zip(names.places, args, strict=False))
    if kwargs:
        if not names.known >= kwargs.keys() or found.keys() & kwargs.keys():
            return None
        found.update(kwargs)
    return found if names.needed <= found.keys() else None


def _is_of_python(value: Any) -> bool:
    """Whether its class is Python's own, which is there for ever."""
    return type(value).__module__ == "builtins"


def _is_tensor(value: Any) -> bool:
    """Whether it is a tensor, which may hold a number."""
    return hasattr(value, "requires_grad") and hasattr(value, "shape")


def _binding(
    owner: str,
    signature: inspect.Signature,
    given: int,
    kwargs: Mapping[str, Any],
    reason: str,
) -> str:
    """Why arguments do not fit a signature."""
    first = next(iter(signature.parameters.values()), None)
    method = first is not None and (first.name == "self" or first.annotation == "Tensor")
    names = list(signature.parameters)[method:]
    usage = f"{owner}({', '.join(_shown_parameter(signature.parameters[name]) for name in names)})"
    for name, value in kwargs.items():
        if name not in names:
            close = nearest(name, names)
            hint = f"did you mean {close!r}?" if close else HABITS.get(name, f"call it as {usage}")
            return f"{owner} has no argument {name!r} (given as {shown(value)}); {hint}"
    if "missing" in reason:
        missing = reason.partition(":")[2].strip() or reason
        return f"{owner} was called without {missing}; call it as {usage}"
    positions = sum(
        p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        for p in (signature.parameters[name] for name in names)
    )
    given -= method
    if given > positions:
        hint = f"; give the arrays as one tuple: {owner}(step, (x, t))" if "data" in names else ""
        return (
            f"{owner} takes {positions} arguments by position, it was given {given}{hint}; "
            f"call it as {usage}"
        )
    return f"{owner}: {reason}; call it as {usage}"


def _shown_parameter(parameter: inspect.Parameter) -> str:
    return str(parameter.replace(annotation=parameter.empty))


def nearest(name: str, names: Iterable[str], cutoff: float = 0.7) -> str | None:
    """The name that somebody may have meant; `cutoff` is how alike they must be, at most 1."""
    return next(iter(difflib.get_close_matches(name.lower(), list(names), 1, cutoff)), None)


def checked(function: Callable[..., None]) -> Callable[..., None]:
    """A constructor that looks at its arguments before it runs; errors name the class."""
    right: set[Any] = set()  # of calls that were so: types of the arguments, and names

    @functools.wraps(function)
    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        kinds = (*map(type, args), *kwargs, *map(type, kwargs.values()))
        if kinds not in right:
            by_type = _checked_by_type(type(self).__name__, function, (self, *args), kwargs)
            values = (*args, *kwargs.values())
            if by_type and len(right) < _MOST_KINDS and all(map(_is_of_python, values)):
                right.add(kinds)
        function(self, *args, **kwargs)

    return construct


def check_constructor(cls: type) -> None:
    """Check what the constructor of a class of this package is given."""
    own = vars(cls).get("__init__")
    if own is not None and cls.__module__.partition(".")[0] == __package__.partition(".")[0]:
        type.__setattr__(cls, "__init__", checked(own))


_RAW = (TypeError, ValueError, AttributeError, IndexError, KeyError, OverflowError)


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """A function whose raw errors are explained by its arguments, where those are wrong."""
    owner = getattr(function, "__name__", str(function))

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except MynnError:
            raise
        except _RAW:
            check_call(owner, function, args, kwargs)
            raise

    return call
