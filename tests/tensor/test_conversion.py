"""Dtypes and devices: `to` in all its forms, casts, what a tensor says of itself; default dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor
from mynn.errors import ArgumentError, DTypeError, MynnError, UsageError

# Those that PyTorch has too, and that op_db has not.
NAMES = (
    *(
        "bfloat16",
        "byte",
        "contiguous",
        "cpu",
        "cuda",
        "device",
        "dim",
        "element_size",
        "is_complex",
    ),
    *("is_contiguous", "is_cpu", "is_cuda", "is_floating_point", "is_nonzero", "is_signed"),
    *("itemsize", "nbytes", "ndimension", "nelement", "new_tensor", "to"),
    "type_as",
)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((mynn.float64,), {}),
        (("cpu",), {}),
        (("cpu:0", mynn.int64), {}),
        ((mynn.device("cpu"),), {"dtype": mynn.int32}),
        ((), {"device": "cpu", "dtype": np.float64, "non_blocking": True}),
        ((Tensor(np.ones(1)),), {}),
        (("torch.float64",), {}),
        ((bool,), {}),
    ],
)
def test_to(args: Any, kwargs: Any) -> None:
    torch = pytest.importorskip("torch")

    def theirs(value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.ones(1, dtype=torch.float64)
        if isinstance(value, str) and value.startswith("torch."):
            return torch.float64
        if isinstance(value, str | bool | type):
            return value if not isinstance(value, type) or value is bool else torch.float64
        return torch.device("cpu") if isinstance(value, mynn.device) else getattr(torch, value.name)

    x = [0.5, -1.7, 0.0]
    got = Tensor(x).to(*args, **kwargs)
    expected = torch.tensor(x).to(
        *map(theirs, args), **{name: theirs(value) for name, value in kwargs.items()}
    )
    assert str(got.dtype) == str(expected.dtype).removeprefix("torch.")
    assert got.tolist() == expected.tolist()


def test_nothing_to_do_gives_the_tensor_itself() -> None:
    x = Tensor([1.0])
    assert x.to("cpu") is x
    assert x.float() is x
    assert x.cpu() is x
    assert x.contiguous() is x
    assert x.to(mynn.float32, copy=True) is not x


@pytest.mark.parametrize("name", ["float", "double", "int", "long", "byte", "bool"])
def test_casts(name: str) -> None:
    torch = pytest.importorskip("torch")
    values = np.array([0.0, 1.9, 2.0])
    ours, theirs = getattr(Tensor(values), name)(), getattr(torch.tensor(values), name)()
    assert ours.tolist() == theirs.tolist()
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")


def test_other_devices_and_dtypes_are_refused() -> None:
    x = Tensor([1.0])
    for call in (lambda: x.to("cuda"), lambda: mynn.zeros(2, device="cuda:0"), lambda: x.to(0)):
        with pytest.raises(ArgumentError, match="device"):
            call()
    with pytest.raises(UsageError, match="GPU"):
        x.cuda()
    for call in (x.half, x.bfloat16, lambda: x.to(mynn.bfloat16), lambda: x.to("nonsense")):
        with pytest.raises(DTypeError, match="float32"):
            call()
    assert not mynn.cuda.is_available()


def test_what_it_says_of_itself() -> None:
    torch = pytest.importorskip("torch")
    values = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    ours, theirs = Tensor(values), torch.tensor(values)
    for name in ("dim", "ndimension", "nelement", "numel", "element_size", "is_floating_point"):
        assert getattr(ours, name)() == getattr(theirs, name)(), name
    for name in ("is_complex", "is_contiguous", "is_signed"):
        assert getattr(ours, name)() == getattr(theirs, name)(), name
    for name in ("itemsize", "nbytes", "is_cpu", "is_cuda"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert str(ours.device) == str(theirs.device)
    assert repr(ours.device) == repr(theirs.device)
    assert ours.type_as(Tensor([1])).dtype == np.int64
    assert Tensor([0.5]).is_nonzero()
    with pytest.raises(MynnError):
        ours.is_nonzero()


def test_new_tensors_have_the_dtype() -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = Tensor(np.ones(2)), torch.ones(2, dtype=torch.float64)
    for call in (
        lambda x: x.new_tensor([1, 2]),
        lambda x: x.new_zeros(2, 3),
        lambda x: x.new_ones((2,)),
        lambda x: x.new_full((2, 2), 7),
    ):
        assert call(ours).tolist() == call(theirs).tolist()
        assert str(call(ours).dtype) == "float64"


def test_clone_has_memory_of_its_own() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x.clone()
    y.add_(1)
    assert x.tolist() == [1.0, 2.0]
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_the_default_dtype() -> None:
    function = mynn.compile(lambda x: x / 2)
    x = np.array([1, 2])
    assert np.asarray(function(x)).dtype == np.float32
    try:
        mynn.set_default_dtype(mynn.float64)
        assert mynn.get_default_dtype() == mynn.float64
        assert Tensor([0.5]).dtype == np.float64
        assert mynn.zeros(2).dtype == np.float64
        assert mynn.rand(2).dtype == np.float64
        assert Tensor([1]).sqrt().dtype == np.float64
        assert np.asarray(function(x)).dtype == np.float64
    finally:
        mynn.set_default_dtype(mynn.float32)
    assert np.asarray(function(x)).dtype == np.float32
    with pytest.raises(DTypeError):
        mynn.set_default_dtype(mynn.int64)


_VIEWS = {
    "t": lambda x: x.t(),
    "slice": lambda x: x[1:3],
    "columns": lambda x: x[:, 1:],
    "every other": lambda x: x[::2],
    "row": lambda x: x[1],
    "one row": lambda x: x[1:2, ::2],
    "heads": lambda x: x.view(2, 2, 6).transpose(0, 1),
    "back": lambda x: x.t().t(),
    "expanded": lambda x: x[:, :1].expand(4, 5),
    "one": lambda x: x.view(1, 24).transpose(0, 1),
    "empty": lambda x: x[:0].t(),
    "sum": lambda x: (x + x).t(),
}


@pytest.mark.parametrize("way", ["at once", "tape", "looked at"])
@pytest.mark.parametrize("view", _VIEWS.values(), ids=_VIEWS)
def test_contiguous_is_that_of_pytorch(view: Any, way: str) -> None:
    torch = pytest.importorskip("torch")

    def run(framework: Any, looks: bool) -> list[Any]:
        x = framework.arange(24.0).reshape(4, 6)
        y = view(x)
        if looks:
            y.tolist()
        z = y.contiguous()
        z.mul_(2)
        found = [y.is_contiguous(), y.stride(), z is y, z.is_contiguous(), z.stride()]
        return [*found, x.tolist(), y.tolist(), z.view(-1).tolist()]

    with mynn.eager("at once" if way == "at once" else "tape"):
        assert run(mynn, way == "looked at") == run(torch, False)


def test_attention_as_it_is_written() -> None:
    """What comes out of transposed heads is made contiguous, then looked at as one."""
    heads = mynn.arange(24.0).view(1, 2, 3, 4)
    for way in ("at once", "tape"):
        with mynn.eager(way):  # type: ignore[arg-type]
            y = (heads * 1).transpose(1, 2).contiguous().view(1, 3, 8)
            assert y.tolist() == heads.numpy().transpose(0, 2, 1, 3).reshape(1, 3, 8).tolist()
    compiled = mynn.compile(lambda x: (x * 1).transpose(1, 2).contiguous().view(1, 3, 8))
    assert np.array_equal(compiled(heads), heads.numpy().transpose(0, 2, 1, 3).reshape(1, 3, 8))
