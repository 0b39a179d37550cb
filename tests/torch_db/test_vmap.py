"""Operations over several of PyTorch's samples at once, against one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor
from mynn.core.types import Array
from mynn.errors import MynnError, UsageError

torch = pytest.importorskip("torch")

from tests.torch_db import ops  # noqa: E402

# Composites that move, look up, order, pool and decompose; `tests/core/test_batching.py` has the
# primitives.
NAMES = (
    *("take_along_dim", "gather", "scatter_add", "scatter_reduce", "index_select", "index_add"),
    *("masked_fill", "cumprod", "logcumsumexp", "sort", "topk", "kthvalue", "median", "quantile"),
    *(
        "searchsorted",
        "einsum",
        "tensordot",
        "kron",
        "cdist",
        "diag_embed",
        "tril",
        "roll",
        "rot90",
    ),
    *("repeat", "unfold", "nansum", "renorm", "logsumexp", "trapezoid", "diff", "unravel_index"),
    *("linalg.norm", "linalg.cond", "linalg.cross", "linalg.lstsq", "linalg.matrix_power"),
    *("nn.functional.interpolate", "nn.functional.grid_sample", "nn.functional.unfold"),
    *("nn.functional.pad", "nn.functional.max_pool2d", "nn.functional.avg_pool2d"),
    *("nn.functional.adaptive_avg_pool2d", "nn.functional.layer_norm", "nn.functional.group_norm"),
    *("nn.functional.cross_entropy", "nn.functional.embedding", "nn.functional.conv1d"),
    *("nn.functional.conv_transpose2d", "nn.functional.normalize", "nn.functional.pixel_shuffle"),
    *(
        "nn.functional.triplet_margin_loss",
        "nn.functional.kl_div",
        "nn.functional.cosine_similarity",
    ),
)
# The shape of the result depends on values, values are looked at, or state is written.
REFUSED = ("nonzero", "masked_select", "linspace", "nn.functional.batch_norm")
ENTRIES = {
    f"{op.name}.{op.variant_test_name}".rstrip("."): op
    for op in ops.entries()
    if op.name in NAMES + REFUSED and torch.float64 in op.dtypes
}
EXAMPLES = 2


def sample_of(op: Any) -> tuple[list[Any], dict[str, Any]] | None:
    """Arguments of one of the first samples that we take."""
    for sample in itertools.islice(op.sample_inputs("cpu", torch.float64), 2, 6):
        try:
            args, named = ops.ours([sample.input, *sample.args]), ops.ours(dict(sample.kwargs))
            ops.find(op)(*args, **named)  # type: ignore[misc]
        except (ops.NotHere, MynnError, TypeError):
            continue
        if isinstance(args[0], Tensor):
            return args, named
    return None


def with_slopes(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """The results of a function, and the gradients of their weighted sum by its first arguments."""

    def call(*args: Any) -> Any:
        results = [one for one in ops._leaves(function(*args)) if isinstance(one, Tensor)]
        floats = [y for y in results if y.dtype.kind == "f"]
        return sum((y * ops._weights(y.shape)).sum() for y in floats) if floats else results

    def both(*args: Any) -> Any:
        chosen = tuple(i for i in range(count) if args[i].dtype.kind == "f")
        found = call(*args)
        if isinstance(found, list) or not chosen:
            return found
        return found, mynn.func.grad(call, chosen)(*args)

    return both


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", ENTRIES)
def test_many_at_once(name: str) -> None:
    op = ENTRIES[name]
    found = sample_of(op)
    if found is None:
        return
    (first, *args), named = found
    examples = [np.roll(first.numpy(), i).reshape(first.shape) for i in range(EXAMPLES)]

    def function(x: Any) -> Any:
        return ops.find(op)(x, *args, **named)  # type: ignore[misc]

    call: Callable[..., Any] = function
    if op.supports_autograd and first.dtype.kind == "f":
        call = with_slopes(function, 1)
    try:
        got = mynn.vmap(call)(Tensor(np.stack(examples)))
    except UsageError:
        assert op.name in REFUSED
        return
    assert op.name not in REFUSED
    each = [flat(call(Tensor(example))) for example in examples]
    for a, *b in zip(flat(got), *each, strict=True):
        assert a.shape == (EXAMPLES, *b[0].shape)
        np.testing.assert_allclose(a, np.stack(b), rtol=1e-7, atol=1e-9)


def flat(result: Any) -> list[Array]:
    return [leaf.detach().numpy() for leaf in ops._leaves(result)]
