"""PyTorch's own sample inputs of its modules, run through ours.

`check(name)` makes the module of PyTorch and ours with the same arguments, copies the state dict,
and compares outputs, buffers, and gradients of inputs and parameters, in training and in `eval`,
in float32 and float64; samples that are said to fail must be refused. One module alone:

    python -m tests.torch_db.modules Conv2d GELU
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

import mynn
from mynn import nn
from mynn.core.types import Array
from mynn.errors import MynnError
from mynn.tensor import Tensor
from tests.subset import count
from tests.torch_db import databases, reseed

DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 2e-5, "float64": 1e-9}

# So many samples of a module are enough; they are spread over all that there are.
MOST = 60 if __name__ == "__main__" else count(60, 3)

# Modules that are not there, with the reason.
LEFT_OUT: dict[str, str] = {}
# Samples that differ on purpose: module, a part of the problem's text, the reason.
KNOWN: tuple[tuple[str, str, str], ...] = (
    ("BatchNorm1d", "eps must be positive", "an eps of 0 is a number like others"),
    ("BatchNorm2d", "eps must be positive", "an eps of 0 is a number like others"),
    ("BatchNorm3d", "eps must be positive", "an eps of 0 is a number like others"),
    ("RNN", "does not match weight dtype", "all layers convert their input"),
    ("LSTM", "does not match weight dtype", "all layers convert their input"),
    ("GRU", "does not match weight dtype", "all layers convert their input"),
)


def database() -> tuple[Any, dict[str, Any]]:
    """PyTorch, and its list of modules by name."""
    import torch

    torch.set_num_threads(1)
    found = databases("common_modules").module_db
    return torch, {info.module_cls.__name__: info for info in found}


def converted(torch: Any, value: Any, made: list[Tensor] | None = None) -> Any:
    """PyTorch's tensors and dtypes as ours, also inside of lists, tuples and dictionaries."""
    if isinstance(value, torch.Tensor):
        array = value.detach().numpy().copy()
        trained = value.requires_grad and value.is_leaf
        ours = Tensor(array, requires_grad=trained)
        if made is not None and trained:
            made.append(ours)
        return ours
    if isinstance(value, torch.dtype):
        return np.dtype(str(value).removeprefix("torch."))
    if type(value) in (list, tuple):
        return type(value)(converted(torch, one, made) for one in value)
    if isinstance(value, dict):
        return {key: converted(torch, one, made) for key, one in value.items()}
    if isinstance(value, torch.nn.TransformerEncoderLayer):
        return _encoder_layer(value)
    if callable(value) and not isinstance(value, type):
        return getattr(nn.functional, getattr(value, "__name__", ""), value)
    return value


def _encoder_layer(theirs: Any) -> Any:
    """A layer made as PyTorch's; the state comes later."""
    return nn.TransformerEncoderLayer(
        *(theirs.linear1.in_features, theirs.self_attn.num_heads, theirs.linear1.out_features),
        *(theirs.dropout.p, theirs.activation.__name__, theirs.norm1.eps),
        batch_first=theirs.self_attn.batch_first,
        norm_first=theirs.norm_first,
        bias=theirs.linear1.bias is not None,
    )


def _leaves(torch: Any, value: Any) -> Iterator[Any]:
    if isinstance(value, torch.Tensor):
        if value.requires_grad and value.is_leaf:
            yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(torch, one)
    elif isinstance(value, dict):
        yield from _leaves(torch, list(value.values()))


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for one in value for leaf in _flat(one)]
    return [value]


def _weights(shape: tuple[int, ...]) -> Array:
    return np.asarray(np.random.default_rng(5).uniform(0.5, 1.5, shape))


def _their_results(torch: Any, module: Any, args: Any, kwargs: Any) -> dict[str, Array]:
    leaves = list(_leaves(torch, [args, kwargs]))
    for leaf in (*leaves, *module.parameters()):
        leaf.grad = None
    outputs = _flat(module(*args, **kwargs))
    floats = [y for y in outputs if y.requires_grad]
    if floats:
        total = sum(
            (y * torch.tensor(_weights(tuple(y.shape)), dtype=y.dtype)).sum() for y in floats
        )
        total.backward()
    found = {f"output {i}": y for i, y in enumerate(outputs)}
    for i, leaf in enumerate(leaves):
        found[f"gradient of input {i}"] = _or_zeros(torch, leaf)
    for name, parameter in module.named_parameters():
        found[f"gradient of {name}"] = _or_zeros(torch, parameter)
    found |= {f"buffer {name}": buffer for name, buffer in module.named_buffers()}
    return {key: value.detach().numpy().copy() for key, value in found.items()}


def _or_zeros(torch: Any, x: Any) -> Any:
    return torch.zeros_like(x) if x.grad is None else x.grad.to_dense()


def _our_results(module: Any, args: Any, kwargs: Any, leaves: list[Tensor]) -> dict[str, Array]:
    for leaf in (*leaves, *module.parameters()):
        leaf.grad = None
    outputs = _flat(module(*args, **kwargs))
    floats = [y for y in outputs if y.requires_grad]
    if floats:
        parts = [(y * _weights(y.shape).astype(y.dtype)).sum() for y in floats]
        sum(parts[1:], start=parts[0]).backward()
    found: dict[str, Any] = {f"output {i}": y for i, y in enumerate(outputs)}
    zeros = {id(x): Tensor(np.zeros(x.shape, x.dtype)) for x in (*leaves, *module.parameters())}
    for i, leaf in enumerate(leaves):
        found[f"gradient of input {i}"] = zeros[id(leaf)] if leaf.grad is None else leaf.grad
    for name, one in module.named_parameters():
        found[f"gradient of {name}"] = zeros[id(one)] if one.grad is None else one.grad
    found |= {f"buffer {name}": buffer for name, buffer in module.named_buffers()}
    return {key: np.array(value.data) for key, value in found.items()}


def _compared(theirs: dict[str, Array], ours: dict[str, Array], dtype: str) -> Iterator[str]:
    if theirs.keys() != ours.keys():
        yield f"{list(ours)} instead of {list(theirs)}"
        return
    for key, expected in theirs.items():
        got = ours[key]
        if got.shape != expected.shape or got.dtype != expected.dtype:
            yield f"{key}: {got.dtype}{got.shape} instead of {expected.dtype}{expected.shape}"
        elif not np.allclose(
            got, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], equal_nan=True
        ):
            worst = np.nanmax(np.abs(got.astype(float) - expected))
            yield f"{key}: differs by {worst:.2g}"


def samples(torch: Any, info: Any, dtype: str, training: bool) -> list[Any]:
    """PyTorch's samples of one module."""
    reseed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(
            info.module_inputs_func(
                info,
                device="cpu",
                dtype=getattr(torch, dtype),
                requires_grad=True,
                training=training,
            )
        )
    found = [sample for sample in found if sample.forward_input is not None]
    return found[:: -(-len(found) // MOST)]


def pair(torch: Any, info: Any, sample: Any, dtype: str, training: bool) -> tuple[Any, Any]:
    """PyTorch's module and ours, with the same state."""
    given = sample.constructor_input
    theirs = info.module_cls(*given.args, **given.kwargs).to(getattr(torch, dtype))
    kind = getattr(nn, info.module_cls.__name__)
    ours = kind(*converted(torch, given.args), **converted(torch, given.kwargs))
    ours = ours.to(np.dtype(dtype))
    theirs.train(training)
    ours.train(training)
    if info.is_lazy:
        args, kwargs = sample.forward_input.args, sample.forward_input.kwargs
        theirs(*args, **kwargs)
        ours(*converted(torch, args), **converted(torch, kwargs))
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state), (list(ours.state_dict()), list(state))
    ours.load_state_dict(state)
    return theirs, ours


def _run(torch: Any, info: Any, sample: Any, dtype: str, training: bool) -> Iterator[str]:
    theirs, ours = pair(torch, info, sample, dtype, training)
    args, kwargs = sample.forward_input.args, sample.forward_input.kwargs
    leaves: list[Tensor] = []
    our_args, our_kwargs = converted(torch, args, leaves), converted(torch, kwargs, leaves)
    if repr(ours) != repr(theirs):
        yield f"printed as {ours!r} instead of {theirs!r}"
    expected = _their_results(torch, theirs, args, kwargs)
    yield from _compared(expected, _our_results(ours, our_args, our_kwargs, leaves), dtype)


def check(torch: Any, info: Any) -> list[str]:
    """What is wrong with our module."""
    problems = []
    for training in (True, False) if info.train_and_eval_differ else (True,):
        for dtype in DTYPES:
            for number, sample in enumerate(samples(torch, info, dtype, training)):
                given = sample.constructor_input
                where = f"{number} {dtype} {given.args} {given.kwargs}"[:150]
                try:
                    problems += [
                        f"{where}: {one}" for one in _run(torch, info, sample, dtype, training)
                    ]
                except Exception as error:
                    problems.append(f"{where}: {type(error).__name__}: {error}")
    problems += _refusals(torch, info)
    return [one for one in problems if not known(info.module_cls.__name__, one)]


def _refusals(torch: Any, info: Any) -> Iterator[str]:
    """What PyTorch refuses is refused."""
    if info.module_error_inputs_func is None:
        return
    reseed(3)
    wrong = info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float32, requires_grad=False, training=True
    )
    for number, one in enumerate(wrong):
        sample = one.module_error_input
        given, called = sample.constructor_input, sample.forward_input
        try:
            kind = getattr(nn, info.module_cls.__name__)
            module = kind(*converted(torch, given.args), **converted(torch, given.kwargs))
            if called is not None:
                module(*converted(torch, called.args), **converted(torch, called.kwargs))
        except MynnError:
            continue
        except Exception as error:
            yield f"refusal {number}: raw {type(error).__name__}: {error}"
        else:
            yield f"refusal {number}: not refused; PyTorch: {one.error_regex}"


def known(name: str, problem: str) -> bool:
    """Whether it differs on purpose."""
    return any(name == one and part in problem for one, part, _ in KNOWN)


def compiled(torch: Any, info: Any) -> list[str]:
    """What is wrong with one sample as a program."""
    sample = samples(torch, info, "float32", True)[0]
    _, module = pair(torch, info, sample, "float32", False)
    args = converted(torch, sample.forward_input.args)
    kwargs = converted(torch, sample.forward_input.kwargs)
    expected = _flat(module(*args, **kwargs))
    got = _flat(mynn.compile(lambda: module(*args, **kwargs))())
    return [
        f"compiled: output {i} differs"
        for i, (a, b) in enumerate(zip(got, expected, strict=True))
        if not np.allclose(a, b.data, rtol=2e-5, atol=2e-5, equal_nan=True)
    ]


def main(names: list[str]) -> None:
    """Print what is wrong with the modules of these names; with none, of all."""
    torch, infos = database()
    right = 0
    for name in names or infos:
        if not hasattr(nn, name):
            print(f"{name}: not there" + (f" ({LEFT_OUT[name]})" if name in LEFT_OUT else ""))
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problems = [*check(torch, infos[name])]
            if not problems:
                problems = compiled(torch, infos[name])
        right += not problems
        if problems:
            print(f"{name}: {len(problems)} wrong")
        for problem in problems[: 3 if not names else 12]:
            print("   ", problem[:400])
    print(f"{right} of {len(names or infos)} right")


if __name__ == "__main__":
    main(sys.argv[1:])
