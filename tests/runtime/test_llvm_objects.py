"""Object code of several modules, made by several threads."""

from __future__ import annotations

import _thread
import threading
from collections import Counter
from typing import Any

import pytest

from mynn.errors import CompileError
from mynn.runtime import llvm_objects
from mynn.runtime.llvm_objects import object_code, object_codes
from mynn.target.llvm import Module, Passes
from mynn.target.target import Target, host

TEXTS = [
    f"define i64 @f{n}(i64 %x) {{\n  %y = mul i64 %x, {n}\n  ret i64 %y\n}}\n" for n in range(9)
]


@pytest.fixture(autouse=True)
def three_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llvm_objects, "processors", lambda: 3)


def record_threads(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The threads that make object code; two at a time have to."""
    used: set[int] = set()
    meet = threading.Barrier(2)

    def recorded(text: str, target: Target, **named: Any) -> bytes:
        if _thread.get_ident() not in used:
            used.add(_thread.get_ident())
            meet.wait(60)
        return object_code(text, target, **named)

    monkeypatch.setattr(llvm_objects, "object_code", recorded)
    return used


def test_threads_make_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [object_code(text, host()) for text in TEXTS]
    assert len(set(expected)) == len(TEXTS)
    monkeypatch.setattr(llvm_objects, "processors", lambda: 2)
    used = record_threads(monkeypatch)
    assert object_codes(TEXTS, host()) == expected
    assert len(used) == 2


def test_passes_serve_few_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for a module does not grow with the number of those before it."""
    served: Counter[Any] = Counter()
    run = Passes.run

    def counted(passes: Passes, module: Module) -> None:
        served[passes] += 1
        run(passes, module)

    monkeypatch.setattr(Passes, "run", counted)
    for text in TEXTS * 6:
        object_code(text, host())
    assert sum(served.values()) == 54
    assert max(served.values()) <= 16


def test_not_in_threads_with_hardly_any_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        pytest.fail("a thread was started")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    before = threading.stack_size(128 * 1024)
    try:
        assert len(object_codes(TEXTS, host())) == len(TEXTS)
    finally:
        threading.stack_size(before)


def test_where_there_are_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    assert len(object_codes(TEXTS, host())) == len(TEXTS)


@pytest.mark.parametrize("number", range(9))
def test_what_is_wrong_is_told(number: int) -> None:
    """Whichever thread finds it."""
    texts = [*TEXTS]
    texts[number] = "define nothing"
    with pytest.raises(CompileError, match="LLVM rejects the generated module"):
        object_codes(texts, host())


def test_an_interrupt_waits_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread is in LLVM any more once the error is raised."""
    main, inside, done = _thread.get_ident(), threading.Event(), []

    def slow(text: str, target: Target, **named: Any) -> bytes:
        if _thread.get_ident() == main:
            inside.wait(60)
            raise KeyboardInterrupt
        inside.set()
        code = object_code(text, target, **named)
        done.append(code)
        return code

    monkeypatch.setattr(llvm_objects, "processors", lambda: 2)
    monkeypatch.setattr(llvm_objects, "object_code", slow)
    with pytest.raises(KeyboardInterrupt):
        object_codes(TEXTS, host())
    number = len(done)
    assert number
    threading.Event().wait(0.05)
    assert len(done) == number
