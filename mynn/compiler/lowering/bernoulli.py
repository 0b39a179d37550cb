"""Random decisions: four of each evaluation of the generator, several vectors at a time.

    for b in blocks: for l in 128 counters:
        x, y = threefry2x32(key, (128 b + l, 0))
        for k, w in x, x with its halves exchanged, y, y so: z[512 b + 128 k + l] = w < threshold

An evaluation is a chain of 50 instructions, each of which waits for the one before. Several vectors
of counters are as many chains, whose instructions are mixed.
"""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Const, Expr, For, Op, Statement, Store
from mynn.compiler.lowering.base import Context
from mynn.compiler.rules.expressions import Expressions
from mynn.ops.random import COUNTERS, DECISIONS

# Chains where there are 32 registers, and where there are 16: two hold the words of a chain.
_CHAINS, _FEW_CHAINS = 8, 4


def lower_bernoulli(context: Context) -> list[Statement]:
    """Whole blocks in a loop, then what is left."""
    (node,) = context.group.outputs
    size: int = node.params["size"]
    chains = _CHAINS if context.target.vector_registers >= 32 else _FEW_CHAINS
    width = min(chains * context.target.lanes(4), COUNTERS)
    blocks, left = divmod(size, DECISIONS)
    result: list[Statement] = []
    if blocks:
        name = context.names.fresh("b", blocks)
        block = Affine.var(name) if blocks > 1 else Affine()
        body = _block(context, block, DECISIONS, width)
        result += [For(name, blocks, tuple(body))] if blocks > 1 else body
    return result + (_block(context, Affine(blocks), left, width) if left else [])


def _block(context: Context, block: Affine, count: int, width: int) -> list[Statement]:
    """The first `count` decisions of a block."""
    result: list[Statement] = []
    for start in range(0, min(count, COUNTERS), width):
        # How many lanes of this vector each of the four words has decisions for.
        most = [max(min(count - COUNTERS * k - start, width), 0) for k in range(4)]
        for lanes in sorted(set(most) - {0}, reverse=True):
            words = [k for k in range(4) if most[k] == lanes]
            result.append(_vector(context, block, start, lanes, words))
    return result


def _vector(context: Context, block: Affine, start: int, lanes: int, words: list[int]) -> Statement:
    """The decisions that some of the four words give, for counters side by side."""
    (node,) = context.group.outputs
    lane = context.names.fresh("v", lanes)
    place = Affine.var(lane) + start
    e = context.builder()
    key = [e.value(node.inputs[0], (Affine(k),)) for k in range(2)]
    counter = e.let(Op("cast", (block * COUNTERS + place,), "u32"))
    given = (*key, counter, Const(0, "u32"))
    target = context.targets[node]
    for k in words:
        word: Expr = e.let(Op("threefry2x32_second" if k > 1 else "threefry2x32", given, "u32"))
        if k % 2:
            word = _exchanged(e, word)
        below = e.let(Op("less", (word, Const(node.params["threshold"], "u32")), "bool"))
        at = block * DECISIONS + place + COUNTERS * k
        e.body.append(Store(target.buffer, target.offset((at,)), below))
    return For(lane, lanes, tuple(e.body), "vector")


def _exchanged(e: Expressions, word: Expr) -> Expr:
    """A word with its halves exchanged."""
    low = e.let(Op("mul", (word, Const(1 << 16, "u32")), "u32"))
    high = e.let(Op("shift_right", (word, Const(16, "u32")), "u32"))
    return e.let(Op("bitwise_or", (low, high), "u32"))
