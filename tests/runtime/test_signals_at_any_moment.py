"""A signal handler that raises at any moment leaves everything whole."""

from __future__ import annotations

import os

import numpy as np
import pytest

import mynn
from mynn.trace import tracing
from tests.runtime.children import run_child
from tests.subset import count

# `python -m tests.fuzz.signals --moments 10000` is the long form.
MOMENTS = int(os.environ.get("MYNN_SIGNALS", count(150, 30)))


@pytest.mark.wide
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no timers here")
def test_random_moments() -> None:
    run_child(
        f"""
        from tests.fuzz.signals import run
        sys.setswitchinterval(1e-4)
        print(run({MOMENTS}, seed=3))
        """,
        timeout=120 + MOMENTS,
    )


def test_a_trace_that_does_not_end_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where an exception comes between the end of the block and the code after it."""
    x = np.ones(3, np.float32)

    def leaves_one_behind(v: mynn.Tensor) -> mynn.Tensor:
        kept.append(tracing.tracing())
        kept[-1].__enter__()
        raise KeyboardInterrupt

    kept: list[object] = []
    with pytest.raises(KeyboardInterrupt):
        mynn.compile(leaves_one_behind)(x)
    assert tracing.active() is None
    assert tracing.activity.watch == tracing.activity.edits()
    assert mynn.compile(lambda v: v * 2)(x).tolist() == [2, 2, 2]
    kept.clear()
    assert tracing.activity.watch == tracing.activity.edits()


def test_an_end_that_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What depends on whether somebody traces is put right the next time that it is asked for."""
    settle = tracing.Activity.settle
    calls: list[int] = []

    def interrupted(activity: tracing.Activity) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        settle(activity)

    with monkeypatch.context() as patch:
        patch.setattr(tracing.Activity, "settle", interrupted)
        with pytest.raises(KeyboardInterrupt):
            mynn.compile(lambda v: v * 2)(np.ones(3, np.float32))
    edits = tracing.activity.edits()
    assert tracing.activity.watch == edits
    assert not tracing.activity.told
    assert tracing.active() is None
