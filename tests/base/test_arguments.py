"""Arguments of calls are matched as `inspect.Signature.bind` matches them."""

from __future__ import annotations

import inspect
import random
from typing import Any

import pytest

from mynn.base import arguments
from mynn.errors import ArgumentTypeError


def plain(a: int, b: float = 1.0, *, c: bool = True, d: str | None = None) -> None:
    """Parameters of all checked types."""


def starred(a: int, *others: Any, b: float = 1.0, **named: Any) -> None:
    """Parameters that take any number."""


def only(a: int, /, b: int) -> None:
    """One that has a place alone."""


@pytest.mark.parametrize("function", [plain, starred, only])
def test_as_bind(function: Any) -> None:
    rng = random.Random(0)
    names = arguments._names(function)
    for _ in range(500):
        args = tuple(range(rng.randint(0, 4)))
        kwargs = {name: 1 for name in "abcde" if rng.random() < 0.3}
        found = arguments._matched(names, args, kwargs)
        try:
            expected = inspect.signature(function).bind(*args, **kwargs).arguments
        except TypeError:
            assert found is None
        else:
            assert found == expected if function is plain else found is None


def test_values_are_looked_at_either_way() -> None:
    arguments.check_call("f", plain, (1, 2), {"c": False, "d": None})
    for args, kwargs in (((1.5,), {}), ((1,), {"c": "yes"}), ((1,), {"d": 3}), ((True,), {})):
        with pytest.raises(ArgumentTypeError, match="f: "):
            arguments.check_call("f", plain, args, kwargs)
