"""The order of values along an axis: a radix sort of keys, digit by digit from the lowest.

Every value becomes an unsigned integer, its *key*, whose order is that of the values. Each pass
puts the keys in the order of one more digit, and leaves those that are equal in it in theirs: after
the last one they are sorted, equal ones as they were. How often a digit occurs is counted before.

    for i in n: keys[i] = key(x[i]); for each pass: counts[pass, digit] += 1
    for each pass:
        counts become the places where the keys of each digit begin
        for i in n: place = counts[digit]++; to[place] = from[i]

A key of 32 bits and its position are one word of 64. Of a few such words, which are all different,
each counts how many are less than itself: that is its place.
"""

from __future__ import annotations

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.affine import Affine
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
)
from mynn.compiler.loop_ir.walk import expr_type
from mynn.compiler.lowering.base import Context, plain_index, serial
from mynn.compiler.rules.expressions import Expressions
from mynn.core.graph import Node

# The bits of a value of each type that are told apart.
_BITS = {"bool": 8, "u8": 8, "f32": 32, "i32": 32, "u32": 32, "f64": 64, "i64": 64}


# As many values as this are put in order by counting: their words fit into registers.
_FEW = 32


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
    if 1 < anchor.shape[axis] <= _FEW and _BITS[anchor.inputs[0].type.short] <= 32:
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
    bits = _BITS[kind]
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


def _key(e: Expressions, value: Expr, descending: bool) -> Expr:
    """An unsigned integer whose order is that of the values."""
    kind = expr_type(value)
    word = "u64" if _BITS[kind] == 64 else "u32"
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
        ones = Const(255, word) if _BITS[kind] == 8 else ones
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
    key = _key(e, e.value(anchor.inputs[0], tuple(index)), anchor.params["descending"])
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


def _counted(context: Context, anchor: Node, names: list[str]) -> list[Statement]:
    """For each word how many are less, in all lanes at once; then the positions in order.

    for j in lanes: words[j] = word(x[j])
    for i in n: for j in lanes: less[j] += words[i] < words[j]
    for j in n: order[less[j]] = j
    """
    axis: int = anchor.params["axis"]
    extent, fresh = anchor.shape[axis], context.names.fresh
    words = Buffer(fresh("words"), INDEX, extent, "scratch")
    order = Buffer(fresh("order"), INDEX, extent, "scratch")
    less = Buffer(fresh("less"), INDEX, extent, "register")
    index = plain_index(names, anchor.shape)

    lane = fresh("v")
    index[axis] = Affine.var(lane)
    e = context.builder()
    key = _key(e, e.value(anchor.inputs[0], tuple(index)), anchor.params["descending"])
    # As signed numbers, for which processors have comparisons.
    turned = e.let(Op("bitwise_xor", (_word(e, key, index[axis]), Const(1 << 63, "u64")), "u64"))
    e.body.append(Store(words, index[axis], Op("cast", (turned,), INDEX)))
    e.body.append(Store(less, index[axis], Const(0, INDEX)))
    first = For(lane, extent, tuple(e.body), "vector")

    one, lane = fresh("i"), fresh("v")
    inner = Expressions(context.names)
    own = inner.let(Load(words, Affine.var(lane)))
    smaller = inner.let(Op("less", (Var(f"{one}w", INDEX), own), "bool"))
    count = Op(
        "add", (Load(less, Affine.var(lane)), inner.let(Op("cast", (smaller,), INDEX))), INDEX
    )
    inner.body.append(Store(less, Affine.var(lane), count))
    word = Let(f"{one}w", Load(words, Affine.var(one)))
    compare = For(one, extent, (word, For(lane, extent, tuple(inner.body), "vector")))

    one = fresh("j")
    single = Expressions(context.names)
    place = single.clamp(single.integer(single.let(Load(less, Affine.var(one)))), extent)
    single.body.append(Store(order, place, Affine.var(one)))
    put = For(one, extent, tuple(single.body), "unroll")

    one = fresh("i")
    index[axis] = Affine.var(one)
    e = context.builder()
    e.memo[anchor, tuple(index)] = e.let(Load(order, index[axis]))
    last = For(one, extent, tuple(context.emit_outputs(e, tuple(index))))
    return [Local(words), Local(order), Local(less), first, compare, put, last]
