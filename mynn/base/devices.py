"""`device`: where a tensor is. There is one place, the processor."""

from __future__ import annotations

from typing import Any

from mynn.errors import ArgumentError


class device:
    """A place by its name, "cpu" or "cpu:0". Others can be named, but hold no tensors.

    Example:
        >>> device("cpu").type
        'cpu'
    """

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        name, _, number = str(getattr(type, "type", type)).partition(":")
        if not name.isidentifier() or (number and not number.isdigit()):
            raise ArgumentError(f'device: {type!r} is no name of a device; give "cpu"')
        self.type = name
        self.index = int(number) if number else getattr(type, "index", index)
        if not isinstance(self.index, int):
            self.index = index

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type={self.type!r}{index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __enter__(self) -> device:
        require_cpu("device", self)
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing was changed."""


CPU = device("cpu")


def require_cpu(name: str, place: Any) -> None:
    """Raise where tensors cannot be: on another device than the processor."""
    if place is None or place is CPU:
        return
    if isinstance(place, int) and not isinstance(place, bool):
        raise ArgumentError(f'{name}: device {place} is a GPU, there is none; device must be "cpu"')
    if device(place).type != "cpu":
        raise ArgumentError(
            f'{name}: device must be "cpu" or None, it is {str(place)!r}; there is no other, '
            "mynn.cuda.is_available() is False"
        )
