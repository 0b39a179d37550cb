"""The first of equal indices: a table of places, written from the end and read again.

    for k in n: table[index[n - 1 - k]] = n - 1 - k
    for k in n: first[k] = table[index[k]]

What stood in the table before does not matter: every entry that is read has been written.
"""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import INDEX, Buffer, Load, Local, Statement, Store
from mynn.compiler.lowering.base import Context, serial


def lower_first_equal(context: Context) -> list[Statement]:
    """Two loops over the indices, and a table in scratch memory with an entry for each value."""
    anchor = context.group.anchor
    assert anchor is not None
    (picked,), extent, count = anchor.inputs, anchor.params["extent"], anchor.shape[0]
    table = Buffer(context.names.fresh("table"), INDEX, extent, "scratch")
    back, name = context.names.fresh("k"), context.names.fresh("k")
    loops = count > 1

    at = Affine.var(back, -1) + (count - 1) if loops else Affine()
    builder = context.builder()
    row = builder.clamp(builder.integer(builder.value(picked, (at,))), extent)
    write = serial([(back, count)] if loops else [], [*builder.body, Store(table, row, at)])

    at = Affine.var(name) if loops else Affine()
    builder = context.builder()
    row = builder.clamp(builder.integer(builder.value(picked, (at,))), extent)
    builder.memo[anchor, (at,)] = builder.let(Load(table, row))
    read = serial([(name, count)] if loops else [], context.emit_outputs(builder, (at,)))
    return [Local(table), *write, *read]
