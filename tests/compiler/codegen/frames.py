"""What machine code takes of the stack, read from its text: frames, and who calls whom."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_LABEL = re.compile(r"^([\w.$]+):")
_CALL = re.compile(r"^\s+(?:callq|jmp)\s+([A-Za-z_][\w.$]*)(?:@PLT)?\s*$")
_RETURN_ADDRESS = 8


@dataclass
class Function:
    """A function: bytes of its frame with the address it returns to, and whom it calls."""

    frame: int = _RETURN_ADDRESS
    calls: set[str] = field(default_factory=set)


def functions(assembly: str) -> dict[str, Function]:
    """The functions of the text that LLVM writes for x86 on ELF."""
    found: dict[str, Function] = {}
    starts = set(re.findall(r"\.type\s+([\w.$]+),@function", assembly))
    current = Function()
    for line in assembly.splitlines():
        label = _LABEL.match(line)
        if label and label[1] in starts:
            current = found[label[1]] = Function()
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        if words[0] == "pushq":
            current.frame += 8
        elif words[0] == "subq" and words[-1] == "%rsp":
            current.frame += int(words[1].lstrip("$"), 0)
        elif words[0] == "addq" and words[-1] == "%rsp" and words[1].startswith("$-"):
            current.frame -= int(words[1].lstrip("$"), 0)
        elif words[0] == "andq" and words[-1] == "%rsp":
            current.frame += -int(words[1].lstrip("$"), 0) - 8
        call = _CALL.match(line)
        if call:
            current.calls.add(call[1])
    return found


def deepest(found: dict[str, Function], name: str) -> int:
    """Bytes of the stack below the caller of a function, but for what libraries take."""
    one = found.get(name)
    if one is None:
        return 0
    return one.frame + max((deepest(found, other) for other in one.calls - {name}), default=0)
