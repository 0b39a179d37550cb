"""Programs as plain data: statements and blocks of them, whose text is Python.

What a program observes goes into its log, by `log(...)` and by what it raises. The names that the
text uses (`nn`, `optim`, `F`, `tensor`, `draw`...) are given by a backend (`backends.py`), so that
one text runs on mynn and on PyTorch.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

TEMPLATE = """\
from tests.fuzz.eager.compare import show_problems
from tests.fuzz.eager.statements import parsed

program = parsed(
    {seed}, {dtype!r}, {data}, {draws}, '''
{text}'''
)
show_problems(program)
"""


@dataclass(frozen=True)
class Block:
    """A compound statement: `head` ends in a colon (decorators may stand before it)."""

    head: str
    body: tuple[Statement, ...]


Statement = str | Block


@dataclass(frozen=True)
class Program:
    """Statements one after the other; each goes on where the one before it raised.

    `data`: which numbers `draw` gives. `draws`: whether random numbers of the library are used,
    which other libraries draw otherwise.
    """

    seed: int
    dtype: str
    statements: tuple[Statement, ...]
    draws: bool = False
    data: int = 0

    @property
    def text(self) -> str:
        return text(self.statements)

    def __str__(self) -> str:
        """A script that shows what is wrong."""
        return TEMPLATE.format(
            seed=self.seed, dtype=self.dtype, data=self.data, draws=self.draws, text=self.text
        )


def text(statements: tuple[Statement, ...]) -> str:
    """The statements as Python."""
    return "".join(map(_text, statements))


def _text(statement: Statement) -> str:
    if isinstance(statement, str):
        return statement + "\n"
    inner = "".join(map(_text, statement.body)) or "pass\n"
    return f"{statement.head}\n{textwrap.indent(inner, '    ')}"


def parsed(seed: int, dtype: str, data: int, draws: bool, source: str) -> Program:
    """The program of a text as `Program.text` has it."""
    lines = [line for line in source.splitlines() if line.strip()]
    return Program(seed, dtype, _parsed(lines), draws, data)


def _parsed(lines: list[str]) -> tuple[Statement, ...]:
    found: list[Statement] = []
    head: list[str] = []
    while lines:
        line = lines.pop(0)
        if line.startswith("@"):
            head.append(line)
            continue
        body = []
        while lines and lines[0].startswith("    "):
            body.append(lines.pop(0)[4:])
        if body:
            inner = () if body == ["pass"] else _parsed(body)
            found.append(Block("\n".join([*head, line]), inner))
        else:
            found.append(line)
        head = []
    return tuple(found)


def smaller(statements: tuple[Statement, ...]) -> Iterator[tuple[Statement, ...]]:
    """The statements with something less: halves first, then one, or a block's head."""
    size = len(statements) // 2
    while size:
        for start in range(0, len(statements), size):
            yield statements[:start] + statements[start + size :]
        size //= 2
    for place, one in enumerate(statements):
        before, after = statements[:place], statements[place + 1 :]
        if isinstance(one, Block):
            if one.head.startswith(("with", "if")):
                yield before + one.body + after
            if one.head.startswith("for"):
                for head in _fewer_rounds(one.head):
                    yield (*before, replace(one, head=head), *after)
            for body in smaller(one.body):
                yield (*before, replace(one, body=body), *after)
        else:
            for shorter in _shorter(one):
                yield (*before, shorter, *after)


def _fewer_rounds(head: str) -> Iterator[str]:
    start, _, rest = head.partition("range(")
    count, _, end = rest.partition(")")
    if count.isdigit() and int(count) > 1:
        yield f"{start}range({int(count) - 1}){end}"


def _shorter(line: str) -> Iterator[str]:
    """A `Sequential` without one of its layers; an optimiser without one of its options."""
    for opening in ("nn.Sequential(", "optim."):
        start = line.find(opening)
        if start < 0:
            continue
        start = line.find("(", start) + 1
        parts = _parts(line[start:])
        end = start + sum(map(len, parts)) + len(parts) - 1
        for place in range(len(parts)):
            if opening == "nn.Sequential(" or place:
                kept = [part.strip() for part in parts[:place] + parts[place + 1 :]]
                yield line[:start] + ", ".join(kept) + line[end:]


def _parts(inside: str) -> list[str]:
    """Arguments between commas that stand in no brackets, up to the bracket that ends them."""
    parts, depth = [""], 0
    for letter in inside:
        depth += (letter in "([{") - (letter in ")]}")
        if depth < 0:
            break
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def with_looks(program: Program, seed: int) -> Program:
    """The program with further looks, `peek()`, at random places."""
    rng = np.random.default_rng([seed, 7])
    often = float(rng.choice([0.05, 0.15, 0.4]))

    def insert(statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
        found: list[Statement] = []
        for one in statements:
            is_block = isinstance(one, Block)
            # The bodies of functions and classes know none of the program's names.
            if is_block and not one.head.startswith(("class", "def", "@")):
                one = replace(one, body=insert(one.body))
            found.append(one)
            if rng.random() < often:
                found.append("peek()")
        return tuple(found)

    return replace(program, statements=insert(program.statements))


Log = list[tuple[Any, ...]]
