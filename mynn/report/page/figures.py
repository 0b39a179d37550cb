"""Figures 2, 3 and 4 of the report, drawn from what was trained."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mynn.core.types import Array
from mynn.report.experiments.networks import Epochs
from mynn.report.experiments.published import CURVE_RATES, FIGURE4_RATE, FIGURE4_SIZES
from mynn.report.experiments.runs import DESCRIBED, FIGURE4_VERSIONS, PUBLISHED, Results

INSIDE = "#c8372d"
OUTSIDE = "#2b6cb0"
ERROR = "#12a150"
LOSS = "#333333"
TEST = "#b45309"
TRAIN = "#e8a55a"
FAINT = "#8a8a8a"

DPI = 160

VERSION_TITLES = {
    PUBLISHED: "as published (output layer frozen)",
    DESCRIBED: "as described (all layers updated)",
}


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": "mynn"})
    return buffer.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file, the same bytes for the same data."""
    import matplotlib as mpl

    FigureCanvasSVG(figure)
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "mynn"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "mynn"})
    return buffer.getvalue()


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


# -- figure 2 --------------------------------------------------------------------------------------


def figure2(results: Results) -> Figure:
    """The training data, and the test data with the errors in green."""
    found = results.figure2
    sample = found.sample
    figure = Figure(figsize=(10.4, 5.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    _points(left, sample.train_input, sample.train_target)
    left.set_title("Training data", fontsize=11)
    _points(right, sample.test_input, sample.test_target)
    wrong = found.test_output.argmax(1) != sample.test_target.argmax(1)
    x, y = sample.test_input[wrong].T
    right.scatter(
        x,
        y,
        s=46,
        color=ERROR,
        edgecolor="white",
        linewidth=0.8,
        zorder=4,
    )
    right.set_title(
        f"Test data after {results.settings.epochs} epochs with lr = 0.1: "
        f"{int(wrong.sum())} errors in {len(wrong)}",
        fontsize=11,
    )
    handles = [
        Line2D([], [], marker="o", linestyle="", color=INSIDE, markersize=5),
        Line2D([], [], marker="o", linestyle="", color=OUTSIDE, markersize=5),
        Line2D([], [], marker="o", linestyle="", color=ERROR, markersize=7),
    ]
    labels = ["in the disc, [1, 0]", "outside or on the edge, [0, 1]", "error"]
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    return figure


def _points(axes: Axes, points: Array, target: Array) -> None:
    inside = target.argmax(1) == 0
    for chosen, color in ((inside, INSIDE), (~inside, OUTSIDE)):
        x, y = points[chosen].T
        axes.scatter(x, y, s=9, color=color, linewidth=0, alpha=0.85)
    angle = np.linspace(0, np.pi / 2, 100)
    axes.plot(0.5 * np.cos(angle), 0.5 * np.sin(angle), color="black", linewidth=1, zorder=3)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xlabel="x", ylabel="y")
    _plain(axes)


# -- figure 3 --------------------------------------------------------------------------------------


def figure3(results: Results) -> Figure:
    """Loss and accuracy over the epochs, for two learning rates and both versions."""
    figure = Figure(figsize=(10.4, 7.2), layout="constrained")
    grid: Any = figure.subplots(2, 2, sharex=True, sharey=True)
    for row, version in zip(grid, (PUBLISHED, DESCRIBED), strict=True):
        for axes, rate in zip(row, CURVE_RATES, strict=True):
            curve = results.curves[version, rate]
            other = _loss_and_accuracy(axes, curve)
            axes.set_title(f"lr = {rate:g}, {VERSION_TITLES[version]}", fontsize=11)
            other.set_ylim(*_accuracy_limits(list(results.curves.values())))
            if axes in grid[:, 0]:
                axes.set_ylabel("total loss (log10)", color=LOSS)
                other.set_yticklabels([])
            else:
                other.set_ylabel("accuracy (%)", color=TEST)
            if version == DESCRIBED:
                axes.set_xlabel("epoch")
    _curve_legend(figure)
    return figure


def _accuracy_limits(curves: list[Epochs]) -> tuple[float, float]:
    low = min(min(c.train_accuracy.min(), c.test_accuracy.min()) for c in curves)
    return (min(75.0, 10 * np.floor(low / 10)), 101.0)


def _loss_and_accuracy(axes: Axes, curve: Epochs) -> Axes:
    """Loss on the left axis, accuracies on a right axis, which is returned."""
    epochs = np.arange(1, len(curve.loss) + 1)
    axes.plot(epochs, curve.loss, color=LOSS, linewidth=1.6)
    other: Axes = axes.twinx()
    other.plot(epochs, curve.train_accuracy, color=TRAIN, linewidth=1.1)
    other.plot(epochs, curve.test_accuracy, color=TEST, linewidth=1.6)
    axes.spines[["top", "right"]].set_visible(False)
    other.spines[["top", "left"]].set_visible(False)
    other.spines["right"].set_color(TEST)
    other.tick_params(axis="y", colors=TEST, labelsize=9)
    axes.tick_params(labelsize=9)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    if len(epochs) > 1:
        axes.set_xlim(0, epochs[-1])
    return other


def _curve_legend(figure: Any) -> None:
    handles = [
        Line2D([], [], color=LOSS, linewidth=1.6),
        Line2D([], [], color=TRAIN, linewidth=1.6),
        Line2D([], [], color=TEST, linewidth=1.6),
    ]
    labels = ["total loss (left axis)", "training accuracy", "test accuracy (right axis)"]
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=10)


# -- figure 4 --------------------------------------------------------------------------------------

TICKS4 = {
    "published_initialisation": "N(0, 0.1²)\noutput frozen",
    "sound_initialisation": "sound\noutput frozen",
    "published_initialisation_all_updated": "N(0, 0.1²)\nall updated",
    "sound_initialisation_all_updated": "sound\nall updated",
}


def figure4(results: Results) -> Figure:
    """The second structure, how it trains, and where all runs end."""
    figure = Figure(figsize=(10.4, 8.6), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    structure(parts[0].subplots())
    left, right = parts[1].subplots(1, 2, width_ratios=(1.1, 1))
    curve = results.figure4_curves["sound_initialisation"]
    other = _loss_and_accuracy(left, curve)
    other.set_ylim(*_accuracy_limits([curve]))
    left.set_xlabel("epoch")
    left.set_ylabel("total loss (log10)", color=LOSS)
    other.set_ylabel("accuracy (%)", color=TEST)
    run = results.figure4_runs["sound_initialisation"][0]
    left.set_title(
        f"lr = {FIGURE4_RATE:g}, sound initialisation: training {run.train_accuracy:.1f} %, "
        f"test {run.test_accuracy:.1f} %",
        fontsize=10,
    )
    _all_runs(right, results)
    _curve_legend(parts[1])
    return figure


def _all_runs(axes: Axes, results: Results) -> None:
    """Test accuracy of every run, by initialisation."""
    for place, name in enumerate(FIGURE4_VERSIONS):
        runs = results.figure4_runs[name]
        spread = np.linspace(-0.22, 0.22, len(runs)) if len(runs) > 1 else np.zeros(1)
        accuracies = [run.test_accuracy for run in runs]
        axes.scatter(place + spread, accuracies, s=26, color=TEST, alpha=0.85, linewidth=0)
    axes.set_xticks(range(len(FIGURE4_VERSIONS)), [TICKS4[name] for name in FIGURE4_VERSIONS])
    axes.set_ylim(0, 104)
    axes.set_ylabel("test accuracy (%)")
    count = results.settings.samples
    axes.set_title(f"Where {count} draws end" if count > 1 else "Where one draw ends", fontsize=10)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    _plain(axes)
    axes.tick_params(axis="x", labelsize=8.5, length=0)


def structure(axes: Axes, sizes: tuple[int, ...] = FIGURE4_SIZES) -> None:
    """A network drawn unit by unit, with the activation of each layer."""
    activations = ["tanh"] * (len(sizes) - 2) + ["relu"]
    spacing = 0.42
    heights = [spacing * (np.arange(n) - (n - 1) / 2) for n in sizes]
    step = 4.0
    for k, (before, after) in enumerate(pairwise(heights)):
        for a in before:
            for b in after:
                axes.plot(
                    (step * k, step * (k + 1)), (a, b), color=FAINT, linewidth=0.25, alpha=0.5
                )
    top = max(heights[k][-1] for k in range(len(sizes)))
    for k, (height, n) in enumerate(zip(heights, sizes, strict=True)):
        color = OUTSIDE if k == 0 else (INSIDE if k == len(sizes) - 1 else "#444444")
        axes.scatter(np.full(n, step * k), height, s=20, color=color, zorder=3, linewidth=0)
        name = "input" if k == 0 else ("output" if k == len(sizes) - 1 else f"layer {k}")
        axes.text(step * k, top + 1.5, f"{name}: {n}", ha="center", va="bottom", fontsize=10)
        if k:
            middle = step * (k - 0.5)
            axes.text(middle, -top - 0.9, "linear", ha="center", va="top", fontsize=9)
            axes.text(
                step * k,
                -top - 0.9,
                activations[k - 1],
                ha="center",
                va="top",
                fontsize=9,
                color=INSIDE if activations[k - 1] == "relu" else OUTSIDE,
            )
    axes.set_xlim(-1.2, step * (len(sizes) - 1) + 1.2)
    axes.set_ylim(-top - 2.2, top + 2.8)
    axes.axis("off")


def draw_all(results: Results) -> dict[str, Figure]:
    """Every figure by the name of its file."""
    return {
        "figure2": figure2(results),
        "figure3": figure3(results),
        "figure4": figure4(results),
    }
