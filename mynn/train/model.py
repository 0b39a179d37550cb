"""`Model`: a network with its loss, optimiser and metrics, trained in Keras's habit by `fit`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mynn import functional, nn, optim
from mynn.base.arguments import explained, in_range, nearest, shown
from mynn.core.types import Array
from mynn.errors import ArgumentError, DataError, UsageError
from mynn.jit.compile import compile
from mynn.tensor import Tensor
from mynn.train.callbacks.base import Callback
from mynn.train.fit import fit
from mynn.train.history import History
from mynn.train.inference import evaluate, predict
from mynn.train.plan import load

Measure = Callable[..., Any]

# Short names beside those of `mynn.functional`.
_SHORT = {"mse": "mse_loss", "mae": "l1_loss", "mean_squared_error": "mse_loss"}


class Model:
    """A network with its loss, its optimiser and what is measured: a thin object over `fit`.

    Args:
        network: a module; it is called with the inputs of a batch.
        loss: a function of (outputs, targets) that gives one number, a loss module, or the name of
            one in `mynn.functional` ("cross_entropy", "mse_loss"; "mse" and "mae" too).
        optimizer: an optimiser of the network's parameters, a class such as `optim.Adam`, or its
            name in any case ("adam"), with its default options then.
        metrics: names as for the loss ("accuracy" too), functions of (outputs, targets), or a dict
            of names and functions.

    Example:
        >>> import numpy as np, mynn
        >>> from mynn import nn, optim
        >>> _ = mynn.manual_seed(0)
        >>> net = nn.Linear(2, 2)
        >>> adam = optim.Adam(net.parameters(), lr=0.1)
        >>> model = mynn.Model(net, loss="cross_entropy", optimizer=adam, metrics=["accuracy"])
        >>> x = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
        >>> t = (x[:, 0] > 0).astype(np.int64)
        >>> history = model.fit(x, t, epochs=40, validation_split=0.2)
        >>> sorted(history.metrics)
        ['accuracy', 'loss', 'val_accuracy', 'val_loss']
        >>> bool(history["val_accuracy"][-1] > 0.9), model.predict(x[:3]).shape
        (True, (3, 2))
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Any,
        optimizer: Any = "adam",
        metrics: Any = (),
    ) -> None:
        if not isinstance(network, nn.Module):
            raise ArgumentError(f"network must be a module of mynn, it is {shown(network)}")
        self.network = network
        self.loss = _measure("loss", loss)
        self.optimizer = _optimizer(optimizer, network)
        self.metrics = _metrics(metrics)
        self._step = compile(self._train)
        self._measured = _Measured(self)

    def __repr__(self) -> str:
        names = ", ".join(self.metrics)
        return (
            f"Model({type(self.network).__name__}, loss={_name(self.loss)}, "
            f"optimizer={type(self.optimizer).__name__}, metrics=[{names}])"
        )

    @explained
    def fit(
        self,
        x: Any,
        y: Any,
        batch_size: int = 32,
        epochs: int = 1,
        verbose: bool = True,
        callbacks: Sequence[Callback] = (),
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        **options: Any,
    ) -> History:
        """Train: `mynn.fit` of a step that is made of network, loss, optimiser and metrics.

        Args:
            x: an array with a row for each sample, or a tuple of arrays, one for each argument of
                the network.
            y: the targets, a row for each sample.
            validation_split: the share of the samples, from their end and before any shuffling,
                that is not trained on but measured after every epoch.
            validation_data: (x, y) to measure instead.
            batch_size, epochs, verbose, callbacks, shuffle, options: those of `mynn.fit`.

        The network is in training mode for the steps, and in evaluation mode where it is measured;
        its own mode comes back in the end. Callbacks find `val_loss` and the like in `logs`.

        Returns:
            `History` with "loss", each metric, and each of them once more behind "val_".

        Raises:
            What `mynn.fit` raises; ArgumentError for a share that leaves nothing to train on.
        """
        arrays = (*_inputs(x), y)
        held = None if validation_data is None else _pair(validation_data)
        share = in_range("validation_split", validation_split, 0.0, 1.0)
        if share and held is None:
            arrays, held = _split(load(arrays, check_finite=False)[0], share)
        called: list[Callback] = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
        if held is not None:
            called.insert(0, _Validation(self, held, max(batch_size, 1)))
        training = self.network.training
        self.network.train()
        try:
            given = {"epochs": epochs, "shuffle": shuffle, "verbose": verbose, **options}
            return fit(self._step, arrays, batch_size=batch_size, callbacks=called, **given)
        finally:
            self.network.train(training)

    @explained
    def evaluate(self, x: Any, y: Any, batch_size: int = 256) -> dict[str, float]:
        """The loss and the metrics over a data set, in evaluation mode: `mynn.evaluate`."""
        return evaluate(self._measured, (*_inputs(x), y), batch_size=batch_size)

    @explained
    def predict(self, x: Any, batch_size: int = 256) -> Any:
        """The outputs of the network for every sample, in evaluation mode: `mynn.predict`."""
        return predict(self.network, x, batch_size=batch_size)

    def _train(self, *batch: Tensor) -> dict[str, Tensor]:
        results = self._measure(*batch)
        results["loss"].backward()
        self.optimizer.step()
        return results

    def _measure(self, *batch: Tensor) -> dict[str, Tensor]:
        *inputs, target = batch
        outputs = self.network(*inputs)
        results = {"loss": self.loss(outputs, target)}
        for name, metric in self.metrics.items():
            results[name] = metric(outputs, target)
        return results


class _Measured(nn.Module):
    """A model as a module, which `evaluate` puts into evaluation mode."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network = model.network
        self.measure = model._measure

    def forward(self, *batch: Tensor) -> dict[str, Tensor]:
        return self.measure(*batch)


class _Validation(Callback):
    """Measures data that is not trained on, after each epoch."""

    def __init__(self, model: Model, data: tuple[Any, ...], batch_size: int) -> None:
        self.model, self.data, self.batch_size = model, data, batch_size
        self.rows: dict[str, list[float]] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Put the measures into `logs`, where the other callbacks find them."""
        found = evaluate(self.model._measured, self.data, batch_size=self.batch_size)
        for name, value in found.items():
            logs[f"val_{name}"] = value
            self.rows.setdefault(f"val_{name}", []).append(value)

    def on_train_end(self, history: History) -> None:
        """Put them into the history."""
        history.metrics |= {name: np.array(values) for name, values in self.rows.items()}


def _inputs(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, tuple) else (x,)


def _pair(data: Any) -> tuple[Any, ...]:
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ArgumentError(f"validation_data must be a pair (x, y), it is {shown(data)}")
    return (*_inputs(data[0]), data[1])


def _split(arrays: tuple[Array, ...], share: float) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """The samples to train on, and the last ones, to measure."""
    count = len(arrays[0])
    first = math.floor(count * (1 - share) + 1e-9)
    if not 0 < first < count:
        raise DataError(
            f"validation_split: {share:g} of {count} samples leaves "
            f"{first} to train on and {count - first} to measure; there must be some of both"
        )
    return tuple(a[:first] for a in arrays), tuple(a[first:] for a in arrays)


def _name(measure: Any) -> str:
    return str(getattr(measure, "__name__", type(measure).__name__))


def _measure(argument: str, measure: Any) -> Measure:
    """A function of outputs and targets."""
    if isinstance(measure, str):
        found = getattr(functional, _SHORT.get(measure, measure), None)
        if found is None:
            close = nearest(measure, (*_SHORT, *functional.__all__))
            hint = f"did you mean {close!r}?" if close else "give the function itself"
            raise ArgumentError(f"{argument}: mynn.functional has no {measure!r}; {hint}")
        return found  # type: ignore[no-any-return]
    if isinstance(measure, type) or not callable(measure):
        raise ArgumentError(
            f"{argument} must be a function of (outputs, targets) or a name such as "
            f'"cross_entropy", it is {shown(measure)}'
        )
    return measure  # type: ignore[no-any-return]


def _metrics(given: Any) -> dict[str, Measure]:
    """The measures by the names that they get in the history."""
    if isinstance(given, Mapping):
        named = dict(given)
    else:
        if isinstance(given, str) or callable(given):
            given = [given]
        named = {one if isinstance(one, str) else _name(one): one for one in given}
        if len(named) != len(given):
            raise ArgumentError(
                "metrics: two have the same name; give a dict of names and functions"
            )
    if "loss" in named:
        raise ArgumentError('metrics: the name "loss" is that of the loss; give another one')
    return {name: _measure("metrics", one) for name, one in named.items()}


def _optimizer(given: Any, network: nn.Module) -> optim.Optimizer:
    if isinstance(given, str):
        known = {
            name.lower(): name
            for name in optim.__all__
            if name != "Optimizer" and isinstance(getattr(optim, name), type)
        }
        if given.lower() not in known:
            close = nearest(given.lower(), known)
            hint = f"did you mean {close!r}?" if close else f"there are {', '.join(known)}"
            raise ArgumentError(f"optimizer: mynn.optim has no {given!r}; {hint}")
        given = getattr(optim, known[given.lower()])
    if isinstance(given, type) and issubclass(given, optim.Optimizer):
        made: Any = given
        return made(network.parameters())  # type: ignore[no-any-return]
    if not isinstance(given, optim.Optimizer):
        raise ArgumentError(
            "optimizer must be one of mynn.optim, its class or its name, it is " + shown(given)
        )
    own = {id(parameter) for parameter in network.parameters()}
    if own and own.isdisjoint(id(parameter) for parameter in given.state):
        raise UsageError(
            "optimizer: it trains none of the network's parameters; make it with "
            "optim.Adam(network.parameters())"
        )
    return given
