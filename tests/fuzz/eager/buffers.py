"""Parts of programs: memory that is filled row by row, and what is taken from it."""

from __future__ import annotations

from tests.fuzz.eager import networks
from tests.fuzz.eager.draw import Draw

COUNT = 6
ROWS = ("{i}", "-1 - {i}", "{i}", "{i} // 2", "tensor(labels({n} + {i}, 1, 6))[0]")
MANY = (
    *("[{i}, (2 * {i} + 1) % 6]", "labels({n} + {i}, 3, 6)", "tensor(labels({n} + {i}, 2, 6))"),
    *("slice(1, 4)", "slice({i}, 6, 2)", "tensor(draw({n} + {i}, (6,))) > 0", "..."),
    *("flat > 0.3", "flat.abs().argmax(0, keepdim=True)", "(..., None)"),
)
READS = (
    *("flat.sum() + wide.sum()", "wide[{i}].sum() + flat[{i}]", "view.sum() * 2.0"),
    *("flat[(i + 1) % 6] * 0.5", "(wide * wide).mean()", "wide[labels({n} + i, 3, 6)].sum()"),
    *("flat[flat > 0].sum()", "whole.sum() + counts.sum() * 1.0", "F.stack(list(flat)).sum()"),
)


def buffers(g: Draw) -> None:
    """Rows of tensors get numbers, tensors, and what a network gives, in a loop."""
    net = _network(g)
    shape, number = ", ".join(map(str, net.shape)), g.number()
    _start(g, number)
    with g.block(f"for i in range({g.some(3, COUNT)}):"):
        quiet = "with no_grad():" if g.chance(0.8) else "if True:"
        with g.block(quiet):
            g.add(f"y = {net.name}(tensor(draw({number} + i, (2, {shape}))))")
            g.add(f"y = y.sum() * 0.1 + tensor(draw({number} + 91, (3,)))")
            for _ in range(g.some(1, 4)):
                _write(g, number)
                if g.chance(0.2):
                    g.add(g.pick(("y += 0.5", "y.mul_(2.0)", "y = y * 0.5", "y[1] = flat[0]")))
        if g.chance(0.4):
            g.add(f"found.append({g.pick(READS).format(i='i', n=number)})")
        _between(g)
    _end(g)


def returns(g: Draw) -> None:
    """Advantages and returns, backwards in time, and a gradient of what was predicted."""
    net = _network(g)
    shape, number = ", ".join(map(str, net.shape)), g.number()
    _start(g, number)
    with g.block("with no_grad():"):
        with g.block(f"for i in range({COUNT}):"):
            g.add(
                f"value = {net.name}(tensor(draw({number} + i, (2, {shape})))).sum()",
                g.pick(("flat[i] = value", "flat[i] = value.flatten()", "flat[i] = value.item()")),
                g.pick(("wide[i] = value * y", "wide[i, 1] = value")),
                g.pick(("counts[i] = i", "counts[i] = value > 0", "wide[i, 0] = float(i)")),
            )
        g.add(
            "last, adv = 0, flat * 0.0" if g.chance(0.5) else "last, adv = 0, flat.detach() * 0.0"
        )
        with g.block(f"for i in reversed(range({COUNT})):"):
            nexts = g.pick(("flat[i + 1]", "wide[i + 1, 1]", "adv[i + 1]"))
            g.add(f"following = {nexts} if i < {COUNT - 1} else 0.0")
            g.add("delta = wide[i, 1] + 0.9 * following * (1.0 - counts[i]) - flat[i]")
            g.add("adv[i] = last = delta + 0.8 * last")
            if g.chance(0.2):
                g.look("delta", ())
        g.add("targets = adv + flat")
    batch = g.pick(("[0, 2, 3]", f"labels({number}, 3, 6)", "slice(0, 3)", "adv > 0"))
    g.add(
        f"wanted = targets[{batch}].mean()",
        f"loss = (({net.name}(tensor(draw({number} + 50, (2, {shape})))) - wanted) ** 2).mean()",
        "loss.backward()",
        f"log(wanted, loss, [p.grad for p in {net.name}.parameters()])",
        f"{net.name}.zero_grad()",
    )
    _end(g)


def _network(g: Draw) -> networks.Net:
    """One that is there, or a small one."""
    if g.nets and g.chance(0.4):
        return networks.some(g)
    name = g.name("net")
    g.add(
        f"{name} = fill(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), {g.number()})"
    )
    return networks.Net(name, (3,), 2)


def _start(g: Draw, number: int) -> None:
    if g.chance(0.25):  # in the user's own memory
        g.add(f"memory = draw({number + 90}, (6,))", "flat = shared(memory)")
    else:
        g.add(f"flat = tensor(draw({number + 90}, (6,), 0.0))")
    g.add(
        f"wide = tensor(draw({number + 92}, (6, 3), 0.0))",
        "counts = tensor([0] * 6)",
        f"y = tensor(draw({number + 93}, (3,)))",
        "found = []",
    )
    g.add(g.pick(("view = wide[2]", "view = wide[:, 1]", "view = flat[1:3]", "view = wide.T")))
    g.add("whole = wide.reshape(18)")


def _write(g: Draw, number: int) -> None:
    """One assignment."""
    n = number
    row, many = g.pick(ROWS).format(i="i", n=n), g.pick(MANY).format(i="i", n=n)
    texts = (
        *(f"wide[{row}] = y", f"flat[{row}] = y[1]", f"wide[{row}, 1:] = y[:2]"),
        *(f"wide[{many}] = y" if "None" not in many else "wide[...] = y", f"flat[{many}] = 0.5"),
        *(f"flat[{row}] = {g.pick(('1', '2.5', 'y.sum()', 'flat[0]', 'y[:1]', 'view.sum()'))}",),
        *(f"counts[{row}] = {g.pick(('3', 'y[2] * 4', 'y.argmax()', 'i'))}",),
        *("flat[1:4] = y", "flat[:3] = flat[3:]", "wide[:, 0] = flat", "wide[i] = wide[i - 1]"),
        *(f"view[{g.pick(('0', '1', '-1'))}] = 0.25", "whole[i] = y[0]", "wide[i].add_(1.0)"),
        *("wide[wide > 1.5] = 0.0", "flat[flat < y[0]] = 1.0", f"flat[{row}] += y[0]"),
        *(
            f"wide[{row}] = {g.pick(('7', 'y.tolist()[0]', 'y.detach()'))}",
            "wide[i, [0, 2]] = y[:2]",
        ),
        *(
            "flat[flat > 0] = y.mean()",
            "wide[[0, 1], [1, 2]] = y[:2]",
            "flat.data[i] = y.detach()[0]",
        ),
    )
    text = g.pick(texts)
    if g.chance(0.06):
        with g.block("with expected():"):
            g.add(g.pick(("flat[i + 6] = y[0]", "wide[0] = y[:2]", "wide[9, :2] = y")))
    g.add(text)


def _between(g: Draw) -> None:
    """What happens between two rounds."""
    if g.chance(0.15):
        g.add(g.pick(("log(view)", "log(whole)", "log(flat[0].item())", "log(wide.sum().item())")))
    if g.chance(0.08):
        g.add(
            g.pick(
                (
                    "other = copy.deepcopy(wide.detach())",
                    "other = pickle.loads(pickle.dumps(flat.detach()))",
                )
            )
        )
    if g.chance(0.08):
        g.add(g.pick(("flat = flat.clone()", "wide = wide * 1.0", "array = flat.numpy()")))
    if g.chance(0.06):
        with g.block("def work():"):
            g.add(g.pick(("wide[0] = 4.0", "flat[1] = wide.sum()", "return wide.sum().item()")))
        g.add("log(in_thread(work))")


def _end(g: Draw) -> None:
    g.add("log(flat, wide, counts, view, whole, found)")
