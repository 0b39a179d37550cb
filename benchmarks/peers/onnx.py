"""ONNX Runtime, for prediction only; the weights of networks on sequences come from ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.loops import LOOPS, Program, sequences
from benchmarks.ours import LIBRARY
from benchmarks.peers import Predictor
from benchmarks.works import Layers, Pool, Work, data, initial


def _constants(layers: Layers) -> list[onnx.TensorProto]:
    return [
        numpy_helper.from_array(array, f"{letter}{index}")
        for index, layer in enumerate(layers)
        for letter, array in zip("wb", layer, strict=True)
    ]


def _front(work: Work) -> tuple[list[onnx.NodeProto], str]:
    """The nodes of the convolutions and poolings, and the name of their flat result."""
    nodes, last, index = [], "x", 0
    for place, part in enumerate(work.front):
        if isinstance(part, Pool):
            shape = {"kernel_shape": [part.size] * 2, "strides": [part.size] * 2}
            nodes.append(helper.make_node("MaxPool", [last], [f"p{place}"], **shape))
            last = f"p{place}"
            continue
        names = [last, f"w{index}", f"b{index}"]
        nodes.append(helper.make_node("Conv", names, [f"c{place}"], pads=[part.padding] * 4))
        nodes.append(helper.make_node("Relu", [f"c{place}"], [f"r{place}"]))
        last, index = f"r{place}", index + 1
    if work.front:
        nodes.append(helper.make_node("Flatten", [last], ["flat"]))
        last = "flat"
    return nodes, last


def _model(work: Work, batch: int) -> onnx.ModelProto:
    nodes, last = _front(work)
    for layer in range(len(work.layers)):
        index = len(work.convs) + layer
        nodes.append(helper.make_node("Gemm", [last, f"w{index}", f"b{index}"], [f"s{index}"]))
        last = f"s{index}"
        if work.activated(layer):
            kind = "Tanh" if work.activation == "tanh" else "Relu"
            nodes.append(helper.make_node(kind, [last], [f"y{index}"]))
            last = f"y{index}"
    graph = helper.make_graph(
        nodes,
        work.name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *work.sample_shape])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [batch, work.sizes[-1]])],
        _constants(initial(work)),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _recurrent_model(weights: dict[str, np.ndarray], sizes: tuple[int, int, int]) -> Any:
    """A GRU over one sequence, and the linear layer on its last output.

    Its gates stand in the order z, r, n, PyTorch's in the order r, z, n.
    """
    inputs, outputs, steps = sizes

    def gates(name: str) -> np.ndarray:
        r, z, n = np.split(weights[f"layer.{name}_l0"], 3)
        return np.concatenate([z, r, n])

    given = {
        "w": gates("weight_ih")[None],
        "r": gates("weight_hh")[None],
        "b": np.concatenate([gates("bias_ih"), gates("bias_hh")])[None],
        "head": weights["head.weight"],
        "bias": weights["head.bias"],
        "shape": np.array([1, -1], np.int64),
    }
    hidden = weights["head.weight"].shape[1]
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node(
            *("GRU", ["t", "w", "r", "b"], ["", "last"]), hidden_size=hidden, linear_before_reset=1
        ),
        helper.make_node("Reshape", ["last", "shape"], ["h"]),
        helper.make_node("Gemm", ["h", "head", "bias"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, steps, inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(array, name) for name, array in given.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class _Nodes:
    """The nodes of a graph and its constants, one after the other."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def __call__(self, kind: str, *inputs: str | np.ndarray, **words: Any) -> str:
        """A node of these inputs, arrays as constants; the name of its result."""
        names = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        result = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [result], **words))
        return result


def _language_model(net: Any, length: int) -> Any:
    """The transformer of the works: causal attention and GELU, the normalisations before them."""
    at, width = _Nodes(), net.table.embedding_dim

    def array(value: Any) -> np.ndarray:
        return np.array(value.detach(), np.float32)

    def linear(x: str, weight: Any, bias: Any) -> str:
        return at("Add", at("MatMul", x, array(weight).T), array(bias))

    def norm(x: str, layer: Any) -> str:
        given = array(layer.weight), array(layer.bias)
        return at("LayerNormalization", x, *given, axis=-1, epsilon=layer.eps)

    def turned(x: str, heads: int, perm: list[int]) -> str:
        shape = np.array([1, length, heads, width // heads], np.int64)
        return at("Transpose", at("Reshape", x, shape), perm=perm)

    future = np.triu(np.full((length, length), -np.inf, np.float32), 1)
    h = at("Gather", array(net.table.weight), "x")
    h = at("Add", h, array(net.places.weight)[:length])
    for layer in net.blocks.layers:
        attention = layer.self_attn
        heads = attention.num_heads
        z = norm(h, layer.norm1)
        weights = np.split(array(attention.in_proj_weight), 3)
        biases = np.split(array(attention.in_proj_bias), 3)
        q, k, v = (at("Add", at("MatMul", z, w.T), b) for w, b in zip(weights, biases, strict=True))
        q, v = (turned(one, heads, [0, 2, 1, 3]) for one in (q, v))
        scores = at("MatMul", q, turned(k, heads, [0, 2, 3, 1]))
        scale = np.float32((width // heads) ** -0.5)
        scores = at("Add", at("Mul", scores, np.array(scale)), future)
        seen = at("MatMul", at("Softmax", scores, axis=-1), v)
        seen = at("Transpose", seen, perm=[0, 2, 1, 3])
        seen = at("Reshape", seen, np.array([1, length, width], np.int64))
        h = at("Add", h, linear(seen, attention.out_proj.weight, attention.out_proj.bias))
        z = linear(norm(h, layer.norm2), layer.linear1.weight, layer.linear1.bias)
        erf = at("Erf", at("Div", z, np.array(np.float32(2**0.5))))
        z = at("Mul", at("Mul", z, at("Add", erf, np.array(np.float32(1)))), np.float32([0.5]))
        h = at("Add", h, linear(z, layer.linear2.weight, layer.linear2.bias))
    y = linear(norm(h, net.blocks.norm), net.head.weight, net.head.bias)
    words = net.head.out_features
    graph = helper.make_graph(
        at.nodes,
        "transformer",
        [helper.make_tensor_value_info("x", TensorProto.INT64, [1, length])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, [1, length, words])],
        at.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _session(model: onnx.ModelProto, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def program(name: str, threads: int = 1, compared: bool = False) -> Program:
    """A prediction of a GRU's class, or of a transformer's scores."""

    def runs(model: Any) -> Callable[[np.ndarray], np.ndarray]:
        session = _session(model, threads)
        return lambda x: session.run(None, {"x": x})[0]

    def predictor(net: Any) -> Callable[[np.ndarray], np.ndarray]:
        return runs(_language_model(net, sequences.TOKENS))

    def call(net: Any) -> Callable[[np.ndarray], np.ndarray]:
        weights = {key: np.array(value) for key, value in net.state_dict().items()}
        sizes = net.layer.input_size, net.head.out_features, sequences.PREDICTED_STEPS
        return runs(_recurrent_model(weights, sizes))

    return LOOPS[name].make(replace(LIBRARY, call=call, predictor=predictor), compared)


def predictor(work: Work, batch: int = 1, threads: int = 1) -> Predictor:
    """`batch` samples through an inference session."""
    session = _session(_model(work, batch), threads)

    def predict(sample: np.ndarray) -> np.ndarray:
        return session.run(None, {"x": sample})[0]

    return predict, data(work)[0][:batch].copy()
