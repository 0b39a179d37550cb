"""ONNX Runtime, for prediction only."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.peers import Predictor
from benchmarks.works import Work, data, initial


def _model(work: Work) -> onnx.ModelProto:
    nodes, constants, last = [], [], "x"
    for index, (w, b) in enumerate(initial(work)):
        constants += [
            numpy_helper.from_array(w, f"w{index}"),
            numpy_helper.from_array(b, f"b{index}"),
        ]
        nodes.append(helper.make_node("Gemm", [last, f"w{index}", f"b{index}"], [f"s{index}"]))
        last = f"s{index}"
        if work.activated(index):
            kind = "Tanh" if work.activation == "tanh" else "Relu"
            nodes.append(helper.make_node(kind, [last], [f"y{index}"]))
            last = f"y{index}"
    graph = helper.make_graph(
        nodes,
        work.name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, work.sizes[0]])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, work.sizes[-1]])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def predictor(work: Work) -> Predictor:
    """One sample through an inference session of one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        _model(work).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def predict(sample: np.ndarray) -> np.ndarray:
        return session.run(None, {"x": sample})[0]

    return predict, data(work)[0][:1].copy()
