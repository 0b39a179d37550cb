"""Parts of programs: gradients as values, gradients of those, Jacobians and Hessians."""

from __future__ import annotations

import math

from tests.fuzz.eager.draw import Draw, Known
from tests.fuzz.eager.tensors import make

SHAPES = ((3,), (2, 3), (4,))
# Smooth, so that second derivatives say something; each may take a tensor twice.
SMOOTH = (
    *("{x}.sin() * {y}", "{x} * {y}", "{x}.tanh() + {y}", "{x} / ({y} * {y} + 1.0)", "{x} ** 3"),
    *("{x}.exp().clamp(max=3.0) * {x}", "F.softmax({x}, dim=-1) * {y}", "{x} + {y} * {y}"),
    *("F.sigmoid({x}) * {y}", "(F.stack([{x}, {y}], 0) ** 2).sum(0)", "({x} * {x} + 1.0).sqrt()"),
    *(
        "({x} * {y}).cumsum(0)",
        "{x}.cos() - {y}",
        "F.gelu({x}) * 2.0",
        "{x}.reshape(-1).sum() * {y}",
    ),
)


def _chain(g: Draw, known: list[Known], look: float) -> list[Known]:
    """Values from values, most of them used several times, some of them looked at."""
    made = list[Known]()
    for _ in range(g.some(2, 5)):
        x, y = g.pick([*known, *made, *made]), g.pick([*known, *made])
        name = g.name("s")
        g.add(f"{name} = {g.pick(SMOOTH).format(x=x.name, y=y.name)}")
        made.append(Known(name, x.shape, False, True))
        if g.chance(look):
            g.look(name, x.shape)
    return made


def slopes(g: Draw) -> None:
    """A value and its gradients by leaves and by results on the way, in a loop."""
    shape = g.pick(SHAPES)
    leaves = [make(g, shape, leaf=True) for _ in range(g.some(1, 3))]
    if g.chance(0.3):
        g.add(*[f"{one.name} = Parameter({one.name}.detach().numpy())" for one in leaves[:1]])
    number = g.number()
    with g.block(f"for i in range({g.some(3, 7)}):"):
        known = list(leaves)
        if g.chance(0.5):
            drawn = Known(g.name("d"), shape)
            asked = ", requires_grad=True" if g.chance(0.5) else ""
            g.add(f"{drawn.name} = tensor(draw({number} + i, {shape}){asked})")
            known.append(drawn)
        made = _chain(g, known, look=0.35)
        loss = g.name("loss")
        one = made[-1].name
        g.add(f"{loss} = ({one} * {g.pick((one, made[0].name, leaves[0].name))}).sum()")
        if g.chance(0.4):
            g.look(loss, ())
        first = g.chance(0.35)
        if first:
            g.add(f"{loss}.backward()", *[f"log({x.name}.grad)" for x in leaves])
            if g.chance(0.5):
                g.add(*[f"{x.name}.grad = None" for x in leaves])
        if g.chance(0.15):
            x = g.pick(leaves)
            with g.block("with no_grad():"):
                g.add(f"{x.name} -= 0.1 * {x.name}")
        _gradients(g, loss, leaves, made)
        if g.chance(0.3):
            with g.block("with no_grad():"):
                g.add(*[f"{x.name} -= 0.05 * {x.name}" for x in leaves])
    g.add(*[f"log({x.name}.grad)" for x in leaves])


def _gradients(g: Draw, loss: str, leaves: list[Known], made: list[Known]) -> None:
    """Gradients of a loss, once, and then of what was made of them.

    By a result on the way the second ones depend on how the first ones are computed, from the
    result or from its arguments, which PyTorch may do the other way: they are our own.
    """
    for depth in range(g.some(1, 3)):
        inputs = [g.pick(leaves), *[x for x in (*leaves, *made) if g.chance(0.25)]]
        inputs = list({x.name: x for x in inputs}.values())
        names = ", ".join(x.name for x in inputs)
        again = g.chance(0.7)
        found = [g.name("g" if x.leaf or not depth else "_g") for x in inputs]
        g.add(
            f"{', '.join(found)}, = grad({loss}, [{names}], create_graph={again}, "
            "allow_unused=True)",
            *[f"log({'own(' * (one[0] == '_')}{one}{')' * (one[0] == '_')})" for one in found],
        )
        if not again:
            continue
        if g.chance(0.3):
            g.look(found[0], inputs[0].shape)
        total = g.name("loss")
        g.add(f"{total} = ({found[0]} * {found[0]}).sum() + {loss}")
        if g.chance(0.3):
            g.look(total, ())
        if g.chance(0.3):
            g.add(f"{total}.backward()", *[f"log({x.name}.grad)" for x in leaves])
            if g.chance(0.7):
                g.add(*[f"{x.name}.grad = None" for x in leaves])
        loss = total


FUNCTIONS = ("hessian({f}, {x})", "jacobian({f}, {x})", "hvp({f}, {x}, {x})", "vjp({f}, {x})")


def functions(g: Draw) -> None:
    """Jacobians, Hessians and their products, again and again."""
    shape = g.pick(SHAPES)
    number, f = g.number(), g.name("f")
    known = [Known("x", shape)]
    if g.chance(0.4):
        known.append(make(g, shape))
    with g.block(f"def {f}(x):"):
        made = _chain(g, known, look=0.3)
        g.add(f"return ({made[-1].name} * {g.pick((made[0].name, 'x'))}).sum()")
    with g.block(f"for i in range({g.some(3, 6)}):"):
        x = g.name("x")
        asked = ", requires_grad=True" if g.chance(0.3) else ""
        g.add(f"{x} = tensor(draw({number} + i, {shape}){asked})")
        for _ in range(g.some(1, 2)):
            g.add(f"log({g.pick(FUNCTIONS).format(f=f, x=x)})")


def penalty(g: Draw) -> None:
    """A loss that has the gradient of a network's input in it, and an update."""
    shape, number = g.pick(((2,), (3,))), g.number()
    net, opt = g.name("net"), g.name("opt")
    g.add(
        f"{net} = fill(nn.Sequential(nn.Linear({math.prod(shape)}, 5), nn.Tanh(), "
        f"nn.Linear(5, 1)), {g.number()})",
        f"{opt} = optim.SGD({net}.parameters(), lr=0.05)",
    )
    with g.block(f"for i in range({g.some(3, 6)}):"):
        g.add(f"x = tensor(draw({number} + i, (4, *{shape})), requires_grad=True)")
        g.add(f"y = {net}(x)")
        if g.chance(0.4):
            g.look("y")
        g.add("slope, = grad(y.sum(), x, create_graph=True)")
        if g.chance(0.4):
            g.look("slope")
        g.add("loss = (((slope * slope).sum(1) - 1.0) ** 2).mean() + y.mean()")
        if g.chance(0.3):
            g.add(f"log(grad(loss, list({net}.parameters()), create_graph=True))")
        g.add(f"{opt}.zero_grad()", "loss.backward()", f"{opt}.step()")
        if g.chance(0.5):
            g.look("loss", ())
    g.add(f"log({net})")
