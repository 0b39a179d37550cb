"""Means, deviations, and what can be said of them beside the published ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mynn.report.experiments.published import BEST_RATE, LEARNING_RATES, QUANTITIES, Pair
from mynn.report.experiments.runs import DEFAULTS, DESCRIBED, PUBLISHED, Results, Run

WITHIN = "within"
OVERLAPS = "overlaps"
DIFFERS = "differs"
FASTER = "faster"
# Our defaults are not meant to give the published figures, but better ones.
BETTER = "better"
WORSE = "worse"

# Where the test accuracies of runs deviate this much (in %), their mean says little, and the
# interval is given beside it. With the largest learning rate that is so whatever the samples.
WIDE = 5.0

DECIMALS = {"loss": 2, "accuracy": 1, "seconds": 3}

LABELS = {"loss": "Total loss (log10)", "accuracy": "Test accuracy (%)", "seconds": "Wall time (s)"}


@dataclass(frozen=True)
class Cell:
    """One quantity in one column of Table 1.

    Attributes:
        values: of the samples.
        mean, deviation: over the samples; the deviation is that of a sample (n - 1), and None for a
            single one.
        published: mean and deviation in the report.
        verdict: see `judge`.
    """

    version: str
    rate: float
    quantity: str
    values: tuple[float, ...]
    published: Pair

    @property
    def mean(self) -> float:
        """Mean over the samples."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the samples."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    @property
    def verdict(self) -> str:
        """One word for how the mean stands to the published one."""
        if self.quantity == "seconds":
            return FASTER if self.mean < self.published.mean else DIFFERS
        if self.version == DEFAULTS:
            lower = self.mean < self.published.mean
            return BETTER if lower == (self.quantity == "loss") else WORSE
        return judge(self.mean, self.deviation, self.published)

    @property
    def wide(self) -> bool:
        """Whether the samples spread too far for their mean to say much."""
        if self.quantity != "accuracy" or self.deviation is None or self.version == DEFAULTS:
            return False
        return self.deviation > WIDE or self.rate == max(LEARNING_RATES)

    @property
    def interval(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return min(self.values), max(self.values)


def judge(mean: float, deviation: float | None, published: Pair) -> str:
    """How a mean stands to a published mean ± deviation.

    - "within": |mean - published mean| <= published deviation.
    - "overlaps": it lies outside, but mean ± deviation and the published interval have values in
      common.
    - "differs": they have none.
    """
    distance = abs(mean - published.mean)
    # The table gives two or three digits; a mean on the edge counts as within.
    tolerance = 1e-9 * max(1.0, abs(published.mean))
    if distance <= published.deviation + tolerance:
        return WITHIN
    if distance <= published.deviation + (deviation or 0.0) + tolerance:
        return OVERLAPS
    return DIFFERS


def explain(cell: Cell) -> str:
    """The verdict as a sentence."""
    if cell.quantity == "seconds":
        return f"{cell.published.mean / cell.mean:,.0f} times faster"
    decimals = DECIMALS[cell.quantity]
    smallest, largest = (f"{value:.{decimals}f}" for value in cell.interval)
    if cell.version == DEFAULTS:
        return f"{cell.verdict} than the report's best; the runs range from {smallest} to {largest}"
    low, high = cell.published.mean - cell.published.deviation, sum(cell.published)
    published = f"{low:.{decimals}f} to {high:.{decimals}f}"
    text = {
        WITHIN: f"within the published {published}",
        OVERLAPS: f"outside the published {published}, but the spreads overlap",
        DIFFERS: f"differs from the published {published}",
    }[cell.verdict]
    if cell.wide:
        text += f"; runs spread from {smallest} to {largest}, so that their mean says little"
    return text


def values(runs: Sequence[Run], quantity: str) -> tuple[float, ...]:
    """The quantity of Table 1 in each run."""
    pick = {"loss": "loss", "accuracy": "test_accuracy", "seconds": "seconds"}[quantity]
    return tuple(float(getattr(run, pick)) for run in runs)


def cells(results: Results) -> list[Cell]:
    """Table 1 in all versions: by version, learning rate, quantity.

    Our defaults have one learning rate; they are held against the best column of the report.
    """
    found = []
    columns = [(version, rate) for version in (PUBLISHED, DESCRIBED) for rate in LEARNING_RATES]
    columns += sorted({(run.version, run.rate) for run in results.runs if run.version == DEFAULTS})
    for version, rate in columns:
        runs = [run for run in results.runs if (run.version, run.rate) == (version, rate)]
        beside = BEST_RATE if version == DEFAULTS else rate
        for quantity, published in QUANTITIES.items():
            found.append(Cell(version, rate, quantity, values(runs, quantity), published[beside]))
    return found


def summary(table: list[Cell]) -> str:
    """What the table shows, in a sentence."""
    published = [c for c in table if c.version == PUBLISHED and c.quantity != "seconds"]
    inside = sum(c.verdict == WITHIN for c in published)
    best = next(c for c in table if c.version == DEFAULTS and c.quantity == "accuracy")
    return (
        f"As published, {inside} of {len(published)} means of loss and accuracy lie within the "
        f"published ±. With our defaults the mean test accuracy is {best.mean:.2f} % "
        f"(lowest run {min(best.values):.1f} %)."
    )
