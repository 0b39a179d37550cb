"""Which files of the package name a primitive, read from the source: what it takes to have one."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1] / "mynn"
# What is written on top of the package names what it wants.
OUTSIDE = ("report", "module.py")
# What makes a primitive, and what makes it reachable for users.
MEANING = ("ops", "compiler")


def _names(path: Path, name: str) -> Iterator[int]:
    """Lines in which the code, not its comments or docstrings, has a name or a text of it."""
    texts = (f'"{name}"', f'"{name}_"')
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            named = token.type == tokenize.NAME and token.string == name
            if named or (token.type == tokenize.STRING and token.string in texts):
                yield token.start[0]


def files(name: str) -> dict[str, str]:
    """Files that name a primitive, with the first line of each that does."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        inside = path.relative_to(ROOT)
        if inside.parts[0] not in OUTSIDE:
            first = next(_names(path, name), None)
            if first is not None:
                found[str(inside)] = path.read_text("utf-8").splitlines()[first - 1].strip()
    return found


def about(path: str) -> str:
    """The first line of a module's docstring."""
    text = ast.get_docstring(ast.parse((ROOT / path).read_text("utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".")


def table(name: str) -> str:
    """The files, those that give it its meaning first, and how many."""
    found = files(name)
    meaning = [path for path in found if path.startswith(MEANING)]
    meaning.sort(key=lambda path: not path.startswith("ops"))
    others = [path for path in found if path not in meaning]
    lines = [f"| `{path}` | `{found[path]}` | {about(path)} |" for path in (*meaning, *others)]
    head = "| file | where it names it | what the file is |\n| --- | --- | --- |\n"
    count = (
        f"\n{len(meaning)} files for its meaning, its gradient and its machine code, "
        f"{len(others)} for the names by which users call it.\n"
    )
    return head + "\n".join(lines) + "\n" + count
