"""LLVM at work: from the text of a module to object code.

A large module is worked on in parts (`mynn.compiler.codegen.split_module`) by several threads. LLVM
allows that, as long as each has a context, a target machine and passes of its own. Meanwhile each
thread holds a lock of its own, for which a fork waits (`mynn.base.forks`).
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field
from queue import SimpleQueue
from typing import Any

from mynn.base import forks
from mynn.base.dataclass import dataclass
from mynn.compiler.codegen.split_module import MOST
from mynn.runtime.threads import processors
from mynn.target.llvm import Machine, Module, Passes
from mynn.target.target import Target


@dataclass(frozen=True)
class Settings:
    """What LLVM is asked for: the level of code generation.

    Of its passes those of level 0 run, which take functions into their callers; the code generator
    needs no others.
    """

    generation: int = 1

    def __str__(self) -> str:
        return f"O{self.generation} code generation"


SHIPPED = Settings()
# A quarter of the time in LLVM, for slower code; the tests of what programs mean ask for it.
QUICK = Settings(0)
# Modules that one pass builder serves: each leaves callbacks behind that all later ones call.
_SERVES = 16
# Bytes of stack that LLVM may need.
_STACK = 4 * 2**20


class _Current:
    settings = SHIPPED


def settings() -> Settings:
    """What LLVM is asked for now."""
    return _Current.settings


@contextmanager
def using(settings: Settings) -> Iterator[None]:
    """Within the block, LLVM is asked for something else, by all threads."""
    before, _Current.settings = _Current.settings, settings
    try:
        yield
    finally:
        _Current.settings = before


def target_machine(
    target: Target, codemodel: str = "jitdefault", asked: Settings | None = None
) -> Machine:
    """What makes machine code for a target; as is asked for now, unless something else is."""
    level = (asked or _Current.settings).generation
    return Machine(target.triple, target.cpu, target.features, level, codemodel)


@dataclass(eq=False)
class _Worker:
    """What one thread at a time works with: LLVM's own order of passes.

    Passes are built for `_SERVES` modules at a time, because LLVM never frees all of a builder.
    """

    target: Target
    lock: Any = field(default_factory=lambda: forks.hold(threading.RLock()))
    served: int = 0
    passes: Any = None

    def __post_init__(self) -> None:
        self.machine = target_machine(self.target)

    def optimize(self, text: str) -> Module:
        """The module that `text` describes, after the passes."""
        with self.lock:
            module = Module(text)
            module.made_for(self.machine)
            if self.served % _SERVES == 0:
                self.passes = Passes(self.machine)
            self.served += 1
            self.passes.run(module)
        return module

    def emit(self, module: Module, machine: Machine) -> bytes:
        """The machine code of a module."""
        with self.lock:
            return machine.emit(module)


# Those that nobody works with at the moment.
_idle: dict[tuple[Target, Settings], list[_Worker]] = {}


@contextmanager
def _worker(target: Target) -> Iterator[_Worker]:
    settings = _Current.settings
    idle = _idle.setdefault((target, settings), [])
    try:
        worker = idle.pop()
    except IndexError:
        worker = _Worker(target)
    try:
        yield worker
    finally:
        idle.append(worker)


def try_out(target: Target) -> None:
    """Raises where LLVM makes no code for a target; the first program works with what is made."""
    with _worker(target):
        pass


def optimize(text: str, target: Target) -> Module:
    """The module that `text` describes, after LLVM's passes."""
    with _worker(target) as worker:
        return worker.optimize(text)


def object_code(
    text: str, target: Target, codemodel: str = "jitdefault", asked: Settings | None = None
) -> bytes:
    """The machine code of an LLVM module, as a file for a linker."""
    # What a machine keeps of its work is twenty times the code: there is one for each module.
    machine = target_machine(target, codemodel, asked)
    with _worker(target) as worker:
        return worker.emit(worker.optimize(text), machine)


def object_codes(
    texts: Sequence[str], target: Target, asked: Settings | None = None
) -> list[bytes]:
    """The machine code of several modules, made by as many threads as there are processors."""
    if len(texts) == 1:
        return [object_code(texts[0], target, asked=asked)]
    waiting = list(range(len(texts)))
    found: dict[int, bytes] = {}
    failed: list[BaseException] = []
    gone: SimpleQueue[None] = SimpleQueue()

    def work() -> None:
        with suppress(IndexError):  # of `pop`, where another thread was faster
            while waiting:
                number = waiting.pop()
                found[number] = object_code(texts[number], target, asked=asked)

    def help_out() -> None:
        try:
            work()
        except BaseException as error:  # raised again below
            failed.append(error)
            waiting.clear()
        finally:
            gone.put(None)

    helpers = 0
    try:
        while helpers < min(len(texts), _threads()) - 1:
            try:
                _thread.start_new_thread(help_out, ())
            except (RuntimeError, MemoryError):  # the system gives no more threads
                break
            helpers += 1
        work()
    finally:
        waiting.clear()
        for _ in range(helpers):
            gone.get()
    if failed:
        raise failed[0]
    return [found[number] for number in range(len(texts))]


def worthwhile_parts() -> int:
    """Into how many parts a module is best divided: two for each thread, so that none waits long
    for the last one; one part where there is one thread.
    """
    threads = _threads()
    return min(2 * threads, MOST) if threads > 1 else 1


def _threads() -> int:
    """The threads that may work: one, where new ones would have hardly any stack."""
    return processors() if not 0 < _thread.stack_size() < _STACK else 1
