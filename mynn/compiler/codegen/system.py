"""What host code asks of the machine and its system (`SYSTEM` of the loop IR), for each target."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mynn.compiler.codegen.function import Function
from mynn.compiler.codegen.values import Value, constant

# Bits FZ and DAZ of x86's MXCSR, FZ of AArch64's FPCR: vanishing gradients must not slow arithmetic
# down.
_MXCSR_FLUSH = 0x8040
_FPCR_FLUSH = 1 << 24


def call(f: Function, name: str, args: Sequence[Value]) -> Value:
    """A call of one of `SYSTEM`."""
    return _CALLS[name](f, *args)


def _nothing() -> Value:
    return Value("", "")


def _pause(f: Function) -> Value:
    if f.module.target.is_x86:
        return f.intrinsic("@llvm.x86.sse2.pause", [], "")
    if f.module.target.is_aarch64:
        return f.intrinsic("@llvm.aarch64.hint", [constant(1, "i32")], "")
    return _nothing()


def _yield_processor(f: Function) -> Value:
    return f.intrinsic("@sched_yield", [], "i32") if f.module.target.is_posix else _pause(f)


def _sleep(f: Function, microseconds: Value) -> Value:
    if not f.module.target.is_posix:
        return _pause(f)
    short = f.value(f"trunc {microseconds.typed} to i32", "i32")
    return f.intrinsic("@usleep", [short], "i32")


def _copy(f: Function, to: Value, source: Value, size: Value) -> Value:
    plain = constant(False, "bool")
    return f.intrinsic("@llvm.memcpy.p0.p0.i64", [to, source, size, plain], "")


def _time_stamp(f: Function) -> Value:
    return f.intrinsic("@llvm.readcyclecounter", [], "u64")


def _flush_denormals(f: Function) -> Value:
    target = f.module.target
    if target.is_x86:
        place = f.first("alloca i32", "ptr")
        f.intrinsic("@llvm.x86.sse.stmxcsr", [place], "")
        old = f.value(f"load i32, {place.typed}", "u32")
        _set_mode(f, f.binary("or", old, constant(_MXCSR_FLUSH, "u32")))
        return old
    if target.is_aarch64:
        wide = f.intrinsic("@llvm.aarch64.get.fpcr", [], "i64")
        old = f.value(f"trunc {wide.typed} to i32", "u32")
        _set_mode(f, f.binary("or", old, constant(_FPCR_FLUSH, "u32")))
        return old
    return constant(0, "u32")


def _set_mode(f: Function, mode: Value) -> Value:
    target = f.module.target
    if target.is_x86:
        place = f.first("alloca i32", "ptr")
        f.effect(f"store {mode.typed}, {place.typed}")
        return f.intrinsic("@llvm.x86.sse.ldmxcsr", [place], "")
    if target.is_aarch64:
        wide = f.value(f"zext {mode.typed} to i64", "i64")
        return f.intrinsic("@llvm.aarch64.set.fpcr", [wide], "")
    return _nothing()


_CALLS: dict[str, Callable[..., Value]] = {
    "pause": _pause,
    "yield_processor": _yield_processor,
    "sleep": _sleep,
    "copy": _copy,
    "time_stamp": _time_stamp,
    "flush_denormals": _flush_denormals,
    "set_float_mode": _set_mode,
}
