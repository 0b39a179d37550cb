"""mynn: a glass-box deep-learning toolbox that compiles the whole training loop."""

from __future__ import annotations

from typing import Any

from mynn import functional, names, nn, optim, random
from mynn.base import installation
from mynn.errors import TraceWarning
from mynn.functional import concatenate, maximum, minimum, one_hot, stack, where
from mynn.jit import draws
from mynn.jit.compile import compile
from mynn.random import Generator, manual_seed
from mynn.runtime.store import programs
from mynn.tape.mode import eager, from_environment
from mynn.tensor import Parameter, Tensor, no_grad
from mynn.tensor.creation import tensor
from mynn.train import Callback, History, Record, evaluate, fit, predict
from mynn.transform.check import check_grads
from mynn.transform.grad import grad, value_and_grad
from mynn.version import __version__

__all__ = [
    "Callback",
    "Generator",
    "History",
    "Parameter",
    "Record",
    "Tensor",
    "TraceWarning",
    "__version__",
    "check_grads",
    "compile",
    "concatenate",
    "eager",
    "evaluate",
    "fit",
    "functional",
    "grad",
    "manual_seed",
    "maximum",
    "minimum",
    "nn",
    "no_grad",
    "one_hot",
    "optim",
    "predict",
    "programs",
    "random",
    "stack",
    "tensor",
    "value_and_grad",
    "where",
]


def __getattr__(name: str) -> Any:
    """Rooms, and functions made from methods, come when they are first used."""
    found = globals()[name] = names.find(name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *names.known()})


installation.check(__path__[0])
random.natively.append(draws.numbers)
from_environment()
