"""Layers that learn the extents of their input from the first one that they are given."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.core.types import default_float
from mynn.errors import ArgumentError, ShapeError, UsageError
from mynn.nn.conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from mynn.nn.instance_norm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from mynn.nn.linear import Linear
from mynn.nn.module import Module
from mynn.nn.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d
from mynn.tensor import Parameter, Tensor, as_tensor
from mynn.tensor.write import adopt
from mynn.trace import tracing


class UninitializedParameter(Parameter):
    """A parameter without a shape: that of a lazy layer before its first call."""

    __slots__ = ()

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(np.zeros((0,), default_float() if dtype is None else dtype), requires_grad)

    def __repr__(self) -> str:
        return "<UninitializedParameter>"


class Lazy(Module):
    """What lazy layers share: at the first call they become the layer that they stand for.

    Until then their parameters have no shape: call the layer once, eagerly, before they are loaded
    or compiled.
    """

    cls_to_become: type[Module]
    # Where the extent that is missing stands in the input, and among the layer's arguments.
    axis = 1
    given: dict[str, Any]

    def _wait(self, **given: Any) -> None:
        """Keep the arguments, and a parameter for each that there will be."""
        Module.__init__(self)
        object.__setattr__(self, "given", given)
        affine = given.get("affine", True)
        self.weight = UninitializedParameter() if affine else None
        self.bias = UninitializedParameter() if affine and given.get("bias", True) else None

    def has_uninitialized_params(self) -> bool:
        """Whether the layer has not been called yet."""
        return type(self) is not self.cls_to_become

    def initialize_parameters(self, input: Any) -> None:
        """Become the layer for an input of this shape."""
        x = as_tensor(input)
        axis = self._feature_axis(x)
        if not -x.ndim <= axis < x.ndim:
            raise ShapeError(f"the input has shape {x.shape}, it has no axis {axis} of features")
        if tracing.active() is not None:
            raise UsageError(
                f"{type(self).__name__}: a lazy layer is made by its first call, which must not be "
                "traced; call the network once on an example before it is compiled"
            )
        made = self.cls_to_become(x.shape[axis], **self.given)
        made.train(self._training)
        for name, own in self._parameters.items():
            fresh = made._parameters.get(name)
            if own is None or fresh is None:
                continue
            if self.given.get("dtype") is None and own.dtype != fresh.dtype:
                made.to(own.dtype)
            # The object stays, so that an optimiser that has it trains it.
            own.__class__ = Parameter
            adopt(own, fresh)
            own.name = fresh.name
            made._parameters[name] = own
        hooks = self._hooks
        self.__dict__.clear()
        self.__dict__.update(made.__dict__)
        object.__setattr__(self, "_hooks", hooks)
        self.__class__ = self.cls_to_become  # type: ignore[assignment]

    def _feature_axis(self, x: Tensor) -> int:
        """The axis of the input that holds the features or channels."""
        return self.axis

    def _call(self, args: Any, kwargs: Any) -> Any:
        self.initialize_parameters(*args[:1], **kwargs)
        return self._call(args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The first call: from then on it is that of the layer."""
        self.initialize_parameters(*args[:1], **({} if args else kwargs))
        return self(*args, **kwargs)

    def load_state_dict(self, state_dict: Any, strict: bool = True) -> Any:
        """Not before the first call."""
        raise UsageError(
            f"{type(self).__name__}: its parameters have no shape yet; call the layer once on an "
            "example, then load"
        )


class LazyLinear(Lazy):
    """`Linear` whose in_features are those of its first input.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> layer = nn.LazyLinear(3)
        >>> layer(np.zeros((5, 7), np.float32)).shape, layer.in_features
        ((5, 3), 7)
    """

    cls_to_become = Linear
    axis = -1

    def __init__(
        self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        if out_features < 1:
            raise ArgumentError(f"LazyLinear: out_features must be above 0, it is {out_features}")
        self._wait(out_features=out_features, bias=bias, device=device, dtype=dtype)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        bias = self.bias is not None
        return f"in_features=0, out_features={self.given['out_features']}, bias={bias}"


class _LazyConv(Lazy):
    """Convolutions whose in_channels are those of the first input."""

    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self._wait(
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
        )
        # Refuses what the layer itself would refuse.
        self.cls_to_become(groups, **self.given)

    def _feature_axis(self, x: Tensor) -> int:
        rank: int = self.cls_to_become.rank  # type: ignore[attr-defined]
        if x.ndim not in (rank + 1, rank + 2):
            raise ShapeError(
                f"the input has shape {x.shape}, it must have {rank + 1} or {rank + 2} axes"
            )
        return -1 - rank

    def extra_repr(self) -> str:
        """As in PyTorch."""
        text = self.cls_to_become(self.given["groups"], **self.given).extra_repr()
        return "0" + text[len(str(self.given["groups"])) :]


class LazyConv1d(_LazyConv):
    """`Conv1d` whose in_channels are those of its first input."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyConv):
    """`Conv2d` whose in_channels are those of its first input."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyConv):
    """`Conv3d` whose in_channels are those of its first input."""

    cls_to_become = Conv3d


class _LazyConvTranspose(_LazyConv):
    """Transposed convolutions whose in_channels are those of the first input."""

    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self._wait(
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            groups=groups,
            bias=bias,
            dilation=dilation,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
        )
        self.cls_to_become(groups, **self.given)


class LazyConvTranspose1d(_LazyConvTranspose):
    """`ConvTranspose1d` whose in_channels are those of its first input."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose):
    """`ConvTranspose2d` whose in_channels are those of its first input."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose):
    """`ConvTranspose3d` whose in_channels are those of its first input."""

    cls_to_become = ConvTranspose3d


class _LazyNorm(Lazy):
    """Normalisation whose num_features are those of the first input."""

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        self._wait(
            eps=eps,
            momentum=momentum,
            affine=affine,
            track_running_stats=track_running_stats,
            device=device,
            dtype=dtype,
            bias=bias,
        )

    def extra_repr(self) -> str:
        """As in PyTorch."""
        text = self.cls_to_become(1, **self.given).extra_repr()
        return "0" + text[1:]


class LazyBatchNorm1d(_LazyNorm):
    """`BatchNorm1d` whose num_features are the channels of its first input."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm):
    """`BatchNorm2d` whose num_features are the channels of its first input."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm):
    """`BatchNorm3d` whose num_features are the channels of its first input."""

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm):
    """`InstanceNorm1d` whose num_features are the channels of its first input."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm):
    """`InstanceNorm2d` whose num_features are the channels of its first input."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm):
    """`InstanceNorm3d` whose num_features are the channels of its first input."""

    cls_to_become = InstanceNorm3d
