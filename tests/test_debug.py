"""The debug ladder: each level prints what docs/debugging.md says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mynn
from mynn import debug
from mynn.compiler import pipeline
from mynn.compiler.compilation import Compilation
from mynn.core.graph import Graph, Node
from mynn.core.types import Type
from mynn.errors import ArgumentError, VerifyError
from mynn.ops import elementwise
from tests.train.reference import Problem

ROOT = Path(mynn.__file__).parents[1]
PAGE = (ROOT / "docs" / "debugging.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
SCRIPT = next(block for language, block in BLOCKS if language == "python")
CONSOLE = [block for language, block in BLOCKS if language == "console"]
HEADINGS = {
    2: ["traced graph"],
    3: ["simplified graph", "kernels"],
    4: ["loop IR"],
    5: ["LLVM IR"],
    6: ["LLVM IR after its passes"],
    7: ["machine code"],
}


def printed(script: str, folder: Path, **variables: str) -> str:
    """What a script prints on standard error, in a process of its own."""
    path = folder / "layer.py"
    path.write_text(script)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MYNN_")}
    environment |= {"PYTHONPATH": str(ROOT), "MYNN_CACHE_DIR": str(folder / "cache"), **variables}
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout == ""
    return done.stderr


def timeless(text: str) -> str:
    """Without the milliseconds, which are others each time."""
    text = re.sub(r"in \d+ ms", "in # ms", text)
    return re.sub(
        r"(trace|rewrite|fuse|plan|lower|share|emit|LLVM|cache) [\d.]+(?=[,\n]|$)", r"\1 #", text
    )


def assert_shown(shown: str, got: str) -> None:
    """The pieces of `shown` between lines of three dots stand in `got`, in this order."""
    pieces = re.split(r"^\.\.\.\n", timeless(shown), flags=re.MULTILINE)
    rest = timeless(got)
    for piece in pieces:
        assert piece in rest, f"not printed:\n{piece}\nbut:\n{rest}"
        rest = rest[rest.index(piece) + len(piece) :]
    if pieces[-1]:
        assert rest == "", f"printed beyond what is shown:\n{rest}"


def test_the_page(tmp_path: Path) -> None:
    """Every console block of the page, one after the other: the second run finds the cache."""
    assert len(CONSOLE) == 6
    for block in CONSOLE:
        command, shown = block.split("\n", 1)
        found = re.fullmatch(r"\$ ((?:MYNN_\w+=[\w,]+ )+)python layer\.py", command)
        assert found is not None, command
        variables = dict(word.split("=", 1) for word in found[1].split())
        assert_shown(shown, printed(SCRIPT, tmp_path, **variables))


def test_the_table_names_every_level() -> None:
    for number in range(debug.LEVELS + 1):
        assert re.search(rf"^\| {number} \| \w+", PAGE, re.MULTILINE)
        if number:
            assert re.search(rf"^{number}  \w+", debug.__doc__ or "", re.MULTILINE)


@pytest.mark.parametrize("number", range(8))
def test_levels(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each level prints its own headings and those below it, on standard error alone."""
    monkeypatch.setenv("MYNN_DEBUG", str(number))
    run = mynn.compile(lambda x: x * 2.0 + 1.0)
    x = np.ones(number + 3, np.float32)
    for _ in range(2):
        run(x)
    out, err = capsys.readouterr()
    assert out == ""
    expected = [heading for level in range(2, number + 1) for heading in HEADINGS[level]]
    assert re.findall(r"^-- (.*?) -+$", err, re.MULTILINE) == expected
    assert err.count("mynn: ") == min(number, 1)
    if number:
        line = err.splitlines()[-1]
        assert line.startswith("mynn: test_levels.<locals>.<lambda>(f32[")
        assert re.search(r"1 kernel, \d+ operations, \d+ bytes, compiled in \d+ ms; ms: ", line)
        assert "trace " in line
        assert "LLVM " in line


def test_interpreted_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MYNN_DEBUG", "7")
    mynn.compile(lambda x: x + 1.0, backend="interpreter")(np.ones(3))
    err = capsys.readouterr().err
    assert re.findall(r"^-- (.*?) -+$", err, re.MULTILINE) == ["traced graph"]
    assert "InterpretedProgram of 5 nodes; ms: trace" in err


def test_the_training_loop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MYNN_DEBUG", "5")
    problem = Problem(23)
    mynn.fit(problem.step, problem.data, batch_size=11)
    err = capsys.readouterr().err
    assert err.count("mynn: Problem.step(f32[") == 2
    assert "mynn: training loop for batches of 11; ms: LLVM" in err
    assert "define void @mynn_fit(ptr %control)" in err


@pytest.mark.parametrize("value", ["8", "-1", "yes", "1.5", "٣x"])
def test_bad_levels(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYNN_DEBUG", value)
    with pytest.raises(ArgumentError, match=rf"MYNN_DEBUG.*0 to 7.*{value}"):
        mynn.compile(lambda x: x + 1.0)(np.ones(3))


def test_named_passes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What comes out of each, in the order in which they run, whatever the order of the names."""
    monkeypatch.setenv("MYNN_DEBUG", "fuse,fold")
    mynn.compile(lambda x: x * 2.0 + 41.0)(np.ones(3, np.float32))
    err = capsys.readouterr().err
    assert re.findall(r"^-- (.*?) -+$", err, re.MULTILINE) == ["fold", "fuse"]
    assert "group 0 loops 3:" in err
    assert "mynn: " not in err


def test_nothing_is_computed_when_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> str:
        raise AssertionError

    monkeypatch.delenv("MYNN_DEBUG", raising=False)
    debug.show(1, "title", never)
    monkeypatch.setenv("MYNN_DEBUG", "")
    debug.show(1, "title", never)
    monkeypatch.setenv("MYNN_DEBUG", "3")
    debug.show(4, "title", never)


# -- MYNN_CHECK ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "on"), [("1", True), ("yes", True), ("0", False), ("", False), ("off", False)]
)
def test_checking(value: str, on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYNN_CHECK", value)
    assert debug.checking() == on


def test_checks_find_a_broken_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simplifier that gets a type wrong goes unnoticed without, and is told with MYNN_CHECK."""

    def broken(c: Compilation) -> Compilation:
        graph = c.graph
        (output,) = graph.outputs
        wrong = Node(elementwise.neg, output.inputs[:1], {}, Type((3,), np.dtype(np.float64)))
        return replace(c, graph=Graph(graph.inputs, (wrong,))) if debug.checking() else c

    last = replace(pipeline.LOWERING[0], run=broken)
    monkeypatch.setattr(pipeline, "LOWERING", (last, *pipeline.LOWERING[1:]))
    x = np.ones(3, np.float32)
    monkeypatch.delenv("MYNN_CHECK", raising=False)
    mynn.compile(lambda x: x + 1.0)(x)
    monkeypatch.setenv("MYNN_CHECK", "1")
    with pytest.raises(VerifyError, match="neg"):
        mynn.compile(lambda x: x + 1.0)(x)  # known to the cache, and compiled all the same


@pytest.mark.parametrize("threads", [1, 2])
def test_checked_training(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all verifiers at work the same values come out."""
    one, two = Problem(), Problem()
    plain = mynn.fit(one.step, one.data, epochs=2, seed=0)
    monkeypatch.setenv("MYNN_CHECK", "1")
    step = mynn.compile(two.step, threads=threads)
    checked = mynn.fit(step, two.data, epochs=2, seed=0)
    np.testing.assert_array_equal(plain["loss"], checked["loss"])


def test_stages_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYNN_CACHE", "0")
    program = mynn.compile(lambda x: x + 1.0).program(np.ones(3))
    assert list(program.seconds) == ["rewrite", "fuse", "plan", "lower", "share", "emit", "LLVM"]
    assert all(value > 0 for value in program.seconds.values())
    assert sum(program.seconds.values()) <= program.compile_seconds
    monkeypatch.delenv("MYNN_CACHE")
    for seconds in ("LLVM", "cache", "store"):
        if seconds == "cache":
            mynn.programs().clear()
        program = mynn.compile(lambda x: x * 1.25 + 7.0).program(np.ones(3))
        assert seconds in program.seconds


def test_importing_is_light() -> None:
    """The ladder costs nothing when off: it imports no more than the errors."""
    code = "import sys; import mynn.debug; print([m for m in sys.modules if 'llvmlite' in m])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"
