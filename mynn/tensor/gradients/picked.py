"""Values at the places that a function found, made by that function (`grad_fn`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mynn.base.recording import recorded


def _picking(name: str) -> Callable[..., Any]:
    """The function that picks values for another one; `[]` says that this has several results."""

    def pick(x: Any, indices: Any, axis: int, keepdim: bool = True) -> Any:
        if not x.ndim:
            return x.reshape(())
        values = x.take_along(indices, axis)
        return values if keepdim else values.squeeze(axis)

    pick.__name__ = name
    return recorded(pick)


kth = _picking("kthvalue[]")
largest = _picking("topk[]")
middle = _picking("median[]")
middle_number = _picking("nanmedian[]")
most_frequent = _picking("mode[]")
ordered = _picking("sort[]")
middle_of_all = _picking("median")
middle_number_of_all = _picking("nanmedian")
