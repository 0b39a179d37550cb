"""Every wrong use gets an error that names what is wrong, shows it, and says what to do."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

from mynn.errors import MynnError
from tests.wrong_uses import Use, all_uses, torch_uses

USES = all_uses()
# Words with which a remedy begins.
REMEDY = re.compile(
    r"\b(must|needs?|use|give|write|pass|take|call|choose|make|return|reduce|convert|set|clean|"
    r"scale|name|load|close over|did you mean|instead|it is \w+\(|one of|at least|lie in|known are|"
    r"belongs|has to|build|put|leave|see|run|is called|cannot be|so that|import)\b"
)


def check(use: Use) -> None:
    with pytest.raises(MynnError) as caught:
        use.call()
    text = str(caught.value)
    assert any(name in text for name in use.names), f"none of {use.names} is named: {text}"
    assert any(value in text for value in use.shows), f"none of {use.shows} is shown: {text}"
    assert REMEDY.search(text), f"no remedy: {text}"
    assert len(text) < 1000, f"too long: {text}"


# By what is used: the words before an argument or a reason.
KINDS: dict[str, list[str]] = defaultdict(list)
for name in USES:
    KINDS[re.split(r"[ (:]", name)[0]].append(name)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_uses(kind: str) -> None:
    for name in KINDS[kind]:
        try:
            check(USES[name])
        except BaseException as error:
            error.add_note(f"in {name!r}")
            raise


def test_there_are_many() -> None:
    assert len(USES) >= 400


def test_what_belongs_to_pytorch() -> None:
    torch = pytest.importorskip("torch")
    for _, use in torch_uses(torch):
        check(use)
