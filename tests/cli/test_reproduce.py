"""The command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

import mynn
from mynn.report.folder import FILES
from mynn_command import COMMANDS, app

ROOT = os.path.dirname(os.path.dirname(mynn.__file__))


def run(*arguments):
    return CliRunner().invoke(app, arguments)


def test_reproduce_writes_everything(tmp_path):
    """Also where the terminal knows ASCII only."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "mynn", "reproduce", "--samples", "1", "--epochs", "2"]
    environment = {**os.environ, "PYTHONPATH": ROOT, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*command, "--seed", "4", "--out", str(out)], capture_output=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == set(FILES)
    settings = json.loads((out / "results.json").read_text("utf-8"))["settings"]
    assert (settings["samples"], settings["epochs"], settings["seed"]) == (1, 2, 4)
    for words in ("As published", "As described", "Our defaults", "lr = 0.01", "Written to"):
        assert words in done.stdout.decode("ascii")
    assert b"2.4 ? 0.18" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--samples", "0"], "samples"),
        (["--samples", "many"], "samples"),
        (["--epochs", "-1"], "epochs"),
        (["--seed", "-1"], "seed"),
        (["--learning-rate", "1"], "learning-rate"),
        (["--out", "."], "working directory"),
    ],
)
def test_bad_arguments(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("reproduce", *arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    result = run("reproduce", "--out", str(tmp_path), "--samples", "1", "--epochs", "1")
    assert result.exit_code == 2
    assert "mine.txt" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_interrupt_writes_nothing(tmp_path, monkeypatch):
    from mynn.report import reproduce

    def stop(settings, report):
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce, "run_all", stop)
    result = run("reproduce", "--out", str(tmp_path / "out"))
    assert result.exit_code == 130
    assert "nothing was written" in result.output
    assert list(tmp_path.iterdir()) == []


def test_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mynn.report.reproduce", None)
    result = run("reproduce", "--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "mynn-toolbox[report]" in " ".join(result.output.split())


def test_help_and_version():
    for arguments in (["--help"], ["reproduce", "--help"]):
        result = run(*arguments)
        assert result.exit_code == 0
        assert "Usage" in result.output
    result = run("--version")
    assert result.exit_code == 0
    assert mynn.__version__ in result.output
    assert run("unknown").exit_code == 2


def test_help_names_every_command():
    lines = " ".join(run("--help").output.split())
    for name, text in COMMANDS.items():
        assert f"{name} {text}" in lines
        assert text in " ".join(run(name, "--help").output.split())


def test_help_loads_nothing_of_mynn():
    """It answers at once."""
    program = (
        "import sys; sys.argv = ['mynn', '--help']\n"
        "from mynn_command import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert not {'mynn', 'numpy', 'rich', 'matplotlib', 'jinja2'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": ROOT}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "reproduce" in done.stdout
