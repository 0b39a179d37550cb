"""Switches for where values that are not finite arise; here other tools say that."""

from __future__ import annotations

from types import TracebackType


class set_detect_anomaly:
    """Taken, as a call or around a block, without effect.

    `mynn.fit` looks for values that are not finite by itself, and names the step and the operation
    that made the first one; `mynn.check_grads` holds gradients against differences.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.mode, self.check_nan = bool(mode), bool(check_nan)

    def __enter__(self) -> None:
        """Nothing changes."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing was changed."""


class detect_anomaly(set_detect_anomaly):
    """`set_detect_anomaly(True)` around a block."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True, check_nan)
