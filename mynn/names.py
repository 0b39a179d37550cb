"""Where the public names of `mynn` are that are looked up when they are first used.

`import mynn` loads what every program needs; a room, and a name in a module that may not be needed,
comes with the first `mynn.NAME`.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

# Modules and packages that are attributes of `mynn` without having been imported.
ROOMS = (
    "amp",
    "autograd",
    "backends",
    "cuda",
    "data",
    "distributions",
    "fft",
    "func",
    "linalg",
    "metrics",
    "return_types",
    "special",
    "utils",
)

# Names of `mynn`, by the module that has them; functions.NAMES come besides.
HOMES = {
    "mynn.amp": "autocast is_autocast_available",
    "mynn.base.devices": "device",
    "mynn.tensor.functions": "polygamma",
    "mynn.transform.vmap": "vmap",
    "mynn.tensor.dtypes": "BoolTensor ByteTensor DoubleTensor FloatTensor IntTensor LongTensor "
    "bfloat16 bool can_cast double dtype finfo float float16 float32 float64 half iinfo int int16 "
    "int32 int64 int8 is_floating_point is_nonzero is_tensor long numel promote_types result_type "
    "short uint16 uint32 uint64 uint8",
    "mynn.tensor.printing": "set_printoptions",
    "mynn.tensor.gradients.grad_mode": "enable_grad inference_mode is_grad_enabled "
    "is_inference_mode_enabled set_grad_enabled",
    "mynn.serialization": "load save",
    "mynn.switches": "are_deterministic_algorithms_enabled get_default_device "
    "get_deterministic_debug_mode get_float32_matmul_precision get_num_threads "
    "is_deterministic_algorithms_warn_only_enabled is_warn_always_enabled set_default_device "
    "set_deterministic_debug_mode set_float32_matmul_precision set_num_threads set_warn_always "
    "use_deterministic_algorithms",
    "mynn.train.model": "Model",
    "mynn.train.checkpoint": "Checkpoint",
    "mynn.train.cross_validation": "CrossValidation cross_validate",
    "mynn.train.summary": "summary",
    "mynn.train.callbacks.stopping": "EarlyStopping TerminateOnNaN",
    "mynn.train.callbacks.saving": "CSVLogger ModelCheckpoint TensorBoard",
    "mynn.train.callbacks.functions": "LRScheduler LambdaCallback",
    "mynn.jit.defaults": "get_default_dtype set_default_dtype",
    "mynn.random": "get_rng_state initial_seed seed set_rng_state",
    "mynn.functional.drawing": "bernoulli multinomial normal poisson rand rand_like randint "
    "randint_like randn randn_like randperm",
    "mynn.tensor.creation": "arange asarray empty empty_like eye from_dlpack from_numpy frombuffer "
    "full full_like linspace logspace ones ones_like scalar_tensor zeros zeros_like",
    "mynn.functional": "alpha_dropout feature_alpha_dropout rrelu "
    "bilinear celu channel_shuffle conv3d conv_transpose3d cosine_similarity "
    "hardshrink max_pool3d pairwise_distance pdist pixel_shuffle pixel_unshuffle prelu selu "
    "threshold adaptive_avg_pool1d avg_pool1d binary_cross_entropy_with_logits "
    "cat conv1d conv2d conv_transpose1d conv_transpose2d dropout group_norm layer_norm log_softmax "
    "max_pool1d max_pool2d rms_norm softmax",
    "mynn.linalg": "det inverse logdet matrix_exp slogdet",
    "mynn.linalg.top": "cholesky cholesky_inverse cholesky_solve cross pinverse qr svd",
    "mynn.functional.branches": "cond fori_loop while_loop",
    "mynn.functional.control": "scan",
    "mynn.functional.differences": "corrcoef cov cumulative_trapezoid diff fill gradient isin "
    "renorm trapezoid trapz vander",
    "mynn.functional.windows": "bartlett_window blackman_window hamming_window hann_window "
    "kaiser_window",
    "mynn.functional.products": "chain_matmul einsum tensordot",
    "mynn.functional.shapes": "atleast_1d atleast_2d atleast_3d block_diag broadcast_shapes "
    "broadcast_tensors cartesian_prod cdist column_stack combinations dstack hstack meshgrid "
    "row_stack tril_indices triu_indices unravel_index vstack",
}
# Names that mean something else in the module that has them.
RENAMED = {
    "concat": ("mynn.functional", "cat"),
    "as_tensor": ("mynn.tensor.creation", "as_tensor_"),
    "range": ("mynn.tensor.creation", "range_"),
}
CONSTANTS = {
    "Size": tuple,
    "e": math.e,
    "inf": math.inf,
    "nan": math.nan,
    "newaxis": None,
    "pi": math.pi,
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
    if name in RENAMED:
        home, own = RENAMED[name]
        return getattr(importlib.import_module(home), own)
    if name in CONSTANTS:
        return CONSTANTS[name]
    if name.endswith("_") and name[0] != "_":
        functions = importlib.import_module(_FUNCTIONS)
        if name in functions.in_place():
            return functions.function(name)
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
    return {*_HOME, *RENAMED, *CONSTANTS, *ROOMS, *importlib.import_module(_FUNCTIONS).NAMES}
