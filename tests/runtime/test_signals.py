from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from mynn.runtime.signals import uninterrupted


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_waits_for_the_end() -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            interrupt()
            done.append("the rest")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["the rest"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_without_ctrl_c_nothing_happens() -> None:
    with uninterrupted():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_errors_go_first() -> None:
    def work() -> None:
        with uninterrupted():
            interrupt()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nested() -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            with uninterrupted():
                interrupt()
                done.append("inner")
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner", "outer"]


def test_handlers_of_others_are_left_alone() -> None:
    seen: list[int] = []

    def handler(number: int, frame: Any) -> None:
        seen.append(number)

    before = signal.signal(signal.SIGINT, handler)
    try:
        with uninterrupted():
            interrupt()
            assert seen == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_are_left_alone() -> None:
    done: list[bool] = []

    def work() -> None:
        with uninterrupted():
            done.append(signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
