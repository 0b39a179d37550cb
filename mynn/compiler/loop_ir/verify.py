"""The invariants of the loop IR: names, structure and types; the bounds are in `bounds.py`.

Expects anything that can be built of the grammar. Guarantees, where nothing is raised: the program
has a meaning, whatever the memory holds, and native code touches nothing outside of its buffers and
their slack.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from weakref import WeakValueDictionary

from mynn.compiler.loop_ir import ir
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.bounds import verify_bounds
from mynn.compiler.loop_ir.op_types import DTYPES, op_type
from mynn.compiler.loop_ir.ranges import TYPE_RANGES
from mynn.compiler.loop_ir.repeat import Nest, Repeat
from mynn.compiler.loop_ir.walk import expr_type
from mynn.errors import VerifyError

MAX_VECTOR = 128
_KINDS = ("serial", "unroll", "vector", "parallel")
_STORAGES = ("memory", "register", "scratch", "view")
_REDUCTIONS = ("add", "mul", "maximum", "minimum")
# Kernels that break none, by their ids; they never change.
_verified: WeakValueDictionary[int, ir.Kernel] = WeakValueDictionary()


def verify_kernel(kernel: ir.Kernel) -> None:
    """Raise `VerifyError` where the kernel breaks an invariant of `mynn.compiler.loop_ir.ir`.

    Takes time in proportion to the kernel's length, once: what passes hand on is known.
    """
    if _verified.get(id(kernel)) is kernel:
        return
    if isinstance(kernel, Nest):
        _verify_nest(kernel)
    else:
        _Kernel(kernel.name).body(kernel.body, "serial")
        verify_bounds(kernel.name, kernel.body)
    _verified[id(kernel)] = kernel


def _verify_nest(nest: Nest) -> None:
    for kernel in nest.inner:
        verify_kernel(kernel)
    flag = nest.condition
    if flag is None:
        if not isinstance(nest, Repeat):
            raise VerifyError(f"{nest.name}: a branch has no condition")
        _verify_views(nest)
        return
    if flag.type != "bool" or flag.elements < 1:
        raise VerifyError(f"{nest.name}: its condition {flag} is no truth value")
    if nest.moving:
        raise VerifyError(f"{nest.name}: views move where the number of rounds is not known")
    written = {buffer for kernel in nest.kernels for buffer in ir.buffers_of(kernel)[1]}
    if isinstance(nest, Repeat) and flag not in written:
        raise VerifyError(f"{nest.name}: no step writes its condition {flag}")


def _verify_views(loop: Repeat) -> None:
    views = {one.view for one in loop.moving}
    for one in loop.moving:
        ends = one.start, one.start + one.step * (loop.rounds - 1)
        if min(ends) < 0 or max(ends) + one.view.elements > one.whole.elements:
            raise VerifyError(f"{loop.name}: {one.view} leaves {one.whole}, {one}")
        if one.whole in views or one.view.type != one.whole.type:
            raise VerifyError(f"{loop.name}: {one.view} cannot be a view of {one.whole}")


def verify_functions(functions: Iterable[ir.Function], kernels: Iterable[ir.Kernel] = ()) -> None:
    """The same for host code that calls some kernels, and each other."""
    functions = list(functions)
    shared = ir.Signature((ir.ADDRESS, ir.INDEX, ir.INDEX))
    known = {k.name: shared if k.is_split else ir.Signature((ir.ADDRESS,)) for k in kernels}
    known |= {function.name: function.signature for function in functions}
    for function in functions:
        verify_function(function, known)


def verify_function(
    function: ir.Function, signatures: Mapping[str, ir.Signature] | None = None
) -> None:
    """The same for host code; `signatures` are those of the kernels and functions that it may call
    and whose address it may take.
    """
    checker = _Host(function, {**ir.SYSTEM, **(signatures or {})})
    for parameter in function.parameters:
        checker.bind(parameter.name, parameter.type)
    ends = checker.body(function.body, loops=0)
    if function.result and not ends:
        raise VerifyError(f"{function.name}: not every path returns a {function.result}")
    verify_bounds(function.name, function.body)


class _Names:
    """What names mean at a place of a program, and what is wrong with expressions there."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.types: dict[str, str] = {}
        self.buffers: dict[str, ir.Buffer] = {}
        self.made: set[ir.Buffer] = set()

    def fail(self, message: str) -> None:
        """Say what is wrong, and in which kernel or function."""
        raise VerifyError(f"{self.where}: {message}")

    def bind(self, name: str, type: str) -> None:
        """Give a name a meaning."""
        if name in self.types:
            self.fail(f"{name} is bound twice")
        if type not in DTYPES:
            self.fail(f"{name} has the type {type}, which does not exist")
        self.types[name] = type

    def known(self, buffer: ir.Buffer) -> None:
        """Look at a buffer: no other has its name."""
        if self.buffers.setdefault(buffer.name, buffer) is not buffer:
            self.fail(f"two buffers have the name {buffer}")
        if buffer.type not in DTYPES or buffer.storage not in _STORAGES or buffer.elements < 0:
            self.fail(f"{buffer} is no buffer: {buffer.type}[{buffer.elements}] {buffer.storage}")

    def make(self, buffer: ir.Buffer, places: tuple[str, ...]) -> None:
        """Begin to know a buffer that is made here."""
        if buffer.storage not in places:
            self.fail(f"{buffer} is made, but its storage is {buffer.storage}")
        if buffer.storage == "view":  # its name may have meant another one before
            self.buffers.pop(buffer.name, None)
        self.known(buffer)
        self.made.add(buffer)

    def forget(self, made: Iterable[ir.Buffer]) -> None:
        """End to know buffers that were made."""
        for buffer in made:
            self.made.discard(buffer)
            self.buffers.pop(buffer.name, None)

    def store(self, store: ir.Store) -> None:
        """Look at a store."""
        buffer = store.buffer
        self.want(buffer.type, store.value, f"stored to {buffer} of {buffer.type}")
        self.access(buffer, store.index)

    def index(self, index: Affine, use: str) -> None:
        """Look at the variables of an index."""
        for name, _ in index.terms:
            if name not in self.types:
                self.fail(f"{name} is used {use}before it is bound")
            if self.types[name] != ir.INDEX:
                self.fail(f"{name} is {self.types[name]}, used {use}as an index")

    def access(self, buffer: ir.Buffer, index: Affine) -> None:
        """Look at an element of a buffer."""
        if buffer.storage == "memory":
            self.known(buffer)
        elif buffer not in self.made:
            self.fail(f"{buffer} is used before it is made")
        self.index(index, f"in {buffer}[{index}] ")

    def want(self, type: str, expr: ir.Expr, use: str) -> None:
        """Look at an expression whose type is given."""
        self.expr(expr)
        if expr_type(expr) != type:
            self.fail(f"{expr_type(expr)} {use}")

    def expr(self, expr: ir.Expr) -> None:
        """Look at an expression and all in it."""
        if isinstance(expr, ir.Var):
            if expr.name not in self.types:
                self.fail(f"{expr.name} is used before it is bound")
            if self.types[expr.name] != expr.type:
                self.fail(f"{expr.name} is {self.types[expr.name]}, used as {expr.type}")
        elif isinstance(expr, Affine):
            self.index(expr, "")
        elif isinstance(expr, ir.Load):
            self.access(expr.buffer, expr.index)
        elif isinstance(expr, ir.Reduce):
            self.access(expr.buffer, expr.index)
            if expr.op not in _REDUCTIONS or expr.buffer.storage != "register":
                self.fail(f"there is no reduce_{expr.op} in {expr.buffer.storage}")
        elif isinstance(expr, ir.Const):
            self.number(expr)
        elif isinstance(expr, ir.Op):
            for arg in expr.args:
                self.expr(arg)
            try:
                type = op_type(expr.name, tuple(map(expr_type, expr.args)), expr.type)
            except VerifyError as error:
                self.fail(str(error))
            else:
                if type != expr.type:
                    self.fail(f"{expr.name} is {type}, not {expr.type}")
        else:
            self.address(expr)

    def number(self, number: ir.Const) -> None:
        """Look at a number: its type has it."""
        type, value = number.type, number.value
        if type in ("f32", "f64"):
            fits = isinstance(value, float | int)
        elif type in TYPE_RANGES:
            low, high = TYPE_RANGES[type]
            fits = math.isfinite(value) and low <= value <= high and int(value) == value
        else:
            fits = False
        if not fits:
            self.fail(f"there is no {value} of type {type}")

    def address(self, address: ir.FunctionAddress) -> None:
        """Look at the address of a function."""
        self.fail(f"a kernel does not know @{address.name}")


class _Kernel(_Names):
    """The checks of kernels."""

    def body(self, body: Iterable[ir.Statement | ir.Action], around: str) -> None:
        """`around` is the kind of the loops around: "serial" where there are only serial ones."""
        bound: list[str] = []
        made: list[ir.Buffer] = []
        for statement in body:
            if isinstance(statement, ir.For):
                self.loop(statement, around)
            elif isinstance(statement, ir.Let):
                self.expr(statement.value)
                self.bind(statement.name, expr_type(statement.value))
                bound.append(statement.name)
            elif isinstance(statement, ir.Local):
                self.make(statement.buffer, ("register", "scratch"))
                made.append(statement.buffer)
            elif isinstance(statement, ir.Prefetch):
                if statement.buffer.storage != "memory":
                    self.fail(f"prefetch of {statement.buffer}, not in memory")
                self.access(statement.buffer, statement.index)
            elif isinstance(statement, ir.Store):
                self.store(statement)
            else:
                self.fail(f"{type(statement).__name__} stands in a kernel")
        for name in bound:
            del self.types[name]
        self.forget(made)

    def loop(self, loop: ir.For, around: str) -> None:
        """Look at a loop and its body."""
        if around == "vector":
            self.fail(f"loop {loop.var} stands inside a vector loop")
        if loop.kind not in _KINDS or loop.extent < 0:
            self.fail(f"loop {loop.var} has a bad kind or extent")
        if loop.kind == "parallel" and around != "serial":
            self.fail(f"parallel loop {loop.var} stands in another loop")
        if loop.kind == "vector" and not 1 <= loop.extent <= MAX_VECTOR:
            self.fail(f"vector loop {loop.var} of {loop.extent}")
        if loop.where and loop.kind != "serial":
            self.fail(f"{loop.kind} loop {loop.var} has a condition")
        self.bind(loop.var, ir.INDEX)
        for condition in loop.where:
            if condition.index.coefficient(loop.var) < 1:
                self.fail(f"{condition} does not grow with {loop.var}")
            self.index(condition.index, f"in {condition} ")
        kind = loop.kind if around == "serial" or loop.kind == "vector" else around
        self.body(loop.body, kind)
        del self.types[loop.var]


class _Host(_Names):
    """The checks of host code."""

    def __init__(self, function: ir.Function, signatures: Mapping[str, ir.Signature]) -> None:
        super().__init__(function.name)
        self.function = function
        self.signatures = signatures
        self.mutable: set[str] = set()

    def body(self, body: Iterable[ir.Statement | ir.Action], loops: int) -> bool:
        """Look at statements inside so many loops; whether none goes on behind the last."""
        bound = len(self.types)
        made: list[ir.Buffer] = []
        ends = False
        for action in body:
            if ends:
                self.fail("nothing comes to what stands behind break or return")
            if isinstance(action, ir.If):
                self.want("bool", action.condition, "as a condition")
                both = self.body(action.body, loops), self.body(action.orelse, loops)
                ends = all(both)
            elif isinstance(action, ir.While):
                self.want("bool", action.condition, "as a condition")
                self.body(action.body, loops + 1)
                ends = action.condition == ir.Const(True, "bool") and not _breaks(action.body)
            elif isinstance(action, ir.Break):
                if not loops:
                    self.fail("break stands in no loop")
                ends = True
            elif isinstance(action, ir.Return):
                self.leave(action)
                ends = True
            elif isinstance(action, ir.View):
                self.want(ir.ADDRESS, action.address, f"as the address of {action.buffer}")
                self.make(action.buffer, ("view",))
                made.append(action.buffer)
            else:
                self.simple(action)
        for name in list(self.types)[bound:]:
            del self.types[name]
            self.mutable.discard(name)
        self.forget(made)
        return ends

    def leave(self, action: ir.Return) -> None:
        """Look at what a function returns."""
        result = self.function.result
        if action.value is None:
            if result:
                self.fail(f"nothing is returned instead of {result}")
        else:
            self.want(result, action.value, f"returned instead of {result or 'nothing'}")

    def simple(self, action: ir.Statement | ir.Action) -> None:
        """Look at a statement without others in it."""
        if isinstance(action, ir.Let | ir.Declare):
            self.expr(action.value)
            self.bind(action.name, expr_type(action.value))
            if isinstance(action, ir.Declare):
                self.mutable.add(action.name)
        elif isinstance(action, ir.Assign):
            if action.name not in self.mutable:
                self.fail(f"{action.name} is assigned, but no variable that may change")
            type = self.types[action.name]
            self.want(type, action.value, f"assigned to {action.name} of {type}")
        elif isinstance(action, ir.Store):
            self.store(action)
        elif isinstance(action, ir.Call):
            self.call(action)
        elif isinstance(action, ir.Atomic):
            self.atomic(action)
        else:
            self.fail(f"{action.__class__.__name__} stands in a function")

    def call(self, call: ir.Call) -> None:
        """Look at a call."""
        for arg in call.args:
            self.expr(arg)
        given = ir.Signature(tuple(map(expr_type, call.args)), call.type)
        if not isinstance(call.callee, str):
            self.want(ir.ADDRESS, call.callee, "called")
            signature = given
        elif call.callee in self.signatures:
            signature = self.signatures[call.callee]
        else:
            self.fail(f"{call.callee} is called, which does not exist")
        if given != signature or bool(call.result) != bool(call.type):
            self.fail(f"{call.callee} is called as {_shown(given)}, it is {_shown(signature)}")
        if call.result:
            self.bind(call.result, call.type)

    def atomic(self, atomic: ir.Atomic) -> None:
        """Look at an atomic step."""
        op, buffer = atomic.op, atomic.buffer
        if ir.ATOMIC_OPS.get(op) != len(atomic.args) or atomic.order not in ir.ORDERS:
            self.fail(f"there is no atomic {op} of {len(atomic.args)} values, {atomic.order}")
        if (op, atomic.order) in _BAD_ORDERS:
            self.fail(f"atomic {op} cannot be {atomic.order}")
        if DTYPES[buffer.type].itemsize < 4 or buffer.type[0] == "f":
            self.fail(f"atomic {op} of {buffer.type}")
        self.access(buffer, atomic.index)
        for arg in atomic.args:
            self.want(buffer.type, arg, f"in atomic {op} of {buffer.type}")
        if atomic.result:
            if op == "store":
                self.fail(f"{atomic.result} is bound to an atomic store")
            self.bind(atomic.result, atomic.type)

    def address(self, address: ir.FunctionAddress) -> None:
        """Look at the address of a function."""
        if address.name not in self.signatures or address.name in ir.SYSTEM:
            self.fail(f"@{address.name} does not exist")


# Orders that a step cannot have; a compare_exchange has its own.
_BAD_ORDERS = {
    ("load", "release"),
    ("load", "acq_rel"),
    ("store", "acquire"),
    ("store", "acq_rel"),
    *(("compare_exchange", order) for order in ir.ORDERS if order != "acq_rel"),
}


def _shown(signature: ir.Signature) -> str:
    return f"({', '.join(signature.parameters)}) -> {signature.result or 'nothing'}"


def _breaks(body: Iterable[ir.Statement | ir.Action]) -> bool:
    """Whether something in a loop's body leaves the loop."""
    return any(
        isinstance(action, ir.Break)
        or (isinstance(action, ir.If) and (_breaks(action.body) or _breaks(action.orelse)))
        for action in body
    )
