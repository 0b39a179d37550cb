"""The older names of mixed precision, `torch.cuda.amp`; see `mynn.amp`."""

from __future__ import annotations

from typing import Any

from mynn import amp


class autocast(amp.autocast):
    """`mynn.autocast("cuda", ...)`."""

    def __init__(
        self, enabled: bool = True, dtype: Any = None, cache_enabled: bool | None = None
    ) -> None:
        super().__init__("cuda", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """`mynn.amp.GradScaler("cuda", ...)`."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__("cuda", *given, **named)
