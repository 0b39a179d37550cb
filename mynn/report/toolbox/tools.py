"""Tool modules: `linear`, the activations and `criterion_mse`.

Each tool says once what it computes, in `operation`, with operators of the engine. `forward` runs
it on the constructor's values; `backward` asks the engine for its gradient; `fit` compiles it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.base.arguments import positive
from mynn.core.types import Array, Shape
from mynn.errors import ShapeError, UsageError
from mynn.report.toolbox.checks import is_same_memory, real_array, samples
from mynn.report.toolbox.programs import Programs
from mynn.report.toolbox.record import Record, memory_of
from mynn.tensor import Parameter, Tensor, no_grad

# Draws the values of an array of a given shape.
Initializer = Callable[[np.random.Generator, Shape], Array]


def normal(std: float = 0.1) -> Initializer:
    """Initialiser: independent N(0, std²). The report's weights and biases are N(0, 0.1²)."""
    return lambda generator, shape: generator.normal(0.0, std, shape)


def lecun(generator: np.random.Generator, shape: Shape) -> Array:
    """Initialiser for tanh layers: weights N(0, 1/fan_in), biases 0.

    Source: LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998, section 4.6.
    """
    if len(shape) == 1:
        return np.zeros(shape)
    return generator.normal(0.0, shape[1] ** -0.5, shape)


def require_constructor(value: Any, tool: str) -> Record:
    """`value` itself, or a `UsageError` where it is no constructor."""
    if not isinstance(value, Record):
        raise UsageError(f"{tool} takes a constructor, an instance of model(), not {value!r}")
    return value


class linear:
    """Fully connected layer.

        x[ln+1] = w[ln+1] · x[ln] + b[ln+1]

    Args:
        m: number of input units.
        n: number of output units.
        model: the constructor.
        criterion: what the last layer's backward pass starts from; without one, the criterion made
            for the constructor.
        init: draws weights of shape (n, m) and biases of shape (n,) when `ini` runs; by default
            both are N(0, 0.1²). `lecun` suits deep tanh networks.

    Raises:
        ArgumentError: m or n is not a whole number of 1 or more.
        UsageError: `model` is no constructor, or the criterion belongs to another one.

    Example:
        >>> from mynn.module import linear, model
        >>> net = model(seed=0)
        >>> layer = linear(2, 3, net)
        >>> layer.forward([0.5, 1.0])
        >>> net.x[1].shape
        (3,)

    Source: the report, section 1.2.
    """

    def __init__(
        self,
        m: int,
        n: int,
        model: Any,
        criterion: criterion_mse | None = None,
        init: Initializer | None = None,
    ) -> None:
        self.m = positive("linear: the number of input units", m)
        self.n = positive("linear: the number of output units", n)
        self.model = require_constructor(model, f"linear({m}, {n}, model)")
        if criterion is not None and not isinstance(criterion, criterion_mse):
            raise UsageError(f"linear({m}, {n}): the criterion must be criterion_mse(model)")
        if criterion is not None and criterion.model is not model:
            raise UsageError(f"linear({m}, {n}): its criterion belongs to another constructor")
        self.criterion = criterion
        self.init = init or normal()
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None

    def __repr__(self) -> str:
        layer = f" [layer {self.index}]" if self.index else ""
        return f"linear({self.m}, {self.n}){layer}"

    @property
    def index(self) -> int:
        """The number of the layer in the constructor's network, 1..lt; 0 outside of it."""
        layers = self.model.layers
        return next((k for k, layer in enumerate(layers, 1) if layer is self), 0)

    def create(self) -> None:
        """Draw the parameters where there are none yet."""
        if self.weight is None:
            self.weight, self.bias = self._draw()

    def ini(self) -> None:
        """Create the parameters where there are none yet, and append them to the constructor's."""
        if self.index:
            return
        self.create()
        weight, bias = self.parameters
        self.model.append(self, memory_of(weight), memory_of(bias))

    def redraw(self) -> None:
        """Draw new values for the parameters, in place."""
        drawn = self._draw()
        if self.weight is None:
            self.weight, self.bias = drawn
            return
        for old, new in zip(self.parameters, drawn, strict=True):
            old.data = new

    def _draw(self) -> tuple[Parameter, Parameter]:
        generator, dtype = self.model.generator, self.model.dtype
        values = [
            real_array(self.init(generator, shape), f"init of {self}", dtype)
            for shape in ((self.n, self.m), (self.n,))
        ]
        # Stored input-major, as the compiler likes it; seen as (n, m).
        return Parameter(values[0], name="w", order=(1, 0)), Parameter(values[1], name="b")

    @property
    def parameters(self) -> tuple[Parameter, Parameter]:
        """Weights and biases as the engine's parameters."""
        if self.weight is None or self.bias is None:
            raise UsageError(f"{self} has no parameters yet: ini creates them")
        return self.weight, self.bias

    def adopt(self) -> None:
        """Take over arrays that were assigned to model.w[k] or model.b[k]."""
        k = self.index
        for entries, parameter in zip((self.model.w, self.model.b), self.parameters, strict=True):
            if not is_same_memory(entries[k], memory_of(parameter)):
                value = real_array(entries[k], f"{parameter.name}[{k}] of {self}", self.model.dtype)
                if value.shape != parameter.shape:
                    raise ShapeError(
                        f"{self}: {parameter.name}[{k}] must be of shape {parameter.shape}, "
                        f"it is {value.shape}"
                    )
                parameter.data = value
                entries[k] = memory_of(parameter)

    def operation(self, x: Tensor) -> Tensor:
        """w · x + b for a sample of shape (m,) or for each row of a batch (B, m)."""
        weight, bias = self.parameters
        return x @ weight.T + bias

    def forward(self, input: Any = None) -> None:
        """Compute x[ln+1] and move on to it. The first layer reads `input`, others ignore it."""
        model = self.model
        if self.index == 1 or (self.index == 0 and model.ln == 0):
            array = samples(input, "the input", self.m, repr(self), model.dtype)
            if self.index == 0:
                model.clear()
                self.ini()
            self.adopt()
            model.start(array, input)
        else:
            self._follow()
        value = model.step_forward(self)
        model.ln += 1
        model.x[model.ln] = model.s[model.ln] = value

    def _follow(self) -> None:
        """Check that it is this layer's turn after another, and take a place where it has none."""
        model = self.model
        extends = self.index == 0 and model.ln == model.lt
        if not extends and self.index != model.ln + 1:
            raise UsageError(f"{self}: forward out of order, the pass has reached layer {model.ln}")
        features = model.x[model.ln].shape[-1]
        if features != self.m:
            raise ShapeError(
                f"{self} takes {self.m} features, {model.layers[model.ln - 1]} gives {features}"
            )
        self.ini()
        self.adopt()

    def backward(self, target: Any = None) -> None:
        """Fill dl_dx, dl_ds, dl_dw and dl_db of layer ln and move back to the one before.

            dl_dx[ln] = criterion.dloss(x[ln])          where ln = lt
                        w[ln+1].T · dl_ds[ln+1]         elsewhere
            dl_ds[ln] = dl_ds[ln] ⊗ dl_dx[ln]
            dl_dw[ln] = dl_ds[ln] · x[ln-1]
            dl_db[ln] = dl_ds[ln]

        Gradients of w and b are summed over a batch. Without a criterion the last layer starts from
        dl_dx = 1, the gradient of the sum of its outputs.

        Args:
            target: what the criterion compares the output with. Where it is left out, or is the
                input itself (which the report's example hands to every call), `model.target`
                stands for it.
        """
        model = self.model
        model.require_last(self)
        k = model.ln
        if k == model.lt:
            model.dl_dx[k] = self._gradient_of_output(target)
        for parameter in self.parameters:
            parameter.grad = None
        before = model.step_back(self, model.gradient_of_s())
        model.dl_dx[k - 1] = before
        for entries, parameter in zip((model.dl_dw, model.dl_db), self.parameters, strict=True):
            assert parameter.grad is not None
            entries[k] = memory_of(parameter.grad)
            parameter.grad = None
        model.ln -= 1

    def _gradient_of_output(self, target: Any) -> Array:
        model = self.model
        criterion = self.criterion or model.criterion
        if criterion is None:
            return np.ones_like(model.x[model.ln])
        explicit = target is not None and not model.is_given(target)
        return criterion.dloss(model.x[model.ln], target if explicit else None)


class activation:
    """Base of the activations: a function of each element, f. Subclasses define `operation`.

        s[ln] = x[ln];  x[ln] = f(s[ln]);  dl_ds[ln] = f'(s[ln])

    Args:
        model: the constructor.

    Example:
        >>> from mynn.module import activation
        >>> class softplus(activation):
        ...     def operation(self, x):
        ...         return (x.exp() + 1).log()
    """

    def __init__(self, model: Any) -> None:
        self.model = require_constructor(model, f"{type(self).__name__}(model)")

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def operation(self, x: Tensor) -> Tensor:
        """f of each element."""
        raise UsageError(f"{type(self).__name__} does not define operation")

    def ini(self) -> None:
        """An activation has no parameters to create."""

    def forward(self, input: Any = None) -> None:
        """Apply the function to x[ln]; `input` is ignored, as the constructor holds the values."""
        if self.model.ln == 0:
            raise UsageError(f"{self}: an activation follows a linear; call forward of that first")
        self.model.x[self.model.ln] = self.model.step_forward(self)

    def backward(self, input: Any = None) -> None:
        """Put the function's derivative into dl_ds[ln]; the linear before it multiplies with it."""
        model = self.model
        model.require_last(self)
        ones = np.ones_like(model.x[model.ln])
        model.derivative(model.step_back(self, ones))


class tanh(activation):
    """Hyperbolic tangent: f(s) = tanh(s), f'(s) = 1 - tanh(s)²."""

    def operation(self, x: Tensor) -> Tensor:
        """tanh of each element."""
        return x.tanh()


class sigmoid(tanh):
    """The report's "sigmoid": the hyperbolic tangent, f(s) = tanh(s), f'(s) = 1 - tanh(s)².

    The report's introduction lists Tanh, and its reference program computes tanh under the name
    sigmoid. `logistic` is the function 1 / (1 + e^-s).
    """


class logistic(activation):
    """Logistic function: f(s) = 1 / (1 + e^-s), f'(s) = f(s) (1 - f(s))."""

    def operation(self, x: Tensor) -> Tensor:
        """1 / (1 + e^-x) of each element."""
        return x.sigmoid()


class relu(activation):
    """Rectifier: f(s) = max(s, 0), f'(s) = 1 where s > 0, else 0."""

    def operation(self, x: Tensor) -> Tensor:
        """max(x, 0) of each element."""
        return x.relu()


class criterion_mse:
    """Squared error, summed over the outputs (and over a batch, where there is one).

        loss = Σ (x - t)²,  dloss = 2 (x - t)

    Args:
        model: the constructor; layers made without a criterion use the one made last for it.

    Example:
        >>> from mynn.module import criterion_mse, model
        >>> criterion = criterion_mse(model())
        >>> criterion.loss([1.0, 0.0], [0.0, 0.0]).item()
        1.0

    Source: the report, section 1.2. Its name says mean; the reference program sums.
    """

    def __init__(self, model: Any) -> None:
        self.model = require_constructor(model, "criterion_mse(model)")
        self._programs = Programs()
        self.model.criterion = self

    def operation(self, x: Tensor, target: Tensor) -> Tensor:
        """Σ (x - t)²."""
        difference = x - target
        return (difference * difference).sum()

    def _values(self, x: Any, target: Any) -> tuple[Array, Array]:
        model = self.model
        x = model.x[-1] if x is None else x
        target = model.target if target is None else target
        if x is None:
            raise UsageError("criterion_mse: there is no output yet; run a forward pass first")
        if target is None:
            raise UsageError(
                "criterion_mse: training without a target; give it to train, or set model.target"
            )
        output = real_array(x, "the output", model.dtype)
        wanted = real_array(target, "the target", model.dtype)
        if output.shape != wanted.shape:
            raise ShapeError(
                f"criterion_mse: the target has shape {wanted.shape}, the output {output.shape}"
            )
        return output, wanted

    def loss(self, x: Any = None, target: Any = None) -> Any:
        """Σ (x - t)², a NumPy number; by default of the latest output and target.

        Raises:
            UsageError: there is no output or no target.
            ShapeError: the shapes differ.
        """
        output, wanted = self._values(x, target)
        program = None
        if type(self) is criterion_mse:
            program = self._programs.get(output.shape, None, lambda: self.operation)
        if program is not None:
            return program(output, wanted)[()]
        with no_grad():
            return self.operation(Tensor.from_value(output), Tensor.from_value(wanted)).numpy()[()]

    def dloss(self, x: Any = None, target: Any = None) -> Array:
        """2 (x - t), of the shape of x; arguments and errors as for `loss`."""
        value, wanted = self._values(x, target)
        output = Tensor.from_value(value)
        output.requires_grad = True
        self.operation(output, Tensor.from_value(wanted)).backward()
        assert output.grad is not None
        return memory_of(output.grad)
