"""`Parameter` and its kin, where PyTorch has them: `torch.nn.parameter`."""

from __future__ import annotations

from mynn.tensor import Parameter

__all__ = ["Parameter"]
