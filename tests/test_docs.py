"""What the documents say is so: examples run and give what is shown, files that are named exist."""

from __future__ import annotations

import contextlib
import doctest
import functools
import importlib
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mynn
from docs import batch_walk, update
from examples import walk

ROOT = Path(mynn.__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "mynn").rglob("*.py")
    if path.name != "__main__.py"
)
ARCHITECTURE = "docs/architecture.md"
# What the commands write.
OUTPUTS = ("build/", "reproduction/")

every_document = pytest.mark.parametrize("name", NAMES)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# -- examples --------------------------------------------------------------------------------------

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(
    r"(?<![\w.%])-?\d+(?:\.\d*)?(?:e[-+]?\d+)?(?![\w.]*\w)(?P<time> (?:s|ms|µs)\b)?"
)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name: str) -> None:
    for needed in ("matplotlib", "jinja2") if name.startswith("mynn.report") else ():
        pytest.importorskip(needed)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        said = io.StringIO()
        assert not runner.run(test, out=said.write).failed, said.getvalue()


def same_output(shown: str, printed: str) -> bool:
    """Whether two texts agree: numbers to a tenth, as processors round differently, times not."""
    if NUMBER.sub("#", shown.strip()) != NUMBER.sub("#", printed.strip()):
        return False
    pairs = zip(NUMBER.finditer(shown), NUMBER.finditer(printed), strict=True)
    return all(
        a["time"] or math.isclose(_number(a), _number(b), rel_tol=0.1, abs_tol=1e-3)
        for a, b in pairs
    )


def _number(found: re.Match[str]) -> float:
    return float(found[0].removesuffix(found["time"] or ""))


def test_outputs_are_told_apart() -> None:
    assert same_output("loss=0.100, 2 steps, 3 ms", "loss=0.101, 2 steps, 9 ms")
    assert not same_output("loss=0.1", "loss=0.2")
    assert not same_output("f32[4,3]", "f32[4,7]")
    assert not same_output("right: 1", "wrong: 1")


@every_document
def test_blocks_of_documents(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of Python run one after the other; a block of text after one is what it prints."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed: str | None = None
    for language, block in BLOCK.findall(text(name)):
        if language == "python":
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(compile(block, name, "exec"), namespace)
            printed = said.getvalue()
            continue
        if language == "text" and printed is not None:
            assert same_output(block, printed), f"shown:\n{block}\nprinted:\n{printed}"
        printed = None


@pytest.mark.parametrize("name", ["quickstart", "record", "second_derivatives", "walk"])
def test_scripts_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module(f"examples.{name}").main()
    assert capsys.readouterr().out


# -- generated parts -------------------------------------------------------------------------------


@every_document
def test_generated_parts_are_there(name: str) -> None:
    known = dict(update.parts())
    parts = update.PART.findall(text(name))
    assert text(name).count("<!-- generated:") == len(parts)
    for whole, part, _ in parts:
        assert part in known
        assert name in update.DOCUMENTS
        assert len(whole) > 0
        if part == "passes":
            assert known[part]() in text(name), "run python -m docs.update"
    assert update.MISSING not in text(name), "run make bench, make mnist, python -m docs.update"
    assert update.OPEN not in text(name)


@pytest.mark.parametrize(
    "part", ["layers", "losses", "optimizers", "schedules", "metrics", "functions", "func"]
)
def test_features_are_those_of_the_registry(part: str) -> None:
    made = dict(update.parts())[part]()
    assert made in FEATURES, "python -m docs.update brings it up to date"


@pytest.mark.parametrize("part", ["op-prod", "op-cumsum"])
def test_primitives_are_shown_as_they_are(part: str) -> None:
    """The blocks, the records and the methods that the source has."""
    document = text("docs/adding-an-op.md")
    shown = {name: whole for whole, name, _ in update.PART.findall(document)}
    start = document.index(shown[part]) + len(shown[part])
    made = dict(update.parts())[part]()
    assert document[start:].startswith(made), "python -m docs.update brings it up to date"
    assert made.count("```diff") == 3


def test_the_files_of_a_primitive_are_those_that_name_it() -> None:
    made = dict(update.parts())["tanh"]()
    assert made in WALK, "python -m docs.update brings it up to date"
    assert made.count("`ops/") == 1
    assert made.count("`compiler/") <= 2


def test_the_way_of_a_batch_is_what_fit_enters() -> None:
    assert batch_walk.table() in WALK, "python -m docs.update brings it up to date"


@pytest.mark.at_once("the page records on a tape of its own")
def test_a_step_on_the_tape_is_shown_as_it_is() -> None:
    made = dict(update.parts())["tape"]()
    assert made in WALK, "python -m docs.update brings it up to date"


def test_walk_is_what_the_compiler_does() -> None:
    shown = dict(
        re.findall(r"<!-- generated: walk-(\w+) -->\n```text\n(.*?)\n```", WALK, re.DOTALL)
    )
    assert shown == walk.stages(), "python -m docs.update brings it up to date"


WALK = text(ARCHITECTURE)
FEATURES = text("docs/features.md")


# -- names -----------------------------------------------------------------------------------------


def anchors(document: str) -> set[str]:
    """What a link may name behind `#`: the headings, as they are written in links."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", document), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@every_document
def test_links_lead_somewhere(name: str) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text(name)):
        if "://" not in target:
            path = (ROOT / name).parent / target if target else ROOT / name
            assert path.exists(), target
            found = anchors(path.read_text(encoding="utf-8")) if anchor else set()
            assert not anchor or anchor in found, f"{target}#{anchor}"


def named_files(name: str) -> Iterator[str]:
    """Paths between backticks, such as `mynn/core/graph.py` or `compiler/fusion/fuse.py`."""
    for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text(name)):
        if re.fullmatch(r"[\w./-]+\.(py|md|toml|svg|c|json)", code) and not code.startswith(
            OUTPUTS
        ):
            yield code


@every_document
def test_files_that_are_named_exist(name: str) -> None:
    for path in named_files(name):
        assert any((base / path).exists() for base in (ROOT, ROOT / "mynn", ROOT / "docs")), path


SOURCES = ("mynn", "tests", "benchmarks", "examples", "docs")
# Names of others that the documents speak of.
FOREIGN = {"cbrt", "model_", "train", "fit"}
IMPORTED = {"mynn": "mynn", "nn": "mynn.nn", "optim": "mynn.optim", "F": "mynn.functional"}


def identifiers(name: str) -> set[str]:
    """Names between backticks, such as `Graph` or `mynn.nn.init`, outside of blocks."""
    found = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", BLOCK.sub("", text(name)))
    return {code for code in found if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", code)}


@functools.cache
def words_of_the_source() -> set[str]:
    paths = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")]
    paths = [path for path in paths if path != Path(__file__)]
    return {word for path in paths for word in re.findall(r"[A-Za-z_]\w*", path.read_text("utf-8"))}


def resolves(dotted: str) -> bool:
    """Whether a name that begins at a package can be reached."""
    first, *rest = dotted.split(".")
    found: Any = importlib.import_module(IMPORTED[first])
    for part in rest:
        if not hasattr(found, part):
            try:
                importlib.import_module(f"{found.__name__}.{part}")
            except (ImportError, AttributeError):
                return False
        found = getattr(found, part)
    return True


@every_document
def test_names_exist(name: str) -> None:
    """Identifiers of ours can be imported, others stand somewhere in the source."""
    for code in sorted(identifiers(name)):
        parts = code.split(".")
        if parts[-1] in ("py", "md", "toml", "json", "svg", "c", "txt"):
            continue
        if parts[0] in IMPORTED:
            assert resolves(code), code
        else:
            assert set(parts) <= words_of_the_source() | FOREIGN, code


def test_missing_names_are_seen() -> None:
    assert resolves("mynn.nn.init.ones_")
    assert not resolves("nn.Lineer")
    assert not resolves("mynn.compiler.nothing")


@every_document
def test_folders_that_are_named_exist(name: str) -> None:
    for code in re.findall(r"(?<!`)`([\w./-]+/)`(?!`)", text(name)):
        if not code.startswith(OUTPUTS):
            assert any((base / code).is_dir() for base in (ROOT, ROOT / "mynn")), code


def test_architecture_names_every_module() -> None:
    named = set(named_files(ARCHITECTURE))
    for path in sorted((ROOT / "mynn").rglob("*.py")):
        module = str(path.relative_to(ROOT / "mynn"))
        assert path.name == "__init__.py" or module in named, f"{module} is not in {ARCHITECTURE}"


@every_document
def test_commands_exist(name: str) -> None:
    makefile = text("Makefile")
    for target in re.findall(r"(?:`|^ {4})make ([a-z-]+)", text(name), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


def test_names_of_this_machine_stay_out() -> None:
    for name in NAMES:
        assert not re.search(r"/(work|home|tmp|root)/", text(name)), name
