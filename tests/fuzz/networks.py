"""Random networks with their data and training, as plain data: what prints is a program.

python -m tests.fuzz.training 17          prints network 17 and what is wrong with it
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mynn import nn
from mynn.core.types import Array
from mynn.errors import MynnError
from mynn.tensor import no_grad

Layer = tuple[str, dict[str, Any]]

ACTIVATIONS = ("ReLU", "ReLU", "Tanh", "Sigmoid", "GELU", "SiLU", "LeakyReLU", "Softplus")
LOSSES = ("CrossEntropyLoss", "CrossEntropyLoss", "MSELoss", "BCEWithLogitsLoss", "NLLLoss")
EXTENTS = (1, 2, 3, 5, 8, 12, 16, 17, 31, 33, 64)


@dataclass(frozen=True)
class Network:
    """One training run.

    - `shape`: that of a sample; `layers`: names in `nn` with their options.
    - `optimizer`: a name in `optim`; `options`: its options.
    - `vector_bytes`: width of the vectors; 0: that of the machine.
    """

    seed: int
    dtype: str
    shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    loss: str
    optimizer: str
    options: dict[str, Any] = field(default_factory=dict)
    samples: int = 32
    batch_size: int = 8
    epochs: int = 2
    shuffle: bool = False
    drop_last: bool = False
    threads: int = 1
    vector_bytes: int = 0

    def __str__(self) -> str:
        """A program that shows what is wrong."""
        layers = "".join(f"        {layer!r},\n" for layer in self.layers)
        rest = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("layers", "seed", "dtype", "shape")
        }
        lines = "".join(f"    {name}={value!r},\n" for name, value in rest.items())
        return (
            "from tests.fuzz.networks import Network\n"
            "from tests.fuzz.training import training_problems\n\n"
            f"network = Network(\n    seed={self.seed},\n    dtype={self.dtype!r},\n"
            f"    shape={self.shape!r},\n    layers=(\n{layers}    ),\n{lines})\n"
            'print("\\n".join(training_problems(network)))'
        )

    @property
    def draws(self) -> bool:
        """Whether it draws random numbers, which other libraries draw otherwise."""
        return self.shuffle or any(name == "Dropout" for name, _ in self.layers)


# -- what a description stands for -----------------------------------------------------------------


def make_layer(layer: Layer, dtype: str) -> nn.Module:
    """The layer, its parameters in a dtype."""
    name, options = layer
    kind = getattr(nn, name)
    typed = "dtype" in kind.__init__.__annotations__
    made: nn.Module = kind(**options, **({"dtype": dtype} if typed else {}))
    return made


def make_network(network: Network, dtype: str) -> nn.Sequential:
    """The layers with parameters that follow from the seed."""
    net = nn.Sequential(*(make_layer(layer, dtype) for layer in network.layers))
    rng = np.random.default_rng(network.seed)
    for name, parameter in net.named_parameters():
        drawn = rng.normal(size=parameter.shape)
        if len(parameter.shape) > 1:
            drawn *= 1.2 / math.sqrt(math.prod(parameter.shape[1:]))
        else:
            drawn = drawn * 0.3 + name.endswith("weight")
        parameter.data = drawn.astype(dtype)
    return net


def output_shape(network: Network) -> tuple[int, ...]:
    """The shape of the result for a sample."""
    shape = network.shape
    for layer in network.layers:
        shape = _shape_after(layer, shape)
    return shape


def _shape_after(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    with no_grad():
        made = make_layer(layer, "float32").eval()
        return tuple(made(np.zeros((2, *shape), np.float32)).shape[1:])


def make_data(network: Network, dtype: str) -> tuple[Array, Array]:
    """Samples and targets of the loss."""
    rng = np.random.default_rng([network.seed, 1])
    x = rng.normal(size=(network.samples, *network.shape)).astype(dtype)
    shape = (network.samples, *output_shape(network))
    if network.loss in ("CrossEntropyLoss", "NLLLoss"):
        return x, rng.integers(0, shape[1], network.samples)
    if network.loss == "BCEWithLogitsLoss":
        return x, rng.integers(0, 2, shape).astype(dtype)
    return x, rng.normal(size=shape).astype(dtype)


# -- drawing one -----------------------------------------------------------------------------------


class _Draw:
    """Layers one after the other, as long as they fit."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 2])
        self.layers: list[Layer] = []
        rank = int(self.pick((0, 0, 1, 2, 2)))
        sides = {0: (), 1: (self.pick((6, 9, 16, 24, 32, 33)),)}
        side = self.pick((6, 7, 8, 11, 12))
        extents = sides.get(rank, (side, self.pick((side, side + 1))))
        self.shape: tuple[int, ...] = (int(self.pick((1, 2, 3, 4, 6, 16))), *extents)
        if not rank:
            self.shape = (int(self.pick(EXTENTS)),)

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, items: Any) -> Any:
        return items[int(self.rng.integers(len(items)))]

    @property
    def rank(self) -> int:
        return len(self.shape) - 1

    def add(self, name: str, **options: Any) -> bool:
        """Add a layer if it takes what is there and leaves something of a sensible size."""
        try:
            shape = _shape_after((name, options), self.shape)
        except MynnError:
            return False
        if not 0 < math.prod(shape) <= 2500:
            return False
        self.layers.append((name, options))
        self.shape = shape
        return True

    def map(self) -> None:
        """A linear map or a convolution."""
        bias = self.chance(0.8)
        if not self.rank:
            wide = int(self.pick(EXTENTS[1:]))
            self.add("Linear", in_features=self.shape[0], out_features=wide, bias=bias)
            return
        out = int(self.pick((2, 4, 6, 8, 16)))
        groups = 2 if self.shape[0] % 2 == 0 and self.chance(0.15) else 1
        self.add(
            f"{'ConvTranspose' if self.chance(0.1) else 'Conv'}{self.rank}d",
            in_channels=self.shape[0],
            out_channels=out,
            kernel_size=int(self.pick((1, 2, 3, 3, 5))),
            stride=int(self.pick((1, 1, 1, 2))),
            padding=int(self.pick((0, 0, 1, 2))),
            dilation=int(self.pick((1, 1, 1, 2))),
            groups=groups,
            bias=bias,
        )

    def norm(self) -> None:
        kinds = ["BatchNorm", "BatchNorm", "LayerNorm", "GroupNorm"]
        kind = self.pick(kinds if self.rank else ["BatchNorm", "LayerNorm", "RMSNorm"])
        if kind == "BatchNorm":
            self.add(f"BatchNorm{max(self.rank, 1)}d", num_features=self.shape[0])
        elif kind == "GroupNorm":
            groups = [n for n in (1, 2, 3, 4) if self.shape[0] % n == 0]
            self.add("GroupNorm", num_groups=self.pick(groups), num_channels=self.shape[0])
        elif math.prod(self.shape) > 3:
            self.add(kind, normalized_shape=self.shape)

    def pool(self) -> None:
        if not self.rank:
            return
        kind = self.pick(("Max", "Max", "Max", "Avg"))
        if self.chance(0.12):
            self.add(f"Adaptive{kind}Pool{self.rank}d", output_size=int(self.pick((1, 2, 3))))
            return
        size = int(self.pick((2, 2, 3, 4, 8)))
        options: dict[str, Any] = {"kernel_size": size}
        if self.chance(0.3):
            options["stride"] = int(self.pick((1, 2, 3)))
        if self.chance(0.2):
            options["padding"] = 1
        if self.chance(0.15):
            options["ceil_mode"] = True
        self.add(f"{kind}Pool{self.rank}d", **options)

    def activation(self) -> None:
        self.add(self.pick(ACTIVATIONS))

    def block(self) -> None:
        """Some of: map, norm, activation, pooling, dropout; not always in the usual order."""
        parts = [self.map]
        parts += [self.norm] if self.chance(0.45) else []
        tail = [self.activation] if self.chance(0.85) else []
        tail += [self.pool] if self.chance(0.6) else []
        if self.chance(0.3):
            tail.reverse()
        for part in [*parts, *tail]:
            part()
        if self.chance(0.06):
            self.add("Dropout", p=float(self.pick((0.2, 0.5))))


def network(seed: int) -> Network:
    """A random network, its loss, optimiser, data and run."""
    draw = _Draw(seed)
    if draw.chance(0.25):
        draw.norm()
        draw.pool()
    for _ in range(int(draw.pick((1, 1, 2, 2, 3)))):
        draw.block()
    if draw.rank:
        draw.add("Flatten")
    loss = draw.pick(LOSSES)
    classes = int(draw.pick((2, 3, 4, 7, 10)))
    draw.add("Linear", in_features=draw.shape[0], out_features=classes)
    if loss == "NLLLoss":
        draw.add("LogSoftmax", dim=1)
    dtype = "float32" if draw.chance(0.5) else "float64"
    batch = int(draw.pick((2, 3, 4, 8, 16, 31, 32, 64)))
    rest = int(draw.pick((0, 0, 2, 3, 5)))
    samples = batch * int(draw.pick((1, 2, 3))) + (rest if rest < batch else 0)
    name, options = _optimizer(draw, dtype)
    return Network(
        seed,
        dtype,
        _start(seed),
        tuple(draw.layers),
        loss,
        name,
        options,
        samples=samples,
        batch_size=batch,
        epochs=int(draw.pick((1, 2, 3))),
        shuffle=draw.chance(0.25),
        drop_last=draw.chance(0.2),
        threads=int(draw.pick((1, 2, 3, 4))),
        vector_bytes=int(draw.pick((0, 0, 16, 32))),
    )


def _start(seed: int) -> tuple[int, ...]:
    return _Draw(seed).shape


def _optimizer(draw: _Draw, dtype: str) -> tuple[str, dict[str, Any]]:
    """Small steps: what is compared must not grow chaotic."""
    name = draw.pick(("SGD", "SGD", "Adam", "AdamW"))
    if name != "SGD":
        options = {
            "lr": float(draw.pick((0.001, 0.01))),
            "betas": draw.pick(((0.9, 0.999), (0.7, 0.9))),
        }
        # Gradients that are 0 but for rounding must not become whole steps.
        options["eps"] = 1e-2 if dtype == "float32" else 1e-4
        if draw.chance(0.3):
            options["amsgrad"] = True
    else:
        options = {"lr": float(draw.pick((0.01, 0.05)))}
        if draw.chance(0.6):
            options["momentum"] = 0.9
            if draw.chance(0.4):
                options["nesterov"] = True
            elif draw.chance(0.3):
                options["dampening"] = 0.1
    if draw.chance(0.4):
        options["weight_decay"] = float(draw.pick((0.01, 0.1)))
    if draw.chance(0.1):
        options["maximize"] = True
    return name, options


# -- smaller ones ----------------------------------------------------------------------------------


def smaller(network: Network) -> list[Network]:
    """Networks with one thing less."""
    found = []
    for place in range(len(network.layers)):
        layers = (*network.layers[:place], *network.layers[place + 1 :])
        found.append(replace(network, layers=layers))
    plain: dict[str, Any] = {
        "epochs": 1,
        "threads": 1,
        "vector_bytes": 0,
        "shuffle": False,
        "drop_last": False,
        "samples": network.batch_size,
        "optimizer": "SGD",
        "loss": "MSELoss",
    }
    for name, value in plain.items():
        if getattr(network, name) != value:
            change = {name: value}
            if name == "optimizer":
                change["options"] = {"lr": 0.01}
            found.append(replace(network, **change))
    found += [
        replace(network, options={k: v for k, v in network.options.items() if k != name})
        for name in network.options
        if name != "lr"
    ]
    return [one for one in found if _fits(one)]


def _fits(network: Network) -> bool:
    try:
        return len(output_shape(network)) > 0
    except MynnError:
        return False
