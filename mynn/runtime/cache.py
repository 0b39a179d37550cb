"""The cache on disk: object code and programs that were compiled before.

An entry is a file that holds

    entry ::= magic (8 bytes) sha256 of name and content (32 bytes) content

under a name made of the SHA-256 of everything that the content depends on. Entries appear whole or
not at all (a temporary file is renamed), so that processes may write at the same time. Whatever is
not an intact entry counts as missing, and what cannot be written is done without: the cache never
makes anything fail.

The directory is `MYNN_CACHE_DIR`, otherwise `mynn` in `XDG_CACHE_HOME` or `~/.cache`. It holds code
that will run, so that it and every entry must belong to the user, and nobody else may write to
them. `MYNN_CACHE=0` switches the cache off.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from mynn.version import __version__

MAGIC = b"mynnobj1"
_HEADER = len(MAGIC) + 32
_SUFFIX = ".bin"
_TEMPORARY = ".tmp"
# How a file is made that was not there. (`tempfile` does the same; it is imported in 3 ms.)
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
# Bytes that the entries may take together, and one alone; the oldest make room.
LIMIT = 256 * 2**20
LARGEST = 64 * 2**20
# Seconds after which a temporary file was left behind by a process that ended while it wrote.
STALE = 3600.0
# Bytes that this process has written since it last looked how many there are.
_written = [LIMIT]
# What decides how the compiler translates, besides what it is given. Decompositions of matrices are
# written out in `linalg`.
_SOURCES = ("compiler", "core", "linalg", "ops", "runtime", "target")


def enabled() -> bool:
    """Whether `MYNN_CACHE` leaves the cache on."""
    return os.environ.get("MYNN_CACHE", "1").lower() not in ("0", "off", "false", "no")


def _location() -> Path:
    chosen = os.environ.get("MYNN_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    if base and Path(base).is_absolute():
        return Path(base) / "mynn"
    return Path.home() / ".cache" / "mynn"


def directory() -> Path | None:
    """The directory of the cache, made now if need be; None where there is none to be trusted."""
    if not enabled():
        return None
    try:
        path = _location()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except (OSError, RuntimeError, ValueError):
        return None
    if not stat.S_ISDIR(found.st_mode):
        return None
    return path if _trusted(found) else None


def _trusted(found: os.stat_result) -> bool:
    """Whether a file or directory belongs to the user and nobody else may write to it."""
    if not hasattr(os, "getuid"):
        return True
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return found.st_uid == os.getuid() and not others


@functools.cache
def _sources() -> str:
    """A digest of the compiler itself: the names, sizes and times of its files.

    Whoever changes the compiler must not be given what it made before.
    """
    root = Path(__file__).parent.parent
    lines = [line for folder in _SOURCES for line in _files(os.path.join(root, folder))]
    return hashlib.sha256("\n".join([__version__, *sorted(lines)]).encode()).hexdigest()


def _files(folder: str) -> Iterator[str]:
    """A line for each file of Python in a folder, and those in it; `Path` would take three times
    as long.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir() and entry.name != "__pycache__":
                yield from _files(entry.path)
            elif entry.name.endswith(".py"):
                found = entry.stat()
                yield f"{entry.name} {found.st_size} {found.st_mtime_ns}"


def key_of(kind: str, *parts: str | bytes) -> str:
    """The name of an entry: a digest of what its content depends on, and of mynn itself."""
    digest = hashlib.sha256()
    for part in (kind, _sources(), *parts):
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def _digest(key: str, content: bytes) -> bytes:
    digest = hashlib.sha256(key.encode())
    digest.update(content)
    return digest.digest()


def load(key: str) -> bytes | None:
    """The content of an entry, or None where there is no intact one."""
    folder = directory()
    if folder is None:
        return None
    data = _read(folder / (key + _SUFFIX))
    if data is None:
        return None
    content = data[_HEADER:]
    if data[: len(MAGIC)] != MAGIC:
        return None
    if _digest(key, content) != data[len(MAGIC) : _HEADER]:
        return None
    return content


def _read(path: Path) -> bytes | None:
    """The bytes of a file of the user's own; a link, a pipe or a device is never opened for good.

    Reading counts as use: the entry is among the last to make room.
    """
    flags = os.O_RDONLY
    for name in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"):
        flags |= getattr(os, name, 0)
    try:
        handle = os.open(path, flags)
    except OSError:
        return None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or not _trusted(found):
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read()
    except OSError:
        return None
    finally:
        os.close(handle)
    with contextlib.suppress(OSError):
        os.utime(path)
    return data


def store(key: str, content: bytes) -> None:
    """Write an entry, where that is possible."""
    folder = directory()
    if folder is None or len(content) > LARGEST:
        return
    temporary = folder / f"new-{os.urandom(16).hex()}{_TEMPORARY}"
    try:
        with open(os.open(temporary, _NEW, 0o600), "wb") as file:
            file.write(MAGIC)
            file.write(_digest(key, content))
            file.write(content)
        os.replace(temporary, folder / (key + _SUFFIX))
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        return
    _written[0] += _HEADER + len(content)
    if _written[0] > LIMIT // 64:
        _written[0] = 0
        _make_room(folder)


def _entries(folder: Path) -> Iterator[tuple[float, int, str]]:
    """Time of last use, bytes and path of each file of the cache."""
    with os.scandir(folder) as found:
        for entry in found:
            if entry.name.endswith((_SUFFIX, _TEMPORARY)):
                with contextlib.suppress(OSError):
                    state = entry.stat(follow_symlinks=False)
                    yield state.st_mtime, state.st_size, entry.path


def _make_room(folder: Path) -> None:
    """Remove what was left behind, then the entries used longest ago, until the rest is within
    `LIMIT`.
    """
    with contextlib.suppress(OSError):
        entries = []
        for entry in sorted(_entries(folder)):
            if entry[2].endswith(_TEMPORARY) and entry[0] < time.time() - STALE:
                with contextlib.suppress(OSError):
                    os.unlink(entry[2])
            else:
                entries.append(entry)
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= LIMIT:
                return
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size
