"""The Levenberg-Marquardt algorithm: least squares, for networks of few parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from mynn.autograd.gradients import grad
from mynn.base.arguments import explained, in_range, positive, shown
from mynn.core.types import Array
from mynn.errors import ArgumentError, ArgumentTypeError, DataError, UsageError
from mynn.functional.joining import cat
from mynn.jit.compile import Compiled, compile
from mynn.optim.convergence import Convergence
from mynn.optim.options import checked_parameters
from mynn.tensor import Tensor
from mynn.tensor.creation import eye
from mynn.tensor.gradients.grad_mode import enable_grad
from mynn.trace import tracing

# Damping beyond which no step is downhill.
_MOST_DAMPING = 1e16


class LevenbergMarquardt:
    """Steps between those of Gauss and Newton and those of steepest descent.

    Equations, with residuals r (p), their Jacobian J, the loss f = |r|^2 / 2:

        (J^T J + damping D) s = -J^T r,    D = the diagonal of J^T J (at least 1e-12 of its largest)
        p <- p + s, where that makes the loss smaller

    The damping becomes smaller the better the step was foreseen, larger where it was not taken
    (Nielsen's rule). Residuals, J^T J and J^T r are one compiled program, J from derivatives in all
    directions at once: its time grows with the number of residuals times that of parameters,
    squared. Sums and solutions are float64, residuals in the dtype of the parameters: with float32
    the last digits are lost (`net.double()`). It is meant for whole data sets, not batches.

    Args:
        params: parameters that the residuals depend on.
        damping: the first damping, relative to D; it is kept between steps.
        max_iter: iterations of a step.
        tolerance_grad: a gradient J^T r with no larger number ends the step.
        tolerance_change: so does a change of all parameters, or of the loss, that is no larger
            relative to them.

    Raises:
        ArgumentError: an option that is out of its range, no parameters, or such that need no
            gradient.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter(mynn.tensor([3.0, -2.0], dtype="float64"))
        >>> optimizer = mynn.optim.LevenbergMarquardt([p])
        >>> first = optimizer.step(lambda: mynn.stack([10 * (p[1] - p[0] ** 2), 1 - p[0]]))
        >>> p.numpy().round(6).tolist(), optimizer.report.converged
        ([1.0, 1.0], True)

    Source: Marquardt, "An algorithm for least-squares estimation of nonlinear parameters", 1963;
    Nielsen, "Damping parameter in Marquardt's method", 1999.
    """

    @explained
    def __init__(
        self,
        params: Iterable[Any],
        damping: float = 1e-3,
        max_iter: int = 100,
        tolerance_grad: float = 1e-8,
        tolerance_change: float = 1e-10,
    ) -> None:
        self.params, _ = checked_parameters("LevenbergMarquardt", params)
        if not self.params:
            raise ArgumentError(
                "LevenbergMarquardt: the list of parameters is empty; give net.parameters()"
            )
        self.damping = in_range("damping", damping, 0.0, _MOST_DAMPING)
        self.max_iter = positive("max_iter", max_iter)
        self.tolerance_grad = in_range("tolerance_grad", tolerance_grad, 0.0, np.inf)
        self.tolerance_change = in_range("tolerance_change", tolerance_change, 0.0, np.inf)
        self.report: Convergence | None = None
        self._growth = 2.0
        self._residuals: Callable[[], Any] | None = None
        self._programs: tuple[Compiled, Compiled] | None = None

    def step(self, closure: Callable[[], Any]) -> Any:
        """Iterate until a tolerance or a limit is reached; returns the first loss.

        `closure` computes the residuals, a tensor of any shape, and is compiled: arrays that it
        reads are built in, tensors are read in each call. How the step ended says `report`.

        Raises:
            DataError: residuals that are not finite at the beginning; nothing has changed then.
        """
        if tracing.active() is not None:
            raise UsageError(
                "LevenbergMarquardt looks at the loss to see whether to take a step, which a "
                "compiled step cannot; call optimizer.step(closure) outside: it compiles closure"
            )
        if not callable(closure):
            raise ArgumentTypeError(
                "LevenbergMarquardt: step needs a function that computes the residuals, it is "
                f"given {shown(closure)}; write optimizer.step(lambda: net(x) - y)"
            )
        if closure is not self._residuals or self._programs is None:
            self._programs = compile(self._system(closure)), compile(_loss(closure))
            self._residuals = closure
        first = self._iterate(*self._programs)
        return Tensor(np.asarray(first))

    def _iterate(self, system: Compiled, loss_of: Compiled) -> float:
        first, matrix, slope = map(np.asarray, system())
        if not np.isfinite(first):
            raise DataError(
                f"LevenbergMarquardt: the sum of the squared residuals is {float(first)} at the "
                "beginning; look at the residuals, and at the data and weights that they come from"
            )
        loss, evaluations, iterations, change = float(first), 1, 0, 0.0
        while True:
            if float(np.abs(slope).max()) <= self.tolerance_grad:
                ending = True, "the gradient is within tolerance_grad"
                break
            if iterations == self.max_iter:
                ending = False, f"after max_iter={self.max_iter} iterations"
                break
            iterations += 1
            size = max(float(np.abs(p.numpy()).max(initial=0.0)) for p in self.params)
            step, new, tried = self._downhill(loss_of, loss, matrix, slope)
            evaluations += tried
            change = float(np.abs(step).max())
            if new == loss:
                finest = max(float(np.finfo(p.dtype).eps) for p in self.params)
                ending = False, "no step makes the loss smaller"
                if change <= finest * size:
                    ending = True, "the change of the parameters is within their precision"
                break
            small = change <= self.tolerance_change * size
            flat = loss - new <= self.tolerance_change * loss
            _, matrix, slope = map(np.asarray, system())
            loss, evaluations = new, evaluations + 1
            if small or flat:
                what = "the parameters" if small else "the loss"
                ending = True, f"the change of {what} is within tolerance_change"
                break
        largest = float(np.abs(slope).max())
        self.report = Convergence(*ending, iterations, evaluations, loss, largest, change)
        return float(first)

    def _downhill(
        self, loss_of: Compiled, loss: float, matrix: Array, slope: Array
    ) -> tuple[Array, float, int]:
        """Take a step that makes the loss smaller: the step, the loss there, and how many were
        tried. Without one the parameters and the loss are as they were, and the first step that was
        tried is given.
        """
        before = [p.numpy().copy() for p in self.params]
        diagonal = np.diagonal(matrix)
        scale = np.maximum(diagonal, 1e-12 * diagonal.max())
        first, tried = slope, 0
        while self.damping < _MOST_DAMPING:
            step = _solved(matrix, self.damping * scale, slope)
            self._move(before, step)
            first, tried = (first if tried else step), tried + 1
            new = float(np.asarray(loss_of()))
            foreseen = -float(slope @ step) - 0.5 * float(step @ matrix @ step)
            if new < loss and foreseen > 0:
                quality = 2 * (loss - new) / foreseen - 1
                self.damping *= max(1 / 3, 1 - quality**3)
                self._growth = 2.0
                return step, new, tried
            self.damping = max(self.damping, 1e-12) * self._growth
            self._growth *= 2
        self.damping, self._growth = 1.0, 2.0
        self._move(before, np.zeros_like(slope))
        return first, loss, tried

    def _move(self, places: Sequence[Array], step: Array) -> None:
        """The parameters become what they were, plus a step."""
        begin = 0
        for parameter, old in zip(self.params, places, strict=True):
            part = step[begin : begin + old.size].reshape(old.shape)
            begin += old.size
            parameter.assign((old + part).astype(old.dtype))

    # -- what is compiled --------------------------------------------------------------------------

    def _system(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        """The loss, J^T J and J^T r."""

        def system() -> Any:
            residuals = _residuals(closure)
            # A gradient is linear in what arrives: its gradients by that are the columns of J.
            arriving = (residuals.detach() * 0).requires_grad_()
            slopes = grad(
                residuals, self.params, arriving, create_graph=True, materialize_grads=True
            )
            flat = cat([one.reshape(-1) for one in slopes if one is not None])
            directions = eye(flat.shape[0], dtype=flat.dtype)
            (columns,) = grad(
                flat, arriving, directions, is_grads_batched=True, materialize_grads=True
            )
            assert columns is not None
            jacobian, r = columns.double(), residuals.detach().double()
            return (r * r).sum() / 2, jacobian @ jacobian.T, jacobian @ r

        return system


def _loss(closure: Callable[[], Any]) -> Callable[[], Any]:
    def loss() -> Any:
        r = _residuals(closure).detach().double()
        return (r * r).sum() / 2

    return loss


def _residuals(closure: Callable[[], Any]) -> Tensor:
    with enable_grad():
        found = closure()
    if not isinstance(found, Tensor) or found.dtype.kind != "f" or not found.numel():
        what = found.spec if isinstance(found, Tensor) else shown(found)
        raise ArgumentTypeError(
            f"LevenbergMarquardt: the closure must return the residuals, a tensor of floats, it "
            f"returned {what}; return net(x) - y, without squaring it"
        )
    if not found.requires_grad:
        raise UsageError(
            "LevenbergMarquardt: the residuals depend on no parameter that requires a gradient; "
            "compute them from the parameters that the optimizer was given"
        )
    return found.reshape(-1)


def _solved(matrix: Array, damping: Array, slope: Array) -> Array:
    """The step of the damped equations; towards the slope alone where they cannot be solved."""
    try:
        return np.asarray(np.linalg.solve(matrix + np.diag(damping), -slope))
    except np.linalg.LinAlgError:
        return np.asarray(-slope / np.maximum(np.diagonal(matrix), 1e-300))
