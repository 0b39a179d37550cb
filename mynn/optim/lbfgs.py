"""L-BFGS."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from mynn.base.arguments import positive
from mynn.core.types import Array
from mynn.errors import ArgumentError, ShapeError, UsageError
from mynn.optim import saved
from mynn.optim.closures import evaluated
from mynn.optim.convergence import Convergence
from mynn.optim.line_search import Point, strong_wolfe
from mynn.optim.optimizer import Optimizer
from mynn.optim.options import Check, between, one_of
from mynn.tensor import no_grad
from mynn.tensor.loaded import loaded_array
from mynn.trace import tracing


@dataclass
class _Memory:
    """What is remembered between steps, under PyTorch's names: the last direction `d` and step `t`,
    changes of the gradient `old_dirs` and of the parameters `old_stps`, 1 / (their product) `ro`.
    """

    func_evals: int = 0
    n_iter: int = 0
    d: Array | None = None
    t: float = 0.0
    old_dirs: list[Array] = field(default_factory=list)
    old_stps: list[Array] = field(default_factory=list)
    ro: list[float] = field(default_factory=list)
    H_diag: float = 1.0
    prev_flat_grad: Array | None = None
    prev_loss: float | None = None


class LBFGS(Optimizer):
    """Quasi-Newton steps, from the last changes of the parameters and of the gradient.

    Equations, with s the last steps, y the changes of the gradient g, both at most history_size:

        d = -H g,    H from s and y by two loops of products, beginning with (s.y) / (y.y)
        p <- p + t d

    where t is lr (in the first iteration of all lr min(1, 1 / |g|_1)), or found by a line search.
    A step evaluates `closure` up to max_eval times; it is meant for whole data sets, not batches.
    It cannot be compiled, because it looks at the values: compile what computes the loss. How the
    last step ended says `report`, a `Convergence`.

    Args:
        params: parameters; one group of them.
        lr: factor of the steps, at least 0.
        max_iter: iterations of a step.
        max_eval: evaluations of a step; max_iter * 5 / 4 if None.
        tolerance_grad: a gradient with no larger number ends the step.
        tolerance_change: a smaller change of loss or parameters ends the step.
        history_size: how many changes are remembered.
        line_search_fn: None or "strong_wolfe".

    Raises:
        ArgumentError: an option that is out of its range, or several groups.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([3.0, -2.0])
        >>> optimizer = mynn.optim.LBFGS([p], line_search_fn="strong_wolfe")
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = (p * p * mynn.Tensor([1.0, 10.0])).sum()
        ...     loss.backward()
        ...     return loss
        >>> first = optimizer.step(closure)
        >>> closure().item() < 1e-6
        True

    Source: Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", 1989.
    """

    ranges: ClassVar[Mapping[str, Check]] = {
        "lr": between(0.0),
        "max_iter": positive,
        "max_eval": positive,
        "tolerance_grad": between(0.0),
        "tolerance_change": between(0.0),
        "history_size": positive,
        "line_search_fn": one_of(None, "strong_wolfe"),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        self._memory = _Memory()
        self.report: Convergence | None = None
        super().__init__(params, defaults)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """The one group of the constructor; a further one is refused."""
        if self.param_groups:
            raise ArgumentError(
                "LBFGS takes one group of parameters, because its steps are made for all of them "
                "together; give them in one list"
            )
        super().add_param_group(param_group)

    @no_grad
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Iterate until one of the limits is reached; returns the first loss.

        `closure` sets the gradients to None, computes the loss and its gradients, and returns it.
        """
        if tracing.active() is not None:
            raise UsageError(
                "LBFGS looks at the loss to see how far to go, which a compiled step cannot; call "
                "optimizer.step(closure) outside, and compile what computes the loss"
            )
        if closure is None:
            raise ArgumentError(
                "LBFGS: step needs a closure that computes the loss and its gradients, because it "
                "is evaluated several times; write optimizer.step(closure)"
            )
        first = evaluated("LBFGS", closure)
        self._memory.func_evals += 1
        gradient = self._gradient()
        if _largest(gradient) > self.param_groups[0]["tolerance_grad"]:
            self._iterate(closure, float(first), gradient)
        else:
            at = float(first), _largest(gradient), 0.0
            self.report = Convergence(True, _FLAT, 0, 1, *at)
        return first

    def _iterate(self, closure: Callable[[], Any], loss: float, gradient: Array) -> None:
        """Steps from a point with this loss and gradient."""

        def ended(converged: bool, reason: str) -> None:
            change = _largest(direction) * abs(memory.t)
            at = loss, _largest(gradient), change
            self.report = Convergence(converged, reason, number, evaluations, *at)

        options, memory = self.param_groups[0], self._memory
        evaluations = 1
        for number in range(1, options["max_iter"] + 1):
            memory.n_iter += 1
            direction = self._direction(gradient)
            before, memory.prev_flat_grad = loss, gradient
            memory.d, memory.prev_loss = direction, loss
            memory.t = options["lr"]
            if memory.n_iter == 1:
                memory.t *= min(1.0, 1.0 / float(np.abs(gradient).sum()))
            slope = float(gradient @ direction)
            if slope > -options["tolerance_change"]:
                ended(True, "the slope along the direction is within tolerance_change")
                return
            last = number == options["max_iter"]
            if options["line_search_fn"] is not None:
                start = Point(0.0, loss, gradient, slope)
                point, count = self._search(closure, start, options["max_eval"] - evaluations)
                loss, gradient, memory.t = point.loss, point.gradient, point.t
                self._move(memory.t, direction)
            else:
                self._move(memory.t, direction)
                count = 0
                if not last:
                    loss, gradient = float(evaluated("LBFGS", closure)), self._gradient()
                    count = 1
            evaluations += count
            memory.func_evals += count
            limits = {
                _FLAT: _largest(gradient) <= options["tolerance_grad"],
                "the change of the parameters is within tolerance_change": (
                    _largest(direction) * memory.t <= options["tolerance_change"]
                ),
                "the change of the loss is within tolerance_change": (
                    abs(loss - before) < options["tolerance_change"]
                ),
            }
            # Without a line search the last step is not evaluated: nothing is known of it.
            known = not last or options["line_search_fn"] is not None
            reached = [reason for reason, holds in limits.items() if holds and known]
            if reached:
                ended(True, reached[0])
                return
            if last:
                ended(False, f"after max_iter={options['max_iter']} iterations")
                return
            if evaluations >= options["max_eval"]:
                ended(False, f"after max_eval={options['max_eval']} evaluations")
                return

    def _direction(self, gradient: Array) -> Array:
        """-H g, after the last change was remembered."""
        memory = self._memory
        if memory.n_iter == 1 or memory.d is None or memory.prev_flat_grad is None:
            memory.old_dirs, memory.old_stps, memory.ro = [], [], []
            memory.H_diag = 1.0
            return -gradient
        y, s = gradient - memory.prev_flat_grad, memory.d * gradient.dtype.type(memory.t)
        product = float(y @ s)
        if product > 1e-10:
            if len(memory.old_dirs) >= self.param_groups[0]["history_size"]:
                for kept in (memory.old_dirs, memory.old_stps, memory.ro):
                    del kept[0]
            memory.old_dirs.append(y)
            memory.old_stps.append(s)
            memory.ro.append(1.0 / product)
            memory.H_diag = product / float(y @ y)
        known = list(zip(memory.old_dirs, memory.old_stps, memory.ro, strict=True))
        number = gradient.dtype.type
        direction, shares = -gradient, []
        for y, s, ro in reversed(known):
            shares.append(number(float(s @ direction) * ro))
            direction = direction - y * shares[-1]
        direction = direction * number(memory.H_diag)
        for (y, s, ro), share in zip(known, reversed(shares), strict=True):
            direction = direction + s * (share - number(float(y @ direction) * ro))
        return np.asarray(direction)

    def _search(self, closure: Callable[[], Any], start: Point, most: int) -> tuple[Point, int]:
        """A step along the direction by the line search; the parameters stay where they are."""
        memory = self._memory
        assert memory.d is not None
        direction, places = memory.d, [p.numpy() for p in self.state]

        def evaluate(t: float) -> Point:
            self._move(t, direction)
            try:
                loss = float(evaluated("LBFGS", closure))
                gradient = self._gradient()
            finally:
                for parameter, place in zip(self.state, places, strict=True):
                    parameter.assign(place)
            return Point(t, loss, gradient, float(gradient @ direction))

        tolerance = self.param_groups[0]["tolerance_change"]
        return strong_wolfe(evaluate, start, memory.t, _largest(direction), tolerance, most)

    def _gradient(self) -> Array:
        """All gradients behind one another; zeros where some are missing."""
        if all(p.grad is None for p in self.state):
            raise UsageError(
                "LBFGS: the closure left no gradient on any parameter; call loss.backward() in it. "
                "(A compiled closure keeps its gradients to itself: compile what computes the "
                "loss, not the closure)"
            )
        parts = [
            np.zeros(p.shape, p.dtype) if p.grad is None else p.grad.numpy() for p in self.state
        ]
        return np.concatenate([part.reshape(-1) for part in parts])

    def _move(self, t: float, direction: Array) -> None:
        """p <- p + t d."""
        begin = 0
        for parameter in self.state:
            old = parameter.numpy()
            part = direction[begin : begin + old.size].reshape(old.shape)
            begin += old.size
            parameter.assign((old + part * old.dtype.type(t)).astype(old.dtype))

    # -- state -------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's form: what is remembered belongs to the first parameter."""
        state = super().state_dict()
        memory = self._memory
        if memory.func_evals:
            kept = dict(vars(memory))
            kept["old_dirs"], kept["old_stps"] = list(memory.old_dirs), list(memory.old_stps)
            kept["ro"] = list(memory.ro)
            state["state"] = {0: kept}
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of this class, here or in PyTorch.

        Raises:
            ArgumentError: the state of another class. ShapeError: that of other parameters. Nothing
                has been changed then.
        """
        new = saved.read("LBFGS", self.defaults, self.kind, state_dict)
        if len(new.options) != 1:
            raise ArgumentError(f"LBFGS: the state has {len(new.options)} groups, there is 1")
        group = self.param_groups[0]
        if len(new.numbers[0]) != len(group["params"]):
            raise ArgumentError(
                f"LBFGS: the state has {len(new.numbers[0])} parameters, there are "
                f"{len(group['params'])}; make the network that it was saved from"
            )
        self.check({**group, **new.options[0]})
        number = new.numbers[0][0]
        memory = self._read(new.slots.get(number, {}))
        group.update(new.options[0])
        self._memory = memory

    def _read(self, slots: Mapping[str, Any]) -> _Memory:
        flat = np.concatenate([np.zeros(p.shape, p.dtype).reshape(-1) for p in self.state])
        extra = sorted(set(slots) - {*vars(_Memory()), "al"})
        if extra:
            raise ArgumentError(
                f"load_state_dict of LBFGS: the state has {', '.join(extra)}, it is that of "
                "another class; make the optimizer that it was saved from"
            )

        def vector(name: str, value: Any) -> Array:
            return np.array(loaded_array(f"LBFGS: {name}", value, flat.shape, flat.dtype))

        memory = _Memory(int(slots.get("func_evals", 0)), int(slots.get("n_iter", 0)))
        for name in ("d", "prev_flat_grad"):
            if slots.get(name) is not None:
                setattr(memory, name, vector(name, slots[name]))
        for name in ("old_dirs", "old_stps"):
            setattr(memory, name, [vector(name, one) for one in slots.get(name) or ()])
        memory.ro = [float(one) for one in slots.get("ro") or ()]
        if not len(memory.ro) == len(memory.old_dirs) == len(memory.old_stps):
            raise ShapeError(
                "load_state_dict of LBFGS: old_dirs, old_stps and ro must be equally long, they "
                f"have {len(memory.old_dirs)}, {len(memory.old_stps)}, {len(memory.ro)} entries"
            )
        memory.t = float(slots.get("t") or 0.0)
        memory.H_diag = float(slots.get("H_diag", 1.0))
        memory.prev_loss = None if slots.get("prev_loss") is None else float(slots["prev_loss"])
        return memory


_FLAT = "the gradient is within tolerance_grad"


def _largest(x: Array) -> float:
    return float(np.abs(x).max()) if x.size else 0.0
