"""Figure 1 of the report, redrawn for this engine: how a sequence of tools is run.

Run it in the repository with the `report` extra installed; it writes figure1.svg and figure1.png
beside itself:

    python docs/figures/figure1.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

INK = "#1d2430"
SOFT = "#5b6472"
LINE = "#8a94a3"
YOURS = "#fdf3e1"
TOOLBOX = "#e8f0fa"
ENGINE = "#e9f5ec"


def box(
    axes: Axes, x: float, y: float, width: float, height: float, title: str, lines: str, fill: str
) -> None:
    """A rounded box with a title and lines of text; x and y are its lower left corner."""
    shape = FancyBboxPatch(
        (x, y),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.12",
        facecolor=fill,
        edgecolor=LINE,
        linewidth=1,
    )
    axes.add_patch(shape)
    middle = x + width / 2
    axes.text(
        middle,
        y + height - 0.2,
        title,
        ha="center",
        va="top",
        fontsize=11,
        weight="bold",
        color=INK,
    )
    axes.text(
        middle,
        y + height - 0.58,
        lines,
        ha="center",
        va="top",
        fontsize=9,
        color=INK,
        linespacing=1.45,
    )


def arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    label: str = "",
    offset: tuple[float, float] = (0.0, 0.0),
    bend: float = 0.0,
    align: str = "left",
) -> None:
    """An arrow with a label beside its middle."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=13,
            color=SOFT,
            linewidth=1.3,
            connectionstyle=f"arc3,rad={bend}",
            shrinkA=2,
            shrinkB=2,
        )
    )
    x = (start[0] + end[0]) / 2 + offset[0]
    y = (start[1] + end[1]) / 2 + offset[1]
    axes.text(x, y, label, ha=align, va="center", fontsize=8.5, color=SOFT, linespacing=1.3)


def section(axes: Axes, y: float, label: str) -> None:
    """What a row of boxes is."""
    axes.text(0.25, y, label, ha="left", va="center", fontsize=9.5, color=SOFT, style="italic")


def draw() -> Figure:
    """The whole figure."""
    figure = Figure(figsize=(10, 6.9))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 11.6)
    axes.set_ylim(0, 8.0)
    axes.axis("off")
    section(axes, 7.22, "your program")
    call = "mynn.train(seq, input, target)        mynn.fit(seq, input, target, …)        mynn.x"
    written = f"seq = [ linear(2, 25, mynn), sigmoid(mynn), … ]\n{call}"
    box(axes, 2.5, 6.65, 8.8, 1.15, "a sequence of tools", written, YOURS)
    section(axes, 5.15, "the toolbox\n(mynn.module)")
    lists = "x  s  w  b\ndl_dx  dl_ds  dl_dw  dl_db\nlt  ln  ini"
    kept = f"keeps the order and records each layer:\n{lists}"
    box(axes, 2.5, 4.35, 4.1, 1.65, "constructor: model", kept, TOOLBOX)
    tools = "linear\nsigmoid  tanh  logistic  relu\ncriterion_mse\noptimizer_sgd"
    box(axes, 7.4, 4.35, 3.9, 1.65, "tool modules", tools, TOOLBOX)
    section(axes, 3.05, "the engine")
    graph = (
        "each tool's operation, written once with Tensor operators; the gradient is more graph\n"
        "matmul   add   tanh   where   sum   …"
    )
    box(axes, 2.5, 2.5, 8.8, 1.15, "graph of primitives", graph, ENGINE)
    now = "values at once, every step visible:\nforward, backward, train"
    box(axes, 2.5, 0.4, 3.8, 1.4, "NumPy interpreter", now, ENGINE)
    native = (
        "simplify → fuse → plan memory → loops → LLVM\n"
        "the whole loop in machine code: fit,\nand passes that are repeated often"
    )
    box(axes, 7.0, 0.4, 4.3, 1.4, "compiler and native program", native, ENGINE)
    arrow(axes, (4.5, 6.65), (4.5, 6.0), "gives the tools", (0.12, 0))
    arrow(axes, (9.3, 6.65), (9.3, 6.0), "makes them", (0.12, 0))
    arrow(axes, (6.6, 5.4), (7.4, 5.4), "calls", (0, 0.15), align="center")
    arrow(axes, (7.4, 4.95), (6.6, 4.95), "update", (0, -0.17), align="center")
    arrow(axes, (9.3, 4.35), (9.3, 3.65), "operation", (0.12, 0))
    arrow(axes, (4.4, 2.5), (4.4, 1.8), "run it now", (0.12, 0))
    arrow(axes, (9.1, 2.5), (9.1, 1.8), "trace it once, compile it", (0.12, 0))
    arrow(axes, (6.3, 1.1), (7.0, 1.1))
    arrow(axes, (7.0, 1.1), (6.3, 1.1), "agree", (0, 0.17), align="center")
    arrow(axes, (2.5, 1.1), (2.5, 4.75), bend=-0.2)
    returned = "values, gradients\nand parameters,\nas NumPy arrays"
    axes.text(1.0, 1.6, returned, ha="center", va="center", fontsize=8.5, color=SOFT)
    return figure


def main() -> None:
    """Write both files."""
    figure = draw()
    folder = Path(__file__).resolve().parent
    with mpl.rc_context({"svg.hashsalt": "mynn"}):
        figure.savefig(folder / "figure1.svg", metadata={"Date": None, "Creator": "mynn"})
    figure.savefig(folder / "figure1.png", dpi=150, metadata={"Software": "mynn"})


if __name__ == "__main__":
    main()
