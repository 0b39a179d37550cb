"""Sparse gradients of tables: values as PyTorch's, no other row touched, no table made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.core.types import Array
from mynn.errors import ArgumentError, UsageError
from tests.registry import SPARSE

ROWS, COLUMNS = 40, 4
RNG = np.random.default_rng(3)
TABLE = RNG.normal(size=(ROWS, COLUMNS)).astype(np.float32)
INDICES = RNG.integers(0, 12, (4, 2, 5))
TARGETS = RNG.normal(size=(4, 2, 5, COLUMNS)).astype(np.float32)
WAYS = ("eager", "interpreter", "native", "tape")


def trained(torch: Any, name: str, way: str, sparse: bool = True, **options: Any) -> Array:
    """The table after some steps, with a padding row and rows that are there twice."""
    weight = torch.tensor(TABLE)
    table = torch.nn.Embedding(ROWS, COLUMNS, padding_idx=3, sparse=sparse, _weight=weight)
    optimizer = getattr(torch.optim, name)(table.parameters(), lr=0.1, **options)

    def step(index: Any, target: Any) -> Any:
        optimizer.zero_grad()
        loss = ((table(index) - target) ** 2).sum() + table(index[0]).sum()
        loss.backward()
        optimizer.step()
        return loss

    run = step if way in ("eager", "tape") else mynn.compile(step, backend=way)
    with mynn.eager("tape" if way == "tape" else "at once"):
        for index, target in zip(INDICES, TARGETS, strict=True):
            run(torch.as_tensor(index), torch.as_tensor(target))
    values: Array = table.weight.detach().numpy()
    return values


CASES = (
    ("SGD", {}),
    ("SGD", {"maximize": True}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("Adagrad", {"lr_decay": 0.1}),
    ("SparseAdam", {"betas": (0.5, 0.9), "maximize": True}),
)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize(("name", "options"), CASES)
def test_values_are_those_of_pytorch(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    expected = trained(torch, name, "eager", **options)
    for way in WAYS:
        found = trained(mynn, name, way, **options)
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6, err_msg=way)
        assert (found[12:] == TABLE[12:]).all()


@pytest.mark.parametrize(("name", "options"), CASES[:4])
@pytest.mark.parametrize("way", ["eager", "interpreter"])
def test_the_word_changes_no_result(name: str, options: dict[str, Any], way: str) -> None:
    first = trained(mynn, name, way, sparse=True, **options)
    second = trained(mynn, name, way, sparse=False, **options)
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)  # sums in another order


def step_of(optimizer: Any, table: Any) -> Any:
    def step(index: Any, target: Any) -> Any:
        optimizer.zero_grad()
        loss = ((table(index) - target) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    return mynn.compile(step)


@pytest.mark.parametrize(
    ("name", "sparse"), [("SGD", False), ("Adagrad", False), ("SparseAdam", True)]
)
def test_no_table_is_made_of_a_gradient(name: str, sparse: bool) -> None:
    """The program has the state alone in memory of the table's size, and writes that in place."""
    table = nn.Embedding(ROWS, COLUMNS, sparse=sparse, _weight=TABLE)
    step = step_of(getattr(optim, name)(table.parameters(), lr=0.1), table)
    program = step.program(INDICES[0], TARGETS[0])
    floats = [b for b in program.buffers if b.dtype == "f32"]
    large = [b.role for b in floats if b.elements >= ROWS * COLUMNS]
    assert set(large) == {"state"}
    nothing_copied = [line for line in program.stage("order").splitlines() if "copy" in line]
    assert not nothing_copied


@pytest.mark.parametrize("option", SPARSE[0].options)
def test_options_changed_after_compiling(option: str) -> None:
    found = []
    for way in ("eager", "interpreter", "unchanged"):
        table = nn.Embedding(ROWS, COLUMNS, sparse=True, _weight=TABLE)
        optimizer = optim.SparseAdam(table.parameters(), lr=0.1)
        plain = step_of(optimizer, table).function
        step = plain if way == "eager" else mynn.compile(plain, backend="interpreter")
        for number in range(4):
            step(mynn.Tensor(INDICES[number]), TARGETS[number])
            if number == 1 and way != "unchanged":
                optimizer.param_groups[0][option] = SPARSE[0].options[option]
        found.append(table.weight.numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)
    assert not np.allclose(found[1], found[2], rtol=1e-4)


def test_most_rows_are_updated_as_a_table() -> None:
    table = nn.Embedding(6, COLUMNS, _weight=TABLE[:6])
    step = step_of(optim.SGD(table.parameters(), lr=0.1), table)
    assert "first_equal" not in step.program(INDICES[0] % 6, TARGETS[0]).graph


def test_every_number_of_threads_gives_the_same_bits() -> None:
    found = []
    for threads in (1, 2):
        table = nn.Embedding(ROWS, COLUMNS, sparse=True, _weight=TABLE)
        optimizer = optim.SparseAdam(table.parameters(), lr=0.1)
        step = mynn.compile(step_of(optimizer, table).function, threads=threads)
        mynn.fit(step, (INDICES, TARGETS), batch_size=2, epochs=2, shuffle=False, verbose=False)
        found.append(table.weight.numpy())
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags(mode: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    values = []
    for one in (torch, mynn):
        bag = one.nn.EmbeddingBag(ROWS, COLUMNS, mode=mode, sparse=True, _weight=one.tensor(TABLE))
        optimizer = one.optim.SparseAdam(bag.parameters(), lr=0.1)
        (bag(one.tensor(INDICES[0])) ** 2).sum().backward()
        optimizer.step()
        values.append(bag.weight.detach().numpy())
    np.testing.assert_allclose(*values, rtol=1e-5, atol=1e-6)


def test_a_gradient_is_a_table_where_it_is_looked_at() -> None:
    table = nn.Embedding(ROWS, COLUMNS, sparse=True, _weight=TABLE)
    for _ in range(2):  # added up
        table(INDICES[0]).sum().backward()
    counts = np.bincount(INDICES[0].reshape(-1), minlength=ROWS)
    expected = np.repeat(2.0 * counts[:, None], COLUMNS, 1)
    np.testing.assert_array_equal(table.weight.grad.numpy(), expected)
    optim.SparseAdam(table.parameters(), lr=0.5).step()
    moved = (table.weight.numpy() != TABLE).any(1)
    np.testing.assert_array_equal(moved, counts > 0)


def test_zeros_are_sparse_and_rows_without_gradient_are_touched() -> None:
    table = nn.Embedding(ROWS, COLUMNS, sparse=True, _weight=TABLE)
    optimizer = optim.SparseAdam(table.parameters(), lr=0.5)
    table([1, 2]).sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    before = table.weight.numpy()
    optimizer.step()
    np.testing.assert_array_equal(table.weight.numpy(), before)
    (table([1]) * 0).sum().backward()
    optimizer.step()
    np.testing.assert_array_equal((table.weight.numpy() != before).any(1).nonzero()[0], [1])


REFUSING = (
    *("Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "ASGD", "Adadelta"),
    *("Adafactor", "Muon"),
)


@pytest.mark.parametrize("name", REFUSING)
def test_most_optimisers_refuse(name: str) -> None:
    table = nn.Embedding(ROWS, COLUMNS, sparse=True, _weight=TABLE)
    optimizer = getattr(optim, name)(table.parameters(), lr=0.1)
    table([1, 2]).sum().backward()
    with pytest.raises(UsageError, match=f"{name} does not support sparse.*SparseAdam"):
        optimizer.step()
    np.testing.assert_array_equal(table.weight.numpy(), TABLE)


def test_they_refuse_what_comes_later() -> None:
    """Also where updates by other gradients have become programs."""
    table = nn.Embedding(ROWS, COLUMNS, _weight=TABLE)
    optimizer = optim.Adam(table.parameters(), lr=0.1)
    with mynn.eager("tape"):
        for _ in range(20):
            optimizer.zero_grad()
            table([1, 2]).sum().backward()
            float(table.weight.grad.sum())  # type: ignore[union-attr]
            optimizer.step()
        table.sparse = True
        optimizer.zero_grad()
        table([1, 2]).sum().backward()
        with pytest.raises(UsageError, match="Adam does not support sparse"):
            optimizer.step()


@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_weight_decay_is_refused(name: str) -> None:
    table = nn.Embedding(ROWS, COLUMNS, sparse=True)
    optimizer = getattr(optim, name)(table.parameters(), lr=0.1, weight_decay=0.5)
    table([1]).sum().backward()
    with pytest.raises(ArgumentError, match=r"weight_decay is 0\.5.*sparse"):
        optimizer.step()


def test_dense_and_changed_gradients_are_refused() -> None:
    linear = nn.Linear(2, 1)
    linear(np.ones((1, 2), np.float32)).sum().backward()
    with pytest.raises(UsageError, match=r"dense gradients.*use Adam"):
        optim.SparseAdam(linear.parameters()).step()
    table = nn.Embedding(ROWS, COLUMNS, sparse=True)
    table([1]).sum().backward()
    table.weight.grad.add_(1.0)
    with pytest.raises(UsageError, match=r"as backward\(\) made it"):
        optim.SparseAdam(table.parameters()).step()
    for layer in (
        nn.EmbeddingBag(ROWS, COLUMNS, mode="max", sparse=True),
        nn.Embedding(ROWS, COLUMNS, scale_grad_by_freq=True, sparse=True),
    ):
        with pytest.raises(ArgumentError, match="sparse"):
            layer([[1]])
