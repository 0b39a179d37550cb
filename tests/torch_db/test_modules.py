"""Our modules on PyTorch's own samples (`tests/torch_db/modules.py`)."""

from __future__ import annotations

import pytest

from mynn import nn
from tests.torch_db import modules

pytest.importorskip("torch")
TORCH, INFOS = modules.database()

pytestmark = pytest.mark.filterwarnings("ignore")


def test_every_module_is_there_or_has_a_reason() -> None:
    absent = {name for name in INFOS if not hasattr(nn, name)}
    assert absent == set(modules.LEFT_OUT)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", [name for name in INFOS if hasattr(nn, name)])
def test_samples(name: str) -> None:
    assert modules.check(TORCH, INFOS[name]) == []


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", [name for name in INFOS if hasattr(nn, name)])
def test_compiled(name: str) -> None:
    assert modules.compiled(TORCH, INFOS[name]) == []
