"""Pieces of the package's source, cut out for the documents: they cannot say anything else.

definitions("mynn/ops/scan.py", "cumsum")        statements of a module, with their comments
entry("mynn/compiler/rules/scan.py", "cumsum")   an entry of the dictionary RULES
method("mynn/tensor/methods/scans.py", "cumsum")         a method
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]


def definitions(path: str, *names: str) -> str:
    """Statements at the top of a module that define `names`, in the order of the module."""
    lines, tree = _read(path)
    found = [node for node in tree.body if _name(node) in names]
    assert len(found) == len(names), (path, names)
    return "\n\n\n".join(_cut(lines, node) for node in found)


def entry(path: str, name: str) -> str:
    """The entry of RULES for the primitive of that name."""
    lines, tree = _read(path)
    rules = next(node for node in tree.body if _name(node) == "RULES")
    assert isinstance(rules, ast.AnnAssign)
    assert isinstance(rules.value, ast.Dict)
    for key, value in zip(rules.value.keys, rules.value.values, strict=True):
        if isinstance(key, ast.Attribute) and key.attr == name:
            return "\n".join(lines[key.lineno - 1 : value.end_lineno])
    raise LookupError(f"{path} has no record of {name}")


def method(path: str, name: str) -> str:
    """A method of the first class that has one of that name."""
    lines, tree = _read(path)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return next(_cut(lines, node) for one in classes for node in one.body if _name(node) == name)


def diff(path: str, *pieces: str) -> str:
    """Pieces as lines that were added to a file."""
    added = "\n+\n+\n".join(
        "\n".join(f"+{line}".rstrip() for line in piece.split("\n")) for piece in pieces
    )
    return f"```diff\n+++ {path}\n{added}\n```\n"


def _read(path: str) -> tuple[list[str], ast.Module]:
    source = (ROOT / path).read_text(encoding="utf-8")
    return source.split("\n"), ast.parse(source)


def _name(node: ast.stmt) -> str | None:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    target = node.targets[0] if isinstance(node, ast.Assign) else None
    target = node.target if isinstance(node, ast.AnnAssign) else target
    return target.id if isinstance(target, ast.Name) else None


def _cut(lines: list[str], node: ast.stmt) -> str:
    """The lines of a statement, from its comments and decorators on."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    start = min([node.lineno, *(one.lineno for one in decorators)]) - 1
    while lines[start - 1].lstrip().startswith("#"):
        start -= 1
    return "\n".join(lines[start : node.end_lineno])
