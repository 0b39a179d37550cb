"""A small program in every form it takes on its way to machine code: `python -m examples.walk`.

docs/architecture.md shows this output. It is made for AVX-512, on whatever machine.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

import mynn
from mynn import nn, optim
from mynn.compiler.pipeline import show_kernels
from mynn.runtime.artifact import make_artifact
from mynn.runtime.llvm_jit import assembly
from mynn.target.target import named

TARGET = named("x86-64-v4")


def program() -> mynn.jit.program.Program:
    """The program of one training step: a layer of 2 inputs and 5 outputs, tanh, four samples."""
    layer = nn.Linear(2, 5)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)

    @mynn.compile
    def step(x: mynn.Tensor, t: mynn.Tensor) -> mynn.Tensor:
        loss = ((layer(x).tanh() - t) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    return step.program(np.zeros((4, 2), np.float32), np.zeros((4, 5), np.float32))


def stages() -> dict[str, str]:
    """The text of each form, in order; past the loop IR only of the kernel that changes weights."""
    made = program()
    compiled = replace(made.code.request, target=TARGET).finished(threads=1)
    artifact = make_artifact(compiled.plan, compiled.table, made.source.inputs)
    elements = {slot.name: slot.elements for slot in artifact.slots}
    kernels = show_kernels(compiled).split("\n\n")
    update = next(kernel for kernel in kernels if re.search(r"^ +weight\S* = ", kernel, re.M))
    name = update.split()[1].rstrip(":")
    return {
        "traced": str(made.source),
        "simplified": made.graph,
        "kernels": "\n".join(kernel.line for kernel in artifact.kernels),
        "loops": f"{kernels[0]}\n\n{update}",
        "llvm": _between(compiled.text, rf"^define .*@{name}\(", r"^}"),
        "assembly": _between(assembly(compiled.text, TARGET), rf"^{name}:", r"^\s+retq?\b"),
        "buffers": "\n".join(
            f"{buffer.name:10} {buffer.role:8} {buffer.dtype}[{elements[buffer.name]}]"
            for buffer in made.buffers
        ),
    }


def _between(text: str, first: str, last: str) -> str:
    """Lines from the one that matches `first` to the next that matches `last`."""
    start = re.search(first, text, re.M)
    assert start is not None
    end = re.compile(last, re.M).search(text, start.start())
    assert end is not None
    stop = text.find("\n", end.end())
    return text[start.start() : stop if stop >= 0 else None]


def main() -> None:
    """Print all of it."""
    for name, text in stages().items():
        print(f"---- {name}\n{text}\n")


if __name__ == "__main__":
    main()
