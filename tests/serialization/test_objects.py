"""What is saved comes back; what is damaged is refused, and nothing in a file runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.errors import ArgumentError, ArgumentTypeError, DataError, MynnError, UsageError
from mynn.serialization import file, objects


def assert_same(got: Any, expected: Any) -> None:
    assert type(got) is type(expected) or isinstance(expected, nn.Parameter | dict)
    if isinstance(expected, dict):
        assert list(got) == list(expected)
        for key, value in expected.items():
            assert_same(got[key], value)
    elif isinstance(expected, list | tuple):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, np.ndarray | mynn.Tensor):
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        np.testing.assert_array_equal(np.asarray(got), np.asarray(expected))
    else:
        assert got == expected or (got != got and expected != expected)


def through(obj: Any) -> Any:
    buffer = io.BytesIO()
    mynn.save(obj, buffer)
    buffer.seek(0)
    return mynn.load(buffer)


RNG = np.random.default_rng(0)
OBJECTS: dict[str, Any] = {
    "tensor": mynn.Tensor([1.0, 2.0]),
    "flat": {"a": mynn.Tensor([1.0]), "b.c": mynn.Tensor(np.ones((2, 3)))},
    "numbers": {"epoch": 3, "loss": 0.1, "bad": [float("nan"), float("inf"), -float("inf")]},
    "plain": [None, True, False, "text", "ü\n\0", 2**70, -1.5, (1, [2, ()]), {}],
    "keys": {0: {"x": mynn.Tensor([1, 2])}, "0": mynn.Tensor([3]), True: 1, None: 2, 0.5: 3},
    "names that meet": {"a": {"b": np.ones(2)}, "a.b": np.zeros(3), "": np.ones(1)},
    "metadata": {"__metadata__": mynn.Tensor([1.0])},
    "dtypes": [
        np.arange(4).astype(kind)
        for kind in ("float32", "float64", "int32", "int64", "bool", "uint8", "uint32")
        if kind in objects.SHORT_NAMES
    ],
    "shapes": [np.array(1.5, np.float32), np.ones((0, 3)), np.ones((2, 1, 3))],
    "strided": [
        RNG.normal(size=(4, 6))[:, ::2],
        RNG.normal(size=(3, 4)).T,
        mynn.Tensor(RNG.normal(size=(3, 4))).T,
        RNG.normal(size=5)[::-1],
    ],
}


@pytest.mark.parametrize("name", OBJECTS)
def test_what_is_saved_comes_back(name: str) -> None:
    assert_same(through(OBJECTS[name]), OBJECTS[name])


def test_networks_and_optimizers_go_on(tmp_path: Path) -> None:
    def make() -> tuple[Any, Any]:
        net = nn.Sequential(nn.Linear(3, 40), nn.Tanh(), nn.Linear(40, 1))
        return net, optim.Adam(net.parameters(), amsgrad=True)

    def train(net: Any, optimizer: Any) -> None:
        x = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)
        optimizer.zero_grad()
        (net(x) ** 2).mean().backward()
        optimizer.step()

    net, optimizer = make()
    train(net, optimizer)
    path = tmp_path / "checkpoint.pt"
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1}
    mynn.save(state, path)
    found = mynn.load(path, map_location="cpu", weights_only=True)
    twin, other = make()
    twin.load_state_dict(found["net"])
    other.load_state_dict(found["optimizer"])
    assert found["epoch"] == 1
    for pair in ((net, optimizer), (twin, other)):
        train(*pair)
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-4, atol=1e-6)


def test_what_is_loaded_is_its_own() -> None:
    found = through([np.zeros(3), mynn.Tensor([0.0])])
    found[0][0] = 1
    found[1].add_(1.0)
    parameter = through({"w": nn.Parameter([1.0])})["w"]
    assert not parameter.requires_grad


def test_files_are_whole_or_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    mynn.save({"x": mynn.Tensor([1.0])}, path)

    def failing(*_: Any) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(OSError, match="disk full"):
            mynn.save({"x": mynn.Tensor([2.0])}, str(path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: os.write(-1, b""))
        with pytest.raises(OSError, match=r"as it was before, .* '.*a\.safetensors'$") as caught:
            mynn.save({"x": mynn.Tensor([2.0])}, path)
        assert caught.value.filename == str(path)
    assert os.listdir(tmp_path) == ["a.safetensors"]
    assert mynn.load(path)["x"].tolist() == [1.0]
    link = tmp_path / "link"
    link.symlink_to(path)
    mynn.save({"x": mynn.Tensor([3.0])}, link)
    assert link.is_symlink()
    assert mynn.load(path)["x"].tolist() == [3.0]


# -- files of others -------------------------------------------------------------------------------


def written(header: Any, body: bytes = b"", length: int | None = None) -> io.BytesIO:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    count = len(text) if length is None else length
    return io.BytesIO(count.to_bytes(8, "little") + text + body)


def entry(dtype: str, shape: list[Any], *offsets: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def test_files_as_others_write_them() -> None:
    half = np.array([1.5, -2.0], np.float16)
    brain = (np.array([1.5, -3.0], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    body = half.tobytes() + brain.tobytes() + np.array([1, 0, 7], np.uint8).tobytes()
    body += np.array([-1, 2], np.int16).tobytes()
    found = mynn.load(
        written(
            {
                "half": entry("F16", [2], 0, 4),
                "brain": entry("BF16", [1, 2], 4, 8),
                "flags": entry("BOOL", [3], 8, 11),
                "short": entry("I16", [2], 11, 15),
                "__metadata__": {"format": "pt"},
            },
            body,
        )
    )
    assert found["half"].tolist() == [1.5, -2.0]
    assert found["brain"].tolist() == [[1.5, -3.0]]
    assert found["flags"].tolist() == [True, False, True]
    assert found["short"].tolist() == [-1, 2]
    assert found["brain"].dtype == np.float32


def test_the_package_safetensors_reads_and_is_read() -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    buffer = io.BytesIO()
    mynn.save({"a": mynn.Tensor([[1.0, 2.0]]), "b": mynn.Tensor([3])}, buffer)
    other = safetensors.load(buffer.getvalue())
    assert other["a"].tolist() == [[1.0, 2.0]]
    data = safetensors.save({"x": np.arange(6.0).reshape(2, 3), "y": np.array([True])})
    found = mynn.load(io.BytesIO(data))
    assert found["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["y"].tolist() == [True]


def test_tensors_of_pytorch_are_saved() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(3, 2)
    found = through({"net": layer.state_dict(), "x": torch.arange(3)})
    ours = nn.Linear(3, 2)
    ours.load_state_dict(found["net"])
    np.testing.assert_array_equal(ours.weight.numpy(), layer.weight.detach().numpy())
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    for kind in (buffer.getvalue(), pickle.dumps({"a": 1})):
        with pytest.raises(DataError, match=r"pickle.*safetensors\.torch\.save_file"):
            mynn.load(io.BytesIO(kind))


# -- what is refused -------------------------------------------------------------------------------

X = entry("F32", [2], 0, 8)
DAMAGED: dict[str, tuple[io.BytesIO, str]] = {
    "empty": (io.BytesIO(b""), "0 bytes"),
    "short": (io.BytesIO(b"\1\2\3"), "3 bytes"),
    "long header": (written({}, length=2**40), "bytes long"),
    "no json": (written(b"{x"), "no JSON"),
    "no text": (written(b"\xff\xfe"), "no JSON"),
    "list": (written([]), "no JSON object"),
    "deep": (written(b"[" * 5000), "no JSON"),
    "twice": (written(b'{"a":1,"a":2}'), "twice"),
    "no dtype": (written({"x": {}}), "'x' needs dtype"),
    "dtype": (written({"x": entry("F31", [2], 0, 8)}, bytes(8)), "F31"),
    "dtype list": (written({"x": {**X, "dtype": []}}, bytes(8)), "dtype"),
    "negative": (written({"x": entry("F32", [-2], 0, 8)}, bytes(8)), "shape"),
    "bool": (written({"x": entry("F32", [True, 2], 0, 8)}, bytes(8)), "shape"),
    "huge": (written({"x": entry("F32", [2**40, 2**40], 0, 8)}, bytes(8)), "takes"),
    "digits": (written(b'{"x":' + b"9" * 5000 + b"}"), "no JSON"),
    "offsets": (written({"x": entry("F32", [2], 8, 0)}, bytes(8)), "data_offsets"),
    "three offsets": (written({"x": entry("F32", [2], 0, 8, 8)}, bytes(8)), "data_offsets"),
    "end": (written({"x": X}, bytes(7)), "take 8 bytes"),
    "more": (written({"x": X}, bytes(9)), "take 8 bytes"),
    "overlap": (written({"x": X, "y": entry("F32", [2], 4, 12)}, bytes(12)), "begins at byte 4"),
    "hole": (written({"x": X, "y": entry("F32", [2], 12, 20)}, bytes(20)), "begins at byte 12"),
    "metadata": (written({"__metadata__": {"a": 1}}), "must hold texts"),
    "form": (written({"__metadata__": {"mynn": "{"}}), "form"),
    "name": (written({"__metadata__": {"mynn": '{"tensor":"x"}'}}), "form"),
    "name list": (written({"__metadata__": {"mynn": '{"tensor":[]}'}}), "form"),
    "kind": (written({"__metadata__": {"mynn": '{"eval":"1"}'}}), "unknown kind"),
    "two": (written({"__metadata__": {"mynn": '{"list":[],"dict":[]}'}}), "one name"),
    "pairs": (written({"__metadata__": {"mynn": '{"dict":[1]}'}}), "form"),
    "keys": (written({"__metadata__": {"mynn": '{"dict":[[[],1]]}'}}), "form"),
    "depth": (written({"__metadata__": {"mynn": '{"list":[' * 3000 + "]}" * 3000}}), "form"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files(name: str) -> None:
    given, message = DAMAGED[name]
    given.seek(0)
    with pytest.raises(DataError, match=message):
        mynn.load(given)


def test_mutated_files_are_refused_or_read() -> None:
    """Bytes changed, cut out and put in: an error that says so, or values; never anything else."""
    whole = io.BytesIO()
    mynn.save({"w": np.arange(6.0), "n": [1, {"t": mynn.Tensor([1, 2])}]}, whole)
    flat = file.write({"a": np.arange(6.0), "b": np.ones((2, 2), np.float32)}, {"x": "y"})
    rng = np.random.default_rng(2)
    refused = 0
    for original in (whole.getvalue(), flat):
        header = 8 + int.from_bytes(original[:8], "little")
        for _ in range(400):
            data = bytearray(original)
            at = int(rng.integers(header + 8))
            kind = int(rng.integers(4))
            if kind == 0:
                data[at] = int(rng.integers(256))
            elif kind == 1:
                del data[at : at + int(rng.integers(1, 9))]
            elif kind == 2:
                data[at:at] = rng.bytes(int(rng.integers(1, 9)))
            else:
                del data[int(rng.integers(len(data))) :]
            try:
                mynn.load(io.BytesIO(bytes(data)))
            except DataError:
                refused += 1
    assert refused > 500


@pytest.mark.parametrize("change", ["nothing", "a bit", "the end", "the length"])
def test_a_file_is_in_memory_once(tmp_path: Path, change: str) -> None:
    path, size = tmp_path / "file", 2_000_000
    mynn.save({"a": np.ones(size // 8), "b": [np.zeros(size // 4, np.float32)]}, path)
    data = bytearray(path.read_bytes())
    if change == "a bit":
        data[len(data) // 2] ^= 1
    elif change == "the end":
        del data[-1:]
    elif change == "the length":
        data[:8] = (len(data) - 8).to_bytes(8, "little")
    path.write_bytes(data)
    tracemalloc.start()
    try:
        found = mynn.load(path)
        assert found["a"].shape == (size // 8,)
    except DataError:
        assert change in ("the end", "the length")
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1.1 * len(data)


def test_an_array_is_in_a_value_once() -> None:
    """Else a short file would be values of any size."""
    form = '{"list":[{"array":"a"},{"array":"a"}]}'
    data = file.write({"a": np.ones(3)}, {"mynn": form})
    with pytest.raises(DataError, match="damaged"):
        mynn.load(io.BytesIO(data))


class Own:
    def __reduce__(self) -> Any:
        return os.system, ("exit 1",)


REFUSED: dict[str, tuple[Callable[[], Any], type[MynnError], str]] = {
    "object": (lambda: mynn.save({"a": [Own()]}, io.BytesIO()), ArgumentTypeError, r"a\.0 is"),
    "module": (
        lambda: mynn.save({"net": nn.Linear(1, 1)}, io.BytesIO()),
        ArgumentTypeError,
        r"net is.*Linear.*state_dict\(\)",
    ),
    "key": (lambda: mynn.save({(1, 2): 3}, io.BytesIO()), ArgumentTypeError, "keys must be"),
    "complex": (
        lambda: mynn.save(np.ones(2, complex), io.BytesIO()),
        ArgumentTypeError,
        "obj is an array",
    ),
    "path": (lambda: mynn.save({}, 3), ArgumentTypeError, "f must be a path.*3"),
    "load path": (lambda: mynn.load(None), ArgumentTypeError, "f must be a path"),
    "text": (lambda: mynn.load(io.StringIO("{}")), ArgumentTypeError, 'mode "rb"'),
    "device": (
        lambda: mynn.load(io.BytesIO(), map_location="cuda:0"),
        ArgumentError,
        "map_location.*cuda:0",
    ),
    "array": (lambda: mynn.load(npy()), DataError, r"numpy\.load"),
    "trace": (
        lambda: mynn.compile(lambda x: mynn.save(x, io.BytesIO()))(np.ones(1)),
        UsageError,
        "call it outside",
    ),
}


def npy() -> io.BytesIO:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(2))
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mynn.load(tmp_path / "none")


@pytest.mark.parametrize("length", [0x280, 0x380, 0x480])
def test_a_header_as_long_as_a_pickle_begins(length: int) -> None:
    """The first bytes of such a file are those of a pickle of protocol 2, 3 or 4."""
    buffer = io.BytesIO()
    for extra in range(length):
        buffer = io.BytesIO()
        mynn.save({"a" * extra: mynn.Tensor([1.0])} if extra else {"b": mynn.Tensor([1.0])}, buffer)
        if int.from_bytes(buffer.getvalue()[:8], "little") == length:
            break
    assert buffer.getvalue()[:2] == bytes([0x80, length >> 8])
    (value,) = mynn.load(io.BytesIO(buffer.getvalue())).values()
    assert value.tolist() == [1.0]
