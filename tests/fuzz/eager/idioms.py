"""Parts of programs: other things that people train, and how they write it."""

from __future__ import annotations

from tests.fuzz.eager import networks, training
from tests.fuzz.eager.draw import Draw

# Ways to write an update of a plain tensor under `no_grad`, and ways that need none.
QUIET = (
    "{0} -= 0.1 * {0}.grad",
    "{0}.sub_({0}.grad * 0.1)",
    "{0}.add_({0}.grad, alpha=-0.1)",
    "{0}.copy_({0} - {0}.grad * 0.1)",
)
LOUD = ("{0}.data -= 0.1 * {0}.grad", "{0}.data.add_({0}.grad.data, alpha=-0.1)")
# In PyTorch the tensor has other memory then, which views do not see.
OTHER = "{0}.data = {0}.data - 0.1 * {0}.grad"
ANEW = "{0} = ({0} - 0.1 * {0}.grad).detach().requires_grad_()"


def by_hand(g: Draw) -> None:
    """Weights that are plain tensors, and the update written out."""
    w, c, old, seen = g.name("w"), g.name("c"), g.name("old"), g.name("seen")
    inner, out, number = g.pick((3, 5)), g.pick((2, 3)), g.number()
    g.add(
        f"{w} = tensor(draw({number}, ({inner}, {out})), requires_grad=True)",
        f"{c} = tensor(draw({number + 1}, ({out},)), requires_grad=True)",
    )
    momentum, anew = g.chance(0.3), g.chance(0.2)
    # PyTorch does not notice what is changed through `.data`.
    looks = not anew and g.chance(0.3)
    ways = g.pick((QUIET, LOUD if looks else (*LOUD, OTHER)))
    again = ways is QUIET and not anew and g.chance(0.4)
    if momentum:
        g.add(f"v = {w}.detach() * 0.0")
    if looks:
        g.add(f"{seen} = {w}.{g.pick(('detach()', 'data', 'detach()[1]', 'data.reshape(-1)'))}")
    g.add(f"{old} = None")
    with g.block(f"for i in range({g.some(3, 6)}):"):
        g.add(f"x = tensor(draw({number} + 2 + i, (4, {inner})))")
        y = g.pick(("F.tanh(x @ {0} + {1})", "x @ {0} + {1}", "x @ ({0} * {0}) + {1}"))
        g.add(f"y = {y.format(w, c)}")
        g.add("loss = ((y - 0.3) ** 2).mean()", "loss.backward()")
        if g.chance(0.3):
            g.look("loss", ())
        update = g.pick(ways)
        if anew or (ways is not QUIET and not momentum):
            g.add((ANEW if anew else update).format(w), g.pick(LOUD).format(c))
        else:
            with g.block("with no_grad():"):
                if momentum:
                    g.add(f"v.mul_(0.9).add_({w}.grad)", f"{w} -= 0.1 * v")
                else:
                    g.add(g.pick(QUIET).format(w))
                if g.chance(0.2):
                    g.add(f"{w}.clamp_(-1.0, 1.0)")
                g.add(g.pick(ways).format(c))
                if g.chance(0.3):
                    g.add(f"log({w})")
        clear = g.pick(("{}.grad = None", "{}.grad.zero_()", "{}.grad.data.zero_()"))
        g.add(*[clear.format(one) for one in ((c,) if anew else (w, c))])
        if looks:
            g.add(f"log({seen})")
        if again:  # of a loss before the update, which may need what there was
            with g.block(f"if {old} is not None:"):
                g.add(f"{old}.backward()", f"log({w}.grad, {c}.grad)")
        g.add(f"{old} = loss")
        if g.chance(0.3):
            g.look("loss", ())
    g.add(f"log({w}, {c})")


def written_out(g: Draw) -> None:
    """A loss made anew in each step, of arrays that are used again, a penalty on the slope by the
    input, and an update of a network by hand.
    """
    net, x, number = g.name("net"), g.name("b"), g.number()
    inplace = g.pick(("nn.ReLU(inplace=True)", "nn.Tanh()", "nn.LeakyReLU(0.2, inplace=True)"))
    g.add(
        f"{net} = fill(nn.Sequential(nn.Linear(3, 5), {inplace}, nn.Linear(5, 2)), {number})",
        f"{x} = draw({number + 1}, (4, 3))",
    )
    loss = g.pick(("nn.SmoothL1Loss(beta=0.5)", "nn.MSELoss()", "nn.L1Loss(reduction='sum')"))
    slope, total = g.chance(0.5), g.chance(0.4)
    with g.block(f"for i in range({g.some(4, 8)}):"):
        g.add(f"{x}[...] = draw({number} + 2 + i, (4, 3))", f"x = shared({x})")
        if slope:
            g.add("x = (x * 0.5 + 0.25).requires_grad_()")
        g.add(f"y = {net}(x)")
        if g.chance(0.3):
            g.look("y")
        if g.chance(0.5):
            g.add(g.pick(("y += 0.5", "y *= 0.5", "y -= y.detach().mean()", "y.clamp_(max=1.5)")))
        g.add(f"loss = {loss}(y, x[:, :2].detach())")
        if slope:
            g.add("slope, = grad(y.sum(), x, create_graph=True)")
            g.add("loss = loss + ((slope * slope).sum(1) - 1.0).abs().mean()")
        g.add("loss.backward()")
        if g.chance(0.3):
            g.look("loss", ())
            g.add(f"{x}[...] = 0.0")
        if slope and g.chance(0.4):
            g.add("log(x.grad)")
        if g.chance(0.3):
            g.add(f"log(clip_grad_norm_({net}.parameters(), 0.5))")
        with g.block("with no_grad():"), g.block(f"for p in {net}.parameters():"):
            g.add(g.pick(("p -= 0.1 * p.grad", "p.sub_(p.grad * 0.1)", "p.data -= 0.1 * p.grad")))
            if total:
                g.add("p.grad.mul_(0.5)")
            elif g.chance(0.5):
                g.add("p.grad.zero_()")
            else:
                g.add("p.grad = None")
        if g.chance(0.5):
            g.look("loss", ())
    g.add(f"log({net})", f"log([p.grad for p in {net}.parameters()])")


def recurrent(g: Draw) -> None:
    """A state that goes from step to step, cut off now and then."""
    a, u = g.name("w"), g.name("u")
    width, number, length = g.pick((3, 4)), g.number(), g.some(2, 5)
    g.add(
        f"{a} = tensor(draw({number}, (2, {width})), requires_grad=True)",
        f"{u} = tensor(draw({number + 1}, ({width}, {width}), 0.5), requires_grad=True)",
        f"opt = optim.SGD([{a}, {u}], lr=0.05)",
        f"h = tensor(draw({number + 2}, (3, {width})))",
    )
    with g.block(f"for round in range({g.some(2, 4)}):"):
        g.add(g.pick(("h = h.detach()", f"h = tensor(draw({number} + 3, (3, {width})))")))
        g.add("states = []" if g.chance(0.5) else "states, total = [], 0.0")
        with g.block(f"for i in range({length}):"):
            g.add(
                f"h = F.tanh(tensor(draw({number} + 10 * round + i + 4, (3, 2))) @ {a} + h @ {u})",
                "states.append(h)",
            )
            if g.chance(0.25):
                g.look("h")
        g.add(g.pick(("y = F.stack(states, 1)", "y = F.cat(states, 0)", "y = sum(states)")))
        g.add("loss = (y * y).mean()", "opt.zero_grad()", "loss.backward()", "opt.step()")
        if g.chance(0.5):
            g.look("loss", ())
    g.add(f"log({a}, {u}, h, states)")


def adversarial(g: Draw) -> None:
    """Two networks that train against each other."""
    one, two = g.name("net"), g.name("net")
    g.add(
        f"{one} = fill(nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 3)), {g.number()})",
        f"{two} = fill(nn.Sequential(nn.Linear(3, 5), nn.{g.pick(networks.ACTIVATIONS)}, "
        f"nn.Linear(5, 1)), {g.number()})",
    )
    kinds = (("SGD", "lr=0.05"), ("Adam", "lr=0.01, eps=0.01"), ("SGD", "lr=0.02, momentum=0.9"))
    for number, net in enumerate((one, two), 1):
        kind, options = g.pick(kinds)
        g.add(f"side{number} = optim.{kind}({net}.parameters(), {options})")
    number = g.number()
    loss = "F.binary_cross_entropy_with_logits"
    with g.block(f"for i in range({g.some(3, 5)}):"):
        g.add(
            f"z = tensor(draw({number} + i, (4, 2)))",
            f"real = tensor(draw({number} + 50 + i, (4, 3)))",
            f"fake = {one}(z)",
            "side2.zero_grad()",
            f"judged = {two}(real)",
            f"loss = {loss}(judged, judged.detach() * 0.0 + 1.0)",
            f"judged = {two}(fake.detach())",
            f"loss = loss + {loss}(judged, judged.detach() * 0.0)",
            "loss.backward()",
            "side2.step()",
        )
        if g.chance(0.4):
            g.look("loss", ())
        g.add(
            "side1.zero_grad()",
            f"judged = {two}(fake)",
            f"loss = {loss}(judged, judged.detach() * 0.0 + 1.0)",
            "loss.backward()",
            "side1.step()",
        )
        if g.chance(0.4):
            g.look("loss", ())
    g.add(f"log({one}, {two})")
    g.nets.append(networks.Net(one, (2,), 3))


def target_network(g: Draw) -> None:
    """A copy that follows: taken over whole at times, or averaged in each step."""
    net = networks.some(g)
    if net.keeps:
        g.add(f"{net.name}.kept = None")
    step = training.a_step(g, net)
    other = g.name("target")
    g.add(f"{net.name}.zero_grad()", f"{other} = copy.deepcopy({net.name})")
    g.add(f"{other}.{g.pick(('eval()', 'requires_grad_(False)'))}")
    follows = g.chance(0.5)
    with g.block(f"for i in range({g.some(3, 5)}):"):
        g.add(*step.batch)
        with g.block("with no_grad():"):
            g.add(f"wanted = {other}({step.x}) * 0.9 + 0.1")
        g.add(
            f"loss = ((({net.name}({step.x}) - wanted) ** 2).mean())",
            f"{step.optimizer}.zero_grad()",
            "loss.backward()",
            f"{step.optimizer}.step()",
        )
        if g.chance(0.4):
            g.look("loss", ())
        if follows:
            with (
                g.block("with no_grad():"),
                g.block(f"for p, q in zip({net.name}.parameters(), {other}.parameters()):"),
            ):
                g.add(
                    g.pick(
                        (
                            "q.mul_(0.8).add_(p * 0.2)",
                            "q.copy_(0.8 * q + 0.2 * p)",
                            "q.lerp_(p, 0.2)",
                        )
                    )
                )
        else:
            with g.block("if i % 2 == 1:"):
                g.add(f"{other}.load_state_dict({net.name}.state_dict())")
    g.add(f"log({net.name}, {other})")


def measured(g: Draw) -> None:
    """Epochs with a validation after each, and a stop."""
    net = networks.some(g)
    step = training.a_step(g, net)
    shape, number = ", ".join(map(str, net.shape)), g.number()
    g.add("best, waited = float('inf'), 0")
    with g.block(f"for epoch in range({g.some(2, 3)}):"):
        g.add(f"{net.name}.train()", "total = 0.0")
        with g.block("for i in range(3):"):
            g.add(*step.batch)
            training.forward(g, step)
            g.add(f"{step.optimizer}.zero_grad()", "loss.backward()", f"{step.optimizer}.step()")
            g.add(g.pick(("total += loss.item() * n", "total = total + loss.detach() * n")))
        g.add(f"{net.name}.eval()", "right = 0")
        with g.block("with no_grad():"), g.block("for i in range(2):"):
            g.add(
                f"x, t = tensor(draw({number} + i, (4, {shape}))), "
                f"tensor(labels({number} + i, 4, {net.out}))",
                f"y = {net.name}(x)",
                g.pick(
                    (
                        "right += int((y.argmax(1) == t).sum())",
                        "right = right + (y.argmax(1) == t).sum()",
                        "right += (y.argmax(1) == t).sum().item()",
                    )
                ),
            )
        g.add("log(total, right)")
        with g.block("if float(total) > best:"):
            g.add("break")
        g.add("best = float(total)")
    g.add(f"{net.name}.train()", f"log({net.name})")


def long(g: Draw) -> None:
    """Many operations that nobody looks at."""
    x, count = g.name("x"), g.pick((50, 150, 400))
    leaf = g.chance(0.4)
    g.add(f"{x} = tensor(draw({g.number()}, (3, 4)), requires_grad={leaf})", f"y = {x} * 1.0")
    with g.block(f"for i in range({count}):"):
        g.add(g.pick(("y = y * 0.99 + 0.01", "y = F.tanh(y) + 0.1", "y = (y + 0.1 * y[0]) / 1.1")))
        if g.chance(0.3):
            with g.block("if i % 40 == 39:"):
                g.look("y")
    g.add("log(y)")
    if leaf:
        g.add("(y * y).mean().backward()", f"log({x}.grad)")


def parallel(g: Draw) -> None:
    """Two networks that train in two threads at the same time, which draw nothing in turns."""
    nets = [networks.network(g, draws=False) for _ in range(2)]
    names = []
    for net in nets:
        opt, function, number = training.optimizer(g, net), g.name("work"), g.number()
        shape = ", ".join(map(str, net.shape))
        with g.block(f"def {function}():"):
            g.add("losses = []")
            with g.block(f"for i in range({g.some(3, 5)}):"):
                g.add(
                    f"loss = ({net.name}(tensor(draw({number} + i, (4, {shape})))) ** 2).mean()",
                    f"{opt}.zero_grad()",
                    "loss.backward()",
                    f"{opt}.step()",
                    "losses.append(float(loss))" if g.chance(0.6) else "losses.append(loss)",
                )
            g.add("return losses")
        names.append(function)
    g.add(f"log(in_threads([{', '.join(names)}]))", f"log({nets[0].name}, {nets[1].name})")
