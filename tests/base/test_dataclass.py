"""`mynn.base.dataclass` against the standard library's, option by option."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any, ClassVar

import pytest

from mynn.base import dataclass as ours_module
from mynn.base.dataclass import dataclass as ours

OPTIONS: tuple[dict[str, bool], ...] = (
    {},
    {"frozen": True},
    {"eq": False},
    {"frozen": True, "eq": False},
    {"frozen": True, "slots": True},
    {"frozen": True, "kw_only": True},
)


def classes(options: dict[str, bool]) -> list[Any]:
    """The same class by the standard library and by ours."""

    def made(dataclass: Any) -> Any:
        class Point:
            x: int
            y: int = 2
            z: list[int] = dataclasses.field(default_factory=list)
            w: int = dataclasses.field(default=4, kw_only=True, compare=False, repr=False)

        return dataclass(Point, **options) if not options else dataclass(**options)(Point)

    return [made(dataclasses.dataclass), made(ours)]


def outcome(action: Any) -> Any:
    """What comes of it, an error by its kind."""
    try:
        return action()
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("few", [0, 2, 60])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_as_the_standard_library(
    options: dict[str, bool], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the first few objects, for which no `__init__` is written."""
    monkeypatch.setattr(ours_module, "FEW", few)

    def seen(kind: Any) -> list[Any]:
        def make(*args: Any, **named: Any) -> Any:
            return outcome(lambda: kind(*args, **named))

        made = [make(1), make(1, 3), make(x=1), make(x=1, w=5), make(), make(1, 2, [3], 4)]
        found: list[Any] = [repr(one).replace(kind.__qualname__, "") for one in made]
        kind_of = [kind(x=1), kind(x=1, w=5), kind(x=1, y=3)]
        found += [a == b for a in kind_of for b in kind_of]
        found += [kind_of[0] == 1, kind_of[0].z is kind_of[1].z, kind_of[0].w]
        found += [outcome(lambda: hash(kind_of[0])) is TypeError]
        found += [outcome(lambda: setattr(kind_of[0], "x", 2)), kind_of[0].x]
        found += [outcome(lambda: delattr(kind_of[0], "y"))]
        found += [dataclasses.replace(kind_of[0], y=7).y, kind.__match_args__]
        found += [[f.name for f in dataclasses.fields(kind)], kind.__doc__]
        found += [[(p.name, p.kind) for p in inspect.signature(kind).parameters.values()]]
        found += [copy.deepcopy(kind(x=1)) == kind(x=1)]
        return found

    standard, own = map(seen, classes(options))
    own[-3] = standard[-3]  # the standard library makes a text of the signature
    assert own == standard


@ours(frozen=True)
class Base:
    """A class of which others are made."""

    x: int

    def __repr__(self) -> str:
        return "its own"


@ours(frozen=True, slots=True)
class Packed:
    """One that has slots."""

    x: int
    y: tuple[int, ...] = ()


@ours(frozen=True)
class Derived(Base):
    """One with another field, and what is made of both."""

    y: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sum", self.x + self.y)


def test_derived_classes_and_methods_of_ones_own() -> None:
    derived = Derived(1)
    assert (derived.y, vars(derived)["sum"], repr(Base(1))) == (1.0, 2.0, "its own")
    assert derived != Base(1)
    assert hash(Derived(1)) == hash(derived)
    assert len({Derived(1), Derived(1), Derived(2)}) == 2


def test_comparison_begins_with_identity() -> None:
    nan = float("nan")
    assert Base(nan) == Base(nan)  # type: ignore[arg-type]


def test_copies_and_pickles() -> None:
    for one in (Derived(1, 3.0), Packed(1, (2,))):
        assert copy.copy(one) == one
        assert pickle.loads(pickle.dumps(one)) == one


class _Interrupting(type):
    """Looking for a member makes another object first, as another thread may do meanwhile."""

    made: ClassVar[list[Any]] = []
    armed = False

    def __getattribute__(cls, name: str) -> Any:
        if name == "x" and _Interrupting.armed:
            _Interrupting.armed = False
            _Interrupting.made.append(cls(x=5))
        return super().__getattribute__(name)


def test_an_object_that_is_made_while_fields_are_looked_at_has_them_all() -> None:
    @ours(frozen=True, slots=True)
    class Point(metaclass=_Interrupting):
        x: int
        y: int = 2

    _Interrupting.armed = True
    point = Point(x=1)
    (other,) = _Interrupting.made
    assert (point.x, point.y, other.x, other.y) == (1, 2, 5, 2)
