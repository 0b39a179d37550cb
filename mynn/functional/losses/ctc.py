"""Connectionist temporal classification: labels without their places in time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, DTypeError, ShapeError, UsageError
from mynn.functional.control import scan
from mynn.functional.losses.common import check_reduction, reduced
from mynn.ops import movement
from mynn.tensor import Tensor, apply, as_tensor
from mynn.tensor.checks import require_range

# A logarithm of 0 that can be added to others, and what counts as one.
_NEVER = -1e30
_IMPOSSIBLE = 1e29


@recorded
@explained
def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the probability that a sequence, without repeats and blanks, reads as the target.

    Args:
        log_probs: logarithms of the probabilities of the C classes at each time, [T, N, C] or
            [T, C].
        targets: labels [N, S], or those of all samples one after the other, [sum of lengths]; for
            [T, C] they are [S].
        input_lengths: how many times of each sample count, [N].
        target_lengths: how many labels each sample has, [N].
        blank: the class that stands for no label.
        reduction: "mean" divides each loss by the number of its labels, then takes the mean.
        zero_infinity: whether the loss is 0, without a gradient, where the target does not fit in
            the times.

    The loss is infinite where the target does not fit. All times are written out: a compiled
    function grows with T.

    Source: Graves et al., "Connectionist temporal classification", 2006.
    """
    check_reduction("ctc_loss", reduction)
    lp = as_tensor(log_probs)
    if lp.dtype.kind != "f" or lp.ndim not in (2, 3):
        raise ShapeError(
            f"ctc_loss: log_probs must be floats [T, N, C] or [T, C], they are {lp.spec}"
        )
    single = lp.ndim == 2
    lp = lp.unsqueeze(1) if single else lp
    times, batch, classes = lp.shape
    if not 0 <= blank < classes:
        raise ArgumentError(f"ctc_loss: blank must lie in 0..{classes - 1}, it is {blank}")
    counts = _lengths("input_lengths", input_lengths, batch, times)
    labels, sizes = _labels(as_tensor(targets), target_lengths, batch, single)
    require_range(labels, "ctc_loss", "labels", 0, classes - 1)
    loss = _negative_log_likelihood(lp, labels, counts, sizes, blank)
    impossible = loss > _IMPOSSIBLE
    loss = impossible.choose(0.0 if zero_infinity else math.inf, loss)
    if reduction == "mean":
        return (loss / sizes.maximum(1).astype(loss.dtype)).mean()
    loss = reduced(loss, reduction)
    return loss.reshape(()) if single and reduction == "none" else loss


def _lengths(name: str, given: Any, batch: int, most: int) -> Tensor:
    lengths = as_tensor(np.asarray(given) if isinstance(given, list | tuple) else given)
    if lengths.dtype.kind not in "iu":
        raise DTypeError(f"ctc_loss: {name} must be whole numbers, they are {lengths.dtype}")
    lengths = lengths.reshape(-1).astype(np.int64)
    if lengths.shape != (batch,):
        raise ShapeError(f"ctc_loss: {name} must be [{batch}], one a sample; it is {lengths.shape}")
    require_range(lengths, f"ctc_loss: {name}", "lengths", 0, most)
    return lengths


def _labels(
    targets: Tensor, target_lengths: Any, batch: int, single: bool
) -> tuple[Tensor, Tensor]:
    """Labels [N, S] with any in place of those that are not there, and how many count."""
    if targets.dtype.kind not in "iu":
        raise DTypeError(f"ctc_loss: targets must hold whole numbers, they are {targets.dtype}")
    targets = targets.astype(np.int64)
    if single and targets.ndim == 1:
        targets = targets.unsqueeze(0)
    if targets.ndim == 2:
        if targets.shape[0] != batch:
            raise ShapeError(
                f"ctc_loss: targets of shape {targets.shape} do not fit {batch} samples"
            )
        sizes = _lengths("target_lengths", target_lengths, batch, targets.shape[1])
        places: Tensor = apply(movement.iota, shape=targets.shape, axis=1, dtype=np.dtype(np.int64))
        return (places < sizes.unsqueeze(1)).choose(targets, 0), sizes
    sizes = _lengths("target_lengths", target_lengths, batch, targets.numel())
    given = target_lengths.value if isinstance(target_lengths, Tensor) else target_lengths
    if given is None:
        raise UsageError(
            "ctc_loss: targets one after the other need lengths that are known while tracing; give "
            "targets [N, S] instead"
        )
    known = np.asarray(given).reshape(-1)
    if int(known.sum()) != targets.numel():
        raise ShapeError(
            f"ctc_loss: target_lengths sum to {int(known.sum())}, there are {targets.numel()} "
            "targets"
        )
    widest = max(int(known.max(initial=0)), 1)
    starts = np.cumsum(known) - known
    index = np.minimum(starts[:, None] + np.arange(widest), max(targets.numel() - 1, 0))
    if not targets.numel():
        return as_tensor(np.zeros((batch, widest), np.int64)), sizes
    inside = as_tensor(np.arange(widest) < known[:, None])
    return inside.choose(targets.gather_rows(index, 0), 0), sizes


def _negative_log_likelihood(
    lp: Tensor, labels: Tensor, counts: Tensor, sizes: Tensor, blank: int
) -> Tensor:
    """[N]: the forward recursion over blanks and labels in turn, in logarithms."""
    times, batch, classes = lp.shape
    blanks = as_tensor(np.full((batch, 1), blank, np.int64))
    between = as_tensor(np.full((batch, labels.shape[1], 1), blank, np.int64))
    turns = labels.unsqueeze(2).concatenate([between], 2).reshape((batch, -1))
    states = blanks.concatenate([turns], 1)  # [N, L], L = 2 S + 1
    extent = states.shape[1]
    flat = states + as_tensor(np.arange(batch)[:, None] * classes)
    emitted = lp.reshape((times, batch * classes)).gather_rows(flat, 1, clip=True)
    emitted = emitted.maximum(_NEVER)
    never = as_tensor(np.full((batch, 2), _NEVER, lp.dtype))
    # A label may follow the one before it at once, unless the two are alike.
    skips = (states != blank) & (states != blanks.concatenate([blanks, states], 1)[:, :extent])
    start = as_tensor(np.arange(extent) < 2)
    places = as_tensor(np.arange(extent))

    def step(alpha: Tensor, now: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
        emission, t = now
        once = never[:, :1].concatenate([alpha], 1)[:, :extent]
        twice = skips.choose(never.concatenate([alpha], 1)[:, :extent], _NEVER)
        new = (_log_sum(alpha, once, twice) + emission).maximum(_NEVER)
        return (counts > t).unsqueeze(1).choose(new, alpha), None

    alpha = start.choose(emitted[0], _NEVER)
    if times > 1:
        alpha, _ = scan(step, alpha, (emitted[1:], as_tensor(np.arange(1, times))))
    last = 2 * sizes.unsqueeze(1)
    ends = (places == last) | (places == last - 1)
    final = ends.choose(alpha, _NEVER)
    top = final.detach().amax(1, keepdim=True)
    total = (final - top).exp().sum(1).log() + top.reshape((batch,))
    return -(counts > 0).choose(total, (sizes == 0).choose(total * 0.0, _NEVER))


def _log_sum(*parts: Tensor) -> Tensor:
    """log of the sum of e^x."""
    top = parts[0].detach()
    for part in parts[1:]:
        top = top.maximum(part.detach())
    total = (parts[0] - top).exp()
    for part in parts[1:]:
        total = total + (part - top).exp()
    return total.log() + top
