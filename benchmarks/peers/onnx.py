"""ONNX Runtime, for prediction only."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

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


def predictor(work: Work, batch: int = 1, threads: int = 1) -> Predictor:
    """`batch` samples through an inference session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        _model(work, batch).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def predict(sample: np.ndarray) -> np.ndarray:
        return session.run(None, {"x": sample})[0]

    return predict, data(work)[0][:batch].copy()
