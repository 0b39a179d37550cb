"""The HTML page: one file, with its figures inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2

from mynn.report.experiments.networks import OurDefaults
from mynn.report.experiments.runs import DEFAULTS, DESCRIBED, LEARNT, PUBLISHED, Results
from mynn.report.experiments.statistics import LABELS, Cell, cells, explain
from mynn.report.page.tables import VERSION_LABELS, as_json, column_label, plus_minus

# Decimals on the page; the terminal has less room.
DIGITS = {"loss": 3, "accuracy": 2, "seconds": 3}

TEXTS = {
    PUBLISHED: (
        "The report's program never updates the output layer, and its figures are those of such "
        "runs:"
    ),
    DESCRIBED: (
        "The report's text says that every layer is updated, which is the default here. "
        "Large learning rates then saturate the output layer:"
    ),
}

CALLS = {
    PUBLISHED: 'optimizer_sgd(lr, model, freeze="output")',
    DESCRIBED: "optimizer_sgd(lr, model)",
}


def render(results: Results, figures: Mapping[str, bytes]) -> str:
    """The page as HTML; `figures` are SVG files by name."""
    source = resources.files("mynn.report.page").joinpath("page.html").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    data = as_json(results)
    table = cells(results)
    settings = results.settings
    return environment.from_string(source).render(
        summary=data["summary"],
        settings=settings,
        software=data["software"],
        versions=[_version(name, table, results) for name in VERSION_LABELS],
        figures={name: base64.b64encode(svg).decode() for name, svg in figures.items()},
        figure2=data["figure2"],
        figure4=list(data["figure4"].values()),
        learnt=f"{LEARNT:g}",
        run_seconds=f"{_run_seconds(table):.3f}",
        command=(
            f"mynn reproduce --samples {settings.samples} --epochs {settings.epochs} "
            f"--seed {settings.seed}"
        ),
    )


def _run_seconds(table: list[Cell]) -> float:
    runs = [c.mean for c in table if c.quantity == "seconds" and c.version == PUBLISHED]
    return sum(runs) / len(runs)


def _version(name: str, table: list[Cell], results: Results) -> dict[str, Any]:
    chosen = [cell for cell in table if cell.version == name]
    return {
        "name": name,
        "label": VERSION_LABELS[name],
        "call": CALLS.get(name),
        "text": TEXTS.get(name) or _defaults_text(results),
        "columns": [column_label(c) for c in chosen if c.quantity == "loss"],
        "rows": [
            {
                "label": LABELS[quantity],
                "cells": [_cell(cell) for cell in chosen if cell.quantity == quantity],
            }
            for quantity in LABELS
        ],
    }


def _defaults_text(results: Results) -> str:
    return (
        f"The same network and data with what mynn.nn and mynn.optim do by default: weights and "
        f"biases from U(±1/√fan_in), Adam, mini-batches of {OurDefaults.BATCH} in random order, "
        f"{results.settings.defaults_epochs} epochs, a learning rate that falls from "
        f"{OurDefaults.RATE:g} to 0 along a cosine. It is held against the report's best column, "
        "lr = 0.1."
    )


def _cell(cell: Cell) -> dict[str, str]:
    return {
        "value": plus_minus(cell.mean, cell.deviation, DIGITS[cell.quantity]),
        "published": f"{cell.published.mean:g} ± {cell.published.deviation:g}",
        "beside": "report, lr = 0.1:" if cell.version == DEFAULTS else "report:",
        "verdict": cell.verdict,
        "explanation": explain(cell),
    }
