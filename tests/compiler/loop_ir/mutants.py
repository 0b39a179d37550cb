"""Kernels with one mistake, each made at one place of a kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    Buffer,
    Const,
    For,
    Kernel,
    Load,
    Op,
    Reduce,
    Store,
    Var,
    Within,
)

# What a mutation makes of a part of a kernel, or None where it does not apply.
Mutation = Callable[[Any], Any]


def _rebuild(part: Any, change: Callable[[Any], Any]) -> Any:
    """The part with `change` applied to all that is in it, inner parts first."""
    if isinstance(part, tuple):
        return tuple([_rebuild(inner, change) for inner in part])
    if is_dataclass(part) and not isinstance(part, Affine | Buffer | type):
        new = {f.name: _rebuild(getattr(part, f.name), change) for f in fields(part) if f.init}
        return change(replace(part, **new))
    return part


def mutants(
    kernel: Kernel, mutation: Mutation, rng: np.random.Generator, most: int
) -> Iterator[Kernel]:
    """Up to so many kernels with the mutation at one of the places where it applies."""
    places = 0

    def count(part: Any) -> Any:
        nonlocal places
        places += mutation(part) is not None
        return part

    _rebuild(kernel.body, count)
    for chosen in rng.permutation(places)[:most]:
        seen = -1

        def change(part: Any, chosen: int = int(chosen)) -> Any:
            nonlocal seen
            changed = mutation(part)
            seen += changed is not None
            return changed if changed is not None and seen == chosen else part

        yield Kernel(kernel.name, _rebuild(kernel.body, change), kernel.comment)


def _unknown_op(part: Any) -> Any:
    return replace(part, name="frobnicate") if isinstance(part, Op) else None


def _other_argument(part: Any) -> Any:
    if not isinstance(part, Op) or part.name == "cast":
        return None
    wrong = Const(1, "u8")
    return replace(part, args=(*part.args[:-1], wrong))


def _fewer_arguments(part: Any) -> Any:
    return replace(part, args=part.args[1:]) if isinstance(part, Op) else None


def _other_result(part: Any) -> Any:
    if not isinstance(part, Op) or part.name == "cast":
        return None
    return replace(part, type="f64" if part.type == "f32" else "f32")


def _unbound(part: Any) -> Any:
    return replace(part, name="nobody") if isinstance(part, Var) else None


def _unbound_index(part: Any) -> Any:
    if not isinstance(part, Load | Store):
        return None
    return replace(part, index=part.index + Affine.var("nobody"))


def _other_buffer(part: Any) -> Any:
    """A buffer of another type in memory."""
    if not isinstance(part, Load | Store):
        return None
    type = "i64" if part.buffer.type == "f32" else "f32"
    return replace(part, buffer=Buffer("other", type, 10**9))


def _other_number(part: Any) -> Any:
    if not isinstance(part, Const) or part.type[0] == "f":
        return None
    return replace(part, value=0.5)


def _other_reduction(part: Any) -> Any:
    return replace(part, op="prod") if isinstance(part, Reduce) else None


def _bound_twice(part: Any) -> Any:
    if isinstance(part, For) and part.body:
        return replace(part, body=(replace(part, kind="serial", where=()),))
    return None


def _nested_vector(part: Any) -> Any:
    if isinstance(part, For) and part.kind == "vector" and part.body:
        return replace(part, body=(For("inner", 2, part.body),))
    return None


# No program with one of these has a meaning.
ALWAYS_WRONG: dict[str, Mutation] = {
    "unknown op": _unknown_op,
    "argument of another type": _other_argument,
    "fewer arguments": _fewer_arguments,
    "result of another type": _other_result,
    "unbound variable": _unbound,
    "unbound index": _unbound_index,
    "buffer of another type": _other_buffer,
    "half an integer": _other_number,
    "unknown reduction": _other_reduction,
    "variable bound twice": _bound_twice,
    "loop in a vector": _nested_vector,
}


def shifted(by: int) -> Mutation:
    """An access some elements further."""

    def mutate(part: Any) -> Any:
        if not isinstance(part, Load | Store | Reduce):
            return None
        return replace(part, index=part.index + by)

    return mutate


def _wider_loop(part: Any) -> Any:
    return replace(part, extent=part.extent + 1) if isinstance(part, For) else None


def _larger_step(part: Any) -> Any:
    if not isinstance(part, Load | Store) or not part.index.terms:
        return None
    name, _ = part.index.terms[-1]
    return replace(part, index=part.index + Affine.var(name))


def _no_clip(part: Any) -> Any:
    """The index as it comes from data."""
    if isinstance(part, Op) and part.name in ("maximum", "minimum") and part.type == "i64":
        return part.args[0]
    return None


def _no_condition(part: Any) -> Any:
    return replace(part, where=part.where[1:]) if isinstance(part, For) and part.where else None


def _wider_condition(part: Any) -> Any:
    return replace(part, extent=part.extent + 1) if isinstance(part, Within) else None


def _small_buffer(part: Any) -> Any:
    if not isinstance(part, Load | Store) or part.buffer.storage != "memory":
        return None
    buffer = part.buffer
    if not buffer.elements:
        return None
    return replace(part, buffer=Buffer(f"{buffer}.less", buffer.type, buffer.elements - 1))


# Some programs with one of these touch what lies outside a buffer.
SOMETIMES_OUTSIDE: dict[str, Mutation] = {
    "index + 1": shifted(1),
    "index - 1": shifted(-1),
    "index + 64": shifted(64),
    "wider loop": _wider_loop,
    "larger step": _larger_step,
    "no clip": _no_clip,
    "no condition": _no_condition,
    "wider condition": _wider_condition,
    "small buffer": _small_buffer,
}
