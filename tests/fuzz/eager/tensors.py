"""Parts of programs: tensors by themselves."""

from __future__ import annotations

import math

from tests.fuzz.eager.draw import Draw, Known

SHAPES = ((3,), (4,), (2, 3), (3, 4), (4, 4), (2, 2, 3), (5, 1))

UNARY = (
    *("{x}.tanh()", "F.sigmoid({x})", "F.relu({x})", "{x} * 2.0", "1.5 - {x}", "-{x}"),
    *("{x}.exp().clamp(max=3.0)", "{x} * {x}", "({x} * {x} + 1.0).sqrt()", "{x} / 2", "{x}.abs()"),
    *("F.silu({x})", "F.softmax({x}, dim=-1)", "F.log_softmax({x}, dim=0)", "{x}.clamp(-1.0, 1.0)"),
    *(
        "F.gelu({x})",
        "F.softplus({x})",
        "{x} ** 2",
        "F.where({x} > 0, {x}, 0.1 * {x})",
        "{x}.cos()",
    ),
)
BINARY = (
    *("{x} + {y}", "{x} * {y}", "{x} - {y}", "{x} / ({y} * {y} + 1.0)", "F.maximum({x}, {y})"),
    *("F.where({x} > {y}, {x}, {y} * 0.5)", "F.stack([{x}, {y}], 0).prod(0)", "{x} + 0.5 * {y}"),
)


def start(g: Draw) -> None:
    """A few tensors."""
    for _ in range(g.some(2, 4)):
        make(g)


def make(g: Draw, shape: tuple[int, ...] | None = None, leaf: bool | None = None) -> Known:
    """A tensor of drawn numbers."""
    shape = shape or g.pick(SHAPES)
    leaf = g.chance(0.5) if leaf is None else leaf
    made = Known(g.name("x"), shape, leaf, leaf)
    asked = ", requires_grad=True" if leaf else ""
    g.add(f"{made.name} = tensor(draw({g.number()}, {shape}){asked})")
    g.tensors.append(made)
    return made


def some(g: Draw, shape: tuple[int, ...] | None = None) -> Known:
    """A tensor that is there, or a new one."""
    fitting = [x for x in g.tensors if shape is None or x.shape == shape]
    return g.pick(fitting) if fitting and g.chance(0.9) else make(g, shape)


def _bound(g: Draw, text: str, shape: tuple[int, ...], grad: bool) -> Known:
    made = Known(g.name("y"), shape, False, grad)
    g.add(f"{made.name} = {text}")
    g.tensors.append(made)
    return made


def operation(g: Draw, x: Known) -> Known:
    """One more value from a value."""
    kind = g.some(0, 10)
    name, shape = x.name, x.shape
    if kind == 10:
        return several(g, x)
    if kind < 4:
        return _bound(g, g.pick(UNARY).format(x=name), shape, x.grad)
    if kind < 6:
        y = some(g, shape)
        return _bound(g, g.pick(BINARY).format(x=name, y=y.name), shape, x.grad or y.grad)
    if kind == 6 and len(shape) == 2:
        y = some(g, (shape[1], g.pick((3, 4))))
        return _bound(g, f"{name} @ {y.name}", (shape[0], y.shape[1]), x.grad or y.grad)
    if kind == 7 and len(shape) > 1:
        axis = g.some(0, len(shape) - 1)
        rest = (*shape[:axis], *shape[axis + 1 :])
        method = g.pick(("sum({})", "mean({})", "amax({})", "sum(dim={})", "var({})"))
        if shape[axis] > 1:
            return _bound(g, f"{name}.{method.format(axis)}", rest, x.grad)
    if kind == 8:
        return _joined(g, x) if g.chance(0.6) else _picked(g, x)
    return moved(g, x)


def several(g: Draw, x: Known) -> Known:
    """One of several results; of drawn numbers none are equal."""
    axis = g.some(0, len(x.shape) - 1)
    size = x.shape[axis]
    rest = (*x.shape[:axis], *x.shape[axis + 1 :])
    if x.leaf and g.chance(0.6):
        both, shape = g.name("both"), x.shape
        if rest and g.chance(0.5):
            g.add(f"{both} = {x.name}.{g.pick(('max', 'min'))}({axis})")
            shape = rest
        else:
            g.add(f"{both} = {x.name}.sort(dim={axis})")
        return _bound(g, f"{both}[0]", shape, x.grad)
    if size == 1:
        return moved(g, x)
    first = g.some(1, size - 1)
    number, extent = g.pick(((0, first), (1, size - first)))
    shape = (*x.shape[:axis], extent, *x.shape[axis + 1 :])
    parts = f"{x.name}.split([{first}, {size - first}], dim={axis})"  # PyTorch lets none be changed
    return _bound(g, f"{parts}[{number}] * 1.0", shape, x.grad)


def _joined(g: Draw, x: Known) -> Known:
    y = some(g, x.shape)
    axis = g.some(0, len(x.shape) - 1)
    shape = (*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
    return _bound(g, f"F.cat([{x.name}, {y.name}], {axis})", shape, x.grad or y.grad)


def _picked(g: Draw, x: Known) -> Known:
    """Rows by an index that is a tensor, perhaps one that was computed."""
    rows = g.some(1, 4)
    index = f"tensor(labels({g.number()}, {rows}, {x.shape[0]}))"
    if g.chance(0.3):
        y = some(g)
        rows, index = (
            y.shape[0],
            f"({y.name}.reshape({y.shape[0]}, -1).sum(1) > 0) * {x.shape[0] - 1}",
        )
    return _bound(g, f"{x.name}[{index}]", (rows, *x.shape[1:]), x.grad)


def moved(g: Draw, x: Known) -> Known:
    """A view."""
    kind, name, shape = g.some(0, 6), x.name, x.shape
    if kind == 0 and shape[0] > 1:
        return _bound(g, f"{name}[1:]", (shape[0] - 1, *shape[1:]), x.grad)
    if kind == 1 and len(shape) > 1:
        return _bound(g, f"{name}[:, 0]", (shape[0], *shape[2:]), x.grad)
    if kind == 2 and len(shape) == 2:
        text = g.pick(("{}.T", "{}.transpose(0, 1)", "{}.permute(1, 0)")).format(name)
        return _bound(g, text, shape[::-1], x.grad)
    if kind == 3 and len(shape) > 1:
        return _bound(g, f"{name}[{g.some(0, shape[0] - 1)}]", shape[1:], x.grad)
    size = math.prod(shape)
    if kind == 5 and len(shape) > 1:
        text = f"{name}.transpose(0, 1).contiguous().view({size}, 1)"
        return _bound(g, text, (size, 1), x.grad)
    if kind == 6:
        mask = g.pick((f"{name} > 0", f"tensor(draw({g.number()}, {shape})) > 0"))
        return _bound(g, f"{name}[{mask}].sum().reshape(1)", (1,), x.grad)
    return _bound(g, f"{name}.reshape({size}, 1)", (size, 1), x.grad)


def chain(g: Draw) -> None:
    """Several operations, looked at here and there."""
    x = some(g)
    for _ in range(g.some(2, 6)):
        x = operation(g, x)
        if math.prod(x.shape) > 200:
            break
        if g.chance(0.25):
            g.look(x.name, x.shape)
        if g.chance(0.1):
            with g.block(f"if float({x.name}.sum()) > {g.pick((-1.0, 0.0, 1.0))}:"):
                g.add(f"{x.name} = {x.name} * 0.5", f"log({x.name})")
        if g.chance(0.1):
            gone = g.pick(g.tensors)
            if gone is not x:
                g.tensors.remove(gone)
                g.add(f"del {gone.name}")
        if g.chance(0.08):
            g.add(f"{x.name} = {x.name}.detach()")
            x.grad = False
        if g.chance(0.08):
            with g.block("with no_grad():"):
                g.look(operation(g, x).name)
    if x.grad and g.chance(0.6):
        differentiated(g, x)


def differentiated(g: Draw, x: Known) -> None:
    """A gradient with respect to what was there, perhaps looked at, perhaps twice."""
    loss = g.name("loss")
    g.add(f"{loss} = ({x.name} * {x.name}).mean()")
    if g.chance(0.3):
        g.look(loss, ())
    rounds = 2 if g.chance(0.15) else 1
    g.add(*[f"{loss}.backward()"] * rounds)
    if g.chance(0.3):
        g.look(loss, ())
    leaves = [one for one in g.tensors if one.leaf]
    for leaf in leaves:
        if g.chance(0.5):
            g.add(f"log({leaf.name}.grad)")
        if g.chance(0.15):
            g.add(f"{leaf.name}.grad = None")
        elif g.chance(0.1):
            with g.block(f"if {leaf.name}.grad is not None:"):
                g.add(g.pick(("{}.grad.zero_()", "{}.grad.mul_(0.5)")).format(leaf.name))


def gradient(g: Draw) -> None:
    """A value and its gradient."""
    x = make(g, leaf=True)
    y = x
    for _ in range(g.some(1, 4)):
        y = operation(g, y)
        if math.prod(y.shape) > 200:
            break
    if g.chance(0.2):
        g.add(f"{y.name}.backward(draw({g.number()}, {y.shape}))", f"log({x.name}.grad)")
    else:
        differentiated(g, y)


IN_PLACE = (
    *("{x}.add_(1.0)", "{x}.mul_(0.5)", "{x} += {y}", "{x} -= 0.1 * {y}", "{x}.mul_({y})"),
    *("{x}.zero_()", "{x}.fill_(0.3)", "{x}.copy_({y})", "{x}.tanh_()", "{x}.clamp_(-1.0, 1.0)"),
    *("{x}[0] = 0.5", "{x}[0] = {y}[0]", "{x}[-1] += 1.0", "{x}[:1] = 2.0", "{x}[0].add_(1.0)"),
    *("{x}.data[0] = 0.7", "{x}.assign({y}.detach())", "{x}.add_({y}, alpha=0.5)", "{x}[:] = {y}"),
)


def in_place(g: Draw) -> None:
    """Values changed in place, between uses of them."""
    x = some(g)
    z = operation(g, x) if g.chance(0.6) else x
    view = moved(g, x) if g.chance(0.4) else None
    for _ in range(g.some(1, 3)):
        target = view if view is not None and g.chance(0.4) else x
        y = some(g, target.shape)
        text = g.pick(IN_PLACE).format(x=target.name, y=y.name)
        if x.grad and g.chance(0.8):
            with g.block("with no_grad():"):
                g.add(text)
        else:
            g.add(text)
        if not x.leaf:
            x.grad = x.grad or y.grad
        if g.chance(0.5):
            g.look(g.pick([one for one in (x, z, view) if one]).name)
    z = operation(g, g.pick([one for one in (x, z, view) if one]))
    g.look(z.name)
    if z.grad and g.chance(0.5):
        differentiated(g, z)


def outside(g: Draw) -> None:
    """Arrays that are changed after tensors were made of them, and memory of tensors."""
    shape = g.pick(SHAPES)
    array, x = g.name("a"), g.name("x")
    g.add(f"{array} = draw({g.number()}, {shape})", f"{x} = tensor({array})")
    made = Known(x, shape)
    g.tensors.append(made)
    y = _bound(g, f"{x} + given({array})", shape, False)
    if g.chance(0.7):
        g.add(g.pick(("{}[...] = 7.0", "{} *= 0.5", "{}[0] = 3.0")).format(array))
    z = operation(g, g.pick((made, y)))
    memory = g.name("_m")
    with g.block("with no_grad():"):
        g.add(f"{memory} = {x}.data")
        w = operation(g, made)
        g.add(g.pick(("{}[...] = 2.0", "{} *= 0.5", "{}[0] = 3.0")).format(memory))
        v = operation(g, made)
    for one in (y, z, w, v):
        if g.chance(0.6):
            g.look(one.name)
    g.add(f"log(np.asarray({memory}))")


def views(g: Draw) -> None:
    """Views of views, written through."""
    base = make(g, g.pick(((3, 4), (4, 4), (2, 2, 3))), leaf=False)
    source = operation(g, base) if g.chance(0.5) else base
    views = [moved(g, source) for _ in range(g.some(1, 3))]
    for _ in range(g.some(1, 4)):
        one = g.pick([*views, source])
        text = g.pick(("{}.mul_(0.5)", "{}[0] = 1.0", "{}.add_(1.0)", "{}.zero_()", "{} += 0.25"))
        g.add(text.format(one.name))
        if g.chance(0.4):
            g.look(g.pick([*views, source]).name)
    if g.chance(0.4):
        g.add(f"del {source.name}")
    for one in views:
        g.look(one.name)


def repeated(g: Draw) -> None:
    """The same small computation several times, with other values."""
    start = make(g, g.pick(((3,), (3, 4), (4, 4))), leaf=g.chance(0.4))
    total = g.name("total")
    g.add(f"{total} = {start.name} * 1.0")
    kept = Known(total, start.shape, False, start.grad)
    held = g.name("held")
    g.add(f"{held} = []")
    with g.block(f"for i in range({g.some(3, 6)}):"):
        before = list(g.tensors)
        x = Known(g.name("x"), start.shape)
        g.add(f"{x.name} = tensor(draw({g.number()} + i, {start.shape}))")
        g.tensors.append(x)
        y = x
        for _ in range(g.some(1, 4)):
            y = operation(g, y)
        shorter = f"{y.name}.mean() * {x.name}"
        g.add(f"{total} = 0.5 * {total} + {y.name if y.shape == x.shape else shorter}")
        if g.chance(0.4):
            g.add(f"{held}.append({y.name})")
        if g.chance(0.4):
            g.look(g.pick((y.name, total)))
        if g.chance(0.2):
            with g.block(f"if i == {g.some(1, 3)}:"):
                g.look(total)
        kept.grad = kept.grad or y.grad
        g.tensors = before
    g.tensors.append(kept)
    g.add(f"log({held})", f"log({total})")
    if kept.grad:
        differentiated(g, kept)


def copies(g: Draw) -> None:
    """Copies and pickles of values that nobody has looked at."""
    x = some(g)
    y = operation(g, x)
    kind = g.pick(("copy.deepcopy({})", "pickle.loads(pickle.dumps({}))", "tensor({}.numpy())"))
    z = _bound(g, kind.format(f"{y.name}.detach()"), y.shape, False)
    with g.block("with no_grad():"):
        g.add(f"{g.pick((y, z)).name}.mul_(2.0)")
    g.look(y.name)
    g.look(z.name)


def thread(g: Draw) -> None:
    """Values made here and looked at in another thread, and the other way round."""
    x = some(g)
    y = operation(g, x)
    z = g.name("y")
    text = g.pick(("{}.numpy()", "({} * 2.0).sum()", "{}.tolist()", "F.relu({})")).format(y.name)
    g.add(f"{z} = in_thread(lambda: {text})", f"log({z})")
    if y.grad and g.chance(0.5):
        loss = g.name("loss")
        g.add(f"{loss} = ({y.name} * {y.name}).sum()", f"in_thread(lambda: {loss}.backward())")
        g.add(*[f"log({one.name}.grad)" for one in g.tensors if one.leaf])


MISTAKES = (
    *("{x} + tensor(draw(1, (7,)))", "{x}.reshape(1000)", "{x}[100]", "F.cat([{x}], 5)"),
    *("{x}.sum(7)", "{x} @ tensor(draw(2, (9, 2)))", "1 / 0", "{x}.backward(draw(3, (11,)))"),
    *("{x}.no_such_name()", "{x}.numpy()[99]", "int('no number')", "float({x}[:0])"),
)


def mistakes(g: Draw) -> None:
    """Errors between other things; what was before them stays."""
    x = some(g)
    y = operation(g, x)
    with g.block("with expected():"):
        z = operation(g, y)
        g.add(g.pick(MISTAKES).format(x=z.name))
        g.add(f"{x.name} = None")
    g.look(y.name)
    g.look(z.name)
