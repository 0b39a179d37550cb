"""`Model`: a network with its loss, optimiser and metrics, trained in Keras's habit by `fit`."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from mynn import functional, metrics, nn, optim
from mynn.base.arguments import explained, in_range, nearest, shown, whole_number
from mynn.core.types import Array
from mynn.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    DTypeError,
    ShapeError,
    UsageError,
)
from mynn.jit.compile import compile
from mynn.metrics.metric import Metric
from mynn.serialization import objects
from mynn.tensor import Tensor, as_array
from mynn.train.callbacks.base import Callback
from mynn.train.fit import fit
from mynn.train.history import History
from mynn.train.inference import evaluate, predict
from mynn.train.plan import load
from mynn.train.summary import Summary, summary
from mynn.train.validation import split

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
        metrics: names as for the loss ("accuracy" too), measures of `mynn.metrics` or their names
            in any case ("f1", "auc"), functions of (outputs, targets), or a dict of names and
            these.

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
        self._weighted_step = compile(self._train_weighted)
        self._measured = _Measured(self)
        self._seen: tuple[Any, ...] = ()

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
        class_weight: Any = None,
        sample_weight: Any = None,
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
            class_weight: a dict of labels and the weights of their samples in the loss; others
                count 1. "balanced": samples / (classes * samples of the class), so that all classes
                weigh the same.
            sample_weight: a weight in the loss for each sample.
            batch_size, epochs, verbose, callbacks, shuffle, options: those of `mynn.fit`; among
                them checkpoint, resume, seed, record.

        The network is in training mode for the steps, and in evaluation mode where it is measured;
        its own mode comes back in the end. Callbacks find `val_loss` and the like in `logs`.

        Returns:
            `History` with "loss", each metric, and each of them once more behind "val_".

        Raises:
            What `mynn.fit` raises; ArgumentError for a share that leaves nothing to train on.
        """
        arrays = (*_inputs(x), y)
        held = None if validation_data is None else _pair(validation_data)
        trained = None
        if in_range("validation_split", validation_split, 0.0, 1.0) and held is None:
            loaded = load(arrays, check_finite=False)
            (arrays, kept), held = split(*loaded, validation_split)
            trained = len(kept[0])
        weights = _weights(y, sample_weight, class_weight, trained)
        step = self._step
        if weights is not None:
            _unreduced(self.loss)
            step, arrays = self._weighted_step, (*arrays, weights)
        given = {"epochs": epochs, "shuffle": shuffle, "verbose": verbose, **options}
        if held is not None:
            given |= {"validate": self._measured, "validation_data": held}
        given["metrics"] = {n: m for n, m in self.metrics.items() if isinstance(m, Metric)}
        training = self.network.training
        self.network.train()
        try:
            history = fit(step, arrays, batch_size=batch_size, callbacks=callbacks, **given)
        finally:
            self.network.train(training)
        self._remember(x)
        return history

    @explained
    def evaluate(self, x: Any, y: Any, batch_size: int = 256) -> dict[str, Any]:
        """The loss and the metrics over a data set, in evaluation mode: `mynn.evaluate`."""
        measures = {n: m for n, m in self.metrics.items() if isinstance(m, Metric)}
        data = (*_inputs(x), y)
        results = evaluate(self._measured, data, batch_size=batch_size, metrics=measures)
        self._remember(x)
        return results

    @explained
    def predict(self, x: Any, batch_size: int = 256) -> Any:
        """The outputs of the network for every sample, in evaluation mode: `mynn.predict`."""
        outputs = predict(self.network, x, batch_size=batch_size)
        self._remember(x)
        return outputs

    def __call__(self, *inputs: Any) -> Any:
        """The outputs of the network, in the mode that it is in."""
        return self.network(*inputs)

    @explained
    def summary(self, x: Any = None) -> Summary:
        """The layers with shapes, parameters, operations and bytes: `mynn.summary`.

        Args:
            x: inputs such as the network will have; left out, one sample of those that it had last.
        """
        if x is None and not self._seen:
            raise UsageError(
                "summary: this model has seen no data yet; give x, an array such as those of fit"
            )
        return summary(self.network, *(self._seen if x is None else _inputs(x)))

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write the network's state dict to a safetensors file: `mynn.save`."""
        objects.save(self.network.state_dict(), path)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Read what `save_weights` wrote, or another state dict of such a network: `mynn.load`.

        Raises:
            What `Module.load_state_dict` raises; the network is then as it was.
        """
        self.network.load_state_dict(objects.load(path))

    def _remember(self, x: Any) -> None:
        """One sample of the inputs, for `summary`."""
        self._seen = tuple(array[:1] for array in _inputs(x))

    def _train(self, *batch: Tensor) -> dict[str, Any]:
        *inputs, target = batch
        outputs = self.network(*inputs)
        return self._descend(self.loss(outputs, target), outputs, target)

    def _train_weighted(self, *batch: Tensor) -> dict[str, Any]:
        """A step on batches with a weight for each sample."""
        *inputs, target, weights = batch
        outputs = self.network(*inputs)
        losses = _unreduced(self.loss)(outputs, target)
        losses = losses.reshape((losses.shape[0], -1)).mean(1)
        return self._descend((losses * weights.astype(losses.dtype)).mean(), outputs, target)

    def _descend(self, loss: Tensor, outputs: Any, target: Tensor) -> dict[str, Any]:
        results = self._results(loss, outputs, target)
        loss.backward()
        self.optimizer.step()
        return results

    def _measure(self, *batch: Tensor) -> dict[str, Any]:
        *inputs, target = batch
        outputs = self.network(*inputs)
        return self._results(self.loss(outputs, target), outputs, target)

    def _results(self, loss: Tensor, outputs: Any, target: Tensor) -> dict[str, Any]:
        results: dict[str, Any] = {"loss": loss}
        for name, metric in self.metrics.items():
            call = metric.parts if isinstance(metric, Metric) else metric
            results[name] = call(outputs, target)
        return results


class _Measured(nn.Module):
    """A model as a module, which `evaluate` puts into evaluation mode."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network = model.network
        self.measure = model._measure

    def forward(self, *batch: Tensor) -> dict[str, Any]:
        return self.measure(*batch)


def _inputs(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, tuple) else (x,)


def _pair(data: Any) -> tuple[Any, ...]:
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ArgumentError(f"validation_data must be a pair (x, y), it is {shown(data)}")
    return (*_inputs(data[0]), data[1])


def _weights(y: Any, sample_weight: Any, class_weight: Any, trained: int | None) -> Array | None:
    """A weight for each of the samples that are trained on, float32; None where all count alike."""
    if sample_weight is None and class_weight is None:
        return None
    targets = as_array(y)
    labels = targets[:trained]
    weights = np.ones(len(labels))
    if sample_weight is not None:
        given = as_array(sample_weight)
        if given.shape != (len(targets),):
            raise ShapeError(
                f"sample_weight has shape {given.shape}, it must be one number for each of "
                f"{len(targets)} samples"
            )
        if not np.isfinite(given).all() or (given < 0).any():
            raise DataError("sample_weight: weights must be finite and at least 0")
        weights = weights * given[:trained]
    if class_weight is not None:
        if labels.dtype.kind not in "iub" or labels.size != len(labels):
            raise DTypeError(
                "class_weight: the targets must be labels, one whole number for each sample, they "
                f"are {labels.dtype} of shape {labels.shape}"
            )
        weights *= _weights_by_class(labels.reshape(-1), class_weight)
    return weights.astype(np.float32)


def _weights_by_class(labels: Array, class_weight: Any) -> Array:
    """The weight of each label."""
    if class_weight == "balanced":
        _, own, counts = np.unique(labels, return_inverse=True, return_counts=True)
        return (len(labels) / (len(counts) * counts))[own]
    if not isinstance(class_weight, Mapping):
        raise ArgumentTypeError(
            'class_weight must be a dict of labels and weights, or "balanced", it is '
            f"{shown(class_weight)}"
        )
    weights = np.ones(len(labels))
    for label, weight in class_weight.items():
        own = labels == whole_number("class_weight: a label", label)
        weights[own] = in_range(f"class_weight[{label}]", weight, 0.0)
    return weights


def _unreduced(loss: Measure) -> Measure:
    """The loss of each value, where the loss can give it."""
    if isinstance(loss, nn.Module) and hasattr(loss, "reduction"):
        each = copy.copy(loss)
        each.reduction = "none"
        return each
    plain = inspect.isroutine(loss) and "reduction" in inspect.signature(loss).parameters
    if plain:
        return partial(loss, reduction="none")
    raise UsageError(
        f"weights of samples need a loss that gives one value for each of them, {_name(loss)} has "
        'no reduction="none"; give one of mynn.functional'
    )


def _called(metric: Any) -> str:
    """The name of a metric in the history."""
    kind = type(metric) if isinstance(metric, Metric) else metric
    if isinstance(kind, type) and issubclass(kind, Metric):
        return kind.__name__.lower()
    return metric if isinstance(metric, str) else _name(metric)


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
        if isinstance(given, str | Metric) or callable(given):
            given = [given]
        named = {_called(one): one for one in given}
        if len(named) != len(given):
            raise ArgumentError(
                "metrics: two have the same name; give a dict of names and functions"
            )
    if "loss" in named:
        raise ArgumentError('metrics: the name "loss" is that of the loss; give another one')
    return {name: _metric(one) for name, one in named.items()}


def _metric(given: Any) -> Any:
    """A measure of many batches, or a function of outputs and targets."""
    if isinstance(given, type) and issubclass(given, Metric):
        given = given()
    if isinstance(given, str) and given not in (*_SHORT, "accuracy"):
        kinds = {name.lower(): name for name in metrics.__all__ if name[0].isupper()}
        name = kinds.get(given.lower().replace("_", ""))
        if name is not None and name != "Metric":
            made: Metric = getattr(metrics, name)()
            return made
    return given if isinstance(given, Metric) else _measure("metrics", given)


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
