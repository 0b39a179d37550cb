"""Two packages of one import name in one folder."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import mynn
from mynn.base import installation


def test_a_mixed_folder_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "mynn").symlink_to(Path(mynn.__file__).parent)
    (tmp_path / "mynn-0.9.4.dist-info").mkdir()
    run = [sys.executable, "-c", "import mynn; print(mynn.Tensor(1.0).item())"]
    done = subprocess.run(
        run, cwd=tmp_path, env={"PYTHONPATH": "."}, capture_output=True, text=True
    )
    assert done.stdout == "1.0\n", done.stderr
    assert "pip uninstall mynn mynn-toolbox" in done.stderr


@pytest.mark.parametrize("name", ["mynn_toolbox-0.1.0.dist-info", "mynn-readme.txt"])
def test_our_own_files_are_no_other_package(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        installation.check(str(tmp_path / "mynn"))
        installation.check(str(tmp_path / "archive.zip" / "mynn"))
