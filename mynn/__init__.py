"""mynn: a glass-box deep-learning toolbox that compiles the whole training loop."""

from __future__ import annotations

from mynn.gradients import grad, value_and_grad
from mynn.tensor import Parameter, Tensor, no_grad

__version__ = "0.1.0"

__all__ = ["Parameter", "Tensor", "grad", "no_grad", "value_and_grad"]
