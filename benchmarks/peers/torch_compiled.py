"""PyTorch with the whole step, optimiser included, in one `torch.compile`."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import torch

from benchmarks.limits import operations
from benchmarks.peers import Unavailable
from benchmarks.peers.torch_eager import batches_of, loss_of, network, turned
from benchmarks.works import Layers, Work

WORTH_SHARING = 10_000_000  # operations; `torch_eager` is measured in any case
Tensors = dict[str, torch.Tensor]
Step = Callable[[Tensors, Tensors, torch.Tensor, torch.Tensor, torch.Tensor], None]


def _step(work: Work, net: torch.nn.Module) -> Step:
    def loss(params: Tensors, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return loss_of(work, torch.func.functional_call(net, params, (x,)), t)

    gradient = torch.func.grad_and_value(loss)

    def step(
        params: Tensors, velocity: Tensors, total: torch.Tensor, x: torch.Tensor, t: torch.Tensor
    ) -> None:
        grads, value = gradient(params, x, t)
        for name, parameter in params.items():
            update = grads[name]
            if work.momentum:
                update = velocity[name].mul_(work.momentum).add_(update)
            parameter.sub_(update, alpha=work.lr)
        total.add_(value)

    # Of the modes, the C++ wrapper has the least overhead a call.
    return torch.compile(step, fullgraph=True, dynamic=False, options={"cpp_wrapper": True})


class Trainer:
    """The work in compiled PyTorch."""

    def __init__(self, work: Work, threads: int = 1) -> None:
        if work.front:
            raise Unavailable("it takes its convolutions from eager PyTorch, and long to compile")
        if threads > 1 and operations(work) < WORTH_SHARING:
            raise Unavailable("a step is too small for several threads")
        torch.set_num_threads(threads)
        if shutil.which("g++") is None and shutil.which("clang++") is None:
            raise Unavailable("no C++ compiler")
        self.work = work
        self.batches = batches_of(work)
        self._compiled = _step(work, network(work))
        self.params: Tensors = {}
        self.velocity: Tensors = {}
        self.reset()

    def reset(self) -> None:
        """Back to the initial weights, with no velocity, in the same buffers."""
        for name, parameter in network(self.work).named_parameters():
            if name in self.params:
                self.params[name].copy_(parameter.detach())
                self.velocity[name].zero_()
            else:
                self.params[name] = parameter.detach().clone()
                self.velocity[name] = torch.zeros_like(parameter.detach())

    @torch.no_grad()
    def train(self, epochs: int) -> float:
        """Train; the mean loss of the steps."""
        step, params, velocity = self._compiled, self.params, self.velocity
        total = torch.zeros(())
        for _ in range(epochs):
            for x, t in self.batches:
                step(params, velocity, total, x, t)
        return total.item() / (epochs * self.work.steps)

    def weights(self) -> Layers:
        """The trained parameters."""
        names = [name.removesuffix(".weight") for name in self.params if name.endswith("weight")]
        return [
            (
                turned(self.params[f"{name}.weight"].numpy()),
                self.params[f"{name}.bias"].numpy().copy(),
            )
            for name in names
        ]
