"""Named results print, unpack and pickle as PyTorch's."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

import mynn
from mynn import return_types

X = [[1.0, 3.0, 2.0], [4.0, 0.0, 1.0]]
SQUARE = [[2.0, 1.0], [1.0, 3.0]]
CALLS: dict[str, Callable[[Any], Any]] = {
    "max": lambda m: m.max(m.tensor(X), 1),
    "min": lambda m: m.tensor(X).min(1, keepdim=True),
    "max of a number": lambda m: m.max(m.tensor(2.0), 0),
    "sort": lambda m: m.sort(m.tensor(X)),
    "topk": lambda m: m.topk(m.tensor(X), 2),
    "kthvalue": lambda m: m.kthvalue(m.tensor(X), 2),
    "mode": lambda m: m.mode(m.tensor([1.0, 3.0, 2.0, 3.0]), 0),
    "median": lambda m: m.median(m.tensor(X), 1),
    "nanmedian": lambda m: m.nanmedian(m.tensor(X), 1),
    "cummax": lambda m: m.cummax(m.tensor(X), 1),
    "cummin": lambda m: m.cummin(m.tensor(X), 1),
    "cummax of bools": lambda m: m.cummax(m.tensor([False, True]), 0),
    "aminmax": lambda m: m.aminmax(m.tensor(X)),
    "aminmax keepdim": lambda m: m.aminmax(m.tensor(X), keepdim=True),
    "aminmax of an axis": lambda m: m.aminmax(m.tensor(X), dim=1),
    "linalg.slogdet": lambda m: m.linalg.slogdet(m.tensor(SQUARE)),
    "linalg.qr": lambda m: m.linalg.qr(m.tensor(SQUARE)),
    "linalg.lu": lambda m: m.linalg.lu(m.tensor([[4.0, 2.0], [2.0, 4.0]])),
    "linalg.inv_ex": lambda m: m.linalg.inv_ex(m.tensor([[2.0, 0.0], [0.0, 4.0]])),
    "linalg.solve_ex": lambda m: m.linalg.solve_ex(m.eye(2), m.tensor(SQUARE)),
    "linalg.cholesky_ex": lambda m: m.linalg.cholesky_ex(m.tensor([[4.0, 0.0], [0.0, 9.0]])),
    "linalg.eigh": lambda m: m.linalg.eigh(m.tensor([[2.0, 0.0], [0.0, 3.0]])),
    "linalg.svd": lambda m: m.linalg.svd(m.tensor([[2.0, 0.0], [0.0, 1.0]])),
    "qr": lambda m: m.qr(m.tensor(SQUARE)),
    "svd": lambda m: m.svd(m.tensor([[2.0, 0.0], [0.0, 1.0]])),
}


@pytest.mark.filterwarnings("ignore:torch.(qr|svd|linalg.svd) is deprecated")
@pytest.mark.parametrize("name", CALLS)
def test_text_is_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = repr(CALLS[name](torch)).replace("torch.return_types", "mynn.return_types")
    assert repr(CALLS[name](mynn)) == theirs


@pytest.mark.parametrize("name", CALLS)
def test_each_is_a_tuple_of_its_fields(name: str) -> None:
    result = CALLS[name](mynn)
    assert type(result) is getattr(mynn.return_types, type(result).__name__)
    assert tuple(result) == tuple(getattr(result, field) for field in result._fields)
    again = pickle.loads(pickle.dumps(result))
    assert type(again) is type(result)
    assert repr(again) == repr(result)


def test_each_type_is_returned_by_something() -> None:
    returned = {type(call(mynn)).__name__ for call in CALLS.values()} | {"linalg_lstsq"}
    assert returned == {name for name in vars(return_types) if not name.startswith("_")} - {
        "annotations",
        "Any",
        "NamedTuple",
    }


def test_a_program_returns_the_same_type() -> None:
    result = mynn.compile(lambda x: x.max(1))(mynn.tensor(X))
    assert isinstance(result, return_types.max)
    assert result.indices.tolist() == [1, 0]
