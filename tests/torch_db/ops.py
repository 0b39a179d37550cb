"""One operation on PyTorch's own sample inputs: values, dtypes, shapes, gradients, compiled code.

`python -m tests.torch_db NAME...` prints what differs.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import mynn
from mynn import Tensor
from mynn.errors import MynnError
from mynn.tensor import as_tensor
from tests.subset import count
from tests.torch_db import databases, reseed
from tests.torch_db.known import RANDOM

DTYPES = ("float32", "float64", "int64", "bool")
# At most so many samples, evenly chosen, of each dtype; the first of these are differentiated.
SAMPLES, GRADIENTS, ERRORS = count(12, 2), count(6, 1), 40
# Of so many operations one is compiled; all of ours are in `tests/functional`.
COMPILED_ONE_IN = count(1, 3)
TOLERANCE = {"float32": (3e-5, 2e-5), "float64": (1e-7, 1e-7)}


# Operations that `op_db` calls otherwise than users do.
ADAPTED: dict[str, Callable[..., Any]] = {
    "einsum": lambda f, tensors, equation: f(equation, tensors),
    "where": lambda f, x, condition, y: f(condition, x, y),
    "polygamma": lambda f, x, n: f(n, x),
    "nn.functional.embedding": lambda f, w, x, **options: f(x, w, **options),
    "nn.functional.embedding_bag": lambda f, w, x, **options: f(x, w, **options),
    "special.polygamma": lambda f, x, n: f(n, x),
    "zero_": lambda f, x: f(x + 0 if x.dtype.kind == "f" else Tensor(x)),
}


class NotHere(Exception):
    """A sample that has no counterpart: sparse, complex, on another device."""


@dataclass
class Report:
    """What came of an operation: how many samples were right, and what differs."""

    name: str
    right: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def fail(self, kind: str, text: str) -> None:
        self.failures.append((kind, text))
        self.counts[kind] += 1


def find(op: Any) -> Callable[..., Any] | None:
    """Our function of that name, or our method."""
    path, _, name = op.name.rpartition(".")
    if path == "nn.functional":
        home: Any = mynn.functional
    elif path:
        try:
            home = importlib.import_module(f"mynn.{path}")
        except ModuleNotFoundError:
            return None
    else:
        home = mynn
        if name[0] == "_" or isinstance(getattr(home, name, None), type | np.dtype | None):
            home = Tensor
    found = getattr(home, name, None)
    if op.name in ADAPTED:
        return functools.partial(ADAPTED[op.name], found)
    if isinstance(found, property):
        return lambda x: getattr(x, name)
    return found if callable(found) else None


def ours(value: Any) -> Any:
    """A value of PyTorch as one of ours."""
    import torch

    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_complex() or value.device.type != "cpu":
            raise NotHere
        if str(value.dtype).removeprefix("torch.") not in ("uint8", "int32", *DTYPES):
            raise NotHere
        x = Tensor(value.detach().numpy())
        x.requires_grad = value.requires_grad
        return x
    if isinstance(value, torch.dtype):
        name = str(value).removeprefix("torch.")
        if name not in ("uint8", "int32", *DTYPES):
            raise NotHere
        return np.dtype(name)
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, torch.memory_format | torch.layout | torch.Generator):
        raise NotHere
    if isinstance(value, complex):
        raise NotHere
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return tuple(ours(one) for one in value)
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, list | tuple):
        return type(value)(ours(one) for one in value)
    if isinstance(value, dict):
        return {name: ours(one) for name, one in value.items()}
    return value


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for one in value for leaf in _leaves(one)]
    if isinstance(value, dict):
        return _leaves(list(value.values()))
    return [value]


def _weights(shape: tuple[int, ...]) -> Any:
    return np.cos(np.arange(int(np.prod(shape)))).reshape(shape) + 0.1


def _arrays(result: Any) -> list[Any]:
    arrays = []
    for leaf in _leaves(result):
        if hasattr(leaf, "detach"):
            arrays.append(leaf.detach().numpy())
        elif str(type(leaf)) == "<class 'torch.dtype'>":
            arrays.append(np.array(str(leaf).removeprefix("torch.")))
        elif isinstance(leaf, np.dtype):
            arrays.append(np.array(leaf.name))
        else:
            arrays.append(np.asarray(leaf))
    return arrays


def _torch_grads(result: Any, inputs: list[Any]) -> list[Any]:
    import torch

    outs = [y for y in _leaves(result) if isinstance(y, torch.Tensor) and y.requires_grad]
    total = sum((y * torch.tensor(_weights(tuple(y.shape)), dtype=y.dtype)).sum() for y in outs)
    grads = torch.autograd.grad(total, inputs, allow_unused=True)
    return [
        np.zeros(tuple(x.shape)) if g is None else g.numpy()
        for x, g in zip(inputs, grads, strict=True)
    ]


def _our_grads(result: Any, inputs: list[Any]) -> list[Any]:
    outs = [y for y in _leaves(result) if isinstance(y, Tensor) and y.requires_grad]
    if outs:
        total: Any = sum((y * _weights(y.shape).astype(y.dtype)).sum() for y in outs)
        total.backward()
    return [np.zeros(x.shape) if x.grad is None else x.grad.numpy() for x in inputs]


def _differs(got: list[Any], expected: list[Any], dtype: str, random: bool) -> tuple[str, str]:
    """The first difference: its kind and what it is; two empty texts where there is none."""
    if len(got) != len(expected):
        return "values", f"{len(got)} results, not {len(expected)}"
    for a, b in zip(got, expected, strict=True):
        if a.shape != b.shape:
            return "shape", f"{a.shape}, not {b.shape}"
        if a.dtype != b.dtype and b.dtype.kind != "U":
            return "dtype", f"{a.dtype}, not {b.dtype}"
        if random:
            continue
        rtol, atol = TOLERANCE.get(str(b.dtype), TOLERANCE.get(dtype, (0, 0)))
        if b.dtype.kind == "U":
            same = bool(np.array_equal(a, b))
        else:
            same = bool(np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True))
        if not same:
            with np.printoptions(threshold=12, precision=6):
                return "values", " ".join(f"{a}, not {b}".split())[:300]
    return "", ""


def _shown(sample: Any) -> str:
    def text(value: Any) -> str:
        if hasattr(value, "shape"):
            return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
        if isinstance(value, list | tuple):
            return f"({', '.join(map(text, value))})"
        return repr(value)

    named = [f"{name}={text(one)}" for name, one in sample.kwargs.items()]
    return f"({', '.join([text(sample.input), *map(text, sample.args), *named])})"


def _chosen(samples: list[Any], count: int) -> list[Any]:
    """Some of them, spread evenly, the first among them."""
    step = max(1, -(-len(samples) // count))
    return samples[::step]


def _reseeded(samples: Iterator[Any]) -> Iterator[Any]:
    """Samples as `op.sample_inputs` gives them, which looks at the whole stack for each."""
    while True:
        reseed(1234)
        try:
            sample = next(samples)
        except StopIteration:
            return
        yield sample


def _samples(op: Any, dtype: str, grad: bool) -> list[Any]:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = iter(op.sample_inputs_func(op, "cpu", getattr(torch, dtype), grad))
        return _chosen(list(itertools.islice(_reseeded(made), 200)), SAMPLES)


class Checker:
    """One entry of `op_db` beside our function."""

    def __init__(self, op: Any, function: Callable[..., Any]) -> None:
        self.op, self.function = op, function
        label = f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name
        self.report = Report(label)
        self.random = op.name in RANDOM
        self.is_compiled = zlib.crc32(label.encode()) % COMPILED_ONE_IN == 0

    def run(self) -> Report:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            for dtype in self.dtypes():
                self.samples(dtype)
            self.errors()
        return self.report

    def dtypes(self) -> Iterator[str]:
        import torch

        supported = self.op.supported_dtypes("cpu")
        return (dtype for dtype in DTYPES if getattr(torch, dtype) in supported)

    def samples(self, dtype: str) -> None:
        import torch

        grad = dtype == "float64" and self.op.supports_autograd and not self.random
        compiled = self.is_compiled and dtype == next(self.dtypes())
        differentiated = 0
        for sample in _samples(self.op, dtype, grad):
            given = [sample.input, list(sample.args), dict(sample.kwargs)]
            leaves = [x for x in _leaves(given) if isinstance(x, torch.Tensor) and x.requires_grad]
            try:
                expected = self.op(sample.input, *sample.args, **sample.kwargs)
            except Exception:  # whatever PyTorch itself does not do
                continue
            try:
                theirs = _arrays(expected)
                mine = ours(given)
            except (NotHere, TypeError, RuntimeError, ValueError):
                continue
            shown = f"{dtype} {_shown(sample)}"
            try:
                result = self.function(mine[0], *mine[1], **mine[2])
                got = _arrays(result)
            except MynnError as error:
                self.report.fail("refused", f"{shown}: {error}")
                continue
            except Exception as error:
                self.report.fail("raw error", f"{shown}: {error!r}")
                continue
            kind, what = _differs(got, theirs, dtype, self.random)
            if kind:
                self.report.fail(kind, f"{shown}: {what}")
                continue
            good = True
            if grad and leaves and differentiated < GRADIENTS:
                differentiated += 1
                good = self.gradients(shown, expected, result, leaves, mine, dtype)
            if compiled and good:
                # The first that compiles at all; samples without tensors are not tried.
                compiled = not self.compiled(shown, mine, theirs, dtype)
            self.report.right += good

    def gradients(
        self, shown: str, expected: Any, result: Any, leaves: list[Any], mine: Any, dtype: str
    ) -> bool:
        inputs = [x for x in _leaves(mine) if isinstance(x, Tensor) and x.requires_grad]
        try:
            theirs = _torch_grads(expected, leaves)
        except Exception:  # not all results of PyTorch can be differentiated
            return True
        try:
            got = _our_grads(result, inputs)
        except Exception as error:
            self.report.fail("gradient", f"{shown}: {error!r}")
            return False
        kind, what = _differs(got, theirs, dtype, False)
        if kind:
            self.report.fail("gradient", f"{shown}: {what}")
        return not kind

    def compiled(self, shown: str, mine: Any, theirs: list[Any], dtype: str) -> bool:
        """Whether it was tried."""
        tensors = [x for x in _leaves(mine) if isinstance(x, Tensor)]
        if not tensors or not all(x.numel() for x in tensors):
            return False

        def put(value: Any, given: Iterator[Any]) -> Any:
            if isinstance(value, list | tuple):
                return type(value)([put(one, given) for one in value])
            if isinstance(value, dict):
                return {name: put(one, given) for name, one in value.items()}
            return next(given) if isinstance(value, Tensor) else value

        def call(*given: Any) -> Any:
            input, args, kwargs = put(mine, iter(given))
            result = _leaves(self.function(input, *args, **kwargs))
            return tuple(as_tensor(one) for one in result)

        try:
            got = [
                np.asarray(y) for y in mynn.compile(call)(*(x.detach().numpy() for x in tensors))
            ]
        except Exception as error:
            kind = "refused in a trace" if isinstance(error, MynnError) else "compiled"
            self.report.fail(kind, f"{shown}: {error!r}")
            return True
        kind, what = _differs(got, theirs, dtype, self.random)
        if kind:
            self.report.fail("compiled", f"{shown}: {kind} {what}")
        return True

    def errors(self) -> None:
        """What PyTorch refuses is refused, and with words."""
        if self.op.error_inputs_func is None:
            return
        try:
            listed = list(itertools.islice(self.op.error_inputs_func(self.op, "cpu"), ERRORS))
        except Exception:  # samples for other devices
            return
        for one in listed:
            sample = one.sample_input
            if "out" in sample.kwargs:
                continue  # memory that overlaps
            try:
                mine = ours([sample.input, list(sample.args), dict(sample.kwargs)])
            except (NotHere, TypeError, RuntimeError, ValueError):
                continue
            try:
                self.op(sample.input, *sample.args, **sample.kwargs)
            except Exception as error:  # as it should be
                reason = " ".join(str(error).split())[:90]
            else:
                continue
            shown = _shown(sample)
            try:
                self.function(mine[0], *mine[1], **mine[2])
            except MynnError:
                self.report.counts["refusals"] += 1
            except Exception as error:
                self.report.fail("raw error", f"{shown}: {error!r}")
            else:
                if "must be Tensor, not" in reason or isinstance(sample.input, int | float):
                    continue  # numbers and lists are taken where tensors are
                self.report.fail("accepted", f"{shown}: PyTorch says {reason}")


def database() -> list[Any]:
    """All entries of PyTorch's `op_db`."""
    return list(databases("common_methods_invocations").op_db)


def entries(*names: str) -> list[Any]:
    """Entries of `op_db`: those of these names, or those that we have."""
    op_db = database()
    return [op for op in op_db if (op.name in names if names else find(op) is not None)]


def check(op: Any) -> Report:
    """The report of one entry that we have."""
    function = find(op)
    assert function is not None
    mynn.programs().clear()
    return Checker(op, function).run()
