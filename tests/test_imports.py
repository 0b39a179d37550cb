"""Imports point one way, down; read from the source, so that also those within functions count."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mynn

ROOT = Path(mynn.__file__).parent

# From the bottom to the top. A module may import from the lines above its own, and from its own
# package. A name stands for a module or for a package with all that is in it; FACE is the package
# itself, `import mynn` as users write it.
FACE = "__init__"
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "return_types", "version", "base.environment"),
    ("debug",),
    ("base",),
    ("core",),
    ("target", "ops"),
    ("trace",),
    ("tensor", "compiler"),  # the two never meet
    ("random", "metrics"),
    ("functional",),
    ("linalg",),
    ("transform", "distributions", "optim", "runtime"),
    ("autograd",),
    ("jit",),
    ("tape",),
    ("amp", "nn", "data.arrays", "utils", "serialization", "optim.levenberg_marquardt"),
    ("data",),
    ("train", "optim.swa_utils"),
    ("backends", "cuda", "func", "names", "special", "switches"),
    (FACE,),
    ("report.toolbox",),
    ("module",),
    ("report",),
    ("cli",),
    ("__main__",),
)

# (importing module, imported module): the reason why it may point up.
ALLOWED: dict[tuple[str, str], str] = {}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, without the leading `mynn.`."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = path
    return found


MODULES = modules()


def layer(module: str) -> int | None:
    """The number of a module's layer: that of the longest name in LAYERS that covers it."""
    best, found = -1, None
    for number, names in enumerate(LAYERS):
        for name in names:
            if (module == name or module.startswith(name + ".")) and len(name) > best:
                best, found = len(name), number
    return found


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Modules of the package that a source imports, with their lines, those for types too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "mynn":
                    yield alias.name.removeprefix("mynn").removeprefix(".") or FACE, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import at line {node.lineno}"
            module = node.module or ""
            if module.split(".")[0] == "mynn":
                base = module.removeprefix("mynn").removeprefix(".")
                for alias in node.names:
                    deeper = f"{base}.{alias.name}".removeprefix(".")
                    yield (deeper if deeper in MODULES else base or FACE), node.lineno
        else:
            yield from imports(node)


@functools.cache
def edges() -> dict[str, list[tuple[str, int]]]:
    """What each module imports, and where."""
    return {
        name: list(imports(ast.parse(path.read_text(encoding="utf-8"))))
        for name, path in MODULES.items()
    }


def test_imports_point_down() -> None:
    for name in MODULES:
        check_imports(name)


def check_imports(name: str) -> None:
    """Of one module."""
    own = layer(name)
    if own is None and not edges()[name]:
        return
    assert own is not None, f"mynn.{name} is in no layer: add it to LAYERS"
    package = name.split(".")[0]
    for target, line in edges()[name]:
        where = f"{MODULES[name].relative_to(ROOT.parent)}:{line} imports mynn.{target}"
        if (name, target) in ALLOWED:
            continue
        other = layer(target)
        assert other is not None, where
        inside = target.split(".")[0] == package and other == own
        assert other < own or inside, f"{where}, which lies in the same layer or above"


def test_no_cycles() -> None:
    """Within a package too, no module needs itself."""
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        for target, _ in edges().get(name, ()):
            if target != name and (name, target) not in ALLOWED:
                visit(target, (*path, name))
        done.add(name)

    for name in MODULES:
        visit(name, ())


def test_layers_name_what_there_is() -> None:
    for name in (name for names in LAYERS for name in names):
        assert name in MODULES, f"there is no mynn.{name}"


def test_exceptions_are_still_needed() -> None:
    for name, target in ALLOWED:
        assert target in [imported for imported, _ in edges()[name]], (name, target)


def test_importing_is_light() -> None:
    """`import mynn` loads neither what the command line and the plots need, nor frameworks."""
    heavy = ("rich", "click", "jinja2", "matplotlib", "torch", "sklearn", "scipy", "pandas")
    code = f"import sys, mynn; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    assert result.stdout.strip() == "[]"


def test_the_compiler_is_loaded_with_the_first_program() -> None:
    """`import mynn` alone loads few modules: it is as quick as before there were so many."""
    code = """if True:
        import sys, mynn
        loaded = [name for name in sys.modules if name.startswith("mynn")]
        print(len(loaded), *(n for n in loaded if n.startswith("mynn.compiler.")), sep="\\n")
    """
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    count, *parts = result.stdout.split()
    assert int(count) <= 215
    assert set(parts) <= {"mynn.compiler.host", "mynn.compiler.host.control_block"}
