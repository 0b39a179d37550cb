"""State that several programs share: every run sees whole steps of the others.

Programs have argument buffers, results and an arena of their own for each run. What they share is
state: parameters, slots of optimisers, keys of random numbers. The tensors that some program writes
form *domains*; a tensor that no program writes is in none.

- A run that writes holds the locks of all domains that it uses, in the order of their numbers, for
  one call or one budget of steps. Nothing of the user's runs inside, so that nobody waits for ever.
- A run that only reads holds nothing. A writer changes the `mark` of a domain: a reader that finds
  another mark afterwards throws its results away, and runs once more with the locks.

Locks are taken by `with` alone and may be taken again by the thread that has them: an exception
from a signal handler leaves none behind, and a handler may run programs itself.
"""

from __future__ import annotations

import itertools
import operator
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, Protocol, TypeVar

from mynn.base import forks, recording

Result = TypeVar("Result")

# Seconds for which who has had his turn leaves the lock to who waits for it.
_PAUSE = 5e-4
_numbers = itertools.count()


class Shared(Protocol):
    """A tensor: `shared` is its domain, or the uses by programs while none of them writes it."""

    shared: Domain | weakref.WeakSet[Access] | None


class Domain:
    """State that is written as a whole.

    - `mark`: another object after each write, None during one.
    - `before`: during a write that the tensors note, the mark that the last program left.
    - `wanted`: somebody waits.
    - `drawn`: the state is a key of random numbers.
    """

    __slots__ = ("__weakref__", "before", "drawn", "lock", "mark", "number", "wanted")

    def __init__(self, mark: object | None = None, drawn: bool = False) -> None:
        self.number = next(_numbers)
        self.mark = mark
        self.before: object | None = None
        self.wanted = False
        self.drawn = drawn
        self.lock = forks.register(threading.RLock())


# Its lock is that of the bookkeeping here.
_REGISTRY = Domain()
_number: Callable[[Domain], int] = operator.attrgetter("number")
# Sets the mark of a domain, in one instruction of Python.
_set_mark: Callable[[Domain, object], None] = vars(Domain)["mark"].__set__
# What stands for the domains of a program that has none, and of one that has several.
NOBODY = Domain(object())
SEVERAL = Domain()


class Noted:
    """A mark after writes that the tensors have noted themselves.

    `before` is the mark that the last program left: what was recorded of others since is valid.
    """

    __slots__ = ("before",)

    def __init__(self, outer: object) -> None:
        self.before = _left(outer)


def _left(mark: object) -> object:
    """The mark that the last program left."""
    return mark.before if isinstance(mark, Noted) else mark


class Access:
    """Which domains a program uses, and which of them it writes.

    `sole` is the only domain of a program that reads: `NOBODY` where nobody writes its state,
    `SEVERAL` where there are more.
    """

    __slots__ = ("__weakref__", "domains", "sole", "written")

    def __init__(self) -> None:
        self.domains: tuple[Domain, ...] = ()
        self.written: tuple[Domain, ...] = ()
        self.sole = NOBODY

    def include(self, domains: Iterable[Domain]) -> None:
        """Use these domains too."""
        known = {*self.domains, *domains}
        self.domains = tuple(sorted(known, key=_number))
        self.sole = (NOBODY, *self.domains)[-1] if len(self.domains) < 2 else SEVERAL

    def run(self, function: Callable[[], Result]) -> Result:
        """What `function` returns, from a run that no write of another thread falls into."""
        domain = self.sole
        mark = domain.mark
        if mark is not None and not self.written:  # as below, for one domain or none
            try:
                result = function()
            except Exception:
                if domain.mark is mark and self.sole is domain:
                    raise
            else:
                if domain.mark is mark and self.sole is domain:
                    return result
        if not self.written:
            domains = self.domains
            marks = [domain.mark for domain in domains]
            if None not in marks:
                try:
                    result = function()
                except Exception:
                    if self._unchanged(domains, marks):
                        raise
                else:
                    if self._unchanged(domains, marks):
                        return result
            for domain in domains:
                domain.wanted = True
        return self.alone(function)

    def _unchanged(self, domains: tuple[Domain, ...], marks: Sequence[object | None]) -> bool:
        return self.domains is domains and all(
            domain.mark is mark for domain, mark in zip(domains, marks, strict=True)
        )

    def alone(self, function: Callable[[], Result]) -> Result:
        """What `function` returns, while no other thread writes the state of this program."""
        if self.written:
            give_way(self.domains)
        while True:
            domains = self.domains
            if len(domains) == 1 and self.written:  # as below, for most steps, in half the time
                (domain,) = domains
                with domain.lock:
                    if self.domains is domains:
                        after: object = object()
                        outer, domain.mark = domain.mark, None
                        try:
                            return function()
                        finally:  # without a call, so that no signal handler comes before it
                            domain.mark = None if outer is None else after
            results = self._holding(domains, 0, function)
            if results:
                return results[0]

    def _holding(
        self, domains: tuple[Domain, ...], number: int, function: Callable[[], Result]
    ) -> list[Result]:
        """The result, with the locks from `number` on; none where others are to be held by now."""
        if number < len(domains):
            with domains[number].lock:
                return self._holding(domains, number + 1, function)
        if self.domains is not domains:
            return []
        return [_marked(self.written, function, False)]


def _marked(domains: Sequence[Domain], function: Callable[[], Result], noted: bool) -> Result:
    """What `function` returns. The domains have no mark meanwhile, and new ones after it.

    A handler of signals may write in the middle of a write of the same thread, or raise anywhere.
    So all marks change between two instructions of Python.
    """
    after = [_begin(domain, noted) for domain in domains]
    try:
        deque(map(_set_mark, domains, repeat(None)), maxlen=0)
        return function()
    finally:
        deque(map(_set_mark, domains, after), maxlen=0)


def _begin(domain: Domain, noted: bool) -> object | None:
    """A write is to begin: the mark after it; none where another write goes on."""
    outer = domain.mark
    if outer is None:
        return None
    domain.before = _left(outer) if noted else None
    return Noted(outer) if noted else object()


def give_way(domains: Iterable[Domain]) -> None:
    """Let those go first who have waited since the last turn; ask for one where it is taken."""
    for domain in domains:
        if domain.mark is None:
            if not domain.lock._is_owned():  # type: ignore[attr-defined]
                domain.wanted = True
        elif domain.wanted:
            domain.wanted = False
            time.sleep(_PAUSE)


def join(state: Sequence[Shared], written: Sequence[Shared]) -> Access:
    """The access of a new program to the tensors that it reads or writes."""
    claim(written)
    access = Access()
    with _REGISTRY.lock:
        domains: dict[Any, None] = {}
        for tensor, shared in zip(state, map(_shared, state), strict=True):
            if type(shared) is Domain:
                domains[shared] = None
            else:
                if shared is None:
                    shared = tensor.shared = weakref.WeakSet()
                shared.add(access)
        access.include(domains)
        found = map(_shared, written)
        access.written = tuple(dict.fromkeys([one for one in found if type(one) is Domain]))
    return access


def claim(tensors: Iterable[Shared]) -> None:
    """Put those that are in no domain into a new one: somebody is about to write them."""
    new = [tensor for tensor in tensors if type(tensor.shared) is not Domain]
    if not new:
        return
    with _REGISTRY.lock:
        domain = Domain(object())
        users: set[Access] = set()
        for tensor in new:
            shared: Any = tensor.shared
            if type(shared) is Domain:
                continue
            if shared is not None:
                users.update(shared)
            tensor.shared = domain
        for user in users:
            user.include([domain])
    for user in users:  # runs that began without the new domain end before it is written
        if user.written:
            user.alone(lambda: None)


_shared: Callable[[Shared], Any] = operator.attrgetter("shared")


def run_whole(
    function: Callable[[], Result],
    tensors: Iterable[Shared],
    write: bool = False,
    noted: bool = False,
) -> Result:
    """What `function` returns, while no program of another thread writes these tensors; to `write`
    them, none reads them either. `noted`: the tensors that are written note it themselves.
    """
    tensors = list(tensors)
    if recording.waiting:
        recording.settle(tensors)
    found = {shared for shared in map(_shared, tensors) if type(shared) is Domain}
    domains = list(found) if len(found) < 2 else sorted(found, key=_number)
    give_way(domains)
    if not write:
        return _locked(domains, 0, function)
    return _locked(domains, 0, lambda: _marked(domains, function, noted))


def write_alone(domain: Domain, function: Callable[[], None]) -> None:
    """Have state of one domain written, whose lock this thread has; its tensor notes it itself."""
    after = _begin(domain, noted=True)
    try:
        domain.mark = None
        function()
    finally:  # one instruction, before which no signal handler comes
        domain.mark = after


def _locked(domains: Sequence[Domain], number: int, function: Callable[[], Result]) -> Result:
    """What `function` returns, with the locks from `number` on."""
    if number == len(domains):
        return function()
    with domains[number].lock:
        recording.hold(domains[number].lock)
        return _locked(domains, number + 1, function)


def establish(tensor: Shared, drawn: bool = False) -> Domain:
    """A domain for one tensor, which no program uses yet."""
    domain = tensor.shared = Domain(object(), drawn)
    return domain


def program_mark(tensor: Shared) -> object | None:
    """Another object after each run of a program that writes the tensor's domain."""
    shared = _shared(tensor)
    if not isinstance(shared, Domain):
        return None
    mark = shared.mark
    return shared.before if mark is None else _left(mark)


def domain_of(tensor: Shared) -> Domain | None:
    """The domain of a tensor that programs write."""
    shared = _shared(tensor)
    return shared if isinstance(shared, Domain) else None


def is_drawn(tensor: Shared) -> bool:
    """Whether a tensor is the key of random numbers."""
    domain = domain_of(tensor)
    return domain is not None and domain.drawn
