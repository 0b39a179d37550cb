"""Write the generated parts of the documents anew: `python -m docs.update`.

A generated part stands between `<!-- generated: NAME -->` and `<!-- end of NAME -->`. The forms of
the small program in architecture.md are those of `examples.walk`; the primitives in adding-an-op.md
are cut out of the source (`docs.blocks`); the tables of measured times in README.md and
performance.md come from what `make bench`, `make mnist`, `make lenet` and `make sweep` leave in
build/. What has not been measured is marked as such. The lists of features.md are the registry of
the tests.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.layers import LAYERS
from benchmarks.rows import PREDICTIONS, about
from benchmarks.works import WORKS
from docs import batch_walk, blocks, primitive_walk, tape_walk
from examples import walk
from examples.torch_programs.__main__ import summary
from mynn import functional, nn, optim
from mynn.compiler.pipeline import PASSES, Repeated
from tests import registry
from tests.torch_db import databases
from tests.torch_db import modules as torch_modules
from tests.torch_names import names as torch_names

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "docs/adding-an-op.md",
    "docs/architecture.md",
    "docs/features.md",
    "docs/performance.md",
)
PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)
MISSING = "NOT MEASURED YET"
# Marks what only a person can fill in.
OPEN = "TO BE WRITTEN"

# Columns of the tables of training steps: the peers that each stands for, by their names in the
# rows; where there are two, the faster one is shown.
BRIEF = {
    "JAX": ("jax-scan", "jax-step"),
    "PyTorch": ("torch",),
    "torch.compile": ("torch-compile",),
    "scikit-learn": ("sklearn",),
    "C -O3": ("c",),
    "C -O3 -ffast-math": ("c-fast",),
}
FULL = {**BRIEF, "JAX": ("jax-scan",), "JAX, a call a step": ("jax-step",)}

Row = dict[str, Any]


def _read(name: str) -> list[Row]:
    path = ROOT / "build" / name
    return json.loads(path.read_text()) if path.is_file() else []


def _time(us: float | None) -> str:
    """Microseconds with three significant digits."""
    if us is None:
        return ""
    if us >= 1e5:
        return f"{us / 1e6:.2f} s"
    return f"{us:.0f}" if us >= 100 else f"{us:.3g}"


def _table(head: list[str], lines: list[list[str]]) -> str:
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ruler, *lines)) + "\n"


def _steps(columns: dict[str, tuple[str, ...]], limits: bool) -> str:
    """A line for each training step that was measured, a column for each peer."""
    rows = {row["work"]: row for row in _read("bench.json") if row["threads"] == 1}
    head = ["a training step, in µs", "mynn", *columns, *(["limit"] if limits else [])]
    lines = []
    for work in WORKS:
        row = rows.get(work.name)
        title = f"{work.name}: {work.about}"
        if row is None:
            continue
        peers = [_best(row["peers_us"], names) for names in columns.values()]
        limit = [_time(row["limit_us"])] if limits else []
        lines.append([title, f"**{_time(row['ours_us'])}**", *map(_time, peers), *limit])
    return _table(head, lines or [[MISSING, *[""] * (len(head) - 1)]])


def _best(times: dict[str, float | None], names: tuple[str, ...]) -> float | None:
    return min((times[name] for name in names if times.get(name)), default=None)


def _others() -> str:
    """The works that are no training step: ours beside every peer that does the same."""
    rows = {row["work"]: row for row in _read("bench.json") if row["threads"] == 1}
    lines = []
    for name in (*PREDICTIONS, *LAYERS, "report-cold", "compile-W1"):
        row = rows.get(name)
        times = [MISSING, ""]
        if row is not None:
            peers = sorted((us, peer) for peer, us in row["peers_us"].items() if us)
            shown = [f"{peer} {_unit(us)}" for us, peer in peers]
            times = [f"**{_unit(row['ours_us'])}**", ", ".join(shown)]
        lines.append([about(name), *times])
    return _table(["", "mynn", "peers"], lines)


def _unit(us: float) -> str:
    if us < 1e3:
        return f"{us:.3g} µs"
    return f"{us / 1e3:.3g} ms" if us < 1e6 else f"{us / 1e6:.2f} s"


def _mnist() -> str:
    """Time to 98 % of the test digits."""
    head = ["", "threads", "s to 98 %", "runs that get there", "s an epoch", "accuracy, last epoch"]
    lines = [
        [
            row["who"],
            str(row["threads"]),
            "" if row["seconds_to_goal"] is None else f"{row['seconds_to_goal']:.1f}",
            row["runs_that_reach_goal"],
            f"{row['seconds_per_epoch']:.2f}",
            f"{100 * row['accuracy']:.2f} %",
        ]
        for row in _read("mnist.json")
    ]
    return _table(head, lines or [["mynn", MISSING, "", "", "", ""]])


def _bests() -> str:
    """A line for each work: everybody with the number of threads that suits them best."""
    rows = {row["work"]: row for row in _read("bench-best.json")}
    head = ["", "mynn", "threads", "best peer", "", "threads", "ratio", "limit, one thread"]
    lines = []
    for name in (*(work.name for work in WORKS), *PREDICTIONS):
        row = rows.get(name)
        if row is not None:
            lines.append(
                [
                    name,
                    f"**{_unit(row['ours_us'])}**",
                    str(row["ours_threads"]),
                    row["peer"],
                    _unit(row["peer_us"]),
                    str(row["peer_threads"]),
                    f"{row['ratio']:.2f}",
                    _unit(row["limit_us"]) if row["limit_us"] else "",
                ]
            )
    return _table(head, lines or [[MISSING, *[""] * (len(head) - 1)]])


def _lenet() -> str:
    """Whole runs of LeNet on MNIST, from the start of a process to its end."""
    head = ["", "threads", "whole run", "an epoch", "accuracy, last epoch", "PyTorch's whole run"]
    runs = _read("lenet.json")
    lines = []
    for threads, who in sorted({(run["threads"], run["who"]) for run in runs}):
        whole = {
            name: median(r["seconds"] for r in runs if (r["who"], r["threads"]) == (name, threads))
            for name in {run["who"] for run in runs if run["threads"] == threads}
        }
        own = [run for run in runs if (run["who"], run["threads"]) == (who, threads)]
        epoch = median(seconds for run in own for seconds in run["training"])
        accuracy = median(run["accuracy"][-1] for run in own)
        beside = f"{whole['PyTorch'] / whole[who]:.2f}x" if "PyTorch" in whole else ""
        line = [who, str(threads), f"{whole[who]:.1f} s", f"{epoch:.2f} s"]
        lines.append([*line, f"{100 * accuracy:.2f} %", beside])
    return _table(head, lines or [["mynn", MISSING, *[""] * (len(head) - 2)]])


def _sweep() -> str:
    """What the sweep over widths and batches found, in a table of shares of the limit."""
    points = _read("sweep.json")
    shares = {(p["width"], p["batch"]): p["share"] for p in points}
    widths, batches = (sorted({p[key] for p in points}) for key in ("width", "batch"))
    shown = [w for w in widths if w & (w - 1) == 0 or w - 1 in (16, 64, 128)]
    head = ["batch", *(f"width {w}" for w in shown)]
    lines = [[str(b), *(f"{100 * shares[w, b]:.0f} %" for w in shown)] for b in batches]
    return _table(head, lines) if lines else f"| {MISSING} |\n"


def _features(module: Any, entries: Iterable[registry.Entry]) -> str:
    """A line for each public name: its arguments, what it does, what PyTorch has for it."""
    lines = []
    for entry in entries:
        found = getattr(module, entry.name)
        call = _signature(entry.name, found)
        about = (found.__doc__ or "").strip().splitlines()[0].replace("|", "\\|")
        where = "" if entry.twin is None else f"`{entry.twin}`"
        differs: dict[str, list[str]] = {}
        for argument, why in entry.differs.items():
            differs.setdefault(why, []).append(f"`{argument}`")
        shown = "; ".join(f"{', '.join(names)}: {why}" for why, names in differs.items())
        lines.append([call, about, where, shown])
    head = ["", "", "in PyTorch", "what differs"]
    table = _table(head, lines)
    return table.replace("---:", "---")


def _plain(parameter: inspect.Parameter) -> inspect.Parameter:
    """Without its type; a function that it is by default is shown by its name."""
    parameter = parameter.replace(annotation=inspect.Parameter.empty)
    if inspect.isfunction(parameter.default):
        parameter = parameter.replace(default=_Name(parameter.default.__name__))
    return parameter


class _Name(str):
    """A text that is shown without quotes."""

    __repr__ = str.__str__


def _signature(name: str, found: Any) -> str:
    given = inspect.signature(found).parameters.values()
    plain = [_plain(one) for one in given]
    return f"`{name}{inspect.Signature(plain)}`".replace(", device=None, dtype=None", "")


def _named(*places: str) -> str:
    """A line for each public name of modules: its arguments, and what it does."""
    lines = []
    for place in places:
        module = importlib.import_module(f"mynn.{place}")
        for name in module.__all__:
            found = getattr(module, name)
            about = (found.__doc__ or "").strip().splitlines()[0].replace("|", "\\|")
            lines.append([_signature(name, found), about])
    return _table(["", ""], lines).replace("---:", "---")


def _torch_names() -> str:
    """How many of PyTorch's public names are there, and which are left out, with the reason."""
    if importlib.util.find_spec("torch") is None:
        return f"| {MISSING} |\n"
    rows, lists = [], []
    for place in torch_names.PLACES:
        found = torch_names.compare(place)
        path = f"torch.{place}".rstrip(".")
        out = sum(map(len, found.left_out.values()))
        rows.append([f"`{path}`", str(len(found.there)), str(out)])
        lists.append(f"\n`{path}`, left out:\n\n" if found.left_out else "")
        for reason, names in sorted(found.left_out.items()):
            lists.append(f"- {reason}: {' '.join(names).replace('_', chr(92) + '_')}\n")
    return _table(["", "there", "left out"], rows) + "".join(lists)


def _torch_ops() -> str:
    """How much of PyTorch's own lists of samples is there; of operations also what
    `python -m tests.torch_db` has left.
    """
    path = ROOT / "build" / "torch_ops.json"
    if not path.is_file() or importlib.util.find_spec("torch") is None:
        return f"| {MISSING} |\n"
    counts = json.loads(path.read_text())
    modules = torch_modules.database()[1]
    optimizers = databases("common_optimizers").optim_db
    initial = torch_names.compare("nn.init")
    rows = [
        ["operations, `op_db`", *(str(counts[key]) for key in ("of", "there"))],
        ["modules, `module_db`", str(len(modules)), str(sum(hasattr(nn, n) for n in modules))],
        [
            "optimisers, `optim_db`",
            str(len(optimizers)),
            str(sum(hasattr(optim, info.optim_cls.__name__) for info in optimizers)),
        ],
        [
            "initial values, `nn.init`, those that are deprecated left out",
            *[str(len(initial.there))] * 2,
        ],
    ]
    table = _table(["PyTorch's list", "entries", "there"], rows)
    return (
        f"{table}\nOf operations {counts['right']} samples agree in values, dtypes, gradients and "
        f"compiled; {counts['wrong']} operations differ in a way that has no reason in the list. "
        "The tests run some samples of each.\n"
    )


def _torch_programs() -> str:
    """The programs that are run under both frameworks, as `python -m examples.torch_programs` has
    left their times.
    """
    path = ROOT / "build" / "torch_programs.json"
    if not path.is_file():
        return f"| {MISSING} |\n"
    rows = {name: ways["tape"] for name, ways in sorted(json.loads(path.read_text()).items())}
    lines = []
    for name, row in rows.items():
        times = [row["torch"], row["mynn"], row["torch first"], row["mynn first"]]
        later, first = times[0] / times[1], times[2] / times[3]
        once = row["torch once"] / row["mynn once"]
        shown = [f"{time:.3g}" for time in times]
        shown = [*shown[:2], f"{later:.2f}", *shown[2:], f"{first:.2f}", f"{once:.2f}"]
        lines.append([name, *shown, f"{row['difference']:.0e}"])
    steps = round(next(iter(rows.values()))["steps"])
    head = ["ms a step", "PyTorch", "mynn", "times as fast", f"PyTorch, first {steps}"]
    head += [f"mynn, first {steps}", "times as fast", "compiling too", "losses differ by"]
    return f"{_table(head, lines)}\n{summary(list(rows.values())).capitalize()}.\n"


def _passes() -> str:
    """A line for each pass of the compiler; those that are repeated are marked."""
    lines = []
    for entry in PASSES:
        again = isinstance(entry, Repeated)
        for each in entry.passes if isinstance(entry, Repeated) else (entry,):
            file = each.does.__module__.removeprefix("mynn.").replace(".", "/")
            name = f"`{each.name}`" + " (until nothing changes)" * again
            lines.append([name, each.stage, each.about, f"`{file}.py`"])
    rows = [["pass", "stage", "what comes out", "file"], ["---"] * 4, *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _primitive(name: str, family: str, methods: str, *own: str) -> str:
    """All that the package says of a primitive: its block, its record, the method of tensors."""
    ops, rules = f"mynn/ops/{family}.py", f"mynn/compiler/rules/{family}.py"
    tensor = f"mynn/tensor/methods/{methods}.py"
    return "\n".join(
        [
            blocks.diff(ops, blocks.definitions(ops, *own, name)),
            blocks.diff(rules, blocks.entry(rules, name)),
            blocks.diff(tensor, blocks.method(tensor, name)),
        ]
    )


def parts() -> Iterator[tuple[str, Callable[[], str]]]:
    """Every generated part by its name, with the function that makes its text."""
    yield "passes", _passes
    yield "batch", batch_walk.table
    yield "tanh", lambda: primitive_walk.table("tanh")
    yield "steps", lambda: _steps(BRIEF, limits=False)
    yield "steps-in-full", lambda: _steps(FULL, limits=True)
    yield "other-works", _others
    yield "best", _bests
    yield "mnist", _mnist
    yield "lenet", _lenet
    yield "sweep", _sweep
    yield "layers", lambda: _features(nn, registry.LAYERS)
    yield "losses", lambda: _features(nn, registry.LOSSES)
    yield (
        "optimizers",
        lambda: _features(optim, (*registry.OPTIMIZERS, *registry.SOLVERS, *registry.SPARSE)),
    )
    yield "schedules", lambda: _named("optim.lr_scheduler", "optim.swa_utils")
    yield "metrics", lambda: _named("metrics")
    yield "functions", lambda: _features(functional, registry.FUNCTIONS)
    yield "func", lambda: _named("func")
    yield "torch-names", _torch_names
    yield "torch-ops", _torch_ops
    yield "torch-programs", _torch_programs
    yield "op-prod", lambda: _primitive("prod", "reduce", "reductions", "_prod_vjp")
    yield "op-cumsum", lambda: _primitive("cumsum", "scan", "scans", "_infer", "_samples")
    yield "tape", tape_walk.text
    for stage, text in walk.stages().items():
        yield f"walk-{stage}", lambda text=text: f"```text\n{text}\n```\n"


def updated(text: str, made: dict[str, Callable[[], str]]) -> str:
    """The document with its generated parts anew; what was measured is not given up for nothing."""

    def part(found: re.Match[str]) -> str:
        new = made[found[2]]()
        if MISSING in new and "|" in found[0] and MISSING not in found[0]:
            return found[0]
        return found[1] + new + found[3]

    return PART.sub(part, text)


def main() -> None:
    """Update all documents, say which ones changed."""
    made = dict(parts())
    for name in DOCUMENTS:
        path = ROOT / name
        old = path.read_text()
        new = updated(old, made)
        if new != old:
            path.write_text(new)
        print(f"{name}: {'updated' if new != old else 'as it was'}")
        if MISSING in new:
            print(f"{name}: parts are {MISSING}; run make bench, mnist, lenet, sweep")
        if OPEN in new:
            print(f"{name}: parts are {OPEN}")


if __name__ == "__main__":
    main()
