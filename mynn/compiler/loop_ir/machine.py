"""The meaning of host code: a machine that runs it step by step on NumPy arrays.

    machine = Machine(functions, {"k0": kernel})
    machine.share(words)                      # it may touch this array, and no other
    machine.run("mynn_barrier", words.ctypes.data, 1, 0)

Addresses are those of the arrays. Kernels, and what else lies outside of the functions, are Python
functions. Memory is sequentially consistent. Threads are run by turns, a step of memory each:
`interleave` chooses whose turn it is.
"""

from __future__ import annotations

import bisect
import ctypes
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mynn.compiler.loop_ir.ir import Function
from mynn.compiler.loop_ir.op_types import DTYPES
from mynn.compiler.loop_ir.steps import Step, Steps, Variables, hold, scalar, steps_of
from mynn.core.types import Array
from mynn.errors import CompileError

# Functions lie at addresses where no array does, so far apart.
_APART = 16


class _Region:
    """The bytes of an array, and views of them as numbers of a type."""

    def __init__(self, array: Array) -> None:
        ends = [(n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)]
        self.start = array.ctypes.data + sum(min(end, 0) for end in ends)
        size = sum(map(abs, ends)) + array.itemsize
        self.end = self.start + size
        self.array = array
        content = memoryview((ctypes.c_uint8 * size).from_address(self.start))
        self.bytes = content.cast("B") if array.flags.writeable else content.cast("B").toreadonly()
        self.views: dict[str, memoryview] = {}

    def view(self, type: str) -> memoryview:
        """The bytes as numbers."""
        found = self.views.get(type)
        if found is None:
            dtype = DTYPES[type]
            whole = self.bytes[: len(self.bytes) // dtype.itemsize * dtype.itemsize]
            letter: Any = dtype.char  # memory views call types as NumPy does
            found = self.views[type] = whole.cast(letter)
        return found


class Memory:
    """The bytes that a program may touch: those of some arrays."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._regions: list[_Region] = []
        self._last: _Region | None = None

    def share(self, array: Array) -> int:
        """Add the memory of an array; its address."""
        if array.size:
            region = _Region(array)
            place = bisect.bisect(self._starts, region.start)
            self._starts.insert(place, region.start)
            self._regions.insert(place, region)
        return int(array.__array_interface__["data"][0])

    def _region(self, address: int, count: int) -> _Region:
        """What so many bytes lie in; an `IndexError` where they do not all lie in one array."""
        region = self._last
        if region is None or not region.start <= address <= region.end - count:
            place = bisect.bisect(self._starts, address) - 1
            region = self._regions[place] if place >= 0 else None
            if region is None or address > region.end - count:
                raise IndexError(f"{count} bytes at {address} lie in no array")
            self._last = region
        return region

    def bytes_at(self, address: int, count: int) -> Array:
        """So many bytes; none may lie anywhere."""
        if not count:
            return np.empty(0, np.uint8)
        region = self._region(address, count)
        start = address - region.start
        return np.frombuffer(region.bytes[start : start + count], np.uint8)

    def _element(self, address: int, type: str) -> tuple[memoryview, int]:
        """A view of numbers, and which of them lies at an address."""
        size = DTYPES[type].itemsize
        region = self._region(address, size)
        place, odd = divmod(address - region.start, size)
        if odd:
            raise IndexError(f"a {type} lies at {address}, which is not its alignment")
        return region.view(type), place

    def load(self, address: int, type: str) -> Any:
        """The value at an address."""
        view, place = self._element(address, type)
        return DTYPES[type].type(view[place]) if type in ("f32", "f64") else view[place]

    def store(self, address: int, type: str, value: Any) -> None:
        """Set it."""
        view, place = self._element(address, type)
        view[place] = value

    def copy(self, to: int, origin: int, count: int) -> None:
        """Copy bytes."""
        self.bytes_at(to, count)[...] = self.bytes_at(origin, count)


def atomic(op: str, type: str, old: Any, values: Sequence[Any]) -> tuple[Any, Any]:
    """What an atomic step gives, and what it leaves in memory."""
    if op == "compare_exchange":
        same = old == values[0]
        return same, values[1] if same else old
    if op == "add":
        return old, hold(old + values[0], type)
    return old, old if op == "load" else values[0]


class Machine:
    """Functions, what they may call, and memory.

    Args:
        functions: host code.
        outside: other functions, by name; they take and give numbers. Those of `SYSTEM` do nothing
            where they are not given.
    """

    def __init__(
        self, functions: Iterable[Function], outside: Mapping[str, Callable[..., Any]] | None = None
    ) -> None:
        self.memory = Memory()
        self._ticks = 0
        self.outside: dict[str, Callable[..., Any]] = {
            "pause": lambda: None,
            "yield_processor": lambda: None,
            "sleep": lambda microseconds: None,
            "copy": self.memory.copy,
            "time_stamp": self._tick,
            "flush_denormals": lambda: 0,
            "set_float_mode": lambda mode: None,
            **(outside or {}),
        }
        functions = list(functions)
        names = [*(function.name for function in functions), *self.outside]
        self.addresses = {name: _APART * place for place, name in enumerate(names, 1)}
        self._names = {address: name for name, address in self.addresses.items()}
        self.code = {function.name: steps_of(function, self.addresses) for function in functions}

    def _tick(self) -> int:
        self._ticks += 1
        return self._ticks

    def share(self, array: Array) -> int:
        """Let the program touch an array; its address."""
        return self.memory.share(array)

    def called(self, step: Step, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        """The name of what a step calls, and the arguments."""
        return (step.callee, values) if step.callee else (self._names[values[0]], values[1:])

    def run(self, name: str, *args: Any) -> Any:
        """Run a function to its end; what it returns."""
        thread = Thread(self, name, args)
        while not thread.over:
            thread.go_on()
        return thread.result


class Thread:
    """A thread that runs a function; `over` when it has returned, with its `result`."""

    def __init__(self, machine: Machine, name: str, args: Sequence[Any]) -> None:
        self.machine = machine
        self.result: Any = None
        self.over = False
        self._callers: list[tuple[Steps, int, Variables]] = []
        self._enter(machine.code[name], args)

    def _enter(self, code: Steps, args: Sequence[Any]) -> None:
        parameters = code.function.parameters
        self._code, self._place = code, 0
        self._variables: Variables = {
            p.name: scalar(value, p.type) for p, value in zip(parameters, args, strict=True)
        }

    def go_on(self) -> None:
        """Run up to the next step that others can see, and that step."""
        while not self.over:
            step, variables = self._code.steps[self._place], self._variables
            self._place += 1
            kind = step.kind
            if kind == "set":
                variables[step.name] = step.args[0](variables)
            elif kind == "branch":
                if not step.args[0](variables):
                    self._place = step.target
            elif kind == "jump":
                self._place = step.target
            elif kind == "return":
                self._leave(step.args[0](variables) if step.args else None)
            else:
                self._shared(step, [compute(variables) for compute in step.args])
                return

    def _shared(self, step: Step, values: Sequence[Any]) -> None:
        """A step that others can see."""
        variables, memory = self._variables, self.machine.memory
        if step.kind == "load":
            variables[step.name] = memory.load(values[0], step.type)
        elif step.kind == "store":
            memory.store(values[0], step.type, values[1])
        elif step.kind == "atomic":
            old = memory.load(values[0], step.type)
            result, new = atomic(step.op, step.type, old, values[1:])
            memory.store(values[0], step.type, new)
            if step.name:
                variables[step.name] = result
        else:
            self._call(step, *self.machine.called(step, values))

    def _call(self, step: Step, name: str, args: Sequence[Any]) -> None:
        if name in self.machine.code:
            self._callers.append((self._code, self._place, self._variables))
            self._enter(self.machine.code[name], args)
            return
        if name not in self.machine.outside:
            raise CompileError(f"{self._code.function.name} calls {name}, which nobody knows")
        result = self.machine.outside[name](*args)
        if step.name:
            self._variables[step.name] = scalar(result, step.type)

    def _leave(self, result: Any) -> None:
        if not self._callers:
            self.over, self.result = True, result
            return
        self._code, self._place, self._variables = self._callers.pop()
        name = self._code.steps[self._place - 1].name
        if name:
            self._variables[name] = result


def interleave(threads: Iterable[Thread], choose: Callable[[int], int]) -> None:
    """Run threads to their ends; `choose(n)` says whose turn of n it is, again and again."""
    running = [thread for thread in threads if not thread.over]
    while running:
        thread = running[choose(len(running))]
        thread.go_on()
        if thread.over:
            running.remove(thread)
