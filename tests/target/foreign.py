"""Code for AArch64, run here: linked by a cross compiler with a small harness, under an emulator.

A `Job` is a module's text, the memory that it works on, and calls of its functions. The harness
(run.c) gets many jobs at once, lays their memory out, calls, and sends the memory back.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mynn.compiler import pipeline
from mynn.core.types import Array
from mynn.runtime.llvm_objects import object_code
from mynn.target.storage import SLACK
from mynn.target.target import Target, named
from tests.compiler.harness import Case, Memory

COMPILER = "aarch64-linux-gnu-gcc"
EMULATOR = next(filter(shutil.which, ("qemu-aarch64", "qemu-aarch64-static")), "qemu-aarch64")
TARGET = named("aarch64")
HARNESS = Path(__file__).parent / "run.c"
_EXPORTED = re.compile(r"^define (?!internal)[^@]*@(\w+)\(", re.MULTILINE)
_PAGE = 4096


def missing() -> str:
    """What of the tools is not there, or ''."""
    absent = [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]
    return f"{' and '.join(absent)} cannot be found" if absent else ""


@dataclass
class Call:
    """A call of a function with a block.

    Where there are `workers`, on so many threads, whose shared words are the block `sync`: all of
    them run it; or where they `serve`, the first does, and the others run that function.
    """

    function: str
    block: int
    workers: int = 0
    sync: int = 0
    serve: str = ""


@dataclass
class Job:
    """One run.

    - `texts`: the modules.
    - `pointers`: for blocks that hold addresses of other blocks, as they are here: in which words.
    - `functions`: further addresses: block, word, name.
    """

    texts: tuple[str, ...]
    blocks: list[Array]
    pointers: dict[int, Sequence[int]]
    calls: list[Call]
    functions: list[tuple[int, int, str]] = field(default_factory=list)


def run(jobs: Sequence[Job], folder: Path, target: Target = TARGET) -> None:
    """Run all jobs in one process; their blocks hold what it left there."""
    numbers: dict[str, int] = {}
    objects = []
    programs: dict[tuple[str, ...], int] = {}
    prefixes = []
    for job in jobs:
        prefix = f"p{programs.setdefault(job.texts, len(programs))}_"
        prefixes.append(prefix)
        names = [name for call in job.calls for name in (call.function, call.serve) if name]
        for name in [*names, *(name for *_, name in job.functions)]:
            numbers.setdefault(prefix + name, len(numbers))
    for texts, number in programs.items():
        for place, text in enumerate(texts):
            path = folder / f"p{number}_{place}.o"
            path.write_bytes(object_code(_with_prefix(text, f"p{number}_"), target, "default"))
            objects.append(path)
    executable = _link(numbers, objects, folder)
    source, result = folder / "source", folder / "result"
    words = [_packed(job, prefix, numbers) for job, prefix in zip(jobs, prefixes, strict=True)]
    source.write_bytes(b"".join([_words(len(jobs)), *words]))
    _must([EMULATOR, str(executable), str(source), str(result)])
    data = np.fromfile(result, np.uint8)
    start = 0
    for job in jobs:
        for number, block in enumerate(job.blocks):
            size = block.nbytes
            if len(job.pointers.get(number, ())) < len(block):  # no table
                block.reshape(-1).view(np.uint8)[...] = data[start : start + size]
            start += size
    assert start == len(data)


def _with_prefix(text: str, prefix: str) -> str:
    """A module whose functions can be linked with those of other ones."""
    names = "|".join(_EXPORTED.findall(text))
    return re.sub(rf"@({names})\b", rf"@{prefix}\1", text)


def _link(numbers: dict[str, int], objects: Sequence[Path], folder: Path) -> Path:
    table = folder / "functions.c"
    declared = "".join(f"extern char {name}[];\n" for name in numbers)
    entries = ", ".join(numbers)
    table.write_text(f"{declared}void *const functions[] = {{{entries}}};\n")
    executable = folder / "run"
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-static"]
    sources = [str(HARNESS), str(table), *map(str, objects)]
    _must([COMPILER, *flags, "-o", str(executable), *sources, "-lm", "-lpthread"])
    return executable


def _must(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]} {done.returncode}: {done.stderr or done.stdout}"


def _words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def _packed(job: Job, prefix: str, numbers: dict[str, int]) -> bytes:
    """A job as run.c reads it."""
    parts = [_words(len(job.blocks))]
    for block in job.blocks:
        parts += [_words(block.nbytes, block.ctypes.data % _PAGE), block.tobytes()]
    places = [
        (number, 8 * i, *_found(int(job.blocks[number][i]), job.blocks))
        for number, words in job.pointers.items()
        for i in words
    ]
    parts.append(_words(len(places), *(word for place in places for word in place)))
    parts.append(_words(len(job.functions)))
    parts += [_words(block, 8 * at, numbers[prefix + name]) for block, at, name in job.functions]
    parts.append(_words(len(job.calls)))
    for call in job.calls:
        parts.append(_words(numbers[prefix + call.function], call.block, call.workers))
        if call.workers:
            serve = numbers[prefix + call.serve] + 1 if call.serve else 0
            parts.append(_words(call.sync, serve))
    return b"".join(parts)


def _found(address: int, blocks: Sequence[Array]) -> tuple[int, int]:
    """The block that an address lies in, and where."""
    for number, block in enumerate(blocks):
        offset = address - block.ctypes.data
        if 0 <= offset < block.nbytes:
            return number, offset
    raise AssertionError(f"{address:#x} lies in no block")


# -- graphs ----------------------------------------------------------------------------------------


@dataclass
class Running:
    """A case in the memory that a job works on."""

    case: Case
    memory: Memory
    job: Job

    def outputs(self) -> list[Array]:
        """What the job has left, which has written nothing outside its buffers."""
        self.memory.check_guards(SLACK)
        return self.case.outputs(self.memory)


def prepare(case: Case, arguments: Sequence[Array], steps: int = 1, workers: int = 0) -> Running:
    """A case that runs so many steps; where `workers` are given, its loops shared among them."""
    memory = case.memory(arguments)
    lowered = case.lowered
    scratch = lowered.plan.scratch
    if scratch is not None and workers:  # a share for each
        memory.flat[scratch] = memory.block("scratch", scratch.elements * workers)
    addresses = [memory.flat[buffer].ctypes.data for buffer in lowered.table]
    raw = [block for _, block, _, _ in memory.blocks]
    blocks = [*raw, np.array(addresses, np.uint64), np.zeros(64 * (workers + 4), np.uint64)]
    tables = {len(raw): range(len(addresses))}
    text = pipeline.finish(lowered, split=workers > 0, check=True).text
    name = "mynn_step_split" if workers else "mynn_step"
    calls = [Call(name, len(raw), workers, len(raw) + 1)] * steps
    return Running(case, memory, Job((text,), blocks, tables, calls))


def outputs(
    cases: Sequence[tuple[Case, Sequence[Array]]], folder: Path, steps: int = 1, workers: int = 0
) -> list[list[Array]]:
    """The outputs of cases, run as AArch64 code in one process."""
    running = [prepare(case, arguments, steps, workers) for case, arguments in cases]
    run([one.job for one in running], folder)
    return [one.outputs() for one in running]
