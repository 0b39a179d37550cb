"""Every public name of PyTorch is there, or left out with a reason."""

from __future__ import annotations

import pytest

from tests.torch_names.names import PLACES, compare, stale


@pytest.fixture(autouse=True)
def torch() -> None:
    pytest.importorskip("torch")


@pytest.mark.parametrize("place", PLACES)
def test_names_are_there_or_left_out_with_a_reason(place: str) -> None:
    assert not compare(place).unknown


@pytest.mark.parametrize("place", PLACES)
def test_reasons_are_still_needed(place: str) -> None:
    assert not stale(place)
