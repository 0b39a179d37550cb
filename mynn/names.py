"""Where the public names of `mynn` are that are looked up when they are first used.

`import mynn` loads what every program needs; a room, and a name in a module that may not be needed,
comes with the first `mynn.NAME`.
"""

from __future__ import annotations

import importlib
from typing import Any

# Modules and packages that are attributes of `mynn` without having been imported.
ROOMS = ("autograd", "cuda", "distributions", "fft", "func", "linalg", "special", "utils")

# Names of `mynn`, by the module that has them; functions.NAMES come besides.
HOMES = {
    "mynn.functional": "adaptive_avg_pool1d avg_pool1d batch_norm binary_cross_entropy_with_logits "
    "cat conv1d conv2d conv_transpose1d conv_transpose2d dropout group_norm layer_norm log_softmax "
    "logsumexp max_pool1d max_pool2d rms_norm softmax",
    "mynn.linalg": "det inverse logdet slogdet",
    "mynn.functional.products": "chain_matmul einsum tensordot",
    "mynn.functional.shapes": "atleast_1d atleast_2d atleast_3d block_diag broadcast_shapes "
    "broadcast_tensors cartesian_prod cdist column_stack combinations dstack hstack meshgrid "
    "row_stack tril_indices triu_indices vstack",
}
_HOME = {name: home for home, names in HOMES.items() for name in names.split()}
_FUNCTIONS = "mynn.tensor.functions"


def find(name: str) -> Any:
    """The room, function or class of that name.

    Raises:
        AttributeError: there is none.
    """
    home = _HOME.get(name)
    if home is not None:
        return getattr(importlib.import_module(home), name)
    if name in ROOMS:
        try:
            return importlib.import_module(f"mynn.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"mynn.{name}":
                raise
    elif name in importlib.import_module(_FUNCTIONS).NAMES:
        return getattr(importlib.import_module(_FUNCTIONS), name)
    raise AttributeError(f"module 'mynn' has no attribute {name!r}", name=name)


def known() -> set[str]:
    """All names that `find` finds, rooms that are not there among them."""
    return {*_HOME, *ROOMS, *importlib.import_module(_FUNCTIONS).NAMES}
