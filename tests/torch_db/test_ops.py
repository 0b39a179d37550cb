"""Every operation that we have, on PyTorch's own samples: no wrong number, no unclear error."""

from __future__ import annotations

import pytest

from tests.torch_db.known import KNOWN, SKIPPED

torch = pytest.importorskip("torch")

from tests.torch_db import ops  # noqa: E402

ENTRIES = {
    f"{op.name}.{op.variant_test_name}".rstrip("."): op
    for op in ops.entries()
    if op.name not in SKIPPED
}


@pytest.mark.one_in(3)
@pytest.mark.at_once("samples are compared one by one")
@pytest.mark.parametrize("name", ENTRIES)
def test_samples(name: str) -> None:
    report = ops.check(ENTRIES[name])
    known = KNOWN.get(ENTRIES[name].name, {})
    new = [text for text in report.failures if text[0] not in known]
    assert not new, "\n".join(": ".join(one) for one in new[:5])


def test_known_differences_are_of_operations_that_are_there() -> None:
    names = {op.name for op in ops.entries()}
    assert set(KNOWN) <= names
