"""Rows of the data into the buffers of a step, and rows of its results out of them.

What is here are lines of loop IR that functions of the training loop are made of.
"""

from __future__ import annotations

from collections.abc import Iterable

from mynn.compiler.host.argument_layout import ArgumentLayout, StepLayout
from mynn.compiler.host.control_block import Control
from mynn.target.storage import SLACK

# Bytes of a batch of one array from which on a step reads the rows where they lie, if it can.
_DIRECT_BYTES = 16384
# Up to so many pieces of a row are copied without a loop.
_FEW = 8

Lines = list[str]


def indented(lines: Iterable[str]) -> Lines:
    """Lines inside a statement."""
    return ["  " + line for line in lines]


def direct_arguments(step: StepLayout) -> dict[int, ArgumentLayout]:
    """The arguments, by number, of which a whole batch lies in the data as it does in the buffer,
    and is worth leaving there.
    """
    return {
        number: argument
        for number, argument in enumerate(step.arguments)
        if argument.slot is not None
        and argument.dense
        and argument.apart is None
        and step.rows * argument.row_bytes >= _DIRECT_BYTES
    }


def gather_text(name: str, step: StepLayout, batch_rows: int, direct: Iterable[int]) -> str:
    """The function that copies rows `low` to `high` of a batch into the input buffers of a step.

    The order of the rows, if there is one, says which rows they are; rows beyond the last one of
    the data are copies of it. What is `direct` is not copied where the table names the data itself
    (`point_at_rows`).
    """
    used = {n: argument for n, argument in enumerate(step.arguments) if argument.slot is not None}
    lines = [
        f"function {name}(control: ptr, table: ptr, low: i64, high: i64) inline:",
        "  view words: i64[] at control",
        "  view addresses: ptr[] at control",
        "  view entries: ptr[] at table",
        f"  let batch = words[{Control.BATCH}]",
        f"  let in_order = equal(addresses[{Control.ORDER}], 0)",
        f"  view order: i64[] at addresses[{Control.ORDER}]",
    ]
    for number, argument in used.items():
        lines.append(f"  let data{number} = addresses[{Control.DATA + number}]")
        lines.append(f"  let buffer{number} = entries[{argument.slot}]")
    body = [
        f"var at = {batch_rows}*batch + row",
        *([f"at = minimum(at, sub(words[{Control.ROWS}], 1))"] if step.filled > step.rows else []),
        "if logical_not(in_order):",
        "  at = order[at]",
    ]
    for number, argument in used.items():
        to, source = f"{argument.blocks * argument.pitch}*row", f"{argument.row_step}*at"
        to, source = f"offset(buffer{number}, {to})", f"offset(data{number}, {source})"
        copies = copy_rows(argument, to, source, str(number))
        if number in direct:
            first = f"offset(data{number}, {batch_rows * argument.row_bytes}*batch)"
            copies = [f"if not_equal(buffer{number}, {first}):", *indented(copies)]
        body += copies
    body.append("row = row + 1")
    loop = ["var row = low", "while less(row, high):", *indented(body)]
    return "\n".join([*lines, *indented(loop)])


def copy_rows(layout: ArgumentLayout, to: str, source: str, tag: str, out_rows: int = 0) -> Lines:
    """Copies the pieces of a row into a buffer, or of `out_rows` rows out of it."""
    pieces, size = (out_rows or 1) * layout.blocks, layout.block_bytes
    if layout.dense:
        pieces, size = 1, size * pieces
    to_step, source_step = (size, layout.pitch) if out_rows else (layout.pitch, size)

    names = [f"let to{tag} = {to}", f"let source{tag} = {source}"]
    if pieces <= _FEW:
        return [
            *names,
            *(_copy(tag, str(n * to_step), str(n * source_step), size) for n in range(pieces)),
        ]
    piece = f"piece{tag}"
    return [
        *names,
        f"var {piece} = 0",
        f"while less({piece}, {pieces}):",
        "  " + _copy(tag, f"{to_step}*{piece}", f"{source_step}*{piece}", size),
        f"  {piece} = {piece} + 1",
    ]


def _copy(tag: str, to: str, source: str, size: int) -> str:
    return f"call copy(offset(to{tag}, {to}), offset(source{tag}, {source}), {size})"


def remember_buffers(direct: dict[int, ArgumentLayout]) -> Lines:
    """Names the buffers that stand in the table of the step on whole batches, by their numbers."""
    if not direct:
        return []
    lines = [f"view whole_entries: ptr[] at addresses[{Control.TABLE}]"]
    return lines + [f"let own{n} = whole_entries[{a.slot}]" for n, a in direct.items()]


def point_at_further(step: StepLayout, word: Control) -> Lines:
    """Has the table name the further arguments of this batch."""
    lines = ["view named: ptr[] at table"] if step.further else []
    for number, argument in enumerate(step.further):
        if argument.slot is not None:
            lines.append(f"named[{argument.slot}] = addresses[{word + number}]")
    return lines


def restore_buffers(direct: dict[int, ArgumentLayout]) -> Lines:
    """Puts them back."""
    return [f"whole_entries[{argument.slot}] = own{n}" for n, argument in direct.items()]


def point_at_rows(step: StepLayout, direct: dict[int, ArgumentLayout]) -> Lines:
    """Has the table name the rows of a batch in the data, or else the buffer they are copied to.

    Rows must be in order, and so many must follow that what a kernel may read after the last
    element is data too.
    """
    lines = []
    for number, argument in direct.items():
        further = step.rows + -(-SLACK // argument.row_bytes)
        inside = f"less_equal({step.rows}*batch + {further}, words[{Control.ROWS}])"
        in_order = f"equal(addresses[{Control.ORDER}], 0)"
        start = f"{step.rows * argument.row_bytes}*batch"
        rows = f"offset(addresses[{Control.DATA + number}], {start})"
        there = f"where(bitwise_and({in_order}, {inside}), {rows}, own{number})"
        lines.append(f"whole_entries[{argument.slot}] = {there}")
    return lines


def keep_results(step: StepLayout, batch_rows: int) -> Lines:
    """Copies the results of a batch to the rows of its samples."""
    lines = []
    for number, output in enumerate(step.outputs):
        if output.slot is not None:
            word = Control.DATA + len(step.arguments) + number
            to = f"offset(addresses[{word}], {batch_rows * output.row_bytes}*batch)"
            source = f"entries[{output.slot}]"
            lines += copy_rows(output, to, source, f"_out{number}", step.rows)
    return lines
