"""The programs of this process: each is made once, they are counted, and the oldest make room.

What is kept is code: programs that compute the same have one, whatever state they are bound to.
Where it leaves the store, those who hold it are told to let it go (`Stored.holders`); who is
running it keeps it alive until he is done.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

from mynn.base import forks
from mynn.base.dataclass import dataclass
from mynn.errors import ArgumentError

Kept = TypeVar("Kept", bound="Stored")

VARIABLE = "MYNN_PROGRAMS"
# The bytes are added up where they may have grown by this part of the limit.
_LOOKS = 16
_UNITS = {"": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}


@dataclass(frozen=True)
class Limit:
    """How many programs the store keeps, and how many bytes they may take together."""

    count: int = 256
    bytes: int = 512 * 2**20

    @staticmethod
    def of(value: Any) -> Limit:
        """From a number of programs, or a number and bytes."""
        if isinstance(value, Limit):
            return value
        numbers = value if isinstance(value, tuple | list) else (value,)
        whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
        if not 1 <= len(numbers) <= 2 or not whole:
            raise ArgumentError(
                "the limit of programs is their number, or (number, bytes), such as 256 or "
                f"(256, 2**29); it is {value!r}"
            )
        return Limit(*numbers)

    @staticmethod
    def from_text(text: str) -> Limit:
        """From `MYNN_PROGRAMS`: "256", or "256,512MB"."""
        count, _, size = text.partition(",")
        digits = size.strip().upper().rstrip("KMGB")
        unit = size.strip().upper().removeprefix(digits)
        if not count.strip().isdigit() or (size and not (digits.isdigit() and unit in _UNITS)):
            raise ArgumentError(
                f'{VARIABLE} is a number of programs, and bytes if need be: "256" or "256,512MB"; '
                f"it is {text!r}"
            )
        return Limit.of((int(count), int(digits) * _UNITS[unit]) if size else int(count))


class Stored:
    """Code that the store keeps.

    - `touched`: set by who runs it; the store takes it back when it looks for what to drop.
    - `holders`: whose `forget(code)` is called when it is dropped; `dropped`: whether it was.
    """

    kind = "program"
    signature = ""
    kernels = 0

    def __init__(self) -> None:
        self.touched = True
        self.dropped = False
        self.holders: weakref.WeakSet[Any] = weakref.WeakSet()

    @property
    def nbytes(self) -> int:
        """Bytes of the code, its constants, and the memory of runs that is kept for it."""
        return 0


@dataclass(frozen=True)
class ProgramInfo:
    """What the store tells of a program.

    - `kind`: "program", "loop" (of `fit`, `evaluate`, `predict`) or "interpreted".
    - `signature`: the function and the types of its arguments.
    - `hits`: how often it was found instead of being made.
    - `last_use`: seconds since the epoch, as of the last time that the store looked.
    """

    kind: str
    signature: str
    kernels: int
    bytes: int
    hits: int
    last_use: float


class _Entry:
    """A code with what is counted about it."""

    def __init__(self, code: Stored) -> None:
        self.code = code
        self.hits = 0
        self.used = time.time()

    def look(self) -> bool:
        """Whether it was used since the last time."""
        used = self.code.touched
        if used:
            self.code.touched = False
            self.used = time.time()
        return used

    def info(self) -> ProgramInfo:
        self.look()
        code = self.code
        return ProgramInfo(
            code.kind, code.signature, code.kernels, code.nbytes, self.hits, self.used
        )


class Store:
    """A bounded table of code; the least recently used goes first."""

    def __init__(self, limit: Limit | None = None) -> None:
        self._limit = limit
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._making: dict[Hashable, Any] = {}
        self._lock = forks.register(threading.RLock())
        self._grown = 0

    @property
    def limit(self) -> Limit:
        """What may be kept; from `MYNN_PROGRAMS` until it is set."""
        if self._limit is None:
            self._limit = Limit.from_text(os.environ.get(VARIABLE) or str(Limit().count))
        return self._limit

    @limit.setter
    def limit(self, value: Any) -> None:
        self._limit = Limit.of(value)
        self.make_room()

    def fetch(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """The code under `key`, made now if need be, by one thread while others wait for it."""
        found = self.find(key)
        if found is None:
            with self._lock:
                making = self._making.setdefault(key, forks.register(threading.RLock()))
            try:
                with making:
                    found = self.find(key)
                    if found is None:
                        found = make()
                        self.add(key, found)
            finally:
                self._making.pop(key, None)
        kept: Kept = found
        return kept

    def find(self, key: Hashable, suits: Callable[[Any], bool] | None = None) -> Any:
        """The code under `key`, None where there is none, or none that `suits`."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or not (suits is None or suits(entry.code)):
                return None
            self._entries.move_to_end(key)
            entry.hits += 1
            entry.code.touched = True
            return entry.code

    def add(self, key: Hashable, code: Stored) -> None:
        """Keep code that was just made; others may have to go."""
        with self._lock:
            self._entries[key] = _Entry(code)
        self.make_room()

    def grew(self, nbytes: int) -> None:
        """Programs have so much more memory: there may be too much of it by now."""
        self._grown += nbytes
        if self._grown * _LOOKS > self.limit.bytes:
            self.make_room()

    def make_room(self) -> None:
        """Drop those used longest ago, until the others are within the limit."""
        dropped = []
        self._grown = 0
        with self._lock:
            size = sum(entry.code.nbytes for entry in self._entries.values())
            spared = 0
            while self._entries and (
                len(self._entries) > self.limit.count
                or (size > self.limit.bytes and len(self._entries) > 1)
            ):
                key, entry = next(iter(self._entries.items()))
                # Who runs a program does not move it to the end. So each has a second chance.
                if entry.look() and spared < len(self._entries):
                    spared += 1
                    self._entries.move_to_end(key)
                    continue
                del self._entries[key]
                size -= entry.code.nbytes
                dropped.append(entry.code)
        _let_go(dropped)

    def clear(self) -> None:
        """Drop all."""
        with self._lock:
            codes = [entry.code for entry in self._entries.values()]
            self._entries.clear()
        _let_go(codes)

    def infos(self) -> list[ProgramInfo]:
        """What is kept, the one that was used longest ago first."""
        with self._lock:
            found = [(key, entry, entry.info()) for key, entry in self._entries.items()]
            found.sort(key=lambda one: one[2].last_use)
            self._entries = OrderedDict((key, entry) for key, entry, _ in found)
            return [info for _, _, info in found]


def _let_go(codes: list[Stored]) -> None:
    for code in codes:
        code.dropped = True
        for holder in list(code.holders):
            holder.forget(code)


STORE = Store()


class Programs:
    """A view of the programs that this process keeps; see `mynn.programs`."""

    def __init__(self, store: Store = STORE) -> None:
        self._store = store

    def __iter__(self) -> Iterator[ProgramInfo]:
        return iter(self._store.infos())

    def __len__(self) -> int:
        return len(self._store.infos())

    def __getitem__(self, number: int) -> ProgramInfo:
        return self._store.infos()[number]

    @property
    def bytes(self) -> int:
        """What they take together: code, constants, memory of runs that is kept for others."""
        return sum(info.bytes for info in self)

    @property
    def limit(self) -> Limit:
        """How many are kept, and their bytes: assign a number, or (number, bytes)."""
        return self._store.limit

    @limit.setter
    def limit(self, value: Any) -> None:
        self._store.limit = value

    def clear(self) -> None:
        """Forget all of them; what is called again is made again, or read from the disk."""
        self._store.clear()

    def __repr__(self) -> str:
        limit = self.limit
        lines = [
            f"{len(self)} programs, {self.bytes} bytes; limit {limit.count}, {limit.bytes} bytes"
        ]
        for info in self:
            used = time.strftime("%H:%M:%S", time.localtime(info.last_use))
            lines.append(
                f"{info.kind:12} {info.kernels:>4} kernels {info.bytes:>10} bytes "
                f"{info.hits:>6} hits  {used}  {info.signature}"
            )
        return "\n".join(lines)


def programs() -> Programs:
    """The programs that this process keeps, the one that was used longest ago first.

    Equal programs are one, whatever networks they are bound to. `programs().limit` says how many
    are kept and how many bytes they may take; the environment variable MYNN_PROGRAMS sets it
    ("256", "256,512MB"). Those used longest ago make room. `programs().clear()` forgets all. It is
    safe from several threads.

    Example:
        >>> import numpy as np, mynn
        >>> mynn.programs().clear()
        >>> double = mynn.compile(lambda x: x + x)
        >>> for rows in (2, 3):
        ...     result = double(np.ones(rows, np.float32))
        >>> [info.signature for info in mynn.programs()]
        ['<lambda>(f32[2])', '<lambda>(f32[3])']
    """
    return Programs()
