"""A module in parts, on which LLVM can work at the same time.

Large kernels go out of the module, into parts of about the same size. What is left declares them:

    declare void @k3(ptr %table) noinline nounwind #0      in the first part
    define void @k3(ptr %table) noinline nounwind #0 {     in another one

A part has its own copy of the library functions that its kernels call.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping

from mynn.base.dataclass import dataclass

# Characters of a part: LLVM needs some hundredths of a second for so many. A module that is not
# twice as long stays as it is.
SIZE = 45_000
# More parts are not worth what each takes for itself: 2 to 3 ms.
MOST = 12

# Few modules are divided: these are compiled when one is.
_DEFINITION = r"\n(?=define |@|attributes )"
_KERNEL = r"define internal (void @([\w.]+)\(.*\) noinline .*) \{"
_LIBRARY = r"define internal .* (@mynn\.[\w.]+)\("
_NAME = r"@[\w.]+"


@dataclass(frozen=True)
class Part:
    """A part of a module: its text, and the functions in it that the first part calls."""

    text: str
    functions: tuple[str, ...] = ()


def parts_of(text: str, most: int = MOST) -> list[Part]:
    """The parts of a module of this compiler's, `most` at the most; the same for the same text."""
    number = min(len(text) // SIZE, most)
    if number < 2:
        return [Part(text)]
    head, *definitions = re.split(_DEFINITION, text)
    defined = {found.group() for d in definitions if (found := re.search(_NAME, d)) is not None}
    library = {
        found.group(1): d for d in definitions if (found := re.match(_LIBRARY, d)) is not None
    }
    kernels: dict[str, tuple[str, set[str]]] = {}
    for definition in definitions:
        used = _uses(definition, defined) if (found := re.match(_KERNEL, definition)) else set()
        if found is not None and used <= library.keys():
            kernels[found.group(2)] = definition, used
    sizes = {name: len(definition) for name, (definition, _) in kernels.items()}
    others = [g for g in _groups(sizes, len(text) - sum(sizes.values()), number)[1:] if g]
    parts = []
    for names in others:
        used = _closed({use for name in names for use in kernels[name][1]}, library)
        own = [kernels[name][0].replace("internal ", "", 1) for name in names]
        shared = [library[use] for use in library if use in used]
        parts.append(Part("\n".join([head, *shared, *own, definitions[-1]]), tuple(names)))
    moved = {kernels[name][0] for names in others for name in names}
    left = [_declaration(d) if d in moved else d for d in definitions]
    return [Part("\n".join([head, *left])), *parts]


def _declaration(kernel: str) -> str:
    return re.sub(_KERNEL, r"declare \1", kernel.partition("\n")[0])


def _closed(used: set[str], library: Mapping[str, str]) -> set[str]:
    """These functions of the library and all that they call."""
    found: set[str] = set()
    while used:
        found |= used
        used = {use for name in used for use in _uses(library[name], library)} - found
    return found


def _uses(definition: str, defined: Container[str]) -> set[str]:
    """The functions and constants of the module that a definition uses."""
    own, *used = re.findall(_NAME, definition)
    return {name for name in used if name in defined and name != own}


def _groups(sizes: Mapping[str, int], kept: int, number: int) -> list[list[str]]:
    """The kernels of each part, about equal in size; the first part has `kept` characters more."""
    filled = [kept] + [0] * (number - 1)
    groups: list[list[str]] = [[] for _ in filled]
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        least = filled.index(min(filled))
        groups[least].append(name)
        filled[least] += sizes[name]
    return groups
