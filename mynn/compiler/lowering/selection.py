"""The k-th of the values along an axis, without an order of all: a digit of the keys at a time.

Keys are those of a sort (`mynn.compiler.lowering.argsort`). Of the values that are left, how often
each highest digit occurs says which digit the k-th one has, and how many stand before all of those.
The values with that digit are left then, in the order of their positions.

    for i in n: keys[i] = key(x[i])
    for each digit, the highest first:
        for those that are left: counts[digit] += 1
        the digit at which the counts add up to more than k; k -= what is counted before it
        those that are left = those of them with that digit
    the k-th of those that are left, which are all equal

The first digit leaves few of most values. So it costs two looks at all of them.
"""

from __future__ import annotations

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.affine import ZERO, Affine, Index
from mynn.compiler.loop_ir.ir import (
    INDEX,
    Buffer,
    Const,
    For,
    Load,
    Local,
    Op,
    Statement,
    Store,
    Within,
)
from mynn.compiler.lowering.argsort import BITS, key_of
from mynn.compiler.lowering.base import Context, plain_index, serial, vector_loops
from mynn.compiler.rules.expressions import Expressions
from mynn.core.graph import Node


@dataclass(frozen=True)
class _Plan:
    """The memory of a selection, and how its digits are cut.

    - `keys`: of all values; `left`: the positions of those that are left.
    - `registers`: how many are left, what is looked for among them, and three that are counted on:
      a digit, what stands before it, the total.
    """

    extent: int
    digit: int
    passes: int
    keys: Buffer
    counts: Buffer
    left: Buffer
    many: Buffer
    wanted: Buffer
    found: Buffer
    before: Buffer
    total: Buffer

    @property
    def bins(self) -> int:
        """How many values a digit has."""
        return 1 << self.digit


def lower_selection(context: Context) -> list[Statement]:
    """One row after the other."""
    anchor = context.group.anchor
    assert anchor is not None
    axis: int = anchor.params["axis"]
    shape = anchor.inputs[0].shape
    names = [context.names.fresh("i") for _ in shape]
    outer = [(names[i], n) for i, n in enumerate(shape) if i != axis and n != 1]
    plan = _plan(context, anchor)
    scratch = (plan.keys, plan.counts, plan.left)
    registers = (plan.many, plan.wanted, plan.found, plan.before, plan.total)
    body: list[Statement] = [Local(buffer) for buffer in (*scratch, *registers)]
    body += _keys(context, anchor, plan, names)
    body += _start(context, anchor, plan, names)
    for number in range(plan.passes):
        body += _count(context, plan, number)
        body += _find(context, plan)
        body += _keep(context, plan, number)
    at = _row(names, anchor, axis)
    e = context.builder()
    place = e.clamp(e.integer(e.let(Load(plan.wanted, ZERO))), plan.extent)
    e.memo[anchor, at] = e.let(Load(plan.left, place))
    body += context.emit_outputs(e, at)
    return serial(outer, body)


def _plan(context: Context, anchor: Node) -> _Plan:
    x, fresh = anchor.inputs[0], context.names.fresh
    kind, extent = x.type.short, x.shape[anchor.params["axis"]]
    bits = BITS[kind]
    digit = min(8 if extent <= 4096 else 11, bits)

    def register(name: str) -> Buffer:
        return Buffer(fresh(name), INDEX, 1, "register")

    return _Plan(
        extent,
        digit,
        -(-bits // digit),
        Buffer(fresh("keys"), "u64" if bits == 64 else "u32", extent, "scratch"),
        Buffer(fresh("counts"), INDEX, 1 << digit, "scratch"),
        Buffer(fresh("left"), INDEX, extent, "scratch"),
        *map(register, ("many", "wanted", "found", "before", "total")),
    )


def _row(names: list[str], anchor: Node, axis: int) -> Index:
    """The place of the result in the row that the loops around are at."""
    point = plain_index(names, anchor.inputs[0].shape)
    point[axis] = ZERO
    return tuple(point)


def _keys(context: Context, anchor: Node, plan: _Plan, names: list[str]) -> list[Statement]:
    """Of all values, in vectors; nothing is counted yet."""
    axis: int = anchor.params["axis"]
    point = plain_index(names, anchor.inputs[0].shape)

    def body(at: Affine) -> list[Statement]:
        point[axis] = at
        e = context.builder()
        key = key_of(e, e.value(anchor.inputs[0], tuple(point)), descending=False)
        return [*e.body, Store(plan.keys, at, key)]

    return vector_loops(context.names, plan.extent, context.lanes(), body)


def _start(context: Context, anchor: Node, plan: _Plan, names: list[str]) -> list[Statement]:
    """All are left, and k is looked for, held to 0..n - 1."""
    e = context.builder()
    given = e.value(anchor.inputs[1], _row(names, anchor, anchor.params["axis"]))
    wanted = e.clamp(e.integer(given), plan.extent)
    name = context.names.fresh("c")
    clear = For(name, plan.bins, (Store(plan.counts, Affine.var(name), Const(0, INDEX)),))
    stores = Store(plan.wanted, ZERO, wanted), Store(plan.many, ZERO, Const(plan.extent, INDEX))
    return [*e.body, *stores, clear]


def _over_left(context: Context, plan: _Plan, number: int, e: Expressions) -> tuple[str, Affine]:
    """A loop over what is left: its variable, and the position; `e` is its body."""
    name = context.names.fresh("i")
    at = Affine.var(name)
    if number == 0:
        return name, at
    place = e.let(Load(plan.left, at))
    return name, e.clamp(e.integer(place), plan.extent)


def _loop(context: Context, plan: _Plan, number: int, name: str, e: Expressions) -> list[Statement]:
    """The loop itself: of all values at first, then of as many as are left."""
    if number == 0:
        return [For(name, plan.extent, tuple(e.body))]
    outside = Expressions(context.names)
    many = Op("minimum", (Load(plan.many, ZERO), Const(plan.extent, INDEX)), INDEX)
    held = Op("maximum", (many, Const(0, INDEX)), INDEX)
    end = outside.integer(outside.let(held))
    within = Within(Affine.var(name) + plan.extent + end * -1, plan.extent)
    return [*outside.body, For(name, plan.extent, tuple(e.body), where=(within,))]


def _digit(e: Expressions, plan: _Plan, at: Affine, number: int) -> Affine:
    """The digit of a key, of which number 0 is the highest."""
    key, kind = e.let(Load(plan.keys, at)), "u64"
    if plan.keys.type != kind:
        key = e.let(Op("cast", (key,), kind))
    below = (plan.passes - 1 - number) * plan.digit
    if below:
        key = e.let(Op("shift_right", (key, Const(below, kind)), kind))
    return e.integer(e.let(Op("remainder", (key, Const(plan.bins, kind)), kind)))


def _count(context: Context, plan: _Plan, number: int) -> list[Statement]:
    """How often each digit occurs among what is left."""
    e = Expressions(context.names)
    name, at = _over_left(context, plan, number, e)
    place = e.clamp(_digit(e, plan, at, number), plan.bins)
    count = e.let(Load(plan.counts, place))
    e.body.append(Store(plan.counts, place, Op("add", (count, Const(1, INDEX)), INDEX)))
    return _loop(context, plan, number, name, e)


def _find(context: Context, plan: _Plan) -> list[Statement]:
    """The digit of the one that is looked for, and its place among those with that digit.

    The counts are 0 again for the next digit.
    """
    zero, name = Const(0, INDEX), context.names.fresh("c")
    e = Expressions(context.names)
    at = Affine.var(name)
    total = e.let(Op("add", (Load(plan.total, ZERO), Load(plan.counts, at)), INDEX))
    passed = e.let(Op("less_equal", (total, Load(plan.wanted, ZERO)), "bool"))
    one = e.let(Op("cast", (passed,), INDEX))
    before = Op("where", (passed, total, Load(plan.before, ZERO)), INDEX)
    body = (
        *e.body,
        Store(plan.before, ZERO, before),
        Store(plan.found, ZERO, Op("add", (Load(plan.found, ZERO), one), INDEX)),
        Store(plan.total, ZERO, total),
        Store(plan.counts, at, zero),
    )
    start = [Store(buffer, ZERO, zero) for buffer in (plan.total, plan.before, plan.found)]
    rest = Op("sub", (Load(plan.wanted, ZERO), Load(plan.before, ZERO)), INDEX)
    return [*start, For(name, plan.bins, body), Store(plan.wanted, ZERO, rest)]


def _keep(context: Context, plan: _Plan, number: int) -> list[Statement]:
    """What has that digit: written over what is left, of which as many or more were read."""
    e = Expressions(context.names)
    name, at = _over_left(context, plan, number, e)
    digit = _digit(e, plan, at, number)
    hit = Op("equal", (digit, Load(plan.found, ZERO)), "bool")
    place = e.clamp(e.integer(e.let(Load(plan.total, ZERO))), plan.extent)
    e.body.append(Store(plan.left, place, at))
    more = Op("add", (Load(plan.total, ZERO), e.let(Op("cast", (e.let(hit),), INDEX))), INDEX)
    e.body.append(Store(plan.total, ZERO, more))
    start = Store(plan.total, ZERO, Const(0, INDEX))
    end = Store(plan.many, ZERO, Load(plan.total, ZERO))
    return [start, *_loop(context, plan, number, name, e), end]
