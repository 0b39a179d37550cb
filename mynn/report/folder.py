"""A folder of results that is written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mynn.errors import ArgumentError

# Names that an earlier run may have left; a folder with anything else is not ours to replace.
FILES = (
    "index.html",
    "results.json",
    "table1.csv",
    "runs.csv",
    "curves.csv",
    "points.csv",
    "figure2.png",
    "figure3.png",
    "figure4.png",
)


def check_target(folder: Path) -> Path:
    """The folder as an absolute path, if it may be written.

    Raises:
        ArgumentError: it is a file, the working directory or a folder around it; it holds files
            that are not results; nothing can be written where it should stand.
    """
    target = Path(os.path.abspath(folder.expanduser()))
    if target.is_symlink():
        target = target.resolve()
    here = Path.cwd()
    if target == here or target in here.parents:
        raise ArgumentError(
            f"{folder} is the working directory or holds it; name a folder of its own"
        )
    if target.exists() and not target.is_dir():
        raise ArgumentError(f"{folder} is a file; name a folder for the results")
    if target.is_dir():
        foreign = sorted({entry.name for entry in target.iterdir()} - set(FILES))
        if foreign:
            raise ArgumentError(
                f"{folder} holds other files ({', '.join(foreign[:3])}"
                f"{', …' if len(foreign) > 3 else ''}); name an empty or a new folder"
            )
    parent = next(place for place in target.parents if place.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ArgumentError(
            f"{folder} cannot be made: {parent} is not a folder that can be written"
        )
    return target


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` into `target`, replacing an earlier result as a whole.

    The files are written into a folder beside it, which then takes its place; if that fails, the
    earlier result stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for name, content in files.items():
            path = new / name
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        new.chmod(0o777 & ~_umask())
        _take_place(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _take_place(new: Path, target: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    # A rename replaces an empty folder, so the earlier result is back in place if the second fails.
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
