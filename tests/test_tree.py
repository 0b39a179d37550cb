"""The tests lie as the package does: who reads `mynn/compiler/graph` finds its tests in the same
place under `tests`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import mynn

TESTS = Path(__file__).parent
PACKAGE = Path(mynn.__file__).parent

# Tests of what is no part of the package, or of all of it: the reason why they stand where they do.
WITHOUT_COUNTERPART = {
    "fuzz": "random programs, networks and signals: `make fuzz`",
    "benchmarks": "the repository's folder of that name",
    "examples": "the repository's folder of that name",
    "test_docs.py": "what the documents say",
    "test_imports.py": "which module imports which",
    "test_subset.py": "which cases `make test` runs",
    "test_thread_safety.py": "what all threads share: generators, gradients, optimisers, modes",
    "test_tree.py": "this file",
    "torch_db": "every operation, on PyTorch's own samples",
    "torch_names": "public names of the whole package",
}


def counterparts(path: Path) -> list[Path]:
    """What a test file may be about: the folder it lies in, or the module of its name."""
    folder = PACKAGE / path.parent.relative_to(TESTS)
    module = folder / path.name.removeprefix("test_")
    return [module] if folder == PACKAGE else [folder / "__init__.py", module]


FILES = sorted(path for path in TESTS.rglob("test_*.py"))


def test_every_test_file_has_a_counterpart() -> None:
    for path in FILES:
        if path.relative_to(TESTS).parts[0] in WITHOUT_COUNTERPART:
            continue
        assert any(found.exists() for found in counterparts(path)), (
            f"{path.relative_to(TESTS)} is about none of "
            f"{[str(found.relative_to(PACKAGE.parent)) for found in counterparts(path)]}: "
            "move it, or say in WITHOUT_COUNTERPART why it stands here"
        )


# Lines of a file at most; a family that needs more is two.
MOST_LINES = 500


@pytest.mark.parametrize("root", [PACKAGE, TESTS], ids=["mynn", "tests"])
def test_no_file_is_long(root: Path) -> None:
    lengths = {
        path.relative_to(root): len(path.read_text("utf-8").splitlines())
        for path in root.rglob("*.py")
    }
    assert len(lengths) > 100
    for path, lines in lengths.items():
        assert lines <= MOST_LINES, f"{path} has {lines} lines, at most {MOST_LINES}: split it"


def test_exceptions_are_still_needed() -> None:
    for name in WITHOUT_COUNTERPART:
        assert (TESTS / name).exists(), name
        assert not (PACKAGE / name.removeprefix("test_")).exists(), name


def test_names_are_told_apart_by_their_folders() -> None:
    """Folders of tests are packages, so that two files may have one name."""
    for folder in {path.parent for path in FILES}:
        top = folder.relative_to(TESTS).parts[:1]
        if top not in {("benchmarks",), ("examples",)}:
            assert (folder / "__init__.py").exists(), folder
