"""LLVM: from the text of a module to functions that can be called."""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from mynn.base.dataclass import dataclass
from mynn.base.lazy import lazy
from mynn.compiler.codegen.split_module import parts_of
from mynn.errors import CompileError
from mynn.runtime import cache
from mynn.runtime.llvm_objects import (
    Settings,
    object_codes,
    optimize,
    settings,
    target_machine,
    try_out,
    worthwhile_parts,
)
from mynn.target import llvm
from mynn.target.llvm import Engine, Machine
from mynn.target.target import Target, host


@dataclass
class NativeModule:
    """Machine code in memory, and the LLVM IR that it was made of.

    `key` is the name of its object code in the cache on disk, `seconds` what it took to make or to
    load it, `nbytes` its size.
    """

    source: Callable[[], str]
    engines: Sequence[Engine]
    key: str
    seconds: float
    target: Target
    nbytes: int = 0

    @lazy
    def text(self) -> str:
        """The LLVM IR as it was generated, before LLVM's passes."""
        return self.source()

    @lazy
    def optimized(self) -> str:
        """The LLVM IR after LLVM's passes, part by part."""
        return "\n".join(str(optimize(part.text, self.target)) for part in parts_of(self.text))

    def address(self, name: str) -> int:
        """The address of a function; valid while this object lives."""
        address = self.engines[0].address(name)
        if not address:
            raise CompileError(f"the native module has no function {name}")
        return address

    def function(self, name: str, *arguments: Any, result: Any = None) -> Any:
        """A callable for a function, which keeps the code alive.

        `arguments` are ctypes types, and so is the `result`, where there is one.
        """
        function: Any = ctypes.CFUNCTYPE(result, *arguments)(self.address(name))
        function.owner = self
        return function

    def assembly(self) -> str:
        """The machine code as text, part by part."""
        return "\n".join(
            assembly(part.text, self.target, "jitdefault") for part in parts_of(self.text)
        )


def assembly(text: str, target: Target, codemodel: str = "default") -> str:
    """The machine code of an LLVM module for any target, as text."""
    machine, module = target_machine(target, codemodel), optimize(text, target)
    with llvm.LOCK:
        return machine.emit(module, assembly=True).decode()


def _link(codes: Sequence[bytes], names: Sequence[Sequence[str]], target: Target) -> list[Engine]:
    """An engine for each part; the first one calls functions of these names in the others."""
    first, *others = codes
    engines = [Engine(code, _loader(target), {}) for code in others]
    known = {
        name: engine.address(name)
        for engine, own in zip(engines, names[1:], strict=True)
        for name in own
    }
    return [Engine(first, _loader(target), known), *engines]


def _loader(target: Target) -> Machine:
    """What an engine needs of a machine, which makes no code: to read a hundred features takes
    longer than all the rest.
    """
    return Machine(target.triple, "", "", 0)


def _key(text: str, target: Target, asked: Settings) -> str:
    """The name of the object code of `text` in the cache."""
    made_for = target.triple, target.cpu, target.features
    return cache.key_of("object", text, *made_for, llvm.version(), str(asked))


def key_of(name: str, target: Target) -> str:
    """The key of a module whose text depends on nothing but the target and what `name` says."""
    return _key(name, target, settings())


def build(
    text: str,
    target: Target,
    source: Callable[[], str] | None = None,
    key: str | None = None,
    asked: Settings | None = None,
) -> NativeModule:
    """Compile the text of an LLVM module to run here, or take it from the cache on disk.

    `target` is this machine, or one whose code this machine can run. `source` makes the text
    again, so that it need not be kept. `key` is that of the module, where it has one that is known
    without its text (`key_of`). `asked`: what LLVM is asked for, where it is not what it is asked
    for now.
    """
    start = time.perf_counter()
    key = key or _key(text, target, asked or settings())
    found = _from_cache(key, target)
    if found is None:
        parts = parts_of(text, worthwhile_parts())
        codes = object_codes([part.text for part in parts], target, asked)
        names = [part.functions for part in parts]
        packed = _pack(codes, names)
        cache.store(key, packed)
        found = _link(codes, names, target), len(packed)
    engines, nbytes = found
    seconds = time.perf_counter() - start
    return NativeModule(source or (lambda: text), engines, key, seconds, target, nbytes)


def built_before(text: str, target: Target) -> NativeModule | None:
    """What `build` gives, where that lies in the cache on disk; None where it does not."""
    return load(_key(text, target, settings()), target, lambda: text) if cache.enabled() else None


def load(key: str, target: Target, source: Callable[[], str]) -> NativeModule | None:
    """The module whose object code lies in the cache under `key`; None where it does not.

    `source` makes its LLVM IR, when somebody wants to see it.
    """
    start = time.perf_counter()
    found = _from_cache(key, target)
    if found is None:
        return None
    engines, nbytes = found
    return NativeModule(source, engines, key, time.perf_counter() - start, target, nbytes)


def _pack(codes: Sequence[bytes], names: Sequence[Sequence[str]]) -> bytes:
    """The object code of all parts, behind a line with their sizes and functions."""
    head = [[len(code), *own] for code, own in zip(codes, names, strict=True)]
    return b"\n".join([json.dumps(head).encode(), b"".join(codes)])


def _from_cache(key: str, target: Target) -> tuple[list[Engine], int] | None:
    """Engines with the object code that the cache holds under `key`, and its size, or None."""
    packed = cache.load(key)
    if packed is None:
        return None
    head, _, rest = packed.partition(b"\n")
    try:
        codes, names = [], []
        for size, *own in json.loads(head):
            codes.append(rest[:size])
            names.append(own)
            rest = rest[size:]
        return _link(codes, names, target), len(packed)
    except (CompileError, ValueError):
        return None


def self_test() -> None:
    """Raises where LLVM cannot make code for this processor."""
    try_out(host())
