"""The cache on disk: hits, misses, entries that are not what they should be, and no directory."""

from __future__ import annotations

import multiprocessing
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mynn
from mynn.runtime import cache, llvm_jit
from mynn.runtime.llvm_objects import QUICK, using
from mynn.target.target import host
from tests.runtime.cached import entries, trained, was_lowered

posix = pytest.mark.skipif(os.name != "posix", reason="modes and owners of POSIX")


def build_text(value: int) -> str:
    return f"define void @f(ptr %x) {{\n  store i64 {value}, ptr %x\n  ret void\n}}\n"


def result_of(module: llvm_jit.NativeModule) -> int:
    import ctypes

    place = ctypes.c_int64(0)
    module.function("f", ctypes.c_void_p)(ctypes.addressof(place))
    return place.value


# -- entries ---------------------------------------------------------------------------------------


def test_store_and_load(folder: Path) -> None:
    key = cache.key_of("test", "a")
    assert cache.load(key) is None
    cache.store(key, b"content")
    assert cache.load(key) == b"content"
    cache.store(key, b"")
    assert cache.load(key) == b""
    assert [path.name for path in folder.iterdir()] == [key + ".bin"]


def test_keys_keep_their_parts_apart() -> None:
    parts = [("k", "ab", "c"), ("k", "a", "bc"), ("k", "abc"), ("kab", "c"), ("k", b"ab", b"d")]
    assert len({cache.key_of(*some) for some in parts}) == len(parts)
    assert cache.key_of("k", "ab") == cache.key_of("k", b"ab")


def test_keys_depend_on_mynn(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.key_of("k", "a")
    monkeypatch.setattr(cache, "_sources", lambda: "another version")
    assert cache.key_of("k", "a") != before


def test_keys_depend_on_all_that_the_compiler_is_made_of() -> None:
    """A package that the compiler imports is among those whose files are looked at."""
    compiler = Path(mynn.__file__).parent / "compiler"
    text = "".join(path.read_text(encoding="utf-8") for path in compiler.rglob("*.py"))
    packages = set(re.findall(r"^from mynn\.(\w+)", text, re.MULTILINE))
    assert packages - {"base", "errors"} <= set(cache._SOURCES)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut in the header": lambda data: data[:20],
    "cut in the content": lambda data: data[:-1],
    "longer": lambda data: data + b"x",
    "a bit of the content": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "a bit of the digest": lambda data: data[:8] + bytes([data[8] ^ 1]) + data[9:],
    "foreign": lambda data: b"\x7fELF" + data[4:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_entries_are_missing(folder: Path, damage: str) -> None:
    key = cache.key_of("test", damage)
    cache.store(key, b"content " * 10)
    (path,) = entries(folder)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert cache.load(key) is None
    cache.store(key, b"new")
    assert cache.load(key) == b"new"


def test_entries_under_another_name_are_missing(folder: Path) -> None:
    one, other = cache.key_of("test", "1"), cache.key_of("test", "2")
    cache.store(one, b"content")
    (folder / (one + ".bin")).rename(folder / (other + ".bin"))
    assert cache.load(other) is None


def test_the_oldest_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIMIT", 3500)
    keys = [cache.key_of("test", str(i)) for i in range(4)]
    for age, key in enumerate(keys[:3]):
        cache.store(key, b"x" * 1000)
        os.utime(folder / (key + ".bin"), (1000 + age, 1000 + age))
    assert cache.load(keys[0]) is not None  # used: now it is the second that waited longest
    cache.store(keys[3], b"x" * 1000)
    assert [cache.load(key) is not None for key in keys] == [True, False, True, True]
    monkeypatch.setattr(cache, "LARGEST", 10)
    cache.store(keys[1], b"x" * 11)
    assert cache.load(keys[1]) is None


def _write_often(folder: str, number: int) -> None:
    os.environ["MYNN_CACHE_DIR"] = folder
    for i in range(200):
        key = cache.key_of("test", str(i % 5))
        content = str(i % 5).encode() * 50_000
        found = cache.load(key)
        assert found in (None, content)
        cache.store(key, content)


@pytest.mark.wide
def test_writers_at_the_same_time(folder: Path) -> None:
    """Readers see an entry whole or not at all, and nothing is left behind."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_often, args=(str(folder), i)) for i in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(list(folder.iterdir())) == 5
    for i in range(5):
        assert cache.load(cache.key_of("test", str(i))) == str(i).encode() * 50_000


# -- the directory ---------------------------------------------------------------------------------


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.delenv("MYNN_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.directory() == tmp_path / "home" / ".cache" / "mynn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.directory() == tmp_path / "xdg" / "mynn"
    monkeypatch.setenv("MYNN_CACHE_DIR", str(tmp_path / "own"))
    found = cache.directory()
    assert found == tmp_path / "own"
    if os.name == "posix":
        assert found.stat().st_mode & 0o777 == 0o700


@posix
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_others_may_not_write_there(folder: Path, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)
    assert cache.directory() is None
    assert result_of(llvm_jit.build(build_text(1), host())) == 1
    assert not entries(folder)
    folder.chmod(0o700)
    assert cache.directory() == folder


@posix
def test_nobody_elses_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.directory() == folder
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    assert cache.directory() is None


@posix
@pytest.mark.parametrize("mode", [0o660, 0o606, 0o622])
def test_entries_that_others_may_write_are_missing(folder: Path, mode: int) -> None:
    key = cache.key_of("test", "mode")
    cache.store(key, b"content")
    (path,) = entries(folder)
    path.chmod(mode)
    assert cache.load(key) is None
    path.chmod(0o600)
    assert cache.load(key) == b"content"


@posix
def test_nobody_elses_entries(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of each file counts, not that of the directory alone."""
    key = cache.key_of("test", "owner")
    cache.store(key, b"content")
    real = os.fstat

    def another(handle: int) -> os.stat_result:
        found = list(real(handle))
        found[4] = os.getuid() + 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", another)
    assert cache.load(key) is None


@posix
def test_links_pipes_and_directories_are_missing(folder: Path, tmp_path: Path) -> None:
    """None of them is waited for or followed; an entry can be stored in place of all but one."""
    key = cache.key_of("test", "kind")
    cache.store(key, b"content")
    (path,) = entries(folder)
    intact = tmp_path / "intact"
    path.rename(intact)
    path.symlink_to(intact)
    assert cache.load(key) is None
    path.unlink()
    os.mkfifo(path, 0o600)
    assert cache.load(key) is None
    cache.store(key, b"new")
    assert cache.load(key) == b"new"
    path.unlink()
    path.mkdir()
    assert cache.load(key) is None
    cache.store(key, b"lost")


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("MYNN_CACHE_DIR", "~/programs")
    monkeypatch.chdir(tmp_path)
    assert cache.directory() == tmp_path / "programs"
    assert not (tmp_path / "~").exists()


def test_what_was_left_behind_is_removed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(mode=0o700)
    for name, age in (("new-old.tmp", 2 * cache.STALE), ("new-young.tmp", 1.0)):
        (folder / name).write_bytes(b"half an entry")
        os.utime(folder / name, (time.time() - age,) * 2)
    monkeypatch.setattr(cache, "_written", [cache.LIMIT])
    cache.store(cache.key_of("test", "tmp"), b"content")
    assert [path.name for path in folder.glob("*.tmp")] == ["new-young.tmp"]


def test_no_directory_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("MYNN_CACHE_DIR", str(place))
        assert cache.directory() is None
        assert result_of(llvm_jit.build(build_text(2), host())) == 2
    trained()


def test_a_full_or_read_only_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored is still used, and nothing fails."""
    _, expected = trained()

    def refuse(*arguments: Any, **named: Any) -> Any:
        raise PermissionError("read-only")

    for name in ("replace", "utime", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    again, values = trained()
    assert values == expected
    assert not was_lowered(again)
    assert was_lowered(trained(bias=3.0)[0])
    monkeypatch.setattr(os, "open", refuse)
    assert was_lowered(trained(bias=4.0)[0])


@pytest.mark.parametrize("word", ["0", "off"])
def test_switched_off(folder: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("MYNN_CACHE", word)
    assert was_lowered(trained()[0])
    assert was_lowered(trained()[0])
    assert not folder.exists()


# -- object code -----------------------------------------------------------------------------------


def test_object_code_is_used_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = llvm_jit.build(build_text(42), host())
    assert len(entries(folder)) == 1
    monkeypatch.setattr(llvm_jit, "object_codes", None)  # nothing is compiled any more
    again = llvm_jit.build(build_text(42), host())
    assert result_of(module) == result_of(again) == 42
    assert again.text == build_text(42)
    monkeypatch.undo()
    assert "store i64 42" in again.optimized
    assert "f:" in again.assembly()


def test_object_code_of_another_processor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llvm_jit.build(build_text(1), host())
    narrower = replace(host(), features="")
    assert narrower != host()
    llvm_jit.build(build_text(1), narrower)
    with using(QUICK):
        llvm_jit.build(build_text(1), host())
    assert len(entries(folder)) == 3
