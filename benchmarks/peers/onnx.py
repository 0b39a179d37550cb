"""ONNX Runtime, for prediction only; the weights of recurrent networks come from ours."""

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


def _session(model: onnx.ModelProto, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def program(name: str, threads: int = 1, compared: bool = False) -> Program:
    """A prediction of a GRU's class."""

    def call(net: Any) -> Callable[[np.ndarray], np.ndarray]:
        weights = {key: np.array(value) for key, value in net.state_dict().items()}
        sizes = net.layer.input_size, net.head.out_features, sequences.PREDICTED_STEPS
        session = _session(_recurrent_model(weights, sizes), threads)
        return lambda x: session.run(None, {"x": x})[0]

    return LOOPS[name].make(replace(LIBRARY, call=call), compared)


def predictor(work: Work, batch: int = 1, threads: int = 1) -> Predictor:
    """`batch` samples through an inference session."""
    session = _session(_model(work, batch), threads)

    def predict(sample: np.ndarray) -> np.ndarray:
        return session.run(None, {"x": sample})[0]

    return predict, data(work)[0][:batch].copy()
