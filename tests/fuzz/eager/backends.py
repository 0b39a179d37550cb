"""What runs a program: mynn at once, mynn on the tape, PyTorch.

A backend gives a program its names and keeps its log. An entry of the log is a tuple: the line, the
kind, and what goes with it; arrays come last.
"""

from __future__ import annotations

import contextlib
import copy
import linecache
import pickle
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np

import mynn
from mynn import nn, optim
from mynn.core.types import Array
from mynn.optim.optimizer import Optimizer
from mynn.tape.gradients.derivative import Derivative
from mynn.tape.pieces import piece
from mynn.tape.pieces.trial import PATIENCE, Trial
from tests.fuzz.eager.statements import Log, Program, text

FILE = "<eager program>"
# Seconds after which threads count as hanging.
_HANGS = 30
# Of `autograd.functional`.
FUNCTIONS = ("hessian", "jacobian", "hvp", "vjp")
# What a program asks PyTorch for, and PyTorch has not: equal to everything.
SKIPPED = "skipped"


class Backend:
    """What mynn and PyTorch share."""

    name = ""
    tensors: tuple[type, ...] = ()
    module: type = object
    optimizer: type = object

    def __init__(self, program: Program) -> None:
        self.program = program
        self.log: Log = []
        self.looks = np.random.default_rng([program.seed, 8])
        self.logging = True
        self.scope: dict[str, Any] = {
            "__name__": FILE,
            "np": np,
            "copy": copy,
            "pickle": pickle,
            "log": self._log,
            "draw": self._draw,
            "labels": self._labels,
            "expected": self._expected,
            "in_thread": lambda function: self._in_threads([function])[0],
            "in_threads": self._in_threads,
            "peek": self._peek,
            "fill": self._fill,
            "numbers": self._numbers,
            "slots": self._slots,
            "show": lambda value: str(value) and None,
        }

    # -- running -----------------------------------------------------------------------------------

    def run(self) -> Log:
        """The log of the program."""
        source = self.program.text
        linecache.cache[FILE] = (len(source), None, source.splitlines(True), FILE)
        with self.active(), np.errstate(all="ignore"):
            line = 0
            for statement in self.program.statements:
                lines = text((statement,))
                code = compile("\n" * line + lines, FILE, "exec")
                line += lines.count("\n")
                try:
                    exec(code, self.scope)
                except Exception as error:
                    self._raised(_line(error), error)
            self._final(line + 1)
        self.scope.clear()
        return self.log

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Around a run."""
        yield

    def _raised(self, line: int, error: Exception) -> None:
        self.log.append((line, "raised", self.kind_of(error), str(error)))

    def kind_of(self, error: Exception) -> str:
        return type(error).__name__

    def _final(self, line: int) -> None:
        """All that is left goes into the log."""
        for name in sorted(self.scope):
            value = self.scope[name]
            if name in ("nn", "optim", "F", "np") or name[0] == "_" or isinstance(value, type):
                continue
            try:
                self._add(line, value, f"at the end, {name}")
                if isinstance(value, self.tensors):
                    self._add(line, self.grad(value), f"at the end, {name}.grad")
                if isinstance(value, self.optimizer):
                    self._add(line, self._slots(value), f"at the end, {name}")
                if isinstance(value, self.module):
                    for key, parameter in value.named_parameters():
                        about = f"at the end, {name}.{key}"
                        self._add(line, parameter.requires_grad, f"{about}.requires_grad")
                        self._add(line, self.grad(parameter), f"{about}.grad")
            except Exception as error:
                self._raised(line, error)

    # -- the log -----------------------------------------------------------------------------------

    def _log(self, *values: Any) -> None:
        line = sys._getframe(1).f_lineno
        for value in values:
            self._add(line, value, "log")

    def _add(self, line: int, value: Any, about: str) -> None:
        """An entry for a value, or for each of those in it; others are left out."""
        if value is None or isinstance(value, str):
            self.log.append((line, "value", about, value))
        elif isinstance(value, bool | int | float | np.generic):
            kind = "scalar" if isinstance(value, np.generic) else type(value).__name__
            self.log.append((line, "number", about, kind, np.asarray(value)))
        elif isinstance(value, np.ndarray):
            self.log.append((line, "array", about, str(value.dtype), value.shape, value.copy()))
        elif isinstance(value, self.tensors):
            flags = (bool(value.requires_grad), bool(value.is_leaf))
            array = self.array(value)
            self.log.append((line, "tensor", about, str(array.dtype), array.shape, *flags, array))
        elif isinstance(value, self.module):
            self._add(line, bool(value.training), f"{about} training")
            self._add(line, self.state(value), f"{about} state")
        elif isinstance(value, dict):
            for key in sorted(map(str, value)):
                self._add(line, value[key], f"{about}[{key}]")
        elif isinstance(value, list | tuple):
            for place, one in enumerate(value):
                self._add(line, one, f"{about}[{place}]")

    def _peek(self) -> None:
        """Look at some of what is there, for nothing."""
        values = [self.scope[name] for name in sorted(self.scope)]
        for value in values:
            if self.looks.random() < 0.5:
                continue
            kind = int(self.looks.integers(4))
            if isinstance(value, self.module):
                if kind < 2:
                    self.state(value)
                else:
                    for parameter in value.parameters():
                        self._look(self.grad(parameter), kind)
            elif isinstance(value, list | tuple):
                for one in value:
                    self._look(one, kind)
            else:
                self._look(value, kind)

    def _look(self, value: Any, kind: int) -> None:
        if isinstance(value, self.tensors):
            pending = getattr(value, "pending", None)
            if pending is not None and pending.error is not None:
                return  # what could not be made says so again
            if kind == 0:
                str(value)
            elif kind == 1:
                value.tolist()
            elif kind == 2:
                self._look(self.grad(value), 0)
            else:
                self.array(value)

    # -- what programs call ------------------------------------------------------------------------

    def _draw(self, number: int, shape: tuple[int, ...], scale: float = 1.0) -> Array:
        rng = np.random.default_rng([self.program.seed, self.program.data, number, 9])
        return np.asarray(scale * rng.normal(size=shape)).astype(self.program.dtype)

    def _labels(self, number: int, count: int, classes: int) -> Array:
        rng = np.random.default_rng([self.program.seed, self.program.data, number, 10])
        return rng.integers(0, classes, count)

    @contextlib.contextmanager
    def _expected(self) -> Iterator[None]:
        """What is raised in the block goes into the log."""
        try:
            yield
        except Exception as error:
            self._raised(_line(error), error)

    def _in_threads(self, functions: list[Callable[[], Any]]) -> list[Any]:
        """What the functions return, each called in a thread of its own."""
        found: dict[int, Any] = {}
        errors: dict[int, Exception] = {}

        def call(place: int, function: Callable[[], Any]) -> None:
            try:
                with np.errstate(all="ignore"):
                    found[place] = function()
            except Exception as error:
                errors[place] = error

        each = enumerate(functions)
        threads = [threading.Thread(target=call, args=one, daemon=True) for one in each]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_HANGS)
            if thread.is_alive():
                raise TimeoutError(f"threads wait for each other, {_HANGS} seconds by now")
        for _, error in sorted(errors.items()):
            raise error
        return [found[place] for place in sorted(found)]

    def _fill(self, net: Any, number: int) -> Any:
        """The module with parameters that follow from the number."""
        for place, (name, parameter) in enumerate(net.named_parameters()):
            drawn = self._draw(1000 * number + place, tuple(parameter.shape))
            if drawn.ndim > 1:
                drawn = drawn / np.sqrt(drawn[0].size)
            else:
                drawn = 0.3 * drawn + name.endswith(("weight", "scale"))
            self.put(parameter, drawn.astype(self.program.dtype))
        return net

    def _numbers(self, value: Any) -> Any:
        """The numbers in a text, which are those of the values it shows."""
        raise NotImplementedError

    def _slots(self, optimizer: Any) -> Any:
        """What an optimiser keeps."""
        raise NotImplementedError

    # -- what they do differently ------------------------------------------------------------------

    def array(self, tensor: Any) -> Array:
        raise NotImplementedError

    def grad(self, tensor: Any) -> Any:
        return tensor.grad

    def put(self, parameter: Any, value: Array) -> None:
        raise NotImplementedError

    def state(self, net: Any) -> dict[str, Array]:
        raise NotImplementedError


def _line(error: Exception) -> int:
    """The program's line that raised."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


class _Typed:
    """`mynn.nn`, whose layers have parameters of another dtype."""

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype

    def __getattr__(self, name: str) -> Any:
        kind = getattr(nn, name)
        annotations = getattr(getattr(kind, "__init__", None), "__annotations__", {})
        if name == "Module" or "dtype" not in annotations or self._dtype == "float32":
            return kind
        return lambda *args, **options: kind(*args, **options, dtype=self._dtype)


class Mynn(Backend):
    """mynn, in one of the modes of `mynn.eager`."""

    tensors = (mynn.Tensor,)
    module = nn.Module
    optimizer = Optimizer

    def __init__(self, program: Program, mode: str = "at once") -> None:
        super().__init__(program)
        self.name = self.mode = mode
        self.scope |= {
            "nn": _Typed(program.dtype),
            "optim": optim,
            "F": mynn.functional,
            "tensor": mynn.tensor,
            "no_grad": mynn.no_grad,
            "given": lambda array: array,
            "shared": mynn.from_numpy,
            "Parameter": nn.Parameter,
            "compiled": mynn.compile,
            "interpreted": lambda function: mynn.compile(function, backend="interpreter"),
            "fit": self._fit,
            "predict": mynn.predict,
            "grad": mynn.autograd.grad,
            "clip_grad_norm_": nn.utils.clip_grad_norm_,
            "clip_grad_value_": nn.utils.clip_grad_value_,
            "own": lambda value: value,
        }
        for name in FUNCTIONS:
            self.scope[name] = getattr(mynn.autograd.functional, name)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        mynn.manual_seed(self.program.seed)
        with eager(self.mode, self.program.seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python in compiled functions
            yield

    def _fit(self, step: Any, data: Any, epochs: int, batch_size: int) -> Any:
        history = mynn.fit(
            step, data, epochs=epochs, batch_size=batch_size, shuffle=False, verbose=False
        )
        return np.asarray(history["loss"])

    def array(self, tensor: Any) -> Array:
        found: Array = tensor.numpy()
        return found

    def put(self, parameter: Any, value: Array) -> None:
        parameter.data = value

    def state(self, net: Any) -> dict[str, Array]:
        return {key: np.array(value) for key, value in net.state_dict().items()}

    def _numbers(self, value: Any) -> Any:
        words = "".join(x if x in "0123456789.e+-" else " " for x in repr(value).lower()).split()
        found = []
        for word in words:
            with contextlib.suppress(ValueError):
                found.append(float(word))
        return np.array(found)

    def _slots(self, optimizer: Any) -> Any:
        found = [
            self.array(slots[key]).ravel()
            for slots in (optimizer.state[p] for g in optimizer.param_groups for p in g["params"])
            for key in sorted(slots)
        ]
        return np.concatenate([np.zeros(0, np.float32), *found])


@contextlib.contextmanager
def eager(mode: str, seed: int = 0) -> Iterator[None]:
    """The mode of eager calls. What repeats on a tape becomes a program from the second time on;
    for every third seed when chance says so, each sequence and each gradient by itself. Compiling
    takes most of the time and is tested elsewhere: seven seeds of eight have interpreted programs.
    Gradients of two runs are one program, for every fifth seed of three.
    """
    PATIENCE.piece = PATIENCE.call = 0.0
    Derivative.together = 2 if seed % 5 else 3
    changes = contextlib.ExitStack()
    if seed % 8:
        changes.enter_context(mock.patch.object(piece, "native_available", return_value=False))
    if seed % 3 == 2:
        rng = np.random.default_rng([seed, 12])

        def over(trial: Trial, *asked: Any) -> bool:
            return bool(rng.random() < 0.4)

        changes.enter_context(mock.patch.object(Trial, "over", over))
    with changes, mynn.eager(mode):  # type: ignore[arg-type]
        yield
