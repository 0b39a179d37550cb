"""The LLVM IR functions against NumPy in a wider format: errors in ulp, and the special values."""

from __future__ import annotations

import ctypes
import functools
import math as libm
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest

from mynn.compiler.codegen import math
from mynn.compiler.codegen.function import Module
from mynn.ops.threefry import threefry2x32
from mynn.target.target import host

SCALARS = {"f32": "float", "f64": "double", "i32": "i32"}
DTYPES: dict[str, Any] = {"f32": np.float32, "f64": np.float64, "i32": np.uint32}
# Where long double is a double, the reference itself is half an ulp off.
SLACK = 0.0 if np.finfo(np.longdouble).nmant > 52 else 0.5
LANES = (1, 4, 8, 16)
INF, NAN = float("inf"), float("nan")

every_lanes = pytest.mark.parametrize("lanes", LANES)
every_float = pytest.mark.parametrize("dtype", ["f32", "f64"])

KERNEL = """
define void @kernel(ptr %out, i64 %count, {parameters}) {{
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
{loads}
  %y = call {type} {function}({arguments})
  %target = getelementptr {scalar}, ptr %out, i64 %i
  store {type} %y, ptr %target, align {size}
  %next = add i64 %i, {lanes}
  %more = icmp slt i64 %next, %count
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


def library(*requests: tuple[str, str, int]) -> str:
    """A module with some functions."""
    module = Module(host())
    for op, dtype, lanes in requests:
        math.require(module, op, dtype, lanes)
    return module.text()


def kernel_text(op: str, dtype: str, lanes: int, arity: int) -> str:
    scalar, size = SCALARS[dtype], np.dtype(DTYPES[dtype]).itemsize
    vector = scalar if lanes == 1 else f"<{lanes} x {scalar}>"
    loads = [
        f"  %p{k} = getelementptr {scalar}, ptr %in{k}, i64 %i\n"
        f"  %x{k} = load {vector}, ptr %p{k}, align {size}"
        for k in range(arity)
    ]
    return library((op, dtype, lanes)) + KERNEL.format(
        parameters=", ".join(f"ptr %in{k}" for k in range(arity)),
        loads="\n".join(loads),
        type=vector,
        function=math.function_name(op, dtype, lanes),
        arguments=", ".join(f"{vector} %x{k}" for k in range(arity)),
        scalar=scalar,
        size=size,
        lanes=lanes,
    )


@functools.cache
def compiled(op: str, dtype: str, lanes: int, arity: int) -> tuple[Any, Any]:
    """The engine, which must outlive the function, and the function."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(kernel_text(op, dtype, lanes, arity))
    module.verify()
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(3))
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, target)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * arity)
    return engine, kind(engine.get_function_address("kernel"))


def evaluate(op: str, dtype: str, lanes: int, *inputs: Any) -> Any:
    """The function of arrays of one length, padded to whole vectors."""
    _, kernel = compiled(op, dtype, lanes, len(inputs))
    count = len(inputs[0])
    padded = [np.ones(-(-count // lanes) * lanes, DTYPES[dtype]) for _ in inputs]
    for array, values in zip(padded, inputs, strict=True):
        array[:count] = values
    out = np.empty_like(padded[0])
    kernel(out.ctypes.data, len(out), *[array.ctypes.data for array in padded])
    return out[:count]


def ulps(got: Any, reference: Any, dtype: str) -> Any:
    """|got - reference| in units of the last place of the reference."""
    info = np.finfo(DTYPES[dtype])
    _, exponent = np.frexp(np.maximum(np.abs(reference), info.tiny))
    return np.abs(got - reference) / np.ldexp(np.ones_like(reference), exponent - 1 - info.nmant)


def linear(low: float, high: float, count: int = 30_000) -> Any:
    return np.linspace(low, high, count)


def logarithmic(low: float, high: float, count: int = 10_000) -> Any:
    return np.exp(np.linspace(np.log(low), np.log(high), count))


def both_signs(x: Any) -> Any:
    return np.concatenate([x, -x])


TINY = both_signs(logarithmic(1e-37, 1.0))
ANGLES = np.concatenate([linear(-10, 10), linear(-1e4, 1e4), linear(-1e5, 1e5), linear(-1e9, 1e9)])
SWEEPS: dict[str, Any] = {
    "exp": np.concatenate([linear(-87.33, 88.72, 100_000), TINY]),
    "log": np.concatenate([linear(0.3, 3.0, 100_000), logarithmic(1e-44, 3e38, 100_000)]),
    "tanh": np.concatenate([linear(-10, 10, 200_000), TINY, both_signs(logarithmic(1, 1e30))]),
    "logistic": linear(-87.3, 60, 200_000),
    "erf": np.concatenate([linear(-4.5, 4.5, 50_000), TINY]),
    "sin": np.concatenate([ANGLES, TINY, logarithmic(1, 1e14)]),
    "cos": np.concatenate([ANGLES, TINY, logarithmic(1, 1e14)]),
    "log1p": np.concatenate(
        [linear(-0.9999, 3.0, 100_000), TINY[1:-1], logarithmic(1, 3e38), -1 + logarithmic(1e-6, 1)]
    ),
    "expm1": np.concatenate([linear(-1, 1), linear(-40, 88.72, 100_000), TINY]),
    "asin": np.concatenate([linear(-1, 1), TINY]),
    "acos": np.concatenate([linear(-1, 1), TINY]),
    "atan": np.concatenate([linear(-10, 10), TINY, both_signs(logarithmic(1, 1e30))]),
    "sinh": np.concatenate([linear(-88, 88), TINY]),
    "cosh": np.concatenate([linear(-88, 88), TINY]),
    "asinh": np.concatenate([linear(-10, 10), TINY, both_signs(logarithmic(1, 1e30))]),
    "acosh": np.concatenate([linear(1, 10), logarithmic(1, 1e30)]),
    "atanh": np.concatenate([linear(-0.999, 0.999), both_signs(logarithmic(1e-37, 0.5))]),
    "exp2": np.concatenate([linear(-126, 127), TINY]),
    "log2": np.concatenate([linear(0.3, 3.0), logarithmic(1e-37, 3e38)]),
    "log10": np.concatenate([linear(0.3, 3.0), logarithmic(1e-37, 3e38)]),
    "erfc": np.concatenate([linear(-4.5, 9.0, 20_000), TINY[::10]]),
}
WIDE_SWEEPS: dict[str, Any] = {
    "exp": linear(-708, 709),
    "log": logarithmic(1e-320, 1e308),
    "logistic": linear(-708, 709),
    "log1p": logarithmic(1e-300, 1e308),
    "expm1": linear(-708, 709),
}
REFERENCES: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "erf": lambda x: np.array([libm.erf(v) for v in x.tolist()]),
    "sin": np.sin,
    "cos": np.cos,
    "log1p": np.log1p,
    "expm1": np.expm1,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "exp2": np.exp2,
    "log2": np.log2,
    "log10": np.log10,
    "erfc": lambda x: np.array([libm.erfc(v) for v in x.tolist()]),
}
# float32 is rounded once from float64, or a polynomial; float64 is the C library's.
ROUNDED = ("sinh", "cosh", "asinh", "acosh", "atanh", "exp2", "log2", "log10", "erfc")
POLYNOMIALS = ("asin", "acos", "atan")
BOUNDS = {
    "f32": {
        "exp": 1.5,
        "log": 1.5,
        "tanh": 3,
        "logistic": 2.7,
        "erf": 3.7,
        "sin": 2,
        "cos": 2,
        "log1p": 2.5,
        "expm1": 2.7,
        **dict.fromkeys(ROUNDED, 0.52),
        **dict.fromkeys(POLYNOMIALS, 3.5),
    },
    "f64": {
        "exp": 1.5,
        "log": 1,
        "tanh": 3,
        "logistic": 2.7,
        "erf": 1,
        "sin": 1,
        "cos": 1,
        "log1p": 2,
        "expm1": 3.2,
        **dict.fromkeys((*ROUNDED, *POLYNOMIALS), 2),
    },
}


@pytest.mark.one_in(3)
@every_lanes
@every_float
@pytest.mark.parametrize("op", math.UNARY_OPS)
def test_error(op: str, dtype: str, lanes: int) -> None:
    x, reference = sweep(op, dtype)
    got = evaluate(op, dtype, lanes, x)
    error = ulps(got, reference, dtype)
    worst = np.argmax(error)
    assert error[worst] <= BOUNDS[dtype][op] + SLACK, (x[worst], got[worst], reference[worst])
    if op in ("tanh", "erf", "sin", "cos", "logistic"):
        assert np.all(np.abs(got) <= 1)


@functools.cache
def sweep(op: str, dtype: str) -> tuple[Any, Any]:
    x = SWEEPS[op]
    if dtype == "f64" and op in WIDE_SWEEPS:
        x = np.concatenate([x, WIDE_SWEEPS[op]])
    x = x.astype(DTYPES[dtype])
    return x, REFERENCES[op](x.astype(np.float64 if dtype == "f32" else np.longdouble))


SPECIAL: dict[str, list[tuple[float, float]]] = {
    "exp": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (1e30, INF), (-1e30, 0.0)],
    "log": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN), (-INF, NAN)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (50.0, 1.0), (-50.0, -1.0)],
    "logistic": [(0.0, 0.5), (INF, 1.0), (-INF, 0.0), (1e30, 1.0), (-1e30, 0.0)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (9.0, 1.0), (-9.0, -1.0)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (-2.0, NAN), (INF, INF), (-INF, NAN)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (1e30, INF), (-1e30, -1.0)],
    "asin": [(0.0, 0.0), (-0.0, -0.0), (1.5, NAN), (-1.5, NAN), (INF, NAN)],
    "acos": [(1.0, 0.0), (1.5, NAN), (-1.5, NAN), (INF, NAN)],
    "atan": [(0.0, 0.0), (-0.0, -0.0), (INF, libm.pi / 2), (-INF, -libm.pi / 2)],
    "sinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (1e30, INF)],
    "cosh": [(0.0, 1.0), (INF, INF), (-INF, INF), (1e30, INF)],
    "asinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "acosh": [(1.0, 0.0), (0.5, NAN), (-1.0, NAN), (-3.0, NAN), (INF, INF), (-INF, NAN)],
    "atanh": [(0.0, 0.0), (-0.0, -0.0), (1.0, INF), (-1.0, -INF), (3.0, NAN), (-3.0, NAN)],
    "exp2": [(0.0, 1.0), (3.0, 8.0), (INF, INF), (-INF, 0.0), (1e30, INF), (-1e30, 0.0)],
    "log2": [(1.0, 0.0), (8.0, 3.0), (0.0, -INF), (INF, INF), (-1.0, NAN)],
    "log10": [(1.0, 0.0), (1000.0, 3.0), (0.0, -INF), (INF, INF), (-1.0, NAN)],
    "erfc": [(0.0, 1.0), (INF, 0.0), (-INF, 2.0)],
}


@pytest.mark.one_in(5)
@every_lanes
@every_float
@pytest.mark.parametrize("op", math.UNARY_OPS)
def test_special_values(op: str, dtype: str, lanes: int) -> None:
    x, expected = np.array(SPECIAL[op]).astype(DTYPES[dtype]).T
    assert_identical(evaluate(op, dtype, lanes, x), expected)
    nans = np.array([0x7FC00000, 0x7FC12345, 0xFFC00001, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(evaluate(op, dtype, lanes, nans)).all()


def assert_identical(got: Any, expected: Any) -> None:
    """Equal, with equal signs of zeros, NaN for NaN."""
    np.testing.assert_array_equal(got, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(expected[number]))


@every_lanes
def test_small_results(lanes: int) -> None:
    """Subnormal results may be flushed to zero; nothing else may."""
    x = np.linspace(-110, -87, 10_000).astype(np.float32)
    for op in ("exp", "logistic"):
        reference = REFERENCES[op](x.astype(np.float64))
        got = evaluate(op, "f32", lanes, x)
        assert np.all((got == 0) | (np.abs(got / reference - 1) < 1e-6))
        assert np.all(got[reference > 1.2e-38] > 0)


@every_float
@pytest.mark.parametrize("op", math.OPS)
def test_lanes_give_the_same_bits(op: str, dtype: str) -> None:
    """What one kernel computes alone and another one in vectors is one value."""
    x = both_signs(np.concatenate([logarithmic(1e-6, 300, 2000), [0.0, 1.0, INF]]))
    x = np.asarray(x).astype(DTYPES[dtype])
    arguments = [x] if op in math.UNARY_OPS else [np.abs(x), x[::-1] / 8]
    alone = evaluate(op, dtype, 1, *arguments)
    for lanes in LANES[1:]:
        np.testing.assert_array_equal(evaluate(op, dtype, lanes, *arguments), alone)


@every_lanes
@every_float
def test_huge_angles(dtype: str, lanes: int) -> None:
    """Beyond the range of the reduction, alone and among others."""
    x = both_signs(np.concatenate([logarithmic(1e14, 3e38, 5000), [2.0**50, 2.0**64, 9.3e18]]))
    x = np.concatenate([x, np.stack([x, np.full(x.size, 0.5)], 1).reshape(-1)])
    x = x.astype(DTYPES[dtype])
    for op in ("sin", "cos"):
        exact = np.array([getattr(libm, op)(value) for value in x.tolist()])
        got = evaluate(op, dtype, lanes, x)
        assert ulps(got, exact, dtype).max() <= 2 + SLACK
        assert np.isnan(evaluate(op, dtype, lanes, np.array([INF, -INF], x.dtype))).all()


@every_lanes
@every_float
def test_remainders_are_exact(dtype: str, lanes: int) -> None:
    """Of small and large quotients, near whole ones, of divisors of every size, of what is rare."""
    kind, rng = DTYPES[dtype], np.random.default_rng(0)
    y = both_signs(logarithmic(1e-37, 1e28, 2000)).astype(kind)
    whole = (rng.integers(-1000, 1000, y.size) * y).astype(kind)
    pairs = [(rng.normal(size=y.size).astype(kind), y)]
    pairs += [(np.nextafter(whole, kind(side)), y) for side in (0, INF)]
    pairs += [
        (kind(scale) * rng.normal(size=y.size).astype(kind) * y, y) for scale in (1, 1e6, 1e9)
    ]
    special = np.array([0.0, -0.0, 1.0, -1.5, 3.0, INF, -INF, NAN, 2.0**22, 2.0**60], kind)
    pairs.append(tuple(side.reshape(-1) for side in np.meshgrid(special, special)))
    for x, divisor in pairs:
        with np.errstate(all="ignore"):
            want = np.mod(x, divisor)
        normal = (np.abs(want) >= np.finfo(kind).tiny) | (want == 0) | np.isnan(want)
        got = evaluate("mod", dtype, lanes, x, divisor)
        np.testing.assert_array_equal(got[normal], want[normal])


@every_lanes
@every_float
def test_pow(dtype: str, lanes: int) -> None:
    rng = np.random.default_rng(0)
    x = np.exp(rng.uniform(-20, 20, 50_000)).astype(DTYPES[dtype])
    y = rng.uniform(-4, 4, x.size).astype(DTYPES[dtype])
    x[::2] = rng.uniform(0, 3, x[::2].size)
    x[1::5] = -x[1::5]
    y[1::5] = np.round(y[1::5])
    wide = np.float64 if dtype == "f32" else np.longdouble
    reference = np.power(x.astype(wide), y.astype(wide))
    assert ulps(evaluate("pow", dtype, lanes, x, y), reference, dtype).max() <= 1 + SLACK


@every_lanes
@every_float
def test_pow_special_values(dtype: str, lanes: int) -> None:
    values = [0.0, 1.0, 2.0, 3.0, 0.5, 1.5, 4e9, 8388607.0, 1e20, 1e-20, INF]
    values = [*values, *(-v for v in values), NAN]
    x, y = (v.ravel() for v in np.array(np.meshgrid(values, values)).astype(DTYPES[dtype]))
    with np.errstate(all="ignore"):
        expected = np.power(x.astype(np.float64), y.astype(np.float64)).astype(DTYPES[dtype])
    got = evaluate("pow", dtype, lanes, x, y)
    exact = (expected == 0) | (np.abs(expected) == 1) | ~np.isfinite(expected)
    assert_identical(got[exact], expected[exact])
    np.testing.assert_allclose(got[~exact], expected[~exact], rtol=1e-6)


# counter, key, result: the known answers of the Random123 distribution, threefry2x32 20.
ANSWERS = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("counter", "key", "expected"), ANSWERS)
def test_threefry_known_answers(
    counter: tuple[int, int], key: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert tuple(int(word) for word in threefry2x32(*key, *counter)) == expected


@pytest.mark.parametrize("lanes", math.INTEGER_LANES)
@pytest.mark.parametrize(("word", "op"), list(enumerate(math.INTEGER_OPS)))
def test_threefry(word: int, op: str, lanes: int) -> None:
    words = np.random.default_rng(0).integers(0, 2**32, (4, 1000), np.uint32)
    got = evaluate(op, "i32", lanes, *words)
    np.testing.assert_array_equal(got, threefry2x32(*words)[word])


def test_float32_needs_no_libm() -> None:
    for op in math.OPS:
        for line in library((op, "f32", 16)).splitlines():
            if not line.startswith("declare"):
                continue
            # Angles of 2**50 and more are rare.
            rare = op in ("sin", "cos", "erfc") and f" @{op}(double)" in line
            assert " @llvm." in line or rare


def test_library_repeats_nothing() -> None:
    requests = [
        (op, dtype, lanes) for op in math.OPS for dtype in ("f32", "f64") for lanes in LANES
    ]
    text = library(*requests, *requests)
    heads = [line for line in text.splitlines() if line.startswith(("declare", "define"))]
    assert len(set(heads)) == len(heads)
    llvm.parse_assembly(text).verify()


def test_signs_of_integers_are_one_function() -> None:
    text = library(("threefry2x32", "u32", 4), ("threefry2x32", "i32", 4))
    assert text.count("define ") == text.count("@mynn.threefry2x32.i32x4(") == 1


@pytest.mark.parametrize(
    ("op", "dtype", "lanes"),
    [("sec", "f32", 4), ("exp", "f16", 4), ("exp", "i32", 4), ("exp", "f32", 3)],
)
def test_unknown_functions_are_refused(op: str, dtype: str, lanes: int) -> None:
    with pytest.raises(ValueError, match=f"there is no {op}"):
        library((op, dtype, lanes))
