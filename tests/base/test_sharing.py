"""State of several programs: whatever interrupts a write, nobody keeps a lock, or a lost mark."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from mynn import Tensor
from mynn.base import recording, sharing


class Late(Exception):
    """What is raised."""


class Raise:
    """Raises at an event of a number: as a function of Python begins, or one of C has returned.
    There Python looks for signals.
    """

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_return"):
            self.left -= 1
            if self.left == 0:
                raise Late


@pytest.fixture
def tensors() -> list[Tensor]:
    """Two, each of a domain."""
    found = [Tensor(np.zeros(2, np.float32)) for _ in range(2)]
    for tensor in found:
        sharing.claim([tensor])
    return found


@pytest.mark.parametrize("kind", ["read", "write", "noted", "program"])
def test_an_exception_at_each_moment(tensors: list[Tensor], kind: str) -> None:
    domains: Any = [sharing.domain_of(tensor) for tensor in tensors]
    access = sharing.join(tensors, tensors)
    done: list[int] = []

    def work() -> None:
        if kind == "program":
            access.alone(lambda: done.append(1))
        else:
            sharing.run_whole(lambda: done.append(1), tensors, kind != "read", kind == "noted")

    for number in range(1, 1000):
        marks, count = [domain.mark for domain in domains], len(done)
        before, error = sys.getprofile(), None
        try:
            sys.setprofile(Raise(number))
            work()
        except Late as late:
            error = late  # with the frames of its traceback
        finally:
            sys.setprofile(before)
        assert not any(domain.lock._is_owned() for domain in domains)
        assert not recording.is_holding()
        assert all(domain.mark is not None for domain in domains)
        if len(done) > count and kind != "read":
            assert not {*marks} & {domain.mark for domain in domains}
        if error is None:
            break
    assert 8 < number < 999
