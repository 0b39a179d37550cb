"""Names that are not there yet; `python -m tests.torch_names --write` makes the list anew."""

from __future__ import annotations

NOT_YET: dict[str, str] = {}
