"""Which of many alike cases `make test` runs. `make test-wide` (pytest's `--wide`) runs twice as
many of them, `make test-all` (`--whole`) all.

A table of cases with the mark `one_in(n)` is thinned out when it is collected:

- `one_in(4)` leaves every fourth case or so, spread evenly, so that values of a parameter that come
  in turn all occur; other ones in another table of the same cases;
- `one_in(4, each="name")` does so among the cases of each value of a parameter, at least one of
  them, and begins with another one in each;
- `one_in(4, each=by_entry)` does so among the cases of each entry of the registry.

A test with the mark `wide` takes long, and mostly goes over ground that others cover: `make test`
leaves it out.

The choice hangs on the name of the table and the order of its cases alone, so it is the same each
time and everywhere.
"""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest

# `--whole` and `--wide` set it before tests are imported.
VARIABLE = "MYNN_TESTS"
WHOLE, WIDE = "whole", "wide"
_GOLDEN = (5**0.5 - 1) / 2


def is_whole() -> bool:
    """Whether everything runs."""
    return os.environ.get(VARIABLE) == WHOLE


def is_wide() -> bool:
    """Whether twice as much runs as usual."""
    return os.environ.get(VARIABLE) == WIDE


def count(whole: int, few: int) -> int:
    """How often something runs: so often, or only a few times."""
    return whole if is_whole() else min(whole, 2 * few) if is_wide() else few


def spread(size: int, one_in: int, name: str = "") -> list[int]:
    """Every `one_in`-th number below `size`, about, at least one; of numbers in turn (even, odd) as
    many. Which ones hangs on the name.
    """
    start = zlib.crc32(name.encode()) / 2**32 if name else 0
    found = [number for number in range(size) if (number * _GOLDEN + start) % 1 < 1 / one_in]
    return found or [0]


def by_entry(params: Mapping[str, Any]) -> Hashable:
    """The entry of the registry that a case is of: "Linear" of "Linear-no bias"."""
    return str(params["name"]).split("-")[0]


def turns(size: int, one_in: int, first: int) -> list[int]:
    """At least one number below `size`, from `first` on."""
    return sorted({(first + turn * one_in) % size for turn in range(-(-size // one_in))})


def one_in(mark: pytest.Mark) -> int:
    """Of how many cases one runs."""
    return max(1, mark.args[0] // 2) if is_wide() else int(mark.args[0])


def _table(item: pytest.Item) -> tuple[str, str]:
    return str(item.path), getattr(item, "originalname", item.name)


def _value(item: Any, names: str | Sequence[str] | Callable[..., Hashable]) -> Hashable:
    given = item.callspec.params
    if callable(names):
        return names(given)
    return tuple(repr(given[name]) for name in ([names] if isinstance(names, str) else names))


def chosen(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """The cases that run, of tables without the mark all."""
    tables: dict[Hashable, list[pytest.Item]] = defaultdict(list)
    for item in items:
        tables[_table(item)].append(item)
    for cases in tables.values():
        if cases[0].get_closest_marker("wide") and not (is_wide() or is_whole()):
            continue
        mark = cases[0].get_closest_marker("one_in")
        if mark is None or is_whole():
            yield from cases
        elif "each" not in mark.kwargs:
            name = cases[0].nodeid.split("[")[0]
            yield from (cases[number] for number in spread(len(cases), one_in(mark), name))
        else:
            groups: dict[Hashable, list[pytest.Item]] = defaultdict(list)
            for item in cases:
                groups[_value(item, mark.kwargs["each"])].append(item)
            for first, group in enumerate(groups.values()):
                yield from (group[number] for number in turns(len(group), one_in(mark), first))
