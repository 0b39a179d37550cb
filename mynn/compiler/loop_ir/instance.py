"""A kernel again, on other buffers: layers that are alike have kernels that are.

What is found out about a kernel, and does not depend on where its buffers lie, holds for every
instance of it (`original`): it is lowered, split and compiled once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mynn.base.lazy import lazy
from mynn.compiler.loop_ir import ir
from mynn.compiler.loop_ir.repeat import Branch, Nest, Repeat


class Instance(ir.Kernel):
    """The kernel `template` again, with the buffers of `bindings` in the place of its own.

    Hardly anybody reads what is written in it, as that is known of the template: its body is
    written out when it is asked for.
    """

    def __init__(
        self, name: str, template: ir.Kernel, bindings: Mapping[ir.Buffer, ir.Buffer]
    ) -> None:
        known = {"comment": template.comment, "operations": template.operations}
        known |= {"nbytes": template.nbytes, "template": template, "bindings": bindings}
        vars(self).update(known, name=name)

    @lazy
    def body(self) -> tuple[ir.Statement, ...]:
        """The statements of the template, on the buffers of this one."""
        statements = original(self).body
        return tuple([_statement(statement, self.bindings) for statement in statements])


def instance(kernel: ir.Kernel, name: str, buffers: Mapping[ir.Buffer, ir.Buffer]) -> ir.Kernel:
    """A kernel with another name on other buffers; those that are not given stay.

    Before:   kernel k0:  y.2[0] = tanh(x.1[0])
    After:    kernel k7:  y.9[0] = tanh(x.8[0])        with {x.1: x.8, y.2: y.9}

    The kernels in a loop or branch around them have the new name in the place of its old one.
    """
    if isinstance(kernel, Nest):
        return _nest(kernel, name, buffers)
    if kernel.template is not None:
        buffers = {old: buffers.get(new, new) for old, new in kernel.bindings.items()}
    return Instance(name, original(kernel), buffers)


def _nest(nest: Nest, name: str, buffers: Mapping[ir.Buffer, ir.Buffer]) -> Nest:
    def again(kernels: Sequence[ir.Kernel]) -> tuple[ir.Kernel, ...]:
        named = [f"{name}{kernel.name.removeprefix(nest.name)}" for kernel in kernels]
        return tuple([instance(k, own, buffers) for k, own in zip(kernels, named, strict=True)])

    moving = [
        replace(one, view=buffers.get(one.view, one.view), whole=buffers.get(one.whole, one.whole))
        for one in nest.moving
    ]
    condition = None if nest.condition is None else buffers.get(nest.condition, nest.condition)
    new = replace(
        nest, name=name, kernels=again(nest.kernels), moving=tuple(moving), condition=condition
    )
    if isinstance(new, Repeat):
        return replace(new, before=again(new.before))
    assert isinstance(new, Branch)
    return replace(new, otherwise=again(new.otherwise))


def original(kernel: ir.Kernel) -> ir.Kernel:
    """The kernel that this one is an instance of; itself where it is none."""
    return kernel if kernel.template is None else kernel.template


def bound(kernel: ir.Kernel, buffers: Sequence[ir.Buffer]) -> list[ir.Buffer]:
    """For buffers of the original kernel those of this one."""
    return [kernel.bindings.get(buffer, buffer) for buffer in buffers]


def _statement(statement: ir.Statement, buffers: Mapping[ir.Buffer, ir.Buffer]) -> ir.Statement:
    if isinstance(statement, ir.Let):
        value = _expr(statement.value, buffers)
        return statement if value is statement.value else ir.Let(statement.name, value)
    if isinstance(statement, ir.Store):
        buffer = buffers.get(statement.buffer, statement.buffer)
        value = _expr(statement.value, buffers)
        if buffer is statement.buffer and value is statement.value:
            return statement
        return ir.Store(buffer, statement.index, value)
    if isinstance(statement, ir.For):
        body = tuple([_statement(inner, buffers) for inner in statement.body])
        if all(new is old for new, old in zip(body, statement.body, strict=True)):
            return statement
        return ir.For(statement.var, statement.extent, body, statement.kind, statement.where)
    if isinstance(statement, ir.Prefetch):
        return ir.Prefetch(buffers.get(statement.buffer, statement.buffer), statement.index)
    return statement


def _expr(expr: ir.Expr, buffers: Mapping[ir.Buffer, ir.Buffer]) -> ir.Expr:
    if isinstance(expr, ir.Load):
        buffer = buffers.get(expr.buffer)
        return expr if buffer is None else ir.Load(buffer, expr.index)
    if isinstance(expr, ir.Op):
        args = tuple([_expr(arg, buffers) for arg in expr.args])
        if all(new is old for new, old in zip(args, expr.args, strict=True)):
            return expr
        return ir.Op(expr.name, args, expr.type)
    return expr
