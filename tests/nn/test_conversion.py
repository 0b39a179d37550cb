"""Modules in another dtype, or on another device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.errors import ArgumentError, DTypeError, UsageError

X = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh())


def test_dtypes() -> None:
    one = net()
    weight, before = one[0].weight, one(X).numpy()
    assert one.double() is one
    assert one[0].weight is weight
    assert {p.dtype for p in one.parameters()} == {np.dtype(np.float64)}
    assert one[1].running_mean.dtype == np.float64
    assert one[1].num_batches_tracked.dtype == np.int64
    assert one(X).dtype == np.float64
    np.testing.assert_allclose(one(X.astype(np.float64)).numpy(), before, rtol=1e-5, atol=1e-6)
    assert one.float()(X).dtype == np.float32
    assert one.to("cpu", np.float64)(X).dtype == np.float64
    assert one.to(mynn.Tensor([1.0]))(X).dtype == np.float32
    assert one.type(np.float64)(X).dtype == np.float64


def test_optimisers_and_programs_go_on() -> None:
    one = net()
    optimizer = optim.SGD(one.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = (one(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    compiled = mynn.compile(step)
    compiled(X)
    one.double()
    before = one[0].weight.numpy()
    compiled(X)
    assert one[0].weight.dtype == np.float64
    assert not np.array_equal(one[0].weight.numpy(), before)


def test_on_a_tape() -> None:
    one = nn.Linear(4, 3)
    with mynn.eager("tape"):
        for _ in range(4):
            result = one(X)
        before = result.numpy()
        one.double()
        for _ in range(4):
            result = one(X)
        assert result.numpy().dtype == np.float64
    np.testing.assert_allclose(result.numpy(), before, rtol=1e-6)


def test_refusals() -> None:
    one = net()
    with pytest.raises(ArgumentError, match="no device 'cuda:1'"):
        one.to("cuda:1")
    with pytest.raises(ArgumentError, match="no device 'cuda'"):
        one.cuda()
    with pytest.raises(DTypeError, match="float16 is not supported"):
        one.half()
    with pytest.raises(DTypeError, match="cannot become int64"):
        one.to(np.int64)
    with pytest.raises(DTypeError, match="neither a dtype nor a device"):
        one.to("gpu")
    with pytest.raises(UsageError, match="convert the module before"):
        mynn.compile(lambda x: one.double()(x))(X)
    assert {p.dtype for p in one.parameters()} == {np.dtype(np.float32)}


def test_programs_that_read_a_parameter_alone() -> None:
    layer = nn.Linear(4, 3, bias=False)
    compiled = mynn.compile(lambda x: x @ layer.weight.T)
    weight = layer.weight
    alone = mynn.compile(lambda x: x @ weight.T)
    compiled(X), alone(X)
    layer.double()
    layer.weight.data = layer.weight.numpy() * 2
    x = X.astype(np.float64)
    for one in (compiled, alone):
        np.testing.assert_allclose(one(x), layer(x).numpy(), rtol=1e-12)
