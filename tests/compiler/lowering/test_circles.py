"""What lowering makes for itself is gone when it ends, without the garbage collector."""

from __future__ import annotations

import gc
from typing import Any

from mynn import functional as F
from mynn.compiler import pipeline
from mynn.target.target import host
from mynn.transform.grad import grad
from tests.helpers import f32, graph_of


def test_few_objects_wait_for_a_collection() -> None:
    """Builders of loop bodies and walks over them lay in circles: 64,000 objects for ResNet-20."""

    def loss(w: Any, v: Any, x: Any) -> Any:
        return (F.conv2d(F.conv2d(x, w, padding=1).relu(), v, padding=1) ** 2).sum()

    graph = graph_of(grad(loss, argnums=(0, 1)), f32(8, 3, 3, 3), f32(8, 8, 3, 3), f32(2, 3, 9, 9))

    def compiled() -> int:
        return len(pipeline.finish(pipeline.lower(graph, host())).text)

    compiled()  # what is imported leaves circles
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        assert compiled()
        assert gc.collect() < 1000  # ten times as many with those circles
    finally:
        if enabled:
            gc.enable()
