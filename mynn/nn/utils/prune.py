"""Pruning: weights that are held at zero by a mask, w = w_orig * mask.

As in `torch.nn.utils.prune` a pruned parameter `name` becomes the parameter `name_orig` and the
buffer `name_mask`, from which the weight is computed whenever it is read; `remove` makes it a
parameter again. A weight that is pruned once more loses a part of what is left of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from mynn.base.arguments import explained, shown
from mynn.errors import ArgumentError, ArgumentTypeError, ShapeError
from mynn.nn.module import Module
from mynn.nn.utils.weights import parameter_of, replace, restore
from mynn.random import host_generator
from mynn.tensor import Tensor, no_grad

Layer = TypeVar("Layer", bound=Module)
Array = np.ndarray[Any, Any]


class BasePruningMethod(ABC):
    """A way to choose what is pruned: `compute_mask`.

    - `PRUNING_TYPE`: "unstructured": single values of what is left; "structured": channels of an
      axis, of those with anything left; "global": all values are looked at.
    """

    PRUNING_TYPE = "unstructured"

    @abstractmethod
    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The mask, zeros where values are pruned: of the scores `t` and of the mask before."""

    @classmethod
    def apply(
        cls, module: Any, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any
    ) -> BasePruningMethod:
        """Prune a parameter of a layer by the method that these arguments make."""
        method = cls(*args, **kwargs)
        _prune(module, name, method, importance_scores)
        return method

    def prune(self, t: Any, default_mask: Any = None, importance_scores: Any = None) -> Tensor:
        """The values of t with zeros where they are pruned; nothing is changed."""
        scores = t if importance_scores is None else importance_scores
        _require_shape("importance_scores", scores, t)
        before = np.ones(t.shape, np.float32) if default_mask is None else default_mask
        values: Tensor = t * Tensor(_masked(self, scores, _array(before)))
        return values

    def remove(self, module: Any) -> None:
        """Make what this method has pruned last a parameter again."""
        for name, rule in module.__dict__.get("_computed", {}).items():
            if isinstance(rule, Pruned) and self in rule.methods:
                remove(module, name)
                return
        raise ArgumentError(f"{type(module).__name__} has nothing that this method has pruned")


class Pruned:
    """w = w_orig * mask; `methods`: what made the mask, in turn."""

    def __init__(self, name: str, methods: tuple[BasePruningMethod, ...]) -> None:
        self.name = name
        self.methods = methods

    def __call__(self, module: Any) -> Tensor:
        """The weight as it is now."""
        whole = getattr(module, f"{self.name}_orig")
        found: Tensor = whole * getattr(module, f"{self.name}_mask").to(whole.dtype)
        return found


class Identity(BasePruningMethod):
    """Prunes nothing: the mask is there, all ones."""

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The mask before."""
        return default_mask


class _Amount(BasePruningMethod):
    """Prunes a share of the values, or a number of them."""

    def __init__(self, amount: float) -> None:
        whole = isinstance(amount, int | np.integer) and not isinstance(amount, bool)
        if isinstance(amount, bool) or not isinstance(amount, int | float | np.number):
            raise ArgumentTypeError(
                f"amount must be a share (a float from 0 to 1) or a count, it is {shown(amount)}"
            )
        if amount < 0 or (not whole and not amount <= 1):
            raise ArgumentError(
                f"amount must be a share from 0 to 1, or a whole number of at least 0; it is "
                f"{amount}"
            )
        self.amount = int(amount) if whole else float(amount)

    def count(self, size: int) -> int:
        """How many of `size` are pruned."""
        if isinstance(self.amount, float):
            return round(self.amount * size)
        if self.amount > size:
            raise ArgumentError(
                f"amount is {self.amount}, more than the {size} that are there; give a smaller one"
            )
        return self.amount


class RandomUnstructured(_Amount):
    """Prunes values at random."""

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Zeros at random places."""
        mask = np.array(default_mask)
        order = host_generator().permutation(mask.size)
        mask.reshape(-1)[order[: self.count(mask.size)]] = 0
        return mask


class L1Unstructured(_Amount):
    """Prunes the smallest values."""

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Zeros where |t| is smallest."""
        mask = np.array(default_mask)
        order = np.argsort(np.abs(_array(t)).reshape(-1), kind="stable")
        mask.reshape(-1)[order[: self.count(mask.size)]] = 0
        return mask


class _Structured(_Amount):
    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1) -> None:
        super().__init__(amount)
        self.dim = dim

    def scores(self, t: Array) -> Array:
        """What is pruned first, for each channel."""
        raise NotImplementedError

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Zeros in the channels of `dim` with the smallest scores."""
        values, mask = _array(t), np.array(default_mask)
        if values.ndim < 2:
            raise ShapeError(
                f"channels are pruned of what has two axes or more, the shape is {values.shape}; "
                "use an unstructured method"
            )
        axis = _axis(self.dim, values.ndim)
        lines = np.moveaxis(mask, axis, 0)
        lines[np.argsort(self.scores(values), kind="stable")[: self.count(len(lines))]] = 0
        return mask


class RandomStructured(_Structured):
    """Prunes channels at random."""

    def scores(self, t: Array) -> Array:
        """Random numbers."""
        return host_generator().random(t.shape[_axis(self.dim, t.ndim)])


class LnStructured(_Structured):
    """Prunes the channels with the smallest norms of order n."""

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = n

    def scores(self, t: Array) -> Array:
        """The norms."""
        axis = _axis(self.dim, t.ndim)
        lines = np.moveaxis(t, axis, 0).reshape(t.shape[axis], -1)
        if self.n in ("fro", "nuc"):
            return np.linalg.norm(lines, axis=1)
        return np.linalg.norm(lines, float(self.n), axis=1)


class CustomFromMask(BasePruningMethod):
    """Prunes where a given mask has zeros."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Any) -> None:
        self.mask = _array(mask)

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The mask, and that before."""
        _require_shape("mask", self.mask, default_mask)
        return default_mask * self.mask.astype(default_mask.dtype)


@explained
def identity(module: Layer, name: str) -> Layer:
    """Give a parameter a mask that prunes nothing."""
    Identity.apply(module, name)
    return module


@explained
def random_unstructured(module: Layer, name: str, amount: float) -> Layer:
    """Prune values of a parameter at random: a share (a float), or so many (an int)."""
    RandomUnstructured.apply(module, name, amount)
    return module


@explained
def l1_unstructured(
    module: Layer, name: str, amount: float, importance_scores: Any = None
) -> Layer:
    """Prune the smallest values of a parameter, w_i with |w_i| among the `amount` least.

    Args:
        module: a layer; it is changed, and returned.
        name: its parameter, in whose place `name_orig` is trained.
        amount: a share of what is left (a float from 0 to 1), or how many (an int).
        importance_scores: of the shape of the parameter, in place of its values.

    Example:
        >>> from mynn import nn
        >>> layer = nn.utils.prune.l1_unstructured(nn.Linear(4, 5), "weight", amount=0.3)
        >>> int((layer.weight == 0).sum()), list(layer.state_dict())
        (6, ['bias', 'weight_orig', 'weight_mask'])

    Source: Han et al., "Learning both weights and connections for efficient networks", 2015.
    """
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


@explained
def random_structured(module: Layer, name: str, amount: float, dim: int) -> Layer:
    """Prune channels of axis `dim` of a parameter at random."""
    RandomStructured.apply(module, name, amount, dim)
    return module


@explained
def ln_structured(
    module: Layer, name: str, amount: float, n: Any, dim: int, importance_scores: Any = None
) -> Layer:
    """Prune the channels of axis `dim` with the smallest norms of order `n`."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


@explained
def global_unstructured(
    parameters: Iterable[tuple[Any, str]],
    pruning_method: type[BasePruningMethod],
    importance_scores: Mapping[tuple[Any, str], Any] | None = None,
    **kwargs: Any,
) -> None:
    """Prune the values of several parameters together: those that are least of all of them.

    Args:
        parameters: pairs of a layer and the name of its parameter.
        pruning_method: a class of this module, as `L1Unstructured`; `kwargs` are its arguments.
        importance_scores: for pairs, scores in place of the values.
    """
    pairs = list(parameters)
    if not pairs or not all(isinstance(one, tuple) and len(one) == 2 for one in pairs):
        raise ArgumentTypeError("global_unstructured: give pairs (layer, name of its parameter)")
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise ArgumentError(
            f"global_unstructured: {pruning_method.__name__} prunes channels, which are not those "
            "of all parameters; use an unstructured method"
        )
    given = importance_scores or {}
    scores, masks = [], []
    for module, name in pairs:
        value = _array(getattr(module, name))
        one = given.get((module, name), value)
        _require_shape("importance_scores", one, value)
        before = getattr(module, f"{name}_mask", None)
        scores.append(_array(one).reshape(-1))
        masks.append(np.ones(value.size) if before is None else _array(before).reshape(-1))
    whole = _masked(method, np.concatenate(scores), np.concatenate(masks))
    at = 0
    for (module, name), mask in zip(pairs, masks, strict=True):
        shape = getattr(module, name).shape
        custom_from_mask(module, name, whole[at : at + mask.size].reshape(shape))
        at += mask.size


@explained
def custom_from_mask(module: Layer, name: str, mask: Any) -> Layer:
    """Prune a parameter where a mask has zeros."""
    CustomFromMask.apply(module, name, mask)
    return module


@explained
def remove(module: Layer, name: str) -> Layer:
    """Make a pruned parameter one again, with zeros where it was pruned."""
    restore(module, name, Pruned, (f"{name}_orig",), "pruning")
    del module._buffers[f"{name}_mask"]
    return module


@explained
def is_pruned(module: Module) -> bool:
    """Whether a parameter of the module, or of a part of it, is pruned."""
    rules = (one.__dict__.get("_computed", {}).values() for one in module.modules())
    return any(isinstance(rule, Pruned) for found in rules for rule in found)


def _prune(module: Any, name: str, method: BasePruningMethod, scores: Any) -> None:
    before = module.__dict__.get("_computed", {}).get(name)
    again = isinstance(before, Pruned)
    value = getattr(module, f"{name}_orig") if again else parameter_of(module, name)
    scores = getattr(module, name) if scores is None else scores
    _require_shape("importance_scores", scores, value)
    known = getattr(module, f"{name}_mask") if again else np.ones(value.shape, value.dtype)
    mask = _masked(method, scores, _array(known).astype(value.dtype))
    if again:
        before.methods = (*before.methods, method)
        with no_grad():
            known.copy_(Tensor(mask))
        return
    replace(module, name, {f"{name}_orig": value}, Pruned(name, (method,)))
    module.register_buffer(f"{name}_mask", mask)


def _masked(method: BasePruningMethod, scores: Any, before: Array) -> Array:
    """The mask after this method: of what that before has left."""
    values = _array(scores)
    mask = before.copy()
    if method.PRUNING_TYPE == "unstructured":
        left = before == 1
        mask[left] = _array(method.compute_mask(values[left], before[left]))
    elif method.PRUNING_TYPE == "structured":
        axis = _axis(getattr(method, "dim", 0), before.ndim)
        others = tuple(i for i in range(before.ndim) if i != axis)
        channels = (slice(None),) * axis + (before.any(axis=others),)
        mask[channels] = _array(method.compute_mask(values[channels], before[channels]))
    elif method.PRUNING_TYPE == "global":
        mask[...] = _array(method.compute_mask(values, before))
    else:
        raise ArgumentError(
            f"{type(method).__name__}.PRUNING_TYPE is {method.PRUNING_TYPE!r}; it must be "
            "'unstructured', 'structured' or 'global'"
        )
    return mask


def _array(value: Any) -> Array:
    return value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _axis(dim: int, ndim: int) -> int:
    if not -ndim <= dim < ndim:
        raise ShapeError(
            f"dim {dim} is out of range for a parameter of {ndim} axes; give one of "
            f"{-ndim}..{ndim - 1}"
        )
    return dim % ndim


def _require_shape(name: str, given: Any, wanted: Any) -> None:
    if tuple(given.shape) != tuple(wanted.shape):
        raise ShapeError(
            f"{name} has shape {tuple(given.shape)}, what is pruned has {tuple(wanted.shape)}; "
            "give one of that shape"
        )
