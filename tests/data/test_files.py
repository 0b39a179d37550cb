"""Files of data: IDX and CSV, whole or damaged; frames of other packages."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.core.types import Array
from mynn.data import OrdinalEncoder, StandardScaler, Table, read_csv, read_idx
from mynn.errors import ArgumentError, ArgumentTypeError, DataError, DTypeError, KeyNameError

CODES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx(values: Array, code: int = 0x08) -> bytes:
    lengths = np.array(values.shape, ">u4").tobytes()
    return bytes([0, 0, code, values.ndim]) + lengths + values.astype(CODES[code]).tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("code", CODES)
def test_idx_is_read_back(tmp_path: Path, code: int, packed: bool) -> None:
    for shape in ((), (3,), (2, 3, 4), (0, 5)):
        values = np.random.default_rng(0).integers(0, 100, shape).astype(CODES[code])
        data = idx(np.array(values), code)
        (tmp_path / "a").write_bytes(gzip.compress(data) if packed else data)
        found = read_idx(tmp_path / "a")
        np.testing.assert_array_equal(found, values)
        assert found.dtype.name in ("uint8", "int32", "float32", "float64")
        assert mynn.Tensor(found).shape == shape


def test_damaged_idx_is_refused(tmp_path: Path) -> None:
    """Whatever is cut off, added or changed: no other error, and not the wrong array."""
    path = tmp_path / "a"
    values = np.random.default_rng(1).integers(0, 256, (3, 5))
    whole = idx(values)
    huge = bytes([0, 0, 8, 3]) + b"\xff" * 12 + b"\0" * 50  # 2^96 bytes, says the header
    packed = gzip.compress(whole)
    cases = [whole[:k] for k in range(len(whole))] + [whole + b"\0", huge, b"\1" + whole[1:]]
    cases += [packed[:k] for k in range(len(packed))] + [gzip.compress(whole[:-1])]
    cases += [packed[:20] + b"\xff\xff" + packed[22:], gzip.compress(huge)]
    for data in cases:
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"read_idx: '.*a' (is|ends|says)"):
            read_idx(path)
    draw = np.random.default_rng(2)
    for _ in range(300):
        data = bytearray(whole)
        data[draw.integers(len(data))] ^= 1 << draw.integers(8)
        path.write_bytes(data)
        try:
            found = read_idx(path)
        except DataError:
            continue
        assert found.nbytes <= 8 * len(whole)
    with pytest.raises(ArgumentTypeError, match="path must be a path"):
        read_idx(3)


def write(folder: Path, text: str) -> Path:
    path = folder / "data.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_have_their_types(tmp_path: Path) -> None:
    text = (
        'age,rate,city,big,note\n31,0.5,"Ulm, Donau",1e3,x\n 45 ,-2,Bonn,7,3\n\n27,inf,Köln,8,y\n'
    )
    table = read_csv(write(tmp_path, text))
    assert [table[name].dtype.name for name in table.columns] == [
        "int64",
        "float64",
        "object",
        "float64",
        "object",
    ]
    assert table["city"].tolist() == ["Ulm, Donau", "Bonn", "Köln"]
    assert table["age"].tolist() == [31, 45, 27]
    assert table["big"].tolist() == [1000, 7, 8]
    assert repr(table).startswith("Table(3 rows; age: int64, rate: float64, city: text")
    typed = read_csv(
        write(tmp_path, "a;b\n1;true\n0;false\n"), sep=";", types={"a": float, "b": bool}
    )
    assert (typed["a"].dtype, typed["b"].tolist()) == (np.float64, [True, False])
    bare = read_csv(write(tmp_path, "1,2\n3,4\n"), header=False)
    assert (bare.columns, np.asarray(bare).tolist()) == (["0", "1"], [[1, 2], [3, 4]])
    named = read_csv(write(tmp_path, "\ufeff1,2\n"), header=["x", "y"])
    assert named["x"].tolist() == [1]
    filled = read_csv(write(tmp_path, "a,b\n1,\nNA,z\n"), fill={"a": float("nan"), "b": "none"})
    np.testing.assert_array_equal(filled["a"], [1, np.nan])
    assert filled["b"].tolist() == ["none", "z"]


BAD_CSV: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("a,b\n1,2\n3,\n", {}, DataError, r"line 3 of 'data.csv' has no value in column 'b'.*fill="),
    ("a,b\n1,2\n3,x\n4,5\n", {}, DataError, r"line 3 .* has 'x' in column 'b', most of which is"),
    ("a,b\n1,2\n3\n", {}, DataError, "line 3 of 'data.csv' has 1 values, there are 2 columns"),
    ("a,b\n1,2.5\n", {"types": {"b": int}}, DataError, "'2.5' in column 'b', whose type is int"),
    ("a\nx\n", {"types": {"a": bool}}, DataError, "'x' in column 'a'"),
    ("a\n1\n", {"types": {"a": list}}, ArgumentError, r"types\['a'\] must be int, float"),
    ("a\n1\n", {"types": {"b": int}}, KeyNameError, "types names the column 'b'"),
    ("a\n1\n\n", {"fill": {"b": 0}}, KeyNameError, "fill names the column 'b'"),
    ("a\n1\nNA\n3\n", {"fill": {"a": "none"}}, DataError, r"fill\['a'\] is 'none'"),
    ("a,a\n1,2\n", {}, DataError, "several columns 'a'"),
    ("", {}, DataError, "is empty"),
    ("a,b\n", {}, DataError, "holds no rows"),
    ("a\n99999999999999999999\n", {}, DataError, "beyond int64"),
    ("a\n1\n", {"sep": ";;"}, ArgumentError, "sep must be one character"),
    ("a\nä\n", {"encoding": "ascii"}, DataError, "no text in ascii"),
    ("a\n1_0\n2\n3\n", {}, DataError, "'1_0'"),
]


@pytest.mark.parametrize(("text", "given", "error", "message"), BAD_CSV)
def test_bad_csv(
    tmp_path: Path, text: str, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_csv(write(tmp_path, text), **given)


def test_tables() -> None:
    table = Table({"a": [1, 2, 3], "b": np.array([0.5, 1.5, 2.5]), "t": ["x", "y", "x"]})
    assert table.drop("t").columns == ["a", "b"]
    assert table[1:]["t"].tolist() == ["y", "x"]
    assert table[[0, 2]]["a"].tolist() == [1, 3]
    np.testing.assert_array_equal(np.asarray(table[["b", "a"]]), [[0.5, 1], [1.5, 2], [2.5, 3]])
    with pytest.raises(KeyNameError, match="no column 'z'; there are"):
        table["z"]
    with pytest.raises(DataError, match="different numbers of rows"):
        Table({"a": [1], "b": [1, 2]})
    with pytest.raises(DTypeError, match="column 't' holds no numbers but 'x'"):
        mynn.Tensor(table)
    with pytest.raises(ArgumentTypeError, match="by a slice"):
        table[0]


def frame(package: str, columns: dict[str, Any]) -> Any:
    found = pytest.importorskip(package, reason=f"{package} is not installed")
    return found.table(columns) if package == "pyarrow" else found.DataFrame(columns)


PACKAGES = ["pandas", "polars", "pyarrow"]
COLUMNS = {"a": [1, 2, 3, 4], "b": [0.5, 1.5, 2.5, 0.0], "c": [True, False, True, False]}


@pytest.mark.parametrize("package", PACKAGES)
def test_frames_stand_where_arrays_may(package: str) -> None:
    data = frame(package, COLUMNS)
    expected = np.array([*COLUMNS.values()], np.float64).T
    np.testing.assert_array_equal(mynn.Tensor(data).numpy(), expected)
    np.testing.assert_array_equal(mynn.Tensor(data["a"]).numpy(), COLUMNS["a"])
    net = nn.Sequential(StandardScaler().fit(data), nn.Linear(3, 1))
    sgd = mynn.optim.SGD(net.parameters(), lr=0.1)

    def step(x: Any, t: Any) -> Any:
        loss = ((net(x)[:, 0] - t) ** 2).mean()
        loss.backward()
        sgd.step()
        return loss

    history = mynn.fit(step, (data, data["b"]), epochs=30, batch_size=2, seed=0)
    assert history["loss"][-1] < history["loss"][0]
    assert mynn.predict(net, data).shape == (4, 1)
    texts = frame(package, {"t": ["x", "y", "x", "z"], "k": [7, 7, 9, 9]})
    assert OrdinalEncoder().fit_transform(texts).tolist() == [[0, 0], [1, 0], [0, 1], [2, 1]]


@pytest.mark.parametrize("package", PACKAGES)
def test_frames_that_hold_no_numbers(package: str) -> None:
    with pytest.raises(DTypeError, match=r"column 't' holds no numbers but 'x'.*OrdinalEncoder"):
        mynn.predict(nn.Linear(2, 1), frame(package, {"a": [1.0, 2.0], "t": ["x", "y"]}))
    missing = frame(package, {"a": [1.0, None], "b": [0.5, 1.5]})
    with pytest.raises(DataError, match=r"data array 0 holds nan at \(1, 0\)"):
        mynn.evaluate(lambda x: {"mean": x.mean()}, missing)
    with pytest.raises(DataError, match="column 'a' holds nan in row 1"):
        StandardScaler().fit(missing)
