"""`InterpretedProgram`: what it is asked for that only native programs have."""

from __future__ import annotations

import numpy as np
import pytest

import mynn
from mynn.errors import UsageError
from mynn.jit.interpreted import NATIVE_ONLY

X = np.ones(3, np.float32)


def public(backend: str) -> set[str]:
    program = mynn.compile(lambda x: x * 2, backend=backend).program(X)
    return {name for name in dir(program) if not name.startswith("_")}


def test_native_only_names_the_rest() -> None:
    assert public("native") - public("interpreter") == NATIVE_ONLY


def test_the_remedy_is_named() -> None:
    program = mynn.compile(lambda x: x * 2, backend="interpreter").program(X)
    with pytest.raises(UsageError, match="no llvm_ir; compile with backend='native'"):
        getattr(program, "llvm" + "_ir")
    assert not hasattr(program, "no_such_thing")
