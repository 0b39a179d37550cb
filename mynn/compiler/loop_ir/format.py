"""The loop IR as text, in the grammar of `mynn.compiler.loop_ir.ir`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mynn.compiler.loop_ir import ir
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.op_types import argument_type, literal, literal_type
from mynn.compiler.loop_ir.repeat import Branch, Repeat
from mynn.compiler.loop_ir.walk import expr_type


def format_expr(expr: ir.Expr, expected: str | None = None) -> str:
    """An expression as text. A number says its type only where that is not what is `expected`."""
    if isinstance(expr, ir.Const):
        text = literal(expr.value, expr.type)
        plain = expr.type == (expected or literal_type(text))
        return text if plain else f"{text}:{expr.type}"
    if isinstance(expr, ir.Var):
        return expr.name
    if isinstance(expr, ir.Load):
        return f"{expr.buffer}[{expr.index}]"
    if isinstance(expr, ir.Reduce):
        return f"reduce_{expr.op} {expr.buffer}[{expr.index} +: {expr.count}]"
    if isinstance(expr, Affine):
        return str(expr)
    if isinstance(expr, ir.FunctionAddress):
        return f"@{expr.name}"
    args: list[str] = []
    before = None
    for place, arg in enumerate(expr.args):
        args.append(format_expr(arg, argument_type(expr.name, place, expected, before)))
        if expr.name != "where" or place:
            before = before or expr_type(arg)
    suffix = f".{expr.type}" if expr.name == "cast" else ""
    return f"{expr.name}{suffix}({', '.join(args)})"


def _format_all(exprs: Iterable[ir.Expr]) -> str:
    return ", ".join(map(format_expr, exprs))


def _format_body(body: Iterable[ir.Statement | ir.Action], indent: str) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ir.For | ir.If | ir.While):
            yield from _format_nest(statement, indent)
        else:
            yield indent + _format_line(statement)


def _format_nest(statement: ir.For | ir.If | ir.While, indent: str) -> Iterator[str]:
    inner = indent + "  "
    if isinstance(statement, ir.For):
        kind = "" if statement.kind == "serial" else f" {statement.kind}"
        kind += "".join(f" where {condition}" for condition in statement.where)
        yield f"{indent}for {statement.var} in {statement.extent}{kind}:"
        yield from _format_body(statement.body, inner)
        return
    word = "if" if isinstance(statement, ir.If) else "while"
    yield f"{indent}{word} {format_expr(statement.condition, 'bool')}:"
    yield from _format_body(statement.body, inner)
    if isinstance(statement, ir.If) and statement.orelse:
        yield f"{indent}else:"
        yield from _format_body(statement.orelse, inner)


def _format_line(statement: ir.Statement | ir.Action) -> str:
    """A statement without others inside."""
    match statement:
        case ir.Let(name, value):
            return f"let {name} = {format_expr(value)}"
        case ir.Declare(name, value):
            return f"var {name} = {format_expr(value)}"
        case ir.Assign(name, value):
            return f"{name} = {format_expr(value)}"
        case ir.Store(buffer, index, value):
            return f"{buffer}[{index}] = {format_expr(value, buffer.type)}"
        case ir.Local(buffer):
            return f"local {buffer}: {buffer.type}[{buffer.elements}] {buffer.storage}"
        case ir.View(buffer, address):
            extent = buffer.elements or ""
            return f"view {buffer}: {buffer.type}[{extent}] at {format_expr(address)}"
        case ir.Prefetch(buffer, index):
            return f"prefetch {buffer}[{index}]"
        case ir.Atomic(op, buffer, index, args, order, result):
            let = f"let {result} = " if result else ""
            operands = "".join(f", {format_expr(arg, buffer.type)}" for arg in args)
            return f"{let}atomic {op}({buffer}[{index}]{operands}) {order}"
        case ir.Call(callee, args, result, type):
            let = f"let {result}: {type} = " if result else ""
            target = callee if isinstance(callee, str) else f"({format_expr(callee)})"
            return f"{let}call {target}({_format_all(args)})"
        case ir.Return(value):
            return "return" if value is None else f"return {format_expr(value)}"
        case ir.Break():
            return "break"
        case _:
            raise AssertionError(statement)


def format_kernel(kernel: ir.Kernel) -> str:
    """A kernel as text, in the grammar of `mynn.compiler.loop_ir.ir`."""
    if isinstance(kernel, Repeat):
        return _format_repeat(kernel)
    if isinstance(kernel, Branch):
        return _format_branch(kernel)
    head = f"kernel {kernel.name}:" + (f"  # {kernel.comment}" if kernel.comment else "")
    return "\n".join([head, *_format_body(kernel.body, "  ")])


def _format_repeat(loop: Repeat) -> str:
    rounds = f"in {loop.rounds}" if loop.condition is None else f"while {loop.condition}"
    lines = [f"repeat {loop.name} {rounds}:  # {loop.comment}"]
    lines += [_deeper(format_kernel(kernel)) for kernel in loop.before]
    lines += [
        f"  view {one.view} at {one.whole}[{one.start} + {one.step} * step]" for one in loop.moving
    ]
    lines += ["  each:", *(_deeper(_deeper(format_kernel(kernel))) for kernel in loop.kernels)]
    return "\n".join(lines)


def _format_branch(branch: Branch) -> str:
    lines = [f"branch {branch.name} if {branch.condition}:  # {branch.comment}"]
    lines += [_deeper(format_kernel(kernel)) for kernel in branch.kernels]
    lines += ["else:", *(_deeper(format_kernel(kernel)) for kernel in branch.otherwise)]
    return "\n".join(lines)


def _deeper(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def format_function(function: ir.Function) -> str:
    """A function as text, in the grammar of `mynn.compiler.loop_ir.ir`."""
    parameters = ", ".join(f"{p.name}: {p.type}" for p in function.parameters)
    words = [f"function {function.name}({parameters})"]
    words += [f"-> {function.result}"] if function.result else []
    words += ["exported"] if function.exported else []
    words += [function.inline] if function.inline else []
    head = " ".join(words) + ":" + (f"  # {function.comment}" if function.comment else "")
    return "\n".join([head, *_format_body(function.body, "  ")])
