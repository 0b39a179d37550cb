"""Kernels that the compiler makes: the works of the benchmarks, and random graphs."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmarks.ours import Trainer
from benchmarks.works import WORKS, data
from mynn import functional
from mynn.compiler import pipeline
from mynn.compiler.compilation import Compilation
from mynn.compiler.loop_ir.ir import Kernel
from mynn.target.target import host
from mynn.tensor import Tensor
from mynn.transform.grad import grad
from tests.compiler.harness import layout, shared_kernels
from tests.fuzz.programs import plain, stateful
from tests.helpers import f32, graph_of


def kernels_of(lowered: Compilation) -> list[Kernel]:
    """The kernels of a program, whole and as workers share them."""
    return [*lowered.kernels, *shared_kernels(lowered)]


@functools.cache
def training_kernels(name: str) -> Sequence[Kernel]:
    """Those of a work's training step, for 16 and 64 bytes a vector; large batches made smaller."""
    work = next(work for work in WORKS if work.name == name)
    batch = min(work.batch, 32)
    x, t = data(work)
    program = Trainer(work)._step.program(x[:batch], t[:batch])
    lowered = program.lowered
    narrow = replace(host(), vector_bytes=16, vector_registers=16)
    again = pipeline.lower(lowered.graph, narrow)
    return [*kernels_of(lowered), *kernels_of(again)]


@functools.cache
def random_kernels(seed: int) -> Sequence[Kernel]:
    """Those of a random graph."""
    program = stateful(seed) if seed % 2 else plain(seed)
    return kernels_of(pipeline.lower(program.graph, host()))


def convolution(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A padded convolution and its gradients: loops with conditions."""

    def loss(x: Tensor, w: Tensor) -> Tensor:
        return (functional.conv2d(x, w, padding=1) ** 2).sum()

    y = functional.conv2d(x, w, padding=1)
    return y, grad(lambda x: loss(x, w))(x), grad(lambda w: loss(x, w))(w)


@functools.cache
def convolution_kernels() -> Sequence[Kernel]:
    """Those of small padded convolutions, for several machines."""
    found = []
    for size, inputs, outputs in ((3, 1, 8), (3, 4, 3), (3, 4, 4), (4, 2, 4)):
        graph = graph_of(convolution, f32(1, inputs, size, size), f32(outputs, inputs, 3, 3))
        x, w = graph.inputs
        layouts = {x: layout(x, (0, 2, 3, 1)), w: layout(w, (2, 3, 1, 0))}
        for width in (16, 64):
            target = replace(host(), vector_bytes=width)
            found += kernels_of(pipeline.lower(graph, target, layouts=layouts))
    return found


def corpus(seeds: int) -> Iterator[Kernel]:
    """The kernels of the smaller works and of some random graphs."""
    for name in ("W1", "W3"):
        yield from training_kernels(name)
    yield from convolution_kernels()
    for seed in range(seeds):
        yield from random_kernels(seed)
