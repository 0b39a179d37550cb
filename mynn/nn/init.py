"""Initial values: functions that fill a tensor in place, under PyTorch's names and arguments.

Every function takes `generator`: one of mynn or NumPy, a seed, or None for the default one
(`mynn.manual_seed`). They compute in float64 and round once. `fan_in` and `fan_out` are the
numbers of inputs and outputs of one unit: for a weight [out, in, *window], in x window and out x
window.
"""

from __future__ import annotations

import math

import numpy as np

from mynn.errors import ArgumentError, ShapeError
from mynn.random import Generator, host_generator
from mynn.tensor import Tensor

Source = np.random.Generator | Generator | int | None

_GAINS = {
    "linear": 1.0,
    "identity": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0,
    "sigmoid": 1.0,
    "logistic": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights grow to make up for what an activation takes from the variance.

    1 for linear and sigmoid, 5/3 for tanh, sqrt 2 for relu, sqrt(2 / (1 + a^2)) for leaky_relu
    with slope a = `param` (0.01 where None), 3/4 for selu.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2 / (1 + slope * slope))
    if nonlinearity not in _GAINS:
        known = ", ".join([*_GAINS, "leaky_relu"])
        raise ArgumentError(f"calculate_gain: {nonlinearity!r} is not known; known are {known}")
    return _GAINS[nonlinearity]


# That of `kaiming_uniform_(a=sqrt 5)`, PyTorch's default.
_DEFAULT_GAIN = calculate_gain("leaky_relu", math.sqrt(5))


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight [out, in, *window]."""
    if tensor.ndim < 2:
        raise ShapeError(
            f"fan_in and fan_out need a weight of at least two axes, {tensor.name or 'this one'} "
            f"has shape {tensor.shape}; use normal_, uniform_ or zeros_ for it"
        )
    rows, columns, *extents = tensor.shape
    window = math.prod(extents)
    return columns * window, rows * window


def _fan(tensor: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f'mode must be "fan_in" or "fan_out", it is {mode!r}')
    return max(fans(tensor)[mode == "fan_out"], 1)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Source = None) -> Tensor:
    """U(a, b): every value between a and b equally likely."""
    if not isinstance(generator, np.random.Generator):
        generator = host_generator(generator)
    tensor.data = generator.uniform(a, b, tensor.shape)
    return tensor


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Source = None
) -> Tensor:
    """N(mean, std^2)."""
    tensor.data = host_generator(generator).normal(mean, std, tensor.shape)
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every value `val`."""
    tensor.data = np.full(tensor.shape, val, tensor.dtype)
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Every value 0."""
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Every value 1."""
    return constant_(tensor, 1)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Source = None,
) -> Tensor:
    """N(mean, std^2), where what lies outside of [a, b] is drawn again.

    Raises:
        ArgumentError: a is not below b, std is not positive, or hardly anything lies in [a, b].

    Example:
        >>> from mynn import Tensor
        >>> x = trunc_normal_(Tensor([0.0] * 100), a=-0.5, b=0.5, generator=0)
        >>> bool(x.abs().numpy().max() <= 0.5)
        True
    """
    if not a < b or not std > 0:
        raise ArgumentError(
            f"trunc_normal_: needs a below b and std above 0, they are {a}, {b} and {std}"
        )
    _cheap_part(mean, std, a, b)
    source = host_generator(generator)
    drawn = source.normal(mean, std, tensor.shape)
    outside = (drawn < a) | (drawn > b)
    while outside.any():
        drawn[outside] = source.normal(mean, std, int(outside.sum()))
        outside = (drawn < a) | (drawn > b)
    # Rounding may leave the bounds.
    tensor.data = np.clip(drawn.astype(tensor.dtype), a, b)
    return tensor


def _cheap_part(mean: float, std: float, a: float, b: float) -> None:
    """Raise where fewer than one draw in 100,000 lies in [a, b]."""
    low, high = ((bound - mean) / (std * math.sqrt(2)) for bound in (a, b))
    if (math.erf(high) - math.erf(low)) / 2 < 1e-5:
        raise ArgumentError(
            f"trunc_normal_: hardly any number of N({mean}, {std}^2) lies in [{a}, {b}]; give "
            "bounds around the mean"
        )


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix: 1 on the diagonal, 0 elsewhere.

    Raises:
        ShapeError: the tensor is no matrix.
    """
    if tensor.ndim != 2:
        raise ShapeError(
            f"eye_: needs a matrix, {tensor.name or 'this tensor'} has shape {tensor.shape}; use "
            "dirac_ for the weights of a convolution"
        )
    tensor.data = np.eye(tensor.shape[0], tensor.shape[1])
    return tensor


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Weights [out, in, *window] of a convolution that gives back its input, channel by channel.

    1 in the middle of the window for output i and input i of each group, 0 elsewhere.

    Raises:
        ShapeError: not 3, 4 or 5 axes, or outputs that groups do not divide.
    """
    if tensor.ndim not in (3, 4, 5):
        raise ShapeError(
            f"dirac_: needs a weight of 3, 4 or 5 axes, {tensor.name or 'this one'} has shape "
            f"{tensor.shape}; use eye_ for a matrix"
        )
    if groups < 1 or tensor.shape[0] % groups:
        raise ShapeError(
            f"dirac_: {tensor.shape[0]} outputs cannot be split into {groups} groups; groups must "
            "divide them"
        )
    each = tensor.shape[0] // groups
    values = np.zeros(tensor.shape)
    middle = tuple(extent // 2 for extent in tensor.shape[2:])
    for group in range(groups):
        for channel in range(min(each, tensor.shape[1])):
            values[(group * each + channel, channel, *middle)] = 1
    tensor.data = values
    return tensor


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Source = None) -> Tensor:
    """A matrix of N(0, std^2), where in each column a part `sparsity` of the rows is 0.

    Raises:
        ShapeError: the tensor is no matrix.

    Source: Martens, "Deep learning via Hessian-free optimization", 2010.
    """
    if tensor.ndim != 2:
        raise ShapeError(
            f"sparse_: needs a matrix, {tensor.name or 'this tensor'} has shape {tensor.shape}; "
            "use normal_ for it"
        )
    if not 0 <= sparsity <= 1:
        raise ArgumentError(f"sparse_: sparsity must lie in [0, 1], it is {sparsity}")
    rows, columns = tensor.shape
    source = host_generator(generator)
    values = source.normal(0.0, std, tensor.shape)
    zeros = math.ceil(sparsity * rows)
    for column in range(columns):
        values[source.permutation(rows)[:zeros], column] = 0
    tensor.data = values
    return tensor


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Source = None) -> Tensor:
    """U(-b, b) with b = gain sqrt(6 / (fan_in + fan_out)).

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010.
    """
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Source = None) -> Tensor:
    """N(0, std^2) with std = gain sqrt(2 / (fan_in + fan_out)). Source: as `xavier_uniform_`."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Source = None,
) -> Tensor:
    """U(-b, b) with b = gain sqrt(3 / fan), gain = `calculate_gain(nonlinearity, a)`.

    Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015.
    """
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Source = None,
) -> Tensor:
    """N(0, std^2) with std = gain / sqrt(fan). Source: as `kaiming_uniform_`."""
    std = calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return normal_(tensor, 0.0, std, generator)


def lecun_normal_(tensor: Tensor, generator: Source = None) -> Tensor:
    """N(0, 1 / fan_in).

    Source: LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998.
    """
    return normal_(tensor, 0.0, math.sqrt(1 / _fan(tensor, "fan_in")), generator)


def lecun_uniform_(tensor: Tensor, generator: Source = None) -> Tensor:
    """U(-b, b) with b = sqrt(3 / fan_in). Source: as `lecun_normal_`."""
    bound = math.sqrt(3 / _fan(tensor, "fan_in"))
    return uniform_(tensor, -bound, bound, generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Source = None) -> Tensor:
    """gain Q with orthonormal rows, or columns where there are more rows.

    The weight is seen as a matrix [out, the rest].

    Q is drawn uniformly: the QR factor of a normal matrix, its signs fixed by the diagonal of R.
    Sources: Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks", 2014; Mezzadri, "How to generate random matrices from the
    classical compact groups", 2007.
    """
    fans(tensor)
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    drawn = host_generator(generator).normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    matrix = q if rows >= columns else q.T
    tensor.data = gain * matrix.reshape(tensor.shape)
    return tensor


def default_(weight: Tensor, bias: Tensor | None, generator: Source = None) -> None:
    """PyTorch's default for linear layers: weight and bias U(-b, b) with b = 1 / sqrt(fan_in).

    For the weight this is `kaiming_uniform_(a=sqrt 5)`. It keeps the outputs of deep tanh networks
    alive and those of relu networks small, and it is what people who move their code over expect.
    """
    fan = _fan(weight, "fan_in")
    bound = _DEFAULT_GAIN * math.sqrt(3 / fan)
    uniform_(weight, -bound, bound, generator)
    if bias is not None:
        bound = 1 / math.sqrt(fan)
        uniform_(bias, -bound, bound, generator)
