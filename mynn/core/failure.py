"""Checks that failed: which value is wrong, where it is, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mynn.base import notices
from mynn.base.dataclass import dataclass
from mynn.core.graph import Node
from mynn.core.types import Array
from mynn.errors import DataError, IndexRangeError


def wrong_places(x: Array, low: float, high: float, ignore: int | None = None) -> Array:
    """True where a value lies outside low..high and is not the one to ignore. NaN lies outside."""
    inside = (x >= low) & (x <= high)
    return np.asarray(~inside if ignore is None else ~(inside | (x == ignore)))


@dataclass(frozen=True)
class Failure:
    """A check that failed: what it says, the node that was looked at, and the index in it."""

    check: Node
    index: tuple[int, ...]
    text: str
    source: str | None

    @property
    def warns(self) -> bool:
        """Whether it is worth a warning only."""
        return bool(self.check.params["warns"])

    def warn(self) -> None:
        """Warn, once for each line."""
        file, _, line = (self.source or "").rpartition(":")
        place = notices.Place(file, int(line)) if line.isdigit() else None
        notices.warn(self.check.params["kind"], self.text, place, UserWarning)

    def error(self, where: str = "") -> DataError | IndexRangeError:
        """What is to be raised; `where` says in which part of the data it was found."""
        kind = IndexRangeError if self.check.params["kind"] == "index" else DataError
        return kind(self.text + where)


def failure(check: Node, value: Array, source: str | None = None) -> Failure | None:
    """What is wrong with `value`, which `check` looks at; None where all of it is in range."""
    params = check.params
    wrong = wrong_places(value, params["low"], params["high"], params["ignore"])
    if not wrong.any():
        return None
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    text = _WORDS[params["kind"]](params, value[index].item(), f" at {index}" if index else "")
    source = source or check.source
    made = f" (called at {source})" if source else ""
    return Failure(check, index, f"{params['name']}: {text}{made}", source)


def _labels(params: Mapping[str, Any], value: Any, place: str) -> str:
    last = params["high"]
    hint = " (give ignore_index=-100 to skip it)" if value == -100 else ""
    return f"labels must lie in 0..{last} for {last + 1} classes, there is {value}{place}{hint}"


def _index(params: Mapping[str, Any], value: Any, place: str) -> str:
    low, high = params["low"], params["high"]
    return (
        f"index {value}{place} is out of range for axis {params['axis']} of extent {high + 1}: "
        f"indices lie in {low}..{high}"
    )


def _probabilities(params: Mapping[str, Any], value: Any, place: str) -> str:
    return (
        f"targets must lie in 0..1, there is {value:.9g}{place}; outside of it this is no cross "
        "entropy, and the loss may have no least value"
    )


def _numbers(params: Mapping[str, Any], value: Any, place: str) -> str:
    high = "" if params["high"] == float("inf") else f"..{params['high']:g}"
    limits = f"lie in {params['low']:g}{high}" if high else f"be at least {params['low']:g}"
    return f"{params['kind']} must {limits}, there is {value:.9g}{place}"


def _parameter(params: Mapping[str, Any], value: Any, place: str) -> str:
    low, high = params["low"], params["high"]
    if high < 1e38:
        wanted = f"must lie in {low:g}..{high:g}"
    elif 0 < low < 1e-30:
        wanted = "must be above 0"
    else:
        wanted = f"must be at least {low:g} and finite" if low > -1e38 else "must be finite"
    return f"{wanted}, there is {value:.9g}{place}"


def _steps(params: Mapping[str, Any], value: Any, place: str) -> str:
    return (
        f"the schedule has {params['high']} steps, this would be step {value:g}; give as many "
        "steps as there are in the training"
    )


OTHER_MATRIX = "give another matrix, for example a + 1e-6 * mynn.eye(n)"


def _singular(params: Mapping[str, Any], value: Any, place: str) -> str:
    return f"Singular matrix; {OTHER_MATRIX}"


def _indefinite(params: Mapping[str, Any], value: Any, place: str) -> str:
    return f"Matrix is not positive definite; {OTHER_MATRIX}"


def _categories(params: Mapping[str, Any], value: Any, place: str) -> str:
    return (
        f"{value:g}{place} is none of the values that it was fitted on; fit it on data that holds "
        "all of them, or say what stands for others with handle_unknown"
    )


_WORDS = {
    "singular": _singular,
    "indefinite": _indefinite,
    "categories": _categories,
    "steps": _steps,
    "labels": _labels,
    "index": _index,
    "probabilities": _probabilities,
    "parameter": _parameter,
    "aweights": _numbers,
    "fweights": _numbers,
    "inputs": _numbers,
    "targets": _numbers,
    "variances": _numbers,
    "lengths": _numbers,
}
