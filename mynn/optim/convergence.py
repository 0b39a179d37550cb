"""What an optimiser that iterates to an end says of how it ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Convergence:
    """How a step that iterates has ended: the `report` of `LBFGS` and `LevenbergMarquardt`.

    - `converged`: whether a tolerance ended it, not a limit; `reason`: which one, in words.
    - `iterations`, `evaluations`: of this step.
    - `loss`, `gradient`, `change`: the last loss, the largest number of its gradient and of the
      last change of the parameters.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([3.0])
        >>> optimizer = mynn.optim.LevenbergMarquardt([p])
        >>> loss = optimizer.step(lambda: p * p - 2)
        >>> optimizer.report.converged
        True
    """

    converged: bool
    reason: str
    iterations: int
    evaluations: int
    loss: float
    gradient: float
    change: float

    def __str__(self) -> str:
        ended = "converged" if self.converged else "not converged"
        return (
            f"{ended}: {self.reason}; {self.iterations} iterations, {self.evaluations} "
            f"evaluations, loss {self.loss:.6g}, largest gradient {self.gradient:.3g}, largest "
            f"change {self.change:.3g}"
        )
