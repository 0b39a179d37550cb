"""What every function goes through, by the registry."""

from __future__ import annotations

import pytest

import mynn
from mynn import functional
from tests.registry import FUNCTIONS
from tests.registry.entries import all_cases
from tests.registry.running import (
    DTYPES,
    TOLERANCE,
    assert_all_close,
    backends,
    dtypes_of,
    our_function,
    pytorch,
    run_compiled,
    run_eager,
    run_torch,
    their_function,
)
from tests.subset import by_entry

# PyTorch warns of it once in a process, in whichever test comes first.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

CASES = all_cases(FUNCTIONS)
every_case = pytest.mark.parametrize("name", CASES)


def test_registry_holds_every_function() -> None:
    assert {entry.name for entry in FUNCTIONS} == set(functional.__all__)


def test_names_at_the_top_are_the_same_functions() -> None:
    for name in set(mynn.__all__) & set(functional.__all__):
        assert getattr(mynn, name) is getattr(functional, name)


@pytest.mark.one_in(3, each=by_entry)
@every_case
def test_pytorch(name: str) -> None:
    torch = pytorch()
    for dtype in DTYPES:
        arrays = CASES[name].arrays(name, dtype)
        expected = run_torch(torch, their_function(torch, CASES[name]), arrays)
        assert_all_close(
            run_eager(our_function(CASES[name]), arrays),
            expected,
            max(3 * TOLERANCE[dtype], CASES[name].rounded),
        )


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.smooth])
def test_gradients(name: str) -> None:
    """First and second derivatives, against differences."""
    mynn.check_grads(our_function(CASES[name]), CASES[name].arrays(name))


@pytest.mark.one_in(7, each=by_entry)
@backends
@every_case
def test_compiled(name: str, backend: str) -> None:
    for dtype in dtypes_of(name):
        arrays = CASES[name].arrays(name, dtype)
        function = our_function(CASES[name])
        got = run_compiled(function, arrays, backend=backend)
        assert_all_close(got, run_eager(function, arrays), 3 * TOLERANCE[dtype])
