"""The order of values along an axis: a radix sort of keys, digit by digit from the lowest.

Every value becomes an unsigned integer, its *key*, whose order is that of the values. Each pass
puts the keys in the order of one more digit, and leaves those that are equal in it in theirs: after
the last one they are sorted, equal ones as they were. How often a digit occurs is counted before.

    for i in n: keys[i] = key(x[i]); for each pass: counts[pass, digit] += 1
    for each pass:
        counts become the places where the keys of each digit begin
        for i in n: place = counts[digit]++; to[place] = from[i]

A key of 32 bits and its position are one word of 64. Of a few values each counts how many stand
before it, in all lanes at once: those that are less, and in front of it those that are equal too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.affine import ZERO, Affine
from mynn.compiler.loop_ir.ir import (
    INDEX,
    Buffer,
    Const,
    Expr,
    For,
    Let,
    Load,
    Local,
    Op,
    Statement,
    Store,
    Var,
    Within,
)
from mynn.compiler.loop_ir.walk import expr_type
from mynn.compiler.lowering.base import Context, over_chunks, plain_index, serial, vector_loops
from mynn.compiler.rules.expressions import Expressions
from mynn.core.graph import Node

# The bits of a value of each type that are told apart.
BITS = {"bool": 8, "u8": 8, "f32": 32, "i32": 32, "u32": 32, "f64": 64, "i64": 64}


# Values in so many vectors of four bytes are put in order by counting, which takes the square of
# their number; and the places of so many vectors are counted together.
_FEW, _TOGETHER = 24, 2


@dataclass(frozen=True)
class _Plan:
    """The memory of a sort, and how its digits are cut.

    - `words`: two buffers of keys, from one to the other at each pass, with the positions where
      these fit in; `places`: otherwise the positions, beside.
    - `shift`: the bits of a word below its key.
    """

    extent: int
    digit: int
    passes: int
    shift: int
    words: tuple[Buffer, Buffer]
    places: tuple[Buffer, Buffer] | None
    counts: Buffer

    @property
    def bins(self) -> int:
        """How many values a digit has."""
        return 1 << self.digit


def lower_argsort(context: Context) -> list[Statement]:
    """One row after the other."""
    anchor = context.group.anchor
    assert anchor is not None
    axis: int = anchor.params["axis"]
    names = [context.names.fresh("i") for _ in anchor.shape]
    outer = [(names[i], n) for i, n in enumerate(anchor.shape) if i != axis and n != 1]
    if 1 < anchor.shape[axis] <= _FEW * context.target.lanes(4):
        return serial(outer, _counted(context, anchor, names))
    plan = _plan(context, anchor)
    body: list[Statement] = [Local(plan.counts), *map(Local, plan.words)]
    body += map(Local, plan.places or ())
    body += _clear(context, plan)
    body += _first(context, anchor, plan, names)
    for number in range(plan.passes):
        body += _begins(context, plan, number)
        body += _move(context, plan, number)
    body += _last(context, anchor, plan, names)
    return serial(outer, body)


def _plan(context: Context, anchor: Node) -> _Plan:
    kind, extent = anchor.inputs[0].type.short, anchor.shape[anchor.params["axis"]]
    bits = BITS[kind]
    digit = 4 if extent <= 64 else 8 if extent <= 8192 else 11
    digit = min(digit, 8) if bits == 8 else digit
    apart = bits == 64

    def buffers(name: str, type: str) -> tuple[Buffer, Buffer]:
        fresh = context.names.fresh
        one, two = (Buffer(fresh(name), type, extent, "scratch") for _ in range(2))
        return one, two

    passes = -(-bits // digit)
    counts = Buffer(context.names.fresh("counts"), INDEX, passes << digit, "scratch")
    places = buffers("places", INDEX) if apart else None
    return _Plan(extent, digit, passes, 0 if apart else 32, buffers("words", "u64"), places, counts)


def key_of(e: Expressions, value: Expr, descending: bool) -> Expr:
    """An unsigned integer whose order is that of the values."""
    kind = expr_type(value)
    word = "u64" if BITS[kind] == 64 else "u32"
    top, every = 1 << (8 * (4 + 4 * (word == "u64")) - 1), (1 << (32 << (word == "u64"))) - 1
    sign, ones = Const(top, word), Const(every, word)

    def op(name: str, *args: Expr, type: str = word) -> Expr:
        return e.let(Op(name, args, type))

    if kind in ("f32", "f64"):
        bits = op("bits", value)
        # -0 is 0. What is negative is turned around, so that the larger word is the smaller value.
        bits = op("where", op("equal", bits, sign, type="bool"), Const(0, word), bits)
        negative = op("less", Const(top - 1, word), bits, type="bool")
        key = op("bitwise_xor", bits, op("where", negative, ones, sign))
        key = op("where", op("not_equal", value, value, type="bool"), ones, key)
    elif kind in ("i32", "i64"):
        key = op("bitwise_xor", op("cast", value), sign)
    else:
        key = value if kind == word else op("cast", value)
        ones = Const(255, word) if BITS[kind] == 8 else ones
    return op("bitwise_xor", key, ones) if descending else key


def _digit(e: Expressions, plan: _Plan, word: Expr, number: int) -> Affine:
    """The place of a word's digit among the counts."""
    bits = plan.shift + number * plan.digit
    if bits:
        word = e.let(Op("shift_right", (word, Const(bits, "u64")), "u64"))
    digit = e.let(Op("remainder", (word, Const(plan.bins, "u64")), "u64"))
    return e.integer(digit) + number * plan.bins


def _word(e: Expressions, key: Expr, at: Affine) -> Expr:
    """A key of 32 bits above its position."""
    wide = e.let(Op("cast", (key,), "u64"))
    high = e.let(Op("mul", (wide, Const(1 << 32, "u64")), "u64"))
    low = e.let(Op("cast", (at,), "u64"))
    return e.let(Op("bitwise_or", (high, low), "u64"))


def _clear(context: Context, plan: _Plan) -> list[Statement]:
    name = context.names.fresh("c")
    zero = Store(plan.counts, Affine.var(name), Const(0, INDEX))
    return [For(name, plan.passes << plan.digit, (zero,))]


def _first(context: Context, anchor: Node, plan: _Plan, names: list[str]) -> list[Statement]:
    """Keys with their positions, and how often each digit occurs."""
    axis: int = anchor.params["axis"]
    index = plain_index(names, anchor.shape)
    e = context.builder()
    key = key_of(e, e.value(anchor.inputs[0], tuple(index)), anchor.params["descending"])
    at = index[axis]
    body: list[Statement] = []
    if plan.places is not None:
        word = key
        body.append(Store(plan.places[0], at, at))
    else:
        word = _word(e, key, at)
    for number in range(plan.passes):
        place = _digit(e, plan, word, number)
        count = e.let(Load(plan.counts, place))
        e.body.append(Store(plan.counts, place, Op("add", (count, Const(1, INDEX)), INDEX)))
    body = [*e.body, Store(plan.words[0], at, word), *body]
    return serial([(names[axis], plan.extent)] if plan.extent > 1 else [], body)


def _begins(context: Context, plan: _Plan, number: int) -> list[Statement]:
    """Instead of how often a digit occurs, where its keys begin."""
    total = Buffer(context.names.fresh("total"), INDEX, 1, "register")
    name, count, start = (context.names.fresh(one) for one in ("c", "t", "t"))
    at, zero = Affine.var(name) + number * plan.bins, Affine()
    add = Op("add", (Var(start, INDEX), Var(count, INDEX)), INDEX)
    body = (
        Let(count, Load(plan.counts, at)),
        Let(start, Load(total, zero)),
        Store(plan.counts, at, Var(start, INDEX)),
        Store(total, zero, add),
    )
    return [Local(total), Store(total, zero, Const(0, INDEX)), For(name, plan.bins, body)]


def _move(context: Context, plan: _Plan, number: int) -> list[Statement]:
    """Every key to the next place of its digit."""
    source, target = number % 2, 1 - number % 2
    name = context.names.fresh("i")
    at = Affine.var(name) if plan.extent > 1 else Affine()
    e = Expressions(context.names)
    word = e.let(Load(plan.words[source], at))
    digit = _digit(e, plan, word, number)
    free = e.let(Load(plan.counts, digit))
    e.body.append(Store(plan.counts, digit, Op("add", (free, Const(1, INDEX)), INDEX)))
    place = e.clamp(e.integer(free), plan.extent)
    e.body.append(Store(plan.words[target], place, word))
    if plan.places is not None:
        position = e.let(Load(plan.places[source], at))
        e.body.append(Store(plan.places[target], place, position))
    return serial([(name, plan.extent)] if plan.extent > 1 else [], e.body)


def _last(context: Context, anchor: Node, plan: _Plan, names: list[str]) -> list[Statement]:
    """The positions in order, and what is made of them."""
    axis: int = anchor.params["axis"]
    name, end = context.names.fresh("i"), plan.passes % 2
    index = plain_index(names, anchor.shape)
    index[axis] = Affine.var(name) if plan.extent > 1 else Affine()
    e = context.builder()
    if plan.places is not None:
        position = e.let(Load(plan.places[end], index[axis]))
    else:
        word = e.let(Load(plan.words[end], index[axis]))
        low = e.let(Op("remainder", (word, Const(1 << 32, "u64")), "u64"))
        position = e.let(Op("cast", (low,), INDEX))
    e.memo[anchor, tuple(index)] = position
    body = context.emit_outputs(e, tuple(index))
    return serial([(name, plan.extent)] if plan.extent > 1 else [], body)


# -- a few values ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Counting:
    """The memory of a sort by counting: keys as signed numbers, for which processors have
    comparisons; the place of each; the positions in order.
    """

    extent: int
    keys: Buffer
    places: Buffer
    order: Buffer


def _counted(context: Context, anchor: Node, names: list[str]) -> list[Statement]:
    """For each value how many stand before it; then the positions in order.

    for j in values together:
        for i in front of them: places[j] += x[i] <= x[j]
        for i among them: places[j] += x[i] < x[j] or (x[i] == x[j] and i < j)
        for i behind them: places[j] += x[i] < x[j]
    for j in n: order[places[j]] = j
    """
    axis: int = anchor.params["axis"]
    x, fresh = anchor.inputs[0], context.names.fresh
    extent, kind = anchor.shape[axis], INDEX if BITS[x.type.short] == 64 else "i32"
    keys, places = (Buffer(fresh(name), kind, extent, "scratch") for name in ("keys", "places"))
    memory = _Counting(extent, keys, places, Buffer(fresh("order"), INDEX, extent, "scratch"))
    index = plain_index(names, anchor.shape)

    def first(at: Affine) -> list[Statement]:
        index[axis] = at
        e = context.builder()
        key = key_of(e, e.value(x, tuple(index)), anchor.params["descending"])
        top = Const(1 << (63 if kind == INDEX else 31), "u64" if kind == INDEX else "u32")
        turned = e.let(Op("bitwise_xor", (key, top), top.type))
        return [*e.body, Store(keys, at, Op("cast", (turned,), kind))]

    def last(at: Affine) -> list[Statement]:
        index[axis] = at
        e = context.builder()
        e.memo[anchor, tuple(index)] = e.let(Load(memory.order, at))
        return context.emit_outputs(e, tuple(index))

    body: list[Statement] = [Local(keys), Local(places), Local(memory.order)]
    body += vector_loops(context.names, extent, context.lanes(), first)
    count = partial(_count_before, context, memory)
    together = _TOGETHER * context.target.lanes(8 if kind == INDEX else 4)
    body += over_chunks(context.names, "b", extent, together, count)
    one = fresh("j")
    single = Expressions(context.names)
    place = single.clamp(single.integer(single.let(Load(places, Affine.var(one)))), extent)
    single.body.append(Store(memory.order, place, Affine.var(one)))
    body.append(For(one, extent, tuple(single.body)))
    return [*body, *vector_loops(context.names, extent, context.lanes(), last)]


def _count_before(
    context: Context, memory: _Counting, first: Affine, width: int
) -> list[Statement]:
    """The places of `width` values from `first` on."""
    fresh, extent, kind = context.names.fresh, memory.extent, memory.keys.type
    own, before = (Buffer(fresh(name), kind, width, "register") for name in ("own", "before"))

    def vector(e: Expressions, lane: str, store: Store) -> For:
        return For(lane, width, (*e.body, store), "vector")

    def begin() -> Iterator[Statement]:
        """All in front are before, until they are seen to be larger."""
        lane, e = fresh("v"), Expressions(context.names)
        yield vector(
            e, lane, Store(own, Affine.var(lane), Load(memory.keys, first + Affine.var(lane)))
        )
        start = e.let(Op("cast", (first,), kind)) if kind != INDEX else first
        lane = fresh("v")
        yield from e.body
        yield For(lane, width, (Store(before, Affine.var(lane), start),), "vector")

    def compared(at: Affine, larger: bool, number: Affine | None = None) -> tuple[Statement, ...]:
        """The value at a place beside each: taken off where it is `larger`, or added where it is
        less, where it has a `number` among them also where it is equal and in front.
        """
        outside, lane, e = Expressions(context.names), fresh("v"), Expressions(context.names)
        key = outside.let(Load(memory.keys, at))
        mine = Load(own, Affine.var(lane))
        hit = e.let(Op("less", (mine, key) if larger else (key, mine), "bool"))
        if number is not None:
            same = e.let(Op("equal", (key, mine), "bool"))
            in_front = e.let(Op("less", (number, Affine.var(lane)), "bool"))
            same = e.let(Op("bitwise_and", (same, in_front), "bool"))
            hit = e.let(Op("bitwise_or", (hit, same), "bool"))
        one = e.let(Op("cast", (hit,), kind))
        count = Op("sub" if larger else "add", (Load(before, Affine.var(lane)), one), kind)
        return (*outside.body, vector(e, lane, Store(before, Affine.var(lane), count)))

    body: list[Statement] = [Local(own), Local(before), *begin()]
    if first != ZERO:
        name = fresh("i")
        front = Within(Affine.var(name) + extent + first * -1, extent)
        body.append(For(name, extent, compared(Affine.var(name), larger=True), where=(front,)))
    name = fresh("i")
    number = Affine.var(name)
    body.append(For(name, width, compared(first + number, False, number), "unroll"))
    if first.terms or first.constant + width < extent:
        name = fresh("i")
        behind = Within(Affine.var(name) + first * -1 + -width, extent)
        body.append(For(name, extent, compared(Affine.var(name), larger=False), where=(behind,)))
    lane = fresh("v")
    store = Store(memory.places, first + Affine.var(lane), Load(before, Affine.var(lane)))
    return [*body, For(lane, width, (store,), "vector")]
