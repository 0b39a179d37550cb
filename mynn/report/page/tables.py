"""Results as JSON, as CSV, and as rows to print."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Iterable
from typing import Any

import numpy as np

import mynn
from mynn.report.experiments.data import accuracy
from mynn.report.experiments.published import BEST_RATE, SIZES
from mynn.report.experiments.runs import DEFAULTS, LEARNT, Results, Run
from mynn.report.experiments.statistics import Cell, cells, explain, summary

VERSION_LABELS = {
    "as_published": "As published: output layer frozen",
    "as_described": "As described: all layers updated",
    "our_defaults": "Our defaults",
}

FIGURE4_LABELS = {
    "published_initialisation": "N(0, 0.1²), output layer frozen, as published",
    "sound_initialisation": "sound initialisation, output layer frozen",
    "published_initialisation_all_updated": "N(0, 0.1²), all layers updated",
    "sound_initialisation_all_updated": "sound initialisation, all layers updated",
}


def rate_key(rate: float) -> str:
    """A learning rate as the JSON has it: "10", "0.1"."""
    return f"{rate:g}"


def plus_minus(mean: float, deviation: float | None, decimals: int) -> str:
    """`1.386 ± 0.170`."""
    spread = "–" if deviation is None else f"{deviation:.{decimals}f}"
    return f"{mean:.{decimals}f} ± {spread}"


def as_json(results: Results) -> dict[str, Any]:
    """Everything measured, in plain data.

    `table1[version][learning rate][quantity]` holds `mean`, `deviation` (null for one sample),
    `published` (the pair of mean and deviation), `verdict`, `explanation` and the `values`.
    """
    table: dict[str, Any] = {}
    measured = cells(results)
    for cell in measured:
        column = table.setdefault(cell.version, {}).setdefault(rate_key(cell.rate), {})
        column[cell.quantity] = _cell(cell)
    settings = results.settings
    return {
        "settings": {
            "samples": settings.samples,
            "epochs": settings.epochs,
            "seed": settings.seed,
            "figure4_epochs": settings.figure4_epochs,
            "our_defaults_epochs": settings.defaults_epochs,
            "network": list(SIZES),
        },
        "software": {
            "mynn": mynn.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
        "summary": summary(measured),
        "table1": table,
        "our_defaults_are_held_against_learning_rate": rate_key(BEST_RATE),
        "figure2": _figure2(results),
        "figure3": _figure3(results),
        "figure4": {name: _figure4(results, name) for name in results.figure4_runs},
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "mean": cell.mean,
        "deviation": cell.deviation,
        "published": list(cell.published),
        "verdict": cell.verdict,
        "explanation": explain(cell),
        "lowest": cell.interval[0],
        "highest": cell.interval[1],
        "values": list(cell.values),
    }


def _figure2(results: Results) -> dict[str, Any]:
    figure = results.figure2
    right = figure.test_output.argmax(1) == figure.sample.test_target.argmax(1)
    return {
        "test_errors": int(np.sum(~right)),
        "test_accuracy": accuracy(figure.test_output, figure.sample.test_target),
        "train_accuracy": accuracy(figure.train_output, figure.sample.train_target),
    }


def _figure3(results: Results) -> dict[str, Any]:
    by_version: dict[str, Any] = {}
    for (version, rate), curve in results.curves.items():
        by_version.setdefault(version, {})[rate_key(rate)] = {
            "loss": curve.loss.tolist(),
            "train_accuracy": curve.train_accuracy.tolist(),
            "test_accuracy": curve.test_accuracy.tolist(),
        }
    return by_version


def _figure4(results: Results, name: str) -> dict[str, Any]:
    runs = results.figure4_runs[name]
    return {
        "label": FIGURE4_LABELS[name],
        "train_accuracy": [run.train_accuracy for run in runs],
        "test_accuracy": [run.test_accuracy for run in runs],
        "learnt": sum(run.test_accuracy > LEARNT for run in runs),
        "runs": len(runs),
        "mean_train_accuracy": float(np.mean([run.train_accuracy for run in runs])),
        "mean_test_accuracy": float(np.mean([run.test_accuracy for run in runs])),
        "loss": results.figure4_curves[name].loss.tolist(),
    }


def json_text(results: Results) -> str:
    """`as_json` as text; values that are no numbers are refused."""
    return json.dumps(as_json(results), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


# -- CSV -------------------------------------------------------------------------------------------


def _csv(head: list[str], rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


def table1_csv(results: Results) -> str:
    """One line for each version, learning rate and quantity."""
    head = [
        "version",
        "learning_rate",
        "quantity",
        "mean",
        "deviation",
        "published_mean",
        "published_deviation",
        "verdict",
    ]
    rows = (
        [
            cell.version,
            rate_key(cell.rate),
            cell.quantity,
            f"{cell.mean:.6g}",
            "" if cell.deviation is None else f"{cell.deviation:.6g}",
            f"{cell.published.mean:g}",
            f"{cell.published.deviation:g}",
            cell.verdict,
        ]
        for cell in cells(results)
    )
    return _csv(head, rows)


def runs_csv(results: Results) -> str:
    """One line for each training run, those of figure 4 too."""
    head = [
        "experiment",
        "version",
        "learning_rate",
        "sample",
        "loss_log10",
        "train_accuracy",
        "test_accuracy",
        "seconds",
    ]

    def row(experiment: str, run: Run) -> list[Any]:
        measured = (run.loss, run.train_accuracy, run.test_accuracy, run.seconds)
        return [
            experiment,
            run.version,
            rate_key(run.rate),
            run.sample + 1,
            *(f"{value:.6g}" for value in measured),
        ]

    rows = [row("table1", run) for run in results.runs]
    rows += [row("figure4", run) for runs in results.figure4_runs.values() for run in runs]
    return _csv(head, rows)


def curves_csv(results: Results) -> str:
    """One line for each epoch of the curves of figures 3 and 4."""
    head = [
        "figure",
        "version",
        "learning_rate",
        "epoch",
        "loss_log10",
        "train_accuracy",
        "test_accuracy",
    ]
    curves = [("3", version, rate, c) for (version, rate), c in results.curves.items()]
    rate4 = next(iter(results.figure4_runs.values()))[0].rate
    curves += [("4", version, rate4, c) for version, c in results.figure4_curves.items()]
    rows = (
        [figure, version, rate_key(rate), epoch, *(f"{value:.6g}" for value in measured)]
        for figure, version, rate, curve in curves
        for epoch, measured in enumerate(
            zip(curve.loss, curve.train_accuracy, curve.test_accuracy, strict=True), 1
        )
    )
    return _csv(head, rows)


def points_csv(results: Results) -> str:
    """One line for each point of figure 2."""
    figure = results.figure2
    sample = figure.sample
    rows = []
    for name, points, target, output in (
        ("train", sample.train_input, sample.train_target, figure.train_output),
        ("test", sample.test_input, sample.test_target, figure.test_output),
    ):
        for (x, y), t, o in zip(points, target, output, strict=True):
            inside, predicted = int(t.argmax() == 0), int(o.argmax() == 0)
            rows.append([name, f"{x:.7g}", f"{y:.7g}", inside, predicted])
    return _csv(["set", "x", "y", "inside", "predicted_inside"], rows)


# -- rows to show ----------------------------------------------------------------------------------


def column_label(cell: Cell) -> str:
    """A learning rate as a heading."""
    if cell.version == DEFAULTS:
        return f"Adam, lr {cell.rate:g} → 0"
    return f"lr = {cell.rate:g}"
