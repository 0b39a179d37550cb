"""Pools of processes and threads, as programs make them, after this process has trained itself."""

from __future__ import annotations

import multiprocessing

import pytest

from tests.runtime.children import run_child

METHODS = [
    m for m in ("fork", "spawn", "forkserver") if m in multiprocessing.get_all_start_methods()
]

BEGIN = """
import warnings
from tests.runtime.pooled import train

def check(found):
    for number, (arrays, _) in enumerate(found):
        for a, b in zip(expected[number], arrays, strict=True):
            np.testing.assert_array_equal(a, b)

def main():
    global expected
    expected = [train(seed)[0] for seed in range(4)]
    use()

if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    main()
"""


@pytest.mark.one_in(3)
@pytest.mark.parametrize("method", METHODS)
def test_multiprocessing(method: str) -> None:
    run_child(
        f"""
import multiprocessing
def use():
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        check(pool.map_async(train, range(4)).get(100))
"""
        + BEGIN,
        timeout=120,
    )


@pytest.mark.one_in(3)
@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_joblib(backend: str) -> None:
    """The workers of `loky` are told by `OMP_NUM_THREADS` how many threads each may have."""
    pytest.importorskip("joblib")
    run_child(
        f"""
import joblib
def use():
    work = (joblib.delayed(train)(seed) for seed in range(4))
    with joblib.parallel_config("{backend}", n_jobs=2):
        found = joblib.Parallel()(work)
    check(found)
    allowed = max(1, joblib.cpu_count() // 2)
    if "{backend}" == "loky":
        assert all(number <= allowed for _, number in found), found
"""
        + BEGIN,
        timeout=120,
    )
