"""Runs a function of tensors in every way there is, so that the results can be compared.

A case is written once, as a lambda of a namespace: `lambda F, x: F.relu(x)` runs with
`mynn.functional` and with `torch.nn.functional`, which also shows that names and arguments are
PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mynn import interpreter, tracing
from mynn.compiler.pipeline import compile_graph
from mynn.graph import Array, Graph, Node, Type, input_node, verify
from mynn.tensor import Tensor, as_tensor, graph_node

BACKENDS = ("interpreter", "native")


def rng(name: str) -> np.random.Generator:
    """Random numbers that depend on a case's name alone."""
    return np.random.default_rng(list(name.encode()))


def with_dtype(arrays: Sequence[Array], dtype: Any) -> list[Array]:
    """Float arrays in another dtype, others as they are."""
    return [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]


def weights(shape: tuple[int, ...]) -> Array:
    """Fixed factors, with which an output of any shape is summed to one number."""
    return np.asarray(np.random.default_rng(3).uniform(0.5, 1.5, shape))


def run_eager(function: Callable[..., Any], arrays: Sequence[Array]) -> list[Array]:
    """The value and the gradient for each float array."""
    tensors = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    y = function(*tensors)
    (y * weights(y.shape).astype(y.dtype)).sum().backward()
    return [y.numpy(), *(grad_of(x) for x in tensors if x.requires_grad)]


def run_torch(torch: Any, function: Callable[..., Any], arrays: Sequence[Array]) -> list[Array]:
    """The same with PyTorch."""
    tensors = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    y = function(*tensors)
    factors = torch.tensor(weights(tuple(y.shape))).to(y.dtype)
    (y * factors).sum().backward()
    grads = [torch.zeros_like(x) if x.grad is None else x.grad for x in tensors if x.requires_grad]
    return [y.detach().numpy(), *(g.numpy() for g in grads)]


def run_traced(function: Callable[..., Any], arrays: Sequence[Array], backend: str) -> list[Array]:
    """The same as one graph, interpreted or compiled."""
    tensors = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]

    def step() -> tuple[Any, ...]:
        y = function(*tensors)
        (y * weights(y.shape).astype(y.dtype)).sum().backward()
        return (y, *(x.grad for x in tensors if x.requires_grad))

    return Program(step, [], backend)()


def grad_of(tensor: Tensor) -> Array:
    """A tensor's gradient, zeros where there is none."""
    return np.zeros(tensor.shape, tensor.dtype) if tensor.grad is None else tensor.grad.numpy()


class Program:
    """A step function traced once; a call runs the graph and writes the state to its tensors."""

    def __init__(self, step: Callable[..., Any], arrays: Sequence[Array], backend: str) -> None:
        inputs = [input_node(Type.of(np.asarray(a)), f"argument{i}") for i, a in enumerate(arrays)]
        with tracing.tracing() as tracer:
            result = step(*(Tensor.from_node(node) for node in inputs))
            results = result if isinstance(result, tuple) else (result,)
            outputs: list[Node] = [graph_node(as_tensor(one)) for one in results]
        self.tracer = tracer
        self.states = list(tracer.reads)
        self.written = list(tracer.writes())
        self.count = len(outputs)
        self.graph = Graph((*inputs, *tracer.reads.values()), (*outputs, *tracer.writes().values()))
        verify(self.graph)
        self.run = compile_graph(self.graph) if backend == "native" else self.interpret

    def interpret(self, values: Sequence[Array]) -> list[Array]:
        return interpreter.evaluate(self.graph, values)

    def __call__(self, *arrays: Array) -> list[Array]:
        values = self.run([*map(np.asarray, arrays), *(t.data for t in self.states)])
        for tensor, value in zip(self.written, values[self.count :], strict=True):
            tensor.data = value
        return [np.array(value) for value in values[: self.count]]


def assert_all_close(got: Sequence[Array], expected: Sequence[Array], tolerance: float) -> None:
    """Equal dtypes and shapes; differences up to `tolerance`, absolute or relative."""
    assert len(got) == len(expected)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert a.dtype == b.dtype, f"result {i}"
        assert a.shape == b.shape, f"result {i}"
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=f"result {i}")


TOLERANCE = {"float32": 3e-6, "float64": 1e-12}


def check_gradient(function: Callable[..., Any], arrays: Sequence[Array]) -> None:
    """Gradients in float64 against central differences along random directions."""
    arrays = with_dtype(arrays, np.float64)
    y, *gradients = run_eager(function, arrays)
    factors = weights(y.shape)
    generator = np.random.default_rng(11)
    floats = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    for place, gradient in zip(floats, gradients, strict=True):
        direction = generator.normal(size=arrays[place].shape)
        values = []
        for h in (1e-6, -1e-6):
            moved = list(arrays)
            moved[place] = arrays[place] + h * direction
            values.append(float((function(*map(Tensor, moved)).numpy() * factors).sum()))
        slope = (values[0] - values[1]) / 2e-6
        assert abs(slope - float((gradient * direction).sum())) < 1e-7 * max(1.0, abs(slope))
