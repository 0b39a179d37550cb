"""Mixed precision, which is not there: all is computed in the dtype that tensors have.

Programs that switch it on for a GPU, as `torch.amp` has it, run as they do in PyTorch where there
is none: `autocast` and `GradScaler` are off, and say so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from mynn.base import notices
from mynn.base.arguments import shown
from mynn.errors import ArgumentError, ArgumentTypeError

F = TypeVar("F", bound=Callable[..., Any])


def _off(name: str, device: Any, enabled: bool) -> None:
    """Check the device, and warn where something was to be switched on for it."""
    if not isinstance(device, str):
        raise ArgumentTypeError(
            f'{name}: device_type must be "cpu" or "cuda", it is {shown(device)}'
        )
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda", "mps", "xpu"):
        raise ArgumentError(f'{name}: there is no device {device!r}; use "cpu"')
    if enabled:
        why = "there is no other precision here" if kind == "cpu" else f"there is no {kind}"
        notices.warn(
            name,
            f"{name}({device!r}) has no effect, {why}: all is computed in the dtypes of the "
            "tensors; give enabled=False to say so",
            category=UserWarning,
        )


class autocast:
    """A `with` statement, or a decorator, under which nothing changes.

    Args:
        device_type: "cpu", or "cuda", where programs have it.
        dtype, cache_enabled: have no effect.
        enabled: whether PyTorch is to compute in half precision; a warning says that it is not done
            here.

    Example:
        >>> import mynn
        >>> with mynn.autocast("cpu", enabled=False):
        ...     y = mynn.ones(2) * 2
        >>> y.tolist()
        [2.0, 2.0]
    """

    def __init__(
        self,
        device_type: str = "cuda",
        dtype: Any = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        _off("autocast", device_type, enabled)

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return call  # type: ignore[return-value]


class GradScaler:
    """Losses as they are: float32 needs no scale.

    `scale(loss)` is the loss, `step(optimizer)` is `optimizer.step()`; the rest does nothing.

    Example:
        >>> import mynn
        >>> scaler = mynn.amp.GradScaler(enabled=False)
        >>> scaler.scale(mynn.ones(())).item(), scaler.get_scale()
        (1.0, 1.0)
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        _off("GradScaler", device, enabled)

    def scale(self, outputs: Any) -> Any:
        """The outputs."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Nothing: gradients have no scale."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step()`."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Nothing."""

    def get_scale(self) -> float:
        """1."""
        return 1.0

    def is_enabled(self) -> bool:
        """False."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Empty, as that of a scaler of PyTorch that is off."""
        return {}

    def load_state_dict(self, state_dict: Any) -> None:
        """Nothing is kept."""


def is_autocast_available(device_type: str) -> bool:
    """False."""
    return False
