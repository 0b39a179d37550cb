"""Wrong uses of layers, functions, methods and traces."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import mynn
from mynn import Tensor, nn, optim
from mynn import functional as F


@dataclass(frozen=True)
class Use:
    """A wrong use: `names` and `shows` are texts of which the error must hold one each."""

    call: Callable[[], Any]
    names: tuple[str, ...]
    shows: tuple[str, ...]


X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
T = np.arange(12) % 3
IMAGES = np.zeros((2, 2, 6, 6), np.float32)
RULES = ("int", "float", "bool", "str")

# Arguments that a layer cannot do without.
NEEDED: dict[str, Any] = {
    "in_features": 3,
    "out_features": 2,
    "in_channels": 2,
    "out_channels": 2,
    "kernel_size": 2,
    "num_features": 3,
    "num_groups": 1,
    "num_channels": 2,
    "normalized_shape": 3,
    "in1_features": 3,
    "in2_features": 2,
    "num_embeddings": 5,
    "embedding_dim": 2,
    "padding": 1,
    "size": 2,
    "norm_type": 2.0,
    "dim": 1,
    "unflattened_size": (2, 1),
    "upscale_factor": 2,
    "downscale_factor": 2,
    "groups": 2,
    "output_size": 2,
    "num_classes": 3,
    "threshold": 0.1,
    "value": 1.0,
    "input_size": 3,
    "hidden_size": 2,
    "mode": "GRU",
    "bias": True,
    "num_chunks": 3,
    "embed_dim": 4,
    "num_heads": 2,
    "d_model": 4,
    "nhead": 2,
    "encoder_layer": nn.Identity(),
    "decoder_layer": nn.Identity(),
    "num_layers": 1,
}
WRONG: dict[str, tuple[Any, ...]] = {
    "int": ("three", 4.5, [2], {}, 2.0),
    "float": ("small", [0.1], {}, True),
    "bool": ("no", 2, [True]),
    "str": (3, None, ["mean"]),
}


def make_net() -> tuple[Any, Any, Any]:
    """A network, its optimiser and a step."""
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    def step(x: Tensor, t: Tensor) -> Tensor:
        loss = F.cross_entropy(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    return net, optimizer, step


def plain_rule(parameter: inspect.Parameter) -> str | None:
    """The plain type of an argument, if it has one."""
    words = [word.strip() for word in str(parameter.annotation).split("|")]
    plain = [word for word in words if word != "None"]
    return plain[0] if len(plain) == 1 and plain[0] in RULES else None


def layers() -> Iterator[tuple[str, type]]:
    """Every layer and loss."""
    for name in nn.__all__:
        kind = getattr(nn, name)
        if inspect.isclass(kind) and issubclass(kind, nn.Module) and kind is not nn.Module:
            yield name, kind


def needed(kind: type) -> dict[str, Any]:
    """The arguments that must be given."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {p.name: NEEDED[p.name] for p in parameters if p.default is p.empty and p.name in NEEDED}


def constructors() -> Iterator[tuple[str, Use]]:
    """Each plain argument of each layer, of a wrong type; unknown, missing and too many ones."""
    for name, kind in layers():
        base = needed(kind)
        parameters = inspect.signature(kind.__init__).parameters
        for parameter in parameters.values():
            rule = plain_rule(parameter)
            for value in WRONG[rule] if rule else ():
                if value is None and "None" in str(parameter.annotation):
                    continue
                given = {**base, parameter.name: value}
                yield (
                    f"{name}({parameter.name}={value!r})",
                    Use(lambda k=kind, g=given: k(**g), (parameter.name,), (repr(value),)),
                )
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            continue
        yield (
            f"{name}(unknown)",
            Use(lambda k=kind, b=base: k(**b, colour="red"), ("colour",), ("'red'",)),
        )
        for missing in base:
            rest = {key: value for key, value in base.items() if key != missing}
            yield (
                f"{name}(without {missing})",
                Use(lambda k=kind, r=rest: k(**r), (missing,), (name,)),
            )


def _range(call: Callable[[], Any], name: str, shows: str) -> Use:
    return Use(call, (name,), (shows,))


RANGES: dict[str, Use] = {
    "Linear(-1)": _range(lambda: nn.Linear(-1, 2), "in_features", "-1"),
    "Linear(0 outputs)": _range(lambda: nn.Linear(2, 0), "out_features", "0"),
    "Dropout(1.5)": _range(lambda: nn.Dropout(1.5), "p", "1.5"),
    "Dropout(-0.1)": _range(lambda: nn.Dropout(-0.1), "p", "-0.1"),
    "Conv2d groups": _range(lambda: nn.Conv2d(3, 4, 2, groups=2), "groups", "2"),
    "Conv2d stride": _range(lambda: nn.Conv2d(3, 4, 2, stride=0), "stride", "0"),
    "Conv2d padding": _range(lambda: nn.Conv2d(3, 4, 2, padding=-1), "padding", "-1"),
    "Conv2d kernel": _range(lambda: nn.Conv2d(3, 4, 0), "kernel_size", "0"),
    "Conv2d padding text": _range(lambda: nn.Conv2d(3, 4, 2, padding="full"), "padding", "full"),
    "Conv2d padding mode": _range(
        lambda: nn.Conv2d(3, 4, 2, padding_mode="mirror"), "padding_mode", "mirror"
    ),
    "Conv2d three numbers": _range(lambda: nn.Conv2d(3, 4, (2, 2, 2)), "kernel_size", "(2, 2, 2)"),
    "MaxPool2d padding": _range(lambda: nn.MaxPool2d(2, padding=2)(IMAGES), "padding", "(2, 2)"),
    "GroupNorm groups": _range(lambda: nn.GroupNorm(3, 4), "num_groups", "3"),
    "BatchNorm features": _range(lambda: nn.BatchNorm1d(0), "num_features", "0"),
    "LayerNorm shape": _range(lambda: nn.LayerNorm(()), "normalized_shape", "()"),
    "Softplus beta": _range(lambda: nn.Softplus(-1.0), "beta", "-1.0"),
    "GELU": _range(lambda: nn.GELU("erf"), "approximate", "erf"),
    "label_smoothing": _range(lambda: nn.CrossEntropyLoss(label_smoothing=2.0), "smoothing", "2"),
    "reduction": _range(lambda: nn.MSELoss(reduction="average"), "reduction", "average"),
    "device": _range(lambda: nn.Linear(2, 3, device="cuda"), "device", "cuda"),
    "dtype": _range(lambda: nn.Linear(2, 3, dtype=np.int64), "dtype", "int64"),
    "tensor device": _range(lambda: mynn.tensor([1.0], device="cuda:0"), "device", "cuda"),
}

# A layer, what it is given, and the shapes that its error must show.
SHAPES: dict[str, tuple[Callable[[], Any], tuple[int, ...], str]] = {
    "Linear": (lambda: nn.Linear(3, 2), (4, 5), "(4, 5)"),
    "Linear scalar": (lambda: nn.Linear(3, 2), (), "()"),
    "Conv1d": (lambda: nn.Conv1d(2, 3, 2), (4, 3, 6), "(4, 3, 6)"),
    "Conv1d rank": (lambda: nn.Conv1d(2, 3, 2), (6,), "(6,)"),
    "Conv2d": (lambda: nn.Conv2d(2, 3, 2), (4, 3, 6, 6), "(4, 3, 6, 6)"),
    "Conv2d rank": (lambda: nn.Conv2d(2, 3, 2), (4, 6), "(4, 6)"),
    "Conv2d small": (lambda: nn.Conv2d(2, 3, 7), (4, 2, 6, 6), "7"),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(2, 3, 2), (4, 3, 6, 6), "(4, 3, 6, 6)"),
    "MaxPool1d": (lambda: nn.MaxPool1d(9), (2, 3, 8), "(9,)"),
    "MaxPool2d": (lambda: nn.MaxPool2d(9), (2, 3, 8, 8), "(9, 9)"),
    "MaxPool2d rank": (lambda: nn.MaxPool2d(2), (8, 8), "(8, 8)"),
    "AvgPool1d": (lambda: nn.AvgPool1d(9), (2, 3, 8), "(9,)"),
    "AvgPool2d": (lambda: nn.AvgPool2d(9), (2, 3, 8, 8), "(9, 9)"),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(3), (4, 2), "(4, 2)"),
    "BatchNorm1d rank": (lambda: nn.BatchNorm1d(3), (4, 3, 2, 2), "(4, 3, 2, 2)"),
    "BatchNorm1d one": (lambda: nn.BatchNorm1d(3), (1, 3), "(1, 3)"),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(3), (4, 2, 5, 5), "(4, 2, 5, 5)"),
    "BatchNorm2d rank": (lambda: nn.BatchNorm2d(3), (4, 3), "(4, 3)"),
    "LayerNorm": (lambda: nn.LayerNorm(3), (4, 2), "(4, 2)"),
    "LayerNorm two": (lambda: nn.LayerNorm((3, 2)), (4, 2), "(4, 2)"),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (4, 3), "(4, 3)"),
    "RMSNorm": (lambda: nn.RMSNorm(3), (4, 2), "(4, 2)"),
    "Softmax dim": (lambda: nn.Softmax(3), (4, 2), "3"),
    "Flatten": (lambda: nn.Flatten(4), (4, 2), "4"),
}


def shapes() -> Iterator[tuple[str, Use]]:
    """Inputs that do not fit, eagerly and while a program is traced."""
    for name, (make, shape, shows) in SHAPES.items():
        x = np.ones(shape, np.float32)
        layer = name.split()[0]
        names = (layer, layer.lower(), "softmax", "flatten", "layer", "axis")
        yield f"shape of {name}", Use(lambda m=make, x=x: m()(x), names, (shows,))
        yield (
            f"shape of {name}, compiled",
            Use(lambda m=make, x=x: mynn.compile(m())(x), names, (shows,)),
        )


BAD_DATA: dict[str, tuple[Any, tuple[str, ...]]] = {
    "text": (np.array(["a", "b"]), ("U1", "text")),
    "objects": (np.array([{}, []], dtype=object), ("object",)),
    "complex": (np.array([1j, 2j]), ("complex",)),
    "a dict": ({"a": 1.0}, ("object", "dict")),
    "None": (None, ("object", "None")),
    "ragged rows": ([[1.0, 2.0], [3.0]], ("list",)),
    "masked": (np.ma.masked_array([1.0, 2.0], [0, 1]), ("masked",)),
}
ONE_TENSOR = (
    "relu",
    "tanh",
    "sigmoid",
    "silu",
    "gelu",
    "softplus",
    "leaky_relu",
    "dropout",
)


def data() -> Iterator[tuple[str, Use]]:
    """What cannot be made into a tensor."""
    for name, (value, shows) in BAD_DATA.items():
        for function in ONE_TENSOR:
            call = getattr(F, function)
            yield (
                f"{function} of {name}",
                Use(
                    lambda c=call, v=value: c(v),
                    (function, "dtype", "array", "input", "list"),
                    shows,
                ),
            )
        yield f"Tensor({name})", Use(lambda v=value: Tensor(v), ("dtype", "array", "list"), shows)
        yield (
            f"fit on {name}",
            Use(
                lambda v=value: mynn.fit(lambda x: x.mean(), v, verbose=False),
                ("data", "array"),
                (*shows, "no data", "structures", "different numbers", "shape is ()"),
            ),
        )


def functions() -> Iterator[tuple[str, Use]]:
    """Unknown arguments and no arguments of every function."""
    for name in F.__all__:
        function = getattr(F, name)
        yield (
            f"F.{name}(unknown)",
            Use(lambda f=function: f(X, colour="red"), ("colour",), ("'red'", name)),
        )
        own = getattr(function, "__name__", name)
        yield f"F.{name}()", Use(lambda f=function: f(), (own,), ("without", "("))


METHODS: dict[str, Use] = {
    "reshape": Use(lambda: Tensor(X).reshape(5, 5), ("reshape",), ("(12, 4)",)),
    "reshape text": Use(lambda: Tensor(X).reshape("a"), ("reshape",), ("'a'",)),
    "reshape two": Use(lambda: Tensor(X).reshape(-1, -1), ("reshape",), ("-1",)),
    "sum dim": Use(lambda: Tensor(X).sum(7), ("sum",), ("7",)),
    "sum text": Use(lambda: Tensor(X).sum("rows"), ("sum",), ("'rows'",)),
    "sum unknown": Use(lambda: Tensor(X).sum(dimension=1), ("dimension",), ("1",)),
    "sum out": Use(lambda: Tensor(X).sum(out=None), ("out",), ("None",)),
    "mean dim": Use(lambda: Tensor(X).mean(-3), ("mean",), ("-3",)),
    "amax empty": Use(lambda: Tensor(X[:0]).amax(0), ("max", "amax"), ("(0, 4)", "[0,4]")),
    "argmax dim": Use(lambda: Tensor(X).argmax(2), ("argmax",), ("2",)),
    "transpose": Use(lambda: Tensor(X).transpose(0, 5), ("transpose",), ("5",)),
    "permute": Use(lambda: Tensor(X).permute(0, 0), ("permute",), ("(0, 0)",)),
    "permute few": Use(lambda: Tensor(X).permute(0), ("permute", "transpose"), ("(0,)", "0")),
    "squeeze": Use(lambda: Tensor(X).squeeze(9), ("squeeze",), ("9",)),
    "unsqueeze": Use(lambda: Tensor(X).unsqueeze(9), ("unsqueeze",), ("9",)),
    "flip": Use(lambda: Tensor(X).flip(4), ("flip",), ("4",)),
    "broadcast_to": Use(lambda: Tensor(X).broadcast_to((3, 3)), ("broadcast_to",), ("(12, 4)",)),
    "add": Use(lambda: Tensor(X) + np.ones((5, 5), np.float32), ("add",), ("(12, 4)",)),
    "matmul": Use(lambda: Tensor(X) @ np.ones((5, 5), np.float32), ("matmul",), ("(12, 4)",)),
    "index": Use(lambda: Tensor(X)[40], ("index",), ("40",)),
    "index of column": Use(lambda: Tensor(X)[:, -9], ("index",), ("-9",)),
    "too many indices": Use(lambda: Tensor(X)[0, 0, 0], ("index",), ("(0, 0, 0)",)),
    "float index": Use(lambda: Tensor(X)[np.array([0.5])], ("ind",), ("float",)),
    "text index": Use(lambda: Tensor(X)["a"], ("array",), ("'a'", "U1", "str")),
    "index out of range": Use(lambda: Tensor(X)[np.array([0, 99])], ("index",), ("99",)),
    "item": Use(lambda: Tensor(X).item(), ("item",), ("(12, 4)",)),
    "float of many": Use(lambda: float(Tensor(X)), ("item", "float"), ("(12, 4)",)),
    "bool of many": Use(lambda: bool(Tensor(X)), ("truth",), ("(12, 4)",)),
    "range of a float": Use(lambda: range(Tensor(2.5)), ("index",), ("f32[]", "float32")),
    "len of a scalar": Use(lambda: len(Tensor(2.5)), ("len",), ("()", "axes")),
    "backward": Use(lambda: Tensor(X, requires_grad=True).backward(), ("backward",), ("(12, 4)",)),
    "backward of a constant": Use(lambda: Tensor(1.0).backward(), ("backward",), ("requires",)),
    "gradient of ints": Use(
        lambda: Tensor(T, requires_grad=True), ("gradient", "requires_grad"), ("int64",)
    ),
    "astype": Use(lambda: Tensor(X).astype("float16"), ("dtype",), ("float16",)),
    "max of text": Use(lambda: Tensor(X).max("a"), ("array",), ("U1",)),
    "no_grad without call": Use(lambda: mynn.no_grad.__enter__(), ("no_grad",), ("no_grad():",)),
    "new data": Use(lambda: setattr(nn.Linear(2, 3).weight, "data", X), ("weight",), ("(12, 4)",)),
    "grad positions": Use(lambda: mynn.grad(lambda x: x.sum(), argnums=3)(X), ("argnums",), ("3",)),
    "grad of ints": Use(lambda: mynn.grad(lambda x: x.sum())(T), ("argument 0",), ("int64",)),
    "grad of many": Use(lambda: mynn.grad(lambda x: x * 2)(X), ("grad",), ("[12,4]", "(12, 4)")),
}


def traced(function: Callable[[Tensor], Any]) -> Callable[[], Any]:
    """A compiled call of a function."""
    return lambda: mynn.compile(function)(X)


TRACED: dict[str, Use] = {
    "np.fft": Use(traced(lambda x: np.fft.fft(x)), ("np.fft.fft",), ("mynn's functions",)),
    "np.unwrap": Use(traced(lambda x: np.unwrap(x)), ("np.unwrap",), ("methods",)),
    "float": Use(traced(lambda x: float(x.sum())), ("float",), ("traced",)),
    "int": Use(traced(lambda x: int(x.sum())), ("int",), ("traced",)),
    "if": Use(traced(lambda x: x if x.sum() > 0 else -x), ("truth",), ("traced",)),
    "range": Use(traced(lambda x: sum(range(x.sum().astype(np.int64)))), ("value",), ("traced",)),
    "item": Use(traced(lambda x: x.sum().item()), ("value",), ("trac",)),
    "numpy": Use(traced(lambda x: x.numpy()), ("value",), ("trac",)),
    "data": Use(traced(lambda x: x.numpy()), ("value",), ("trac",)),
    "mask": Use(traced(lambda x: x[x > 0]), ("mask", "ind"), ("bool", "mask")),
    "returns a text": Use(traced(lambda x: "x"), ("returns", "returned"), ("str",)),
    "arguments": Use(lambda: mynn.compile(lambda x: x)(X, X), ("lambda",), ("2",)),
    "no argument": Use(lambda: mynn.compile(lambda x: x)(), ("'x'",), ("without",)),
    "unknown": Use(lambda: mynn.compile(lambda x: x)(X, y=1), ("y",), ("1",)),
    "backend": Use(lambda: mynn.compile(lambda x: x, backend="gpu"), ("backend",), ("'gpu'",)),
    "threads": Use(lambda: mynn.compile(lambda x: x, threads=0), ("threads",), ("0",)),
    "many threads": Use(lambda: mynn.compile(lambda x: x, threads=5000), ("threads",), ("5000",)),
    "threads text": Use(lambda: mynn.compile(lambda x: x, threads="all"), ("threads",), ("'all'",)),
    "not a function": Use(lambda: mynn.compile(3), ("compile",), ("int", "3")),
}
