"""The programs of a function for batches of several sizes, and its traces that have none yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mynn.base import forks, recording
from mynn.base.cycles import undisturbed
from mynn.jit.known import Beside, Known
from mynn.jit.stage import Staged, signature_of

if TYPE_CHECKING:
    from mynn.jit.lengths.program import JoinedProgram

Check = Callable[[Staged], None]


class Lengths:
    """What a compiled function has beside a program for each signature.

    `compiled` is the function, which traces, and makes programs.
    """

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._joined: dict[tuple[Any, Any], list[JoinedProgram]] = {}
        self._early: dict[Any, tuple[Staged, Known | None]] = {}

    def __len__(self) -> int:
        """How many there are."""
        return sum(map(len, self._joined.values()))

    def trace(self, arguments: tuple[Any, ...], check: Check) -> Staged:
        """The staged function for these arguments, whose program is made later."""
        signature, compiled = signature_of(arguments), self._compiled
        found = self.known(signature)
        if found is not None:
            check(found)
            return found
        with compiled.lock:
            early = undisturbed(lambda: compiled.traced(signature, arguments, check, Beside()))
            self._early[signature] = early
        staged: Staged = early[0]
        return staged

    def known(self, signature: Any) -> Staged | None:
        """The trace for such arguments, if there is one that holds."""
        made = self._compiled.find(signature, thoroughly=True)
        if made is not None:
            found: Staged = made[0]
            return found
        return next((one for one in self._traces(signature) if one.valid(thoroughly=True)), None)

    def take(self, signature: Any) -> tuple[Staged, Known | None] | None:
        """The same for whoever makes a program of it, with what is known of the trace."""
        if not (self._early or self._joined or self._compiled.has_programs):
            return None
        early = self._early.pop(signature, None)
        if early is not None and early[0].valid(thoroughly=True):
            return early
        found = self.known(signature)
        return None if found is None else (found, None)

    def _traces(self, signature: Any) -> Iterator[Staged]:
        if signature in self._early:
            yield self._early[signature][0]
        for signatures, made in self._joined.items():
            if signature in signatures:
                place = signatures.index(signature)
                yield from ((one.whole, one.fewer)[place] for one in reversed(made))

    def lookup(
        self,
        whole: tuple[Any, ...],
        fewer: tuple[Any, ...],
        check: Check,
        beside: Beside,
        thoroughly: bool = True,
    ) -> JoinedProgram | None:
        """One program for batches like `whole` and smaller ones like `fewer`, made now if need be;
        None where each has to have its own. Large arrays that decided it are looked at where it is
        asked for.
        """
        signatures, compiled = (signature_of(whole), signature_of(fewer)), self._compiled
        found = self._find(signatures, thoroughly)
        if found is None:
            with compiled.lock:
                found = self._find(signatures, thoroughly)
                if found is None and not all(compiled.find(one, True) for one in signatures):
                    return undisturbed(
                        lambda: self._make(signatures, (whole, fewer), check, beside)
                    )
        if found is not None:
            check(found.whole)
            check(found.fewer)
        return found

    def _find(self, signatures: tuple[Any, Any], thoroughly: bool) -> JoinedProgram | None:
        if recording.waiting:
            recording.settle()
        for found in reversed(self._joined.get(signatures, [])):
            if found.whole.valid(thoroughly) and found.fewer.valid(thoroughly):
                return found
        return None

    def _make(
        self,
        signatures: tuple[Any, Any],
        arguments: tuple[tuple[Any, ...], tuple[Any, ...]],
        check: Check,
        beside: Beside,
    ) -> JoinedProgram | None:
        """What `lookup` makes where it finds nothing; traces alone, where that cannot be."""
        compiled = self._compiled
        traced = [
            compiled.traced(signature, given, check, beside)
            for signature, given in zip(signatures, arguments, strict=True)
        ]
        with forks.loading:
            from mynn.jit.lengths.program import joined_program

        (whole, _), (fewer, _) = traced
        made = joined_program(compiled.make, whole, fewer, beside.program)
        if made is None:
            self._early.update(zip(signatures, traced, strict=True))
            return None
        beside.program, code = made.program, made.program.code
        for _, known in traced:
            if known is not None and known.joined is not code:
                known.keep(code, joined=True)
        self._joined.setdefault(signatures, []).append(made)
        compiled.hold(whole, code)
        return made

    def forget(self, code: Any) -> None:
        """The store of programs drops this code."""
        for signatures, made in list(self._joined.items()):
            self._joined[signatures] = [one for one in made if one.program.code is not code]
