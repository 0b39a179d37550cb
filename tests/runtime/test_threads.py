"""How many processors a process may keep busy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import mynn
from mynn.errors import ArgumentError
from mynn.runtime import threads
from mynn.runtime.threads import choose_threads, processors, quota

V2 = "0::/service/inner\n"
V1 = "12:memory:/job\n5:cpu,cpuacct:/job\n1:name=systemd:/job\n"


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MYNN_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "quota", lambda: None)
    quota.cache_clear()
    yield
    quota.cache_clear()


def make(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/self/cgroup": V2}, None),
        ({"proc/self/cgroup": V2, "sys/fs/cgroup/service/inner/cpu.max": "300000 100000\n"}, 3),
        ({"proc/self/cgroup": V2, "sys/fs/cgroup/service/cpu.max": "250000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "rubbish"}, None),
        ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "100000 0\n"}, None),
        (
            {
                "proc/self/cgroup": V2,
                "sys/fs/cgroup/service/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/service/inner/cpu.max": "600000 100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "50000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_quota_of_control_groups(
    files: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    assert quota(make(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3", 3), ("2,4", 2), (" 5 ", 5), ("64", 8), ("0", 8), ("", 8), ("many", 8), ("-1", 8)],
)
def test_what_openmp_is_told(text: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert processors() == expected
    assert choose_threads(None, 10**12) == expected


def test_the_least_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processors() == 8
    monkeypatch.setattr(threads, "quota", lambda: 4)
    assert processors() == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert processors() == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert processors() == 1


def test_our_own_variable_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("MYNN_THREADS", "5")
    assert choose_threads(None, 1) == 5
    assert choose_threads(3, 1) == 3
    assert choose_threads("auto", 10**12) == 2


def test_too_many() -> None:
    with pytest.raises(ArgumentError, match=r"at most 1024, it is 5000.*8 processors"):
        mynn.compile(lambda x: x, threads=5000)
