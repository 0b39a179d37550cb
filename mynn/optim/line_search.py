"""A line search that finds a step with the strong conditions of Wolfe.

With f(t) the loss after a step t along a direction, f'(t) its slope:

    f(t) <= f(0) + c1 t f'(0),    |f'(t)| <= c2 |f'(0)|

First steps grow until two of them enclose such a one, then the bracket shrinks; the next step is
the minimum of a cubic through both ends.

Source: Nocedal and Wright, "Numerical optimization", 2006, algorithms 3.5 and 3.6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from mynn.core.types import Array

_DECREASE = 1e-4
_CURVATURE = 0.9


@dataclass(frozen=True)
class Point:
    """A step t: the loss there, the gradient, the slope along the direction."""

    t: float
    loss: float
    gradient: Array
    slope: float


def strong_wolfe(
    evaluate: Callable[[float], Point],
    start: Point,
    t: float,
    width: float,
    tolerance: float,
    most: int,
) -> tuple[Point, int]:
    """A step that fulfils the conditions, or the best that was found; and how many were tried.

    `width` is the largest number of the direction, `tolerance` the shortest change of a parameter
    that is worth a trial, `most` how many are made after the first.
    """
    bracket, tried, found = _enclose(evaluate, start, t, most)
    if found or tried >= most:
        return min(reversed(bracket), key=lambda one: one.loss), tried + 1
    return _shrink(evaluate, start, bracket, width, tolerance, most, tried)


def _enclose(
    evaluate: Callable[[float], Point], start: Point, t: float, most: int
) -> tuple[list[Point], int, bool]:
    """Two steps with a good one between them, or one that is good; how many more were tried."""
    before, here, tried = start, evaluate(t), 0
    while tried < most:
        high = here.loss > _limit(start, here.t)
        if high or (tried > 1 and here.loss >= before.loss):
            return [before, here], tried, False
        if abs(here.slope) <= -_CURVATURE * start.slope:
            return [here], tried, True
        if here.slope >= 0:
            return [before, here], tried, False
        limits = here.t + 0.01 * (here.t - before.t), here.t * 10
        t = _cubic_minimum(before, here, limits)
        before, here = here, evaluate(t)
        tried += 1
    return [start, here], tried, False


def _shrink(
    evaluate: Callable[[float], Point],
    start: Point,
    bracket: list[Point],
    width: float,
    tolerance: float,
    most: int,
    tried: int,
) -> tuple[Point, int]:
    """The best step within the bracket, which becomes shorter and shorter."""
    stuck = False
    low = 0 if bracket[0].loss <= bracket[1].loss else 1
    while tried < most and abs(bracket[1].t - bracket[0].t) * width >= tolerance:
        ends = sorted(one.t for one in bracket)
        t, stuck = _inside(_cubic_minimum(bracket[0], bracket[1], (ends[0], ends[1])), ends, stuck)
        here = evaluate(t)
        tried += 1
        best, other = bracket[low], bracket[1 - low]
        high = here.loss > _limit(start, t)
        if high or here.loss >= best.loss:
            bracket[1 - low] = here
            low = 0 if bracket[0].loss <= bracket[1].loss else 1
            continue
        good = abs(here.slope) <= -_CURVATURE * start.slope
        if not good and here.slope * (other.t - best.t) >= 0:
            bracket[1 - low] = best
        bracket[low] = here
        if good:
            break
    return bracket[low], tried + 1


def _limit(start: Point, t: float) -> float:
    """The largest loss that is low enough, rounded as losses are."""
    number = start.gradient.dtype.type
    return float(number(start.loss + _DECREASE * t * start.slope))


def _inside(t: float, ends: list[float], stuck: bool) -> tuple[float, bool]:
    """A step that is not too near to an end of the bracket twice in a row."""
    first, last = ends
    margin = 0.1 * (last - first)
    if min(last - t, t - first) >= margin:
        return t, False
    if not stuck and first < t < last:
        return t, True
    return (last - margin if abs(t - last) < abs(t - first) else first + margin), False


def _cubic_minimum(a: Point, b: Point, limits: tuple[float, float]) -> float:
    """Where the cubic with the values and slopes of both steps is smallest, within limits."""
    if a.t > b.t:
        a, b = b, a
    middle = (limits[0] + limits[1]) / 2
    if a.t == b.t:
        return middle
    mean = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = mean * mean - a.slope * b.slope
    if not square >= 0:
        return middle
    root = math.sqrt(square)
    slope = b.slope - a.slope + 2 * root
    if slope == 0:
        return middle
    t = b.t - (b.t - a.t) * ((b.slope + root - mean) / slope)
    return min(max(t, limits[0]), limits[1])
