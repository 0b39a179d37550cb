"""Host code of the loop IR as LLVM functions.

A variable that changes is an SSA value too: where paths meet, and at the head of a loop, it is a
parameter of the block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mynn.compiler.codegen import memory, system
from mynn.compiler.codegen.addresses import Addresses
from mynn.compiler.codegen.expressions import Expressions
from mynn.compiler.codegen.function import FLUSHING, Block, Function, Module
from mynn.compiler.codegen.registers import SCALAR, Registers
from mynn.compiler.codegen.values import Value
from mynn.compiler.loop_ir import ir

_ORDERS = {"relaxed": "monotonic"}
_INLINE = {"inline": "alwaysinline ", "noinline": "noinline ", "": ""}


def emit_function(module: Module, function: ir.Function) -> None:
    """Add a function of host code to a module."""
    parameters = [Value(f"%{p.name}", p.type) for p in function.parameters]
    result = Value("", function.result) if function.result else None
    attributes = f"{_INLINE[function.inline]}nounwind {FLUSHING}"
    internal = not function.exported
    f = Function(module, function.name, parameters, result, attributes, internal)
    emitter = _HostEmitter(f)
    for parameter, value in zip(function.parameters, parameters, strict=True):
        emitter.env[parameter.name] = value
    if emitter.body(function.body):
        f.give()
    f.finish()


def emit_functions(module: Module, functions: Iterable[ir.Function]) -> Module:
    """Add functions of host code to a module."""
    for function in functions:
        emit_function(module, function)
    return module


def _assigned(body: Sequence[ir.Action]) -> Iterator[str]:
    """The variables that may be changed."""
    for action in body:
        if isinstance(action, ir.Assign):
            yield action.name
        elif isinstance(action, ir.While):
            yield from _assigned(action.body)
        elif isinstance(action, ir.If):
            yield from _assigned(action.body)
            yield from _assigned(action.orelse)


class _HostEmitter:
    """Writes actions into a function. Methods tell whether what follows them can be reached."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.addresses = Addresses(function)
        self.expressions = Expressions(function, self.addresses, Registers(function))
        self.env = self.expressions.env
        # The ends of the loops around, and the variables that are parameters there.
        self.ends: list[tuple[Block, list[str]]] = []

    def body(self, body: Sequence[ir.Action]) -> bool:
        """Actions in order."""
        return all(self._action(action) for action in body)

    def _value(self, expr: ir.Expr) -> Value:
        return self.expressions.value(expr, SCALAR)

    def _action(self, action: ir.Action) -> bool:
        f = self.function
        match action:
            case ir.Let(name, expr) | ir.Declare(name, expr) | ir.Assign(name, expr):
                self.env[name] = self._value(expr)
            case ir.Store():
                self.expressions.store(action, SCALAR)
            case ir.View(buffer, address):
                self.addresses.bases[buffer] = self._value(address)
            case ir.Atomic():
                self._atomic(action)
            case ir.Call():
                self._call(action)
            case ir.If():
                return self._if(action)
            case ir.While():
                return self._while(action)
            case ir.Break():
                end, names = self.ends[-1]
                f.jump((end, self._values(names)))
                return False
            case ir.Return(value):
                f.give(None if value is None else self._value(value))
                return False
        return True

    def _atomic(self, action: ir.Atomic) -> None:
        parts = self.expressions.parts(action.index, SCALAR)
        pointer = self.addresses.pointer(action.buffer, parts.constant, parts.scalars)
        args = [self._value(arg) for arg in action.args]
        order = _ORDERS.get(action.order, action.order)
        result = memory.atomic(self.function, action.op, action.buffer.type, pointer, args, order)
        if action.result:
            self.env[action.result] = result

    def _call(self, action: ir.Call) -> None:
        args, callee = [self._value(arg) for arg in action.args], action.callee
        if not isinstance(callee, str):
            result = self.function.call(self._value(callee).text, args, action.type)
        elif callee in ir.SYSTEM:
            result = system.call(self.function, callee, args)
        else:
            result = self.function.call(f"@{callee}", args, action.type)
        if action.result:
            self.env[action.result] = result

    # -- paths -------------------------------------------------------------------------------------

    def _changing(self, *bodies: Sequence[ir.Action]) -> list[str]:
        """The variables that are there and that the actions may change."""
        names = (name for body in bodies for name in _assigned(body) if name in self.env)
        return list(dict.fromkeys(names))

    def _values(self, names: Sequence[str]) -> list[Value]:
        return [self._value(ir.Var(name, "")) for name in names]

    def _become_parameters(self, names: Sequence[str], block: Block) -> None:
        for name, value in zip(names, self._values(names), strict=True):
            self.env[name] = self.function.parameter(block, value.type, name=f"{name}.")

    def _if(self, action: ir.If) -> bool:
        f, names = self.function, self._changing(action.body, action.orelse)
        then, done = f.make_block("then"), f.make_block("done")
        other = f.make_block("else") if action.orelse else done
        before = dict(self.env)
        condition = self._value(action.condition)
        f.branch(condition, then, other if action.orelse else (done, self._values(names)))
        for block, body in ((then, action.body), (other, action.orelse)):
            if block is done:
                break
            self.env.update({name: before[name] for name in names})
            f.enter(block)
            with f.scope():
                if self.body(body):
                    f.jump((done, self._values(names)))
        return self._merge(done, names)

    def _merge(self, block: Block, names: Sequence[str]) -> bool:
        """Go on in a block that paths lead to, if any does."""
        if not block.edges:
            return False
        self._become_parameters(names, block)
        self.function.enter(block)
        return True

    def _while(self, action: ir.While) -> bool:
        f, names = self.function, self._changing(action.body)
        head, done = f.make_block("loop"), f.make_block("done")
        f.jump((head, self._values(names)))
        self._become_parameters(names, head)
        f.enter(head)
        with f.scope():
            if not (isinstance(action.condition, ir.Const) and action.condition.value):
                inside = f.make_block("round")
                f.branch(self._value(action.condition), inside, (done, self._values(names)))
                f.enter(inside)
            self.ends.append((done, names))
            if self.body(action.body):
                f.jump((head, self._values(names)))
            self.ends.pop()
        return self._merge(done, names)
