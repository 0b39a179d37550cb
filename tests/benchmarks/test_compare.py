"""Two trees, measured in turn: which files run, and what is made of the times."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import compare
from benchmarks.compare import HERE, NAMES, checkout, compared, in_new_processes, in_turn, task_of
from benchmarks.process import Tree

# A worker that says how long its blocks take.
WORKER = """
import json, os, sys
print(json.dumps({{"ready": 0.0}}), flush=True)
seconds = iter({seconds})
for line in sys.stdin:
    asked = json.loads(line)
    open("asked", "a").write(line)
    print(json.dumps({{"seconds": next(seconds) * asked["epochs"]}}), flush=True)
"""


def tree(path: Path, name: str, seconds: list[float]) -> Tree:
    folder = path / name / "benchmarks"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "worker.py").write_text(WORKER.format(seconds=seconds))
    (folder / "fresh.py").write_text(
        f"import os\nassert os.environ['MYNN_CACHE_DIR'].endswith({name!r})\nprint({seconds[0]})\n"
    )
    return Tree(name, path / name, path / f"cache-{name}")


def test_blocks_of_two_trees(tmp_path: Path) -> None:
    """Each runs its own files; the first block only says how long a block is."""
    trees = tree(tmp_path, "base", [9.0, 2.0, 4.0, 3.0]), tree(tmp_path, "here", [9.0, 1.0, 4.0, 6])
    row = in_turn("W1", 1, trees, 3, 0.01, print)
    assert (row.work, row.threads) == ("W1", 1)
    assert row.base_us == pytest.approx(3e6 / 1000)  # an epoch of 1000 steps
    assert row.here_us == pytest.approx(4e6 / 1000)
    assert row.ratio == pytest.approx(4 / 3)
    assert all(len((t.root / "asked").read_text().splitlines()) == 4 for t in trees)


def test_whole_processes_of_two_trees(tmp_path: Path) -> None:
    trees = tree(tmp_path, "base", [500.0]), tree(tmp_path, "here", [250.0])
    row = in_new_processes("compile-W1", trees, 2, print)
    assert (row.base_us, row.here_us, row.ratio) == pytest.approx((500, 250, 0.5))


def test_a_tree_that_has_not_got_a_work(tmp_path: Path) -> None:
    trees = Tree("base", tmp_path, tmp_path), tree(tmp_path, HERE, [1.0] * 3)
    said: list[str] = []
    row = in_turn("W1", 1, trees, 2, 0.01, said.append)
    assert (row.base_us, row.ratio) == (None, None)
    assert row.here_us == pytest.approx(1000)
    assert said[0].startswith("W1: base is left out")


def test_ratios_and_their_spread() -> None:
    row = compared("W2", 2, [1.0, 1.0, 1.0, 2.0], [1.0, 1.2, 0.9, 2.4])
    assert row.ratio == pytest.approx(1.1)
    assert row.low is not None
    assert row.high is not None
    assert 0.9 < row.low < 1.1 < row.high <= 1.2
    assert compared("W2", 2, [1.0], [2.0]).high == 2


def test_another_commit_is_checked_out(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    for text in ("first", "second"):
        (tmp_path / "file").write_text(text)
        git("add", "file")
        git("commit", "-q", "-m", text)
    for _ in range(2):  # a second time it is there
        commit, folder = checkout("HEAD~1", tmp_path)
        assert (folder / "file").read_text() == "first"
        assert len(commit) == 40
    with pytest.raises(SystemExit, match="nothing"):
        checkout("nothing", tmp_path)


def test_every_work_can_be_asked_for() -> None:
    tasks = [task_of(name, 1) for name in NAMES if name not in compare.FRESH]
    assert {task.kind for task in tasks} == {"train", "predict", "layer", "loop"}
    assert all(compare.units(name) >= 1 for name in NAMES if name not in compare.FRESH)
