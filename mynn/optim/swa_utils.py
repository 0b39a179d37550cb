"""Means of weights over a training: stochastic weight averaging, exponential moving averages."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from mynn.base.arguments import explained, number, shown, whole_number
from mynn.errors import ArgumentError, ArgumentTypeError, ShapeError
from mynn.nn.module import Module
from mynn.nn.normalization import _BatchNorm
from mynn.optim.lr_scheduler.base import LRScheduler
from mynn.optim.lr_scheduler.cyclic import for_groups
from mynn.optim.lr_scheduler.numbers import Number, cos, lazily, least, most
from mynn.optim.optimizer import Optimizer
from mynn.optim.options import one_of
from mynn.tensor import Tensor, no_grad
from mynn.trace import tracing

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

Averaged = Callable[[Tensor, Tensor, Any], Any]
AllAveraged = Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]


def _decay(name: str, value: Any) -> float:
    decay = number(f"{name}: decay", value)
    if not 0 <= decay <= 1:
        raise ArgumentError(f"{name}: decay must lie in 0..1, it is {value}")
    return decay


def get_ema_avg_fn(decay: float = 0.999) -> Averaged:
    """The function of an exponential moving average: decay mean + (1 - decay) weight."""
    share = _decay("get_ema_avg_fn", decay)
    return lambda mean, current, count: mean * share + current * (1 - share)


def get_swa_avg_fn() -> Averaged:
    """The function of a mean over all n updates: mean + (weight - mean) / (n + 1)."""
    return lambda mean, current, count: mean + (current - mean) / (count + 1)


def _each(function: Averaged) -> AllAveraged:
    def update(means: Sequence[Tensor], current: Sequence[Tensor], count: Any) -> None:
        for mean, new in zip(means, current, strict=True):
            mean.assign(function(mean.detach(), new.detach(), count).astype(mean.dtype))

    return update


def get_ema_multi_avg_fn(decay: float = 0.999) -> AllAveraged:
    """`get_ema_avg_fn` for lists of tensors, in place."""
    return _each(get_ema_avg_fn(_decay("get_ema_multi_avg_fn", decay)))


def get_swa_multi_avg_fn() -> AllAveraged:
    """`get_swa_avg_fn` for lists of tensors, in place."""
    return _each(get_swa_avg_fn())


class AveragedModel(Module):
    """A copy of a network whose weights are means of those that the network had.

    Args:
        model: the network; it is copied.
        device: "cpu" or None.
        avg_fn: a function of (mean, weight, number of updates) that gives the new mean; left out,
            that of all updates.
        multi_avg_fn: the same for lists of tensors, in place.
        use_buffers: whether buffers are averaged too; otherwise they are copied.

    `update_parameters(model)` takes the weights into the mean, at first as they are. It may stand
    in a compiled step.

    Raises:
        ArgumentError: both functions are given.

    Example:
        >>> import mynn
        >>> from mynn.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
        >>> net = mynn.nn.Linear(1, 1, bias=False)
        >>> _ = net.load_state_dict({"weight": [[1.0]]})
        >>> mean = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.75))
        >>> mean.update_parameters(net)
        >>> _ = net.load_state_dict({"weight": [[2.0]]})
        >>> mean.update_parameters(net)
        >>> mean.module.weight.item(), mean.n_averaged.item()
        (1.25, 2)

    Source: Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, "Averaging weights leads to wider optima
    and better generalization", 2018.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Averaged | None = None,
        multi_avg_fn: AllAveraged | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(model, Module):
            raise ArgumentTypeError(f"AveragedModel: model must be a network, it is {shown(model)}")
        if avg_fn is not None and multi_avg_fn is not None:
            raise ArgumentError("AveragedModel: give avg_fn or multi_avg_fn, not both")
        for name, function in (("avg_fn", avg_fn), ("multi_avg_fn", multi_avg_fn)):
            if function is not None and not callable(function):
                raise ArgumentTypeError(
                    f"AveragedModel: {name} must be a function, it is {shown(function)}"
                )
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module.to(device)
        self.register_buffer("n_averaged", Tensor.from_value(np.array(0, np.int64)))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the network with the mean weights."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the weights of the network into the mean.

        Raises:
            ShapeError: the network has other parameters than the one that was copied.
        """
        means, current = self._averaged(self.module), self._averaged(model)
        shapes = [[one.shape for one in every] for every in (means, current)]
        if shapes[0] != shapes[1]:
            raise ShapeError(
                f"update_parameters: the network has parameters of shapes {shapes[1]}, the mean "
                f"is one of {shapes[0]}; give the network that it was made from"
            )
        update = self.multi_avg_fn or _each(self.avg_fn or get_swa_avg_fn())
        with no_grad():
            if tracing.active() is None:
                self._update(update, means, current)
            else:
                first, new = self.n_averaged == 0, [one.detach() for one in current]
                update(means, new, self.n_averaged)
                for mean, one in zip(means, new, strict=True):
                    mean.assign(first.choose(one, mean.detach()))
            if not self.use_buffers:
                for own, other in zip(self.module.buffers(), model.buffers(), strict=True):
                    own.assign(other.detach())
            self.n_averaged.assign(self.n_averaged + 1)

    def _averaged(self, model: Module) -> list[Tensor]:
        buffers = model.buffers() if self.use_buffers else ()
        return list(itertools.chain(model.parameters(), buffers))

    def _update(self, update: AllAveraged, means: list[Tensor], current: list[Tensor]) -> None:
        count = int(self.n_averaged.item())
        if count:
            update(means, [one.detach() for one in current], count)
            return
        for mean, one in zip(means, current, strict=True):
            mean.assign(one.detach())


@explained
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """The running statistics of all batch normalisations anew: means over the batches of a loader.

    Mean weights have seen no data; their statistics are computed by one pass over it.

    Args:
        loader: gives batches: the input, or a tuple of which it is the first.
        model: the network, such as an `AveragedModel`.
        device: "cpu" or None.

    Example:
        >>> import numpy as np, mynn
        >>> from mynn.optim.swa_utils import update_bn
        >>> net = mynn.nn.BatchNorm1d(1)
        >>> update_bn([np.full((2, 1), 2.0, np.float32), np.full((2, 1), 4.0, np.float32)], net)
        >>> net.running_mean.item()
        3.0
    """
    momenta = {one: one.momentum for one in model.modules() if isinstance(one, _BatchNorm)}
    if not momenta:
        return
    training = model.training
    try:
        model.train()
        for layer in momenta:
            layer.reset_running_stats()
            layer.momentum = None
        with no_grad():
            for batch in loader:
                model(batch[0] if isinstance(batch, list | tuple) else batch)
    finally:
        for layer, momentum in momenta.items():
            layer.momentum = momentum
        model.train(training)


class SWALR(LRScheduler):
    """The rate goes to `swa_lr` in `anneal_epochs` steps, and stays there.

    Args:
        optimizer: whose rates change.
        swa_lr: the last rate, for all groups or a list with one for each.
        anneal_epochs: how many steps it takes, at least 0.
        anneal_strategy: "cos" or "linear".
        last_epoch: where to go on; -1 begins anew.

    Example:
        >>> import mynn
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> schedule = mynn.optim.swa_utils.SWALR(sgd, 0.5, 2, "linear")
        >>> schedule.step(), sgd.lr, schedule.step(), sgd.lr
        (None, 0.75, None, 0.5)

    Source: Izmailov and others, as for `AveragedModel`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        self.begin(optimizer)
        rates = for_groups("SWALR: swa_lr", optimizer, swa_lr)
        one_of("cos", "linear")("SWALR: anneal_strategy", anneal_strategy)
        self.anneal_epochs = whole_number("SWALR: anneal_epochs", anneal_epochs)
        if self.anneal_epochs < 0:
            raise ArgumentError(f"SWALR: anneal_epochs must be at least 0, it is {anneal_epochs}")
        self._anneal_strategy = anneal_strategy
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["swa_lr"] = rate
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rate of each group after this step."""
        count = most(1, self.last_epoch) if self.anneal_epochs == 0 else self.last_epoch
        before, now = self._share(count - 1), self._share(count)
        rates = []
        for group in self.optimizer.param_groups:
            rate, last = group["lr"], group["swa_lr"]
            first = _first(rate, last, before)
            rates.append(last * now + first * (1 - now))
        return rates

    def _share(self, count: Number) -> Number:
        """How far the rate has gone, 0..1."""
        t = most(0, least(1, count / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - cos(math.pi * t)) / 2


def _first(rate: Number, last: Number, share: Number) -> Number:
    """The rate at the beginning, of which `share` of the way to the last one is gone."""
    return lazily(share == 1, lambda: last, lambda: (rate - share * last) / (1 - share))
