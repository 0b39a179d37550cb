"""What tests of the cache share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    path = tmp_path / "cache"
    monkeypatch.setenv("MYNN_CACHE_DIR", str(path))
    monkeypatch.delenv("MYNN_CACHE", raising=False)
    return path
