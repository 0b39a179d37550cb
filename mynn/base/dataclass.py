"""`dataclass`: the standard library's, made in a twentieth of the time.

The compiler has a hundred of them, and is imported when a program is made for the first time. The
standard library writes and compiles five or six methods for each class as it is defined, 0.6 ms.
Here only `__init__` is written, when many objects have been made; the others look at the fields.
Fields, `replace`, `match` and type checkers see what they see there.
"""

from __future__ import annotations

import dataclasses
import operator
import reprlib
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

# So many objects are made by looking at the fields: an `__init__` takes 60 us to write and compile,
# which saves 1 us for each object, and of most classes there are but a few.
FEW = 60

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(
        cls: type | None = None,
        *,
        frozen: bool = False,
        eq: bool = True,
        slots: bool = False,
        kw_only: bool = False,
    ) -> Any:
        """As `dataclasses.dataclass`, for the options that are used here.

        Example:
            >>> @dataclass(frozen=True)
            ... class Point:
            ...     x: int
            ...     y: int = 2
            >>> Point(1), dataclasses.replace(Point(1), x=3) == Point(3, 2)
            (Point(x=1, y=2), True)
        """

        def made(cls: type) -> type:
            own = vars(cls)
            doc = cls.__doc__
            cls.__doc__ = doc or ""  # a signature would be made for it
            cls = _bare(cls, slots=slots, kw_only=kw_only)
            cls.__doc__ = doc
            methods = {"__init__": _init(cls, frozen, slots), "__repr__": _repr}
            if eq:
                methods |= _comparison(cls, frozen)
            if frozen and slots:
                methods |= _state(cls)
            for name, method in methods.items():
                if name not in own or own[name] is None:
                    type.__setattr__(cls, name, method)
            if frozen:
                cls.__setattr__, cls.__delattr__ = _refuse_set, _refuse_delete
            return cls

        return made if cls is None else made(cls)


def _bare(cls: Any, slots: bool, kw_only: bool) -> Any:
    """A dataclass without methods.

    The standard library takes longer for each than all the rest does, half of it to look for class
    variables in annotations that are text. So it is asked only about what is not plain: annotations
    with "Var" or "KW_ONLY" in them, defaults that it may refuse.
    """
    written = vars(cls).get("__annotations__", {})
    fields: dict[str, Any] = {}
    for base in cls.__mro__[-1:0:-1]:
        fields.update(getattr(base, "__dataclass_fields__", ()))
    own = {name: _field(cls, name, text) for name, text in written.items()}
    if None in own.values():
        return _asked(cls, written, slots=slots, kw_only=kw_only)
    for name, field in own.items():
        field.name, field.type, field._field_type = name, written[name], _PLAIN
        field.kw_only = kw_only if field.kw_only is dataclasses.MISSING else field.kw_only
        if field.default is not dataclasses.MISSING:
            setattr(cls, name, field.default)
        elif name in vars(cls):
            delattr(cls, name)
    fields |= own
    marks = {name: getattr(_Plain, name) for name in _MARKS} | {"__dataclass_fields__": fields}
    if "__match_args__" not in vars(cls):
        marks["__match_args__"] = tuple(name for name, one in fields.items() if not one.kw_only)
    for name, mark in marks.items():
        setattr(cls, name, mark)
    return _with_slots(cls, list(own)) if slots else cls


def _with_slots(cls: type, names: list[str]) -> type:
    """The class anew, with slots of these names besides those of its bases."""
    inherited = {name for base in cls.__mro__[1:] for name in getattr(base, "__slots__", ())}
    left_out = {*names, "__dict__", "__weakref__"}
    content = {name: value for name, value in vars(cls).items() if name not in left_out}
    content["__slots__"] = tuple(name for name in names if name not in inherited)
    made = type(cls)(cls.__name__, cls.__bases__, content)
    made.__qualname__ = cls.__qualname__
    return made


@dataclasses.dataclass(init=False, repr=False, eq=False)
class _Plain:
    """What the standard library makes of a class."""

    field: object


_PLAIN: Any = _Plain.__dataclass_fields__["field"]._field_type  # type: ignore[attr-defined]
# What all classes have alike.
_MARKS = [name for name in ("__dataclass_params__", "__replace__") if hasattr(_Plain, name)]


def _field(cls: type, name: str, annotation: object) -> Any:
    """A field as the class says, without a name yet; None where it is not plain."""
    text = str(annotation)
    default = getattr(cls, name, dataclasses.MISSING)
    if "Var" in text or "KW_ONLY" in text or default.__class__.__hash__ is None:
        return None
    if isinstance(default, dataclasses.Field):
        return default if default.default.__class__.__hash__ is not None else None
    if isinstance(default, types.MemberDescriptorType):  # of slots
        default = dataclasses.MISSING
    return dataclasses.field(default=default)


def _asked(cls: type, written: dict[str, Any], **options: bool) -> Any:
    """The same by the standard library, which is shown no text but that of class variables."""
    cls.__annotations__ = {
        n: t if "Var" in str(t) or "KW_ONLY" in str(t) else object for n, t in written.items()
    }
    made: Any = dataclasses.dataclass(cls, init=False, repr=False, eq=False, **options)
    made.__annotations__ = written
    for field in dataclasses.fields(made):
        if field.name in written:
            field.type = written[field.name]
    return made


def _refuse_set(self: Any, name: str, value: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _init(cls: Any, frozen: bool, slots: bool) -> Callable[..., None]:
    """An `__init__` that goes by the fields for the first objects, then writes the one of the
    class, and calls it.
    """
    left = FEW
    rest: tuple[tuple[str, Any, Any], ...] = ()
    names: tuple[str, ...] = ()
    setters: tuple[Callable[[Any, Any], None], ...] = ()
    positional = 0
    post = hasattr(cls, "__post_init__")

    def look() -> None:
        """Find names and defaults: those by position, then those by keyword."""
        nonlocal rest, names, setters, positional
        fields = sorted(dataclasses.fields(cls), key=lambda field: bool(field.kw_only))
        names = tuple(field.name for field in fields)
        positional = sum(not field.kw_only for field in fields)
        if slots:
            setters = tuple(getattr(cls, name).__set__ for name in names)
        # The last, as it tells other threads that the others are found.
        rest = tuple((field.name, field.default, field.default_factory) for field in fields)

    def __init__(self: Any, *args: Any, **named: Any) -> None:
        nonlocal left
        if left > 0:
            left -= 1
            if not rest:
                look()
            count = len(args)
            values: Any = args
            if count > positional:
                values = None
            elif count < len(rest) or named:
                values = _values(args, rest[count:], named)
            if values is not None:
                if slots:
                    for put, value in zip(setters, values):  # noqa: B905
                        put(self, value)
                else:
                    self.__dict__.update(zip(names, values))  # noqa: B905
                if post:
                    self.__post_init__()
                return
        written = _written(cls, frozen, slots)
        if vars(cls).get("__init__") is __init__:
            type.__setattr__(cls, "__init__", written)
        written(self, *args, **named)

    return __init__


def _values(
    args: tuple[Any, ...], rest: tuple[tuple[str, Any, Any], ...], named: dict[str, Any]
) -> list[Any] | None:
    """The values of all fields, where `rest` are those behind `args`; None where they are not such
    as they should be.
    """
    missing, values, by_name = dataclasses.MISSING, list(args), 0
    for name, default, factory in rest:
        if name in named:
            values.append(named[name])
            by_name += 1
        elif default is not missing:
            values.append(default)
        elif factory is not missing:
            values.append(factory())
        else:
            return None
    return values if by_name == len(named) else None


def _written(cls: Any, frozen: bool, slots: bool) -> Callable[..., None]:
    """The `__init__` of the fields, by position and by keyword, with their defaults."""
    known: dict[str, Any] = {"MISSING": dataclasses.MISSING}
    head: dict[bool, list[str]] = {False: ["self"], True: []}
    body = ["pass" if slots else "d = self.__dict__"]
    for field in dataclasses.fields(cls):
        name, text = field.name, field.name
        if field.default_factory is not dataclasses.MISSING:
            known[f"make_{name}"] = field.default_factory
            text += "=MISSING"
            body.append(f"if {name} is MISSING: {name} = make_{name}()")
        elif field.default is not dataclasses.MISSING:
            known[f"default_{name}"] = field.default
            text += f"=default_{name}"
        head[bool(field.kw_only)].append(text)
        if slots:
            known[f"set_{name}"] = getattr(cls, name).__set__
            body.append(f"set_{name}(self, {name})")
        else:
            body.append(f"d[{name!r}] = {name}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    last = ["*", *head[True]] if head[True] else []
    text = "def __init__({}):\n  {}".format(", ".join(head[False] + last), "\n  ".join(body))
    exec(text, known)
    written: Callable[..., None] = known["__init__"]
    written.__qualname__ = f"{cls.__qualname__}.__init__"
    return written


@reprlib.recursive_repr()
def _repr(self: Any) -> str:
    fields = [field for field in dataclasses.fields(self) if field.repr]
    values = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields)
    return f"{type(self).__qualname__}({values})"


def _comparison(cls: Any, frozen: bool) -> dict[str, Any]:
    """`__eq__`, and the `__hash__` that goes with it."""
    names = [field.name for field in dataclasses.fields(cls) if field.compare]
    key: Callable[[Any], Any] = operator.attrgetter(*names) if names else type
    if len(names) == 1:  # a tuple compares what it holds by identity first
        one = key
        key = lambda self: (one(self),)  # noqa: E731

    def __eq__(self: Any, other: Any) -> Any:
        return key(self) == key(other) if type(other) is type(self) else NotImplemented

    def __hash__(self: Any) -> int:
        return hash(key(self))

    return {"__eq__": __eq__, "__hash__": __hash__ if frozen else None}


def _state(cls: Any) -> dict[str, Any]:
    """What copies and pickles take of an object with slots, which refuses to be assigned to."""
    names = [field.name for field in dataclasses.fields(cls)]

    def __getstate__(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def __setstate__(self: Any, state: list[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return {"__getstate__": __getstate__, "__setstate__": __setstate__}
