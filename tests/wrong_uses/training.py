"""Wrong uses of `fit`, optimisers, losses and state dicts; PyTorch's own objects."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import mynn
from mynn import Tensor, nn, optim
from mynn import functional as F
from tests.wrong_uses.calls import IMAGES, T, Use, X, make_net


def fits() -> Iterator[tuple[str, Use]]:
    """`fit`, `evaluate` and `predict`."""
    net, _, step = make_net()

    def fit(*data: Any, **named: Any) -> Callable[[], Any]:
        return lambda: mynn.fit(step, *data, verbose=False, **named)

    numbers = (0, -1, 1.5, "many", None)
    for name in ("epochs", "batch_size"):
        for value in numbers:
            yield (
                f"fit({name}={value!r})",
                Use(fit((X, T), **{name: value}), (name,), (str(value),)),
            )
    for name in ("shuffle", "drop_last", "check_finite"):
        for wrong in ("no", 3, None):
            yield (
                f"fit({name}={wrong!r})",
                Use(fit((X, T), **{name: wrong}), (name,), (str(wrong),)),
            )
    cases: dict[str, Use] = {
        "epochs": Use(fit((X, T), epochs=10**12), ("epochs",), (str(10**12),)),
        "seed": Use(fit((X, T), seed="abc"), ("seed",), ("'abc'",)),
        "shuffle array": Use(fit((X, T), shuffle=np.arange(12)), ("shuffle",), ("(12,)",)),
        "threads": Use(fit((X, T), threads=1), ("threads",), ("1",)),
        "learning rate": Use(fit((X, T), lr=0.1), ("lr",), ("0.1",)),
        "epoch": Use(fit((X, T), epoch=3), ("epoch",), ("3",)),
        "two arrays": Use(fit(X, T), ("fit",), ("3", "tuple")),
        "network": Use(lambda: mynn.fit(net, (X, T)), ("fit",), ("Sequential",)),
        "step": Use(lambda: mynn.fit("step", (X, T)), ("compile", "step"), ("str",)),
        "no data": Use(fit(()), ("data",), ("no data",)),
        "lengths": Use(fit((X, T[:5])), ("data",), ("12, 5",)),
        "few arrays": Use(fit((X,)), ("data", "'t'"), ("1 array",)),
        "many arrays": Use(fit((X, T, T)), ("data",), ("3 arrays",)),
        "nan": Use(fit((X * np.nan, T)), ("data array 0",), ("nan",)),
        "scalar": Use(fit((X, np.float32(1.0))), ("data array 1",), ("()",)),
        "empty": Use(fit((X[:0], T[:0])), ("data",), ("no samples",)),
        "labels": Use(fit((X, T + 5)), ("label", "cross_entropy"), ("5", "6", "7")),
        "features": Use(fit((X[:, :3], T)), ("layer '0'", "Linear"), ("(12, 3)",)),
        "callbacks": Use(fit((X, T), callbacks=[3]), ("callback",), ("3",)),
        "record": Use(fit((X, T), record="all"), ("record",), ("'all'",)),
        "metric": Use(lambda: mynn.fit(step, (X, T), verbose=False)["acc"], ("acc",), ("loss",)),
        "evaluate": Use(lambda: mynn.evaluate(net, X), ("evaluate",), ("(12, 3)",)),
        "evaluate nothing": Use(
            lambda: mynn.evaluate(lambda x: None, X), ("evaluate",), ("nothing",)
        ),
        "evaluate size": Use(lambda: mynn.evaluate(net, X, batch_size=0), ("batch_size",), ("0",)),
        "predict": Use(lambda: mynn.predict(lambda x: x.sum(), X), ("predict",), ("()",)),
        "predict unknown": Use(lambda: mynn.predict(net, X, batch=3), ("batch",), ("3",)),
        "predict rows": Use(lambda: mynn.predict(net, X[:, :2]), ("layer '0'",), ("(12, 2)",)),
        "Record": Use(lambda: mynn.Record(every=0), ("every",), ("0",)),
        "manual_seed": Use(lambda: mynn.manual_seed("abc"), ("seed",), ("'abc'",)),
        "manual_seed float": Use(lambda: mynn.manual_seed(1.5), ("seed",), ("1.5",)),
        "Generator": Use(lambda: mynn.Generator("abc"), ("seed",), ("'abc'",)),
    }
    yield from ((f"fit: {name}", use) for name, use in cases.items())


OPTIONS: dict[str, tuple[Any, ...]] = {
    "lr": (-1.0, "fast", None, float("nan")),
    "momentum": (-0.5, "much"),
    "dampening": ("some", float("inf")),
    "weight_decay": (-0.1, "l2"),
    "nesterov": ("yes",),
    "maximize": ("yes", 3),
    "betas": (0.9, (0.9,), (0.9, 1.0), ("a", "b")),
    "eps": (-1.0, "small"),
    "amsgrad": ("yes",),
}


def optimizers() -> Iterator[tuple[str, Use]]:
    """Each option of each optimiser, and what is no list of parameters."""
    net, _, _ = make_net()
    for name in ("SGD", "Adam", "AdamW"):
        kind = getattr(optim, name)
        for option in inspect.signature(kind.__init__).parameters:
            for value in OPTIONS.get(option, ()):
                shows = tuple({str(value), repr(value), str(np.float64(-1.0))})
                if isinstance(value, tuple):
                    shows = (*shows, *map(str, value))
                yield (
                    f"{name}({option}={value!r})",
                    Use(
                        lambda k=kind, o=option, v=value: k(net.parameters(), **{o: v}),
                        (option,),
                        shows,
                    ),
                )
        wrong: dict[str, tuple[Any, str]] = {
            "method": (net.parameters, "method"),
            "network": (net, "Linear"),
            "nothing": ([], "empty"),
            "None": (None, "None"),
            "text": ("weights", "weights"),
            "numbers": ([1.0, 2.0], "1.0"),
            "arrays": ([X], "(12, 4)"),
            "integers": ([Tensor(T)], "int64"),
        }
        for what, (params, shows_) in wrong.items():
            yield (
                f"{name}: params are {what}",
                Use(lambda k=kind, p=params: k(p, lr=0.1), ("param",), (shows_,)),
            )
        yield (
            f"{name}(unknown)",
            Use(
                lambda k=kind: k(net.parameters(), learning_rate=0.1), ("learning_rate",), ("0.1",)
            ),
        )


def losses() -> Iterator[tuple[str, Use]]:
    """Losses with targets that do not fit."""
    z = np.zeros((4, 3), np.float32)
    cases: dict[str, Use] = {
        "label above": Use(lambda: F.cross_entropy(z, [0, 1, 2, 3]), ("cross_entropy",), ("3",)),
        "label below": Use(lambda: F.cross_entropy(z, [0, 1, -1, 2]), ("cross_entropy",), ("-1",)),
        "labels' shape": Use(lambda: F.cross_entropy(z, [0, 1]), ("cross_entropy",), ("(2,)",)),
        "one axis": Use(
            lambda: F.cross_entropy(np.zeros((), np.float32), 0), ("cross_entropy",), ("()",)
        ),
        "weight": Use(
            lambda: F.cross_entropy(z, [0, 1, 2, 0], weight=[1.0]), ("weight",), ("(1,)",)
        ),
        "reduction": Use(
            lambda: F.cross_entropy(z, [0, 1, 2, 0], reduction="avg"), ("reduction",), ("avg",)
        ),
        "smoothing": Use(
            lambda: F.cross_entropy(z, [0, 1, 2, 0], label_smoothing=-1.0), ("smoothing",), ("-1",)
        ),
        "nll label": Use(lambda: F.nll_loss(z, [0, 1, 9, 0]), ("nll_loss",), ("9",)),
        "nll shape": Use(lambda: F.nll_loss(z, [0]), ("nll_loss",), ("(1,)",)),
        "mse shape": Use(
            lambda: F.mse_loss(z, np.zeros((5, 3), np.float32)), ("mse_loss",), ("(5, 3)",)
        ),
        "bce shape": Use(
            lambda: F.binary_cross_entropy_with_logits(z, np.zeros((5, 3), np.float32)),
            ("binary_cross_entropy_with_logits",),
            ("(5, 3)",),
        ),
        "one_hot": Use(lambda: F.one_hot(np.array([0, 4]), 3), ("one_hot",), ("4",)),
        "one_hot floats": Use(lambda: F.one_hot(np.array([0.5]), 3), ("one_hot",), ("f64[1]",)),
        "softmax axis": Use(lambda: F.softmax(z, 2), ("softmax", "amax", "axis"), ("2",)),
        "dropout": Use(lambda: F.dropout(z, 1.5), ("p",), ("1.5",)),
        "linear": Use(
            lambda: F.linear(z, np.zeros((2, 4), np.float32)), ("linear",), ("(4, 3)", "(2, 4)")
        ),
        "conv2d": Use(
            lambda: F.conv2d(IMAGES, np.zeros((3, 5, 2, 2), np.float32)), ("conv2d",), ("5",)
        ),
        "stack": Use(lambda: F.stack([z, z[:2]]), ("stack", "concatenate"), ("2", "(1, 2, 3)")),
        "cat empty": Use(lambda: F.cat([]), ("concatenate", "cat"), ("empty",)),
        "cat": Use(lambda: F.cat([z, z[:, :2]]), ("concatenate", "cat"), ("(4, 2)",)),
        "cat axis": Use(lambda: F.cat([z, z], 3), ("concatenate", "cat"), ("3",)),
        "where": Use(lambda: mynn.where(z, z, z), ("where",), ("f32", "float32")),
        "maximum": Use(lambda: F.maximum(z, np.zeros((2, 3))), ("maximum",), ("(4, 3)",)),
        "accuracy": Use(lambda: F.accuracy(z, [0, 1]), ("accuracy",), ("(2,)",)),
        "uniform": Use(lambda: mynn.random.uniform((-1,)), ("shape",), ("-1",)),
        "normal": Use(lambda: mynn.random.normal("a"), ("shape", "normal"), ("'a'", "a")),
    }
    yield from ((f"loss or function: {name}", use) for name, use in cases.items())


def states() -> Iterator[tuple[str, Use]]:
    """State dicts and modules put together wrongly."""
    net, optimizer, _ = make_net()
    right = copy.deepcopy(net.state_dict())
    short = {key: value for key, value in right.items() if key != "0.bias"}
    cases: dict[str, Use] = {
        "None": Use(lambda: net.load_state_dict(None), ("load_state_dict",), ("None",)),
        "path": Use(lambda: net.load_state_dict("net.npz"), ("load_state_dict",), ("net.npz",)),
        "missing": Use(lambda: net.load_state_dict(short), ("0.bias",), ("missing", "lack")),
        "unknown": Use(
            lambda: net.load_state_dict({**right, "9.bias": X}),
            ("9.bias",),
            ("unexpected", "9.bias"),
        ),
        "shape": Use(
            lambda: net.load_state_dict({**right, "0.bias": X}), ("0.bias",), ("(12, 4)",)
        ),
        "optimiser None": Use(
            lambda: optimizer.load_state_dict(None), ("load_state_dict",), ("None",)
        ),
        "optimiser empty": Use(
            lambda: optimizer.load_state_dict({}),
            ("load_state_dict", "state"),
            ("param_groups", "{}"),
        ),
        "Sequential list": Use(
            lambda: nn.Sequential([nn.Linear(4, 3)]), ("Sequential",), ("Linear",)
        ),
        "Sequential class": Use(lambda: nn.Sequential(nn.ReLU), ("Sequential",), ("ReLU",)),
        "Sequential function": Use(lambda: nn.Sequential(F.relu), ("Sequential",), ("relu",)),
        "ModuleList": Use(lambda: nn.ModuleList([3]), ("ModuleList",), ("3",)),
        "no forward": Use(lambda: nn.Module()(X), ("forward",), ("Module",)),
        "layer without input": Use(lambda: nn.Linear(2, 3)(), ("input",), ("Linear",)),
        "layer with two inputs": Use(lambda: nn.Linear(4, 3)(X, X), ("Linear",), ("2",)),
        "layer unknown": Use(lambda: nn.Linear(4, 3)(X, scale=2), ("scale",), ("2",)),
        "option": Use(
            lambda: optimizer.param_groups[0].__setitem__("momentun", 0.9),
            ("momentun",),
            ("momentum",),
        ),
        "option value": Use(
            lambda: optimizer.param_groups[0].__setitem__("momentum", -5), ("momentum",), ("-5",)
        ),
        "attribute": Use(
            lambda: setattr(optimizer, "learning_rate", 5), ("learning_rate",), ("lr",)
        ),
    }
    yield from ((f"state or module: {name}", use) for name, use in cases.items())


def torch_uses(torch: Any) -> Iterator[tuple[str, Use]]:
    """What belongs to PyTorch, given to mynn, and the other way round."""
    layer = torch.nn.Linear(4, 3)
    net, _, _ = make_net()
    cases: dict[str, Use] = {
        "module": Use(lambda: nn.Sequential(layer), ("Sequential",), ("PyTorch",)),
        "parameters": Use(lambda: optim.SGD(layer.parameters(), lr=0.1), ("param",), ("PyTorch",)),
        "network": Use(lambda: mynn.fit(layer, (X, T)), ("fit",), ("PyTorch",)),
        "loss": Use(
            lambda: mynn.fit(
                lambda x, t: torch.nn.functional.cross_entropy(net(x), t), (X, T), verbose=False
            ),
            ("cross_entropy",),
            ("mynn",),
        ),
        "function": Use(lambda: torch.relu(Tensor(X)), ("relu",), ("mynn",)),
        "gradient": Use(
            lambda: F.relu(torch.ones(3, requires_grad=True)), ("PyTorch",), ("requires_grad=True",)
        ),
        "bfloat16": Use(
            lambda: F.relu(torch.ones(3, dtype=torch.bfloat16)), ("PyTorch",), ("bfloat16",)
        ),
    }
    yield from ((f"PyTorch's {name}", use) for name, use in cases.items())
