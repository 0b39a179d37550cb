"""`dataclass`: the standard library's, made in a fifth of the time.

The compiler has a hundred of them, and is imported when a program is made for the first time. The
standard library writes and compiles five or six methods for each class as it is defined, 0.6 ms.
Here only `__init__` is written, when some objects have been made; the others look at the fields.
Fields, `replace`, `match` and type checkers see what they see there.
"""

from __future__ import annotations

import dataclasses
import operator
import reprlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

# So many objects are made by looking at the fields: an `__init__` takes 50 us to write and compile,
# which saves 3 us for each object, and of half of the classes there are but a few.
FEW = 16

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
            methods = {"__init__": _init(cls, frozen, slots), "__repr__": _repr(cls)}
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


def _bare(cls: type, **options: bool) -> Any:
    """A dataclass without methods.

    The standard library looks for class variables in each annotation that is text, which takes as
    long as all the rest; so it is shown no other text.
    """
    written = vars(cls).get("__annotations__", {})
    cls.__annotations__ = {n: t if "Var" in str(t) else object for n, t in written.items()}
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
    """An `__init__` that looks through the fields for the first objects, then writes the one of the
    class, and calls it.
    """
    left = 0 if slots else FEW
    fields: list[Any] = []

    def __init__(self: Any, *args: Any, **named: Any) -> None:
        nonlocal left
        if left > 0:
            left -= 1
            fields[:] = fields or dataclasses.fields(cls)
            values = _values(fields, args, named)
            if values is not None:
                self.__dict__.update(values)
                if hasattr(cls, "__post_init__"):
                    self.__post_init__()
                return
        written = _written(cls, frozen, slots)
        if vars(cls).get("__init__") is __init__:
            type.__setattr__(cls, "__init__", written)
        written(self, *args, **named)

    return __init__


def _values(
    fields: list[Any], args: tuple[Any, ...], named: dict[str, Any]
) -> dict[str, Any] | None:
    """What the fields are for these arguments; None where they are not such as they should be."""
    values: dict[str, Any] = {}
    at = by_name = 0
    for field in fields:
        name = field.name
        if at < len(args) and not field.kw_only:
            if name in named:
                return None
            values[name] = args[at]
            at += 1
        elif name in named:
            values[name] = named[name]
            by_name += 1
        elif field.default is not dataclasses.MISSING:
            values[name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            values[name] = field.default_factory()
        else:
            return None
    return values if at == len(args) and by_name == len(named) else None


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


def _repr(cls: Any) -> Callable[[Any], str]:
    names = [field.name for field in dataclasses.fields(cls) if field.repr]

    @reprlib.recursive_repr()
    def __repr__(self: Any) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({values})"

    return __repr__


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
