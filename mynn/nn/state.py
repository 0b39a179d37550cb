"""Values loaded into the parameters and buffers of a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mynn.base import sharing
from mynn.errors import ArgumentError, ShapeError
from mynn.tensor import Tensor, as_tensor, no_grad
from mynn.tensor.loaded import checked_mapping, loaded_array
from mynn.tensor.state_dict import memories
from mynn.trace import tracing


class LoadResult(NamedTuple):
    """What `load_state_dict` could not pair up."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not any(self):
            return "<All keys matched successfully>"
        return (
            f"LoadResult(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"
        )


def load(
    what: str, own: Mapping[str, Tensor], state_dict: Mapping[str, Any], strict: bool
) -> LoadResult:
    """Copy the values of a state dict into the tensors of their names; see `load_state_dict`."""
    state_dict = checked_mapping(what, state_dict)
    result = LoadResult(
        [key for key in own if key not in state_dict],
        [key for key in state_dict if key not in own],
    )
    if strict and any(result):
        raise ArgumentError(
            f"{what}: missing keys {result.missing_keys}, "
            f"unexpected keys {result.unexpected_keys}; give all of them, or "
            "strict=False to load the others"
        )
    if tracing.active() is not None:
        return _load_traced(own, state_dict, result)
    given = {key: state_dict[key] for key in own if key in state_dict}
    values = sharing.run_whole(
        lambda: {
            key: loaded_array(f"{what}: {key}", value, own[key].shape, own[key].dtype)
            for key, value in given.items()
        },
        memories(given),
    )

    def put() -> None:
        for key, value in values.items():
            own[key].data = value

    sharing.run_whole(put, own.values(), write=True, noted=True)
    return result


def _load_traced(
    own: Mapping[str, Tensor], state_dict: Mapping[str, Any], result: LoadResult
) -> LoadResult:
    """In a trace the values are written to the program's state, in every call."""
    values = {key: as_tensor(state_dict[key]) for key in own if key in state_dict}
    for key, value in values.items():
        if value.shape != own[key].shape:
            raise ShapeError(f"{key} has shape {own[key].shape}, the new value {value.shape}")
    with no_grad():
        for key, value in values.items():
            own[key].assign(value.detach())
    return result
