"""Parts of programs: training loops as people write them, and what they do in between."""

from __future__ import annotations

from dataclasses import dataclass

from tests.fuzz.eager import networks
from tests.fuzz.eager.draw import Draw, Net


@dataclass
class Loss:
    """A loss of `{y}` and a target `{t}`; whether the target is labels."""

    text: str
    labels: bool


LOSSES = (
    Loss("F.cross_entropy({y}, {t})", True),
    Loss("F.cross_entropy({y}, {t})", True),
    Loss("nn.CrossEntropyLoss(label_smoothing=0.1)({y}, {t})", True),
    Loss("F.nll_loss(F.log_softmax({y}, dim=1), {t})", True),
    Loss("F.mse_loss({y}, {t})", False),
    Loss("(({y} - {t}) ** 2).mean()", False),
    Loss("nn.MSELoss(reduction='sum')({y}, {t}) * 0.05", False),
    Loss("F.binary_cross_entropy_with_logits({y}, ({t} > 0) * 1.0)", False),
)


def optimizer(g: Draw, net: Net) -> str:
    """The optimiser of a network, made where it has none."""
    if net.optimizer and g.chance(0.7):
        return net.optimizer
    name = g.pick(("SGD", "SGD", "SGD", "Adam", "AdamW"))
    options = [f"lr={g.pick((0.01, 0.05) if name == 'SGD' else (0.001, 0.01))}"]
    if name == "SGD" and g.chance(0.6):
        options.append("momentum=0.9")
        options += g.pick(([], ["nesterov=True"], ["dampening=0.1"]))
    elif name != "SGD":
        # Gradients that are 0 but for rounding must not become whole steps.
        options.append("eps=0.01")
        options += ["amsgrad=True"] if g.chance(0.2) else []
    if g.chance(0.3):
        options.append(f"weight_decay={g.pick((0.01, 0.1))}")
    net.optimizer = g.name("opt")
    g.add(f"{net.optimizer} = optim.{name}({net.name}.parameters(), {', '.join(options)})")
    return net.optimizer


@dataclass
class Step:
    """The names and texts of one step: how its batch is made, and the loss."""

    net: Net
    optimizer: str
    loss: str
    batch: list[str]
    x: str
    t: str
    labels: bool


def a_step(g: Draw, net: Net, loop: bool = True) -> Step:
    """A step of a network. In a loop the batch follows from `i`; what it needs stands before."""
    opt = optimizer(g, net)
    loss, rows, number = g.pick(LOSSES), g.pick((2, 4, 5, 8)), g.number()
    extra = " + i" if loop else ""
    shape = ", ".join(map(str, net.shape))
    count = f"(n, {shape})"
    target = f"labels({number}{extra}, n, {net.out})"
    if not loss.labels:
        target = f"draw({number + 50}{extra}, (n, {net.out}))"
    batch = [f"n = {rows}"]
    if loop and g.chance(0.2):
        other = (f"n = {rows} if i != {g.some(1, 4)} else {rows + 1}", f"n = {rows} + i % 3")
        batch = [g.pick(other)]
    kind = g.some(0, 4) if loop else 0
    if kind == 1:  # arrays
        batch.append(f"x, t = draw({number}{extra}, {count}), {target}")
        names = ("given(x)", "given(t)")
    elif kind == 2:  # one array for all batches, which changes
        memory = g.name("a")
        g.add(f"{memory} = draw({number}, ({rows}, {shape}))")
        batch = [f"n = {rows}", f"{memory}[...] = draw({number} + i, {count})"]
        batch.append(f"t = tensor({target})")
        names = (g.pick((f"given({memory})", f"tensor({memory})")), "t")
    elif kind == 3:  # slices of a tensor
        data = g.name("x")
        g.add(f"{data} = tensor(draw({number}, ({6 * rows}, {shape})))")
        batch = [f"n = {rows}", f"x, t = {data}[i * n : i * n + n], tensor({target})"]
        names = ("x", "t")
    elif kind == 4:  # a tensor that takes each batch
        data = g.name("x")
        g.add(f"{data} = tensor(draw({number}, ({rows}, {shape})))")
        copied = f"{data}.copy_(tensor(draw({number} + i, {count})))"
        batch = [f"n = {rows}", g.pick((copied, f"{data}[:] = given(draw({number} + i, {count}))"))]
        batch.append(f"t = tensor({target})")
        names = (data, "t")
    else:
        batch.append(f"x, t = tensor(draw({number}{extra}, {count})), tensor({target})")
        names = ("x", "t")
    return Step(net, opt, loss.text, batch, *names, loss.labels)


def zeroed(g: Draw, step: Step) -> str:
    owner = g.pick((step.optimizer, step.optimizer, step.net.name))
    return f"{owner}.zero_grad({g.pick(('', '', 'set_to_none=False'))})"


def forward(g: Draw, step: Step, loss: str = "loss", loop: bool = False) -> None:
    """The loss of a batch, by a few ways to write it."""
    call = f"{step.net.name}({step.x})"
    if g.chance(0.7):
        g.add(f"y = {call}")
        if g.chance(0.15):
            g.look("y")
        call = "y"
    g.add(f"{loss} = {step.loss.format(y=call, t=step.t)}")
    if g.chance(0.12):
        scales = ["0.5", "{loss}.detach()"]
        scales += ["(1.0 + 0.1 * i)", "(0.5 if i % 2 else 1.5)"] if loop else []
        scale = g.pick(scales)
        g.add(f"{loss} = {loss} * {scale.format(loss=loss)}")
    if g.chance(0.15):
        g.add(f"{loss} = {loss} + 0.01 * sum((p * p).sum() for p in {step.net.name}.parameters())")


def loop(g: Draw) -> None:
    """A training loop."""
    net = networks.some(g)
    step = a_step(g, net)
    early, late = zeroed(g, step), ""
    if g.chance(0.25):
        early, late = "", early
    held = g.name("held") if g.chance(0.35) else ""
    if held:
        g.add(f"{held} = []")
    events = [g.pick(EVENTS) for _ in range(g.pick((0, 0, 1, 1, 2)))]
    backs = 2 if g.chance(0.06) else 1
    with g.block(f"for i in range({g.some(3, 6)}):"):
        g.add(*step.batch)
        if early and g.chance(0.6):
            g.add(early)
            early = ""
        forward(g, step, loop=True)
        if g.chance(0.2):
            g.look("loss", ())
        g.add(*[early] if early else [])
        g.add(*["loss.backward()"] * backs)
        if g.chance(0.2):
            between(g, step)
        g.add(f"{step.optimizer}.step()", *[late] if late else [])
        if g.chance(0.5):
            g.look("loss", ())
        if held:
            g.add(f"{held}.append({g.pick(('loss', 'loss.detach()', 'loss'))})")
        for event in events:
            with g.block(f"if i == {g.some(0, 4)}:"):
                _event(g, step, event)
        if g.chance(0.1):
            g.add("del loss")
    if held:
        g.add(f"log({g.pick((f'{held}', f'[float(one) for one in {held}]'))})")
    if g.chance(0.5):
        g.add(f"log({net.name})")


def between(g: Draw, step: Step) -> None:
    """What stands between `backward` and `step`."""
    net = step.net.name
    kind = g.some(0, 7)
    if kind >= 6:
        most = g.pick((0.05, 0.3, 2.0))
        clip = g.pick(("norm = clip_grad_norm_", "norm = clip_grad_norm_", "clip_grad_value_"))
        g.add(f"{clip}({net}.parameters(), {most})")
        if clip.startswith("norm") and g.chance(0.5):
            g.look("norm", ())
    elif kind == 0:
        g.add(f"log([p.grad for p in {net}.parameters()])")
    elif kind == 1:
        g.add(f"norm = float(sum((p.grad ** 2).sum() for p in {net}.parameters())) ** 0.5")
        with (
            g.block(f"if norm > {g.pick((0.3, 1.0, 2.0))}:"),
            g.block(f"for p in {net}.parameters():"),
        ):
            g.add("p.grad.mul_(1.0 / norm)")
        g.add("log(norm)")
    elif kind == 2:
        with g.block("with no_grad():"), g.block(f"for p in {net}.parameters():"):
            g.add(g.pick(("p.grad.clamp_(-0.1, 0.1)", "p.grad *= 0.5", "p.grad[0] = 0.1")))
    elif kind == 3:
        g.add(f"p = next(iter({net}.parameters()))", "p.grad = p.grad * 0.5")
    elif kind == 4:
        g.add(f"next(iter({net}.parameters())).grad = None")
    else:
        g.add(f"g = [p.grad.numpy() for p in {net}.parameters()]", "log(g)")


EVENTS = (
    *("rate", "rate", "freeze", "thaw", "measure", "look", "write", "data", "average", "state"),
    *("copy", "skip", "wrong", "decay", "slots", "assign", "load", "attribute", "replace", "row"),
    *("gradients", "again", "own", "stop"),
)


def _event(g: Draw, step: Step, event: str) -> None:
    """Something that happens in one round of a loop, or between parts."""
    net, opt = step.net.name, step.optimizer
    first = f"next(iter({net}.parameters()))"
    if event == "rate":
        g.add(f"{opt}.param_groups[0]['lr'] *= {g.pick((0.5, 0.1))}")
    elif event == "decay":
        g.add(f"{opt}.param_groups[0]['weight_decay'] = {g.pick((0.0, 0.05))}")
    elif event in ("freeze", "thaw"):
        g.add(f"{first}.requires_grad_({event == 'thaw'})")
    elif event == "measure":
        measured(g, step.net)
    elif event == "look":
        g.add(f"log({net})", f"log([p.grad for p in {net}.parameters()])")
    elif event == "write":
        text = g.pick(("p.mul_(0.9)", "p[0] = 0.1", "p.add_(0.01)", "p *= 0.5", "p.zero_()"))
        with g.block("with no_grad():"):
            g.add(f"p = {first}", text)
    elif event == "data":
        text = g.pick(("[0] = 0.2", "[...] *= 0.9", " *= 0.5", "[0] += 0.1"))
        g.add(f"_m = {first}.data", f"_m{text}")
    elif event == "assign":
        g.add(f"p = {first}", "p.assign(p.detach() * 0.9)")
    elif event == "average":
        average = g.name("average")
        with g.block("if True:"):
            g.add(f"{average} = [p.detach() * 1.0 for p in {net}.parameters()]")
            with (
                g.block("with no_grad():"),
                g.block(f"for a, p in zip({average}, {net}.parameters()):"),
            ):
                g.add("a.mul_(0.9).add_(p.detach() * 0.1)")
            g.add(f"log({average})")
    elif event == "state":
        g.add(f"_kept = {opt}.state_dict()", f"{opt}.load_state_dict(_kept)")
    elif event == "load":
        g.add(f"_kept = copy.deepcopy({net}.state_dict())", f"fill({net}, {g.number()})")
        if g.chance(0.5):
            g.add(f"{net}.load_state_dict(_kept)")
    elif event == "copy":
        twin = g.name("twin")
        g.add(*[f"{net}.kept = None"] if step.net.keeps else [])
        g.add(f"{opt}.zero_grad()", f"{twin} = copy.deepcopy({net})", f"log({twin})")
    elif event == "skip":
        g.add("continue")
    elif event == "slots":
        g.add(f"log(slots({opt}))")
    elif event == "wrong":
        wrong(g, step)
    elif event == "attribute" and step.net.own:
        g.add(f"{net}.factor = {g.pick((0.7, -0.5, 2))}")
    elif event == "replace" and step.net.own:
        g.add(f"{net}.scale = Parameter({net}.scale.detach().numpy() * 0.5)")
    elif event == "row":  # a view of a parameter, made before it changes
        row = g.name("row")
        g.add(f"{row} = {first}.detach()[0]")
        g.rows.append(row)
    elif event == "gradients":  # which the next `backward` may add to
        held = g.name("g")
        g.add(f"{held} = [p.grad for p in {net}.parameters()]")
        g.rows.append(held)
    elif event == "again":
        g.add(f"{opt}.step()")
    elif event == "own":
        g.add(f"log([p.requires_grad for p in {net}.parameters()])")
    elif event == "stop":
        with g.block(f"if float({first}.detach().sum()) > {g.pick((-1.0, 0.0, 1.0))}:"):
            g.add("break")


def measured(g: Draw, net: Net) -> None:
    """The network as it predicts."""
    number, shape = g.number(), ", ".join(map(str, net.shape))
    g.add(f"{net.name}.eval()")
    with g.block("with no_grad():"):
        g.add(f"z = {net.name}(tensor(draw({number}, (3, {shape}))))")
        if g.chance(0.5):
            g.add("log(z)")
    g.add(f"{net.name}.train()")
    if g.chance(0.5):
        g.add("log(z.argmax(1))")


def wrong(g: Draw, step: Step) -> None:
    """A step that raises somewhere; what was before it stays."""
    net, shape = step.net, ", ".join(map(str, step.net.shape))
    kind = g.some(0, 4)
    x = f"tensor(draw({g.number()}, (4, {shape})))"
    with g.block("with expected():"):
        g.add(f"{step.optimizer}.zero_grad()")
        if kind == 0:
            wide = ", ".join(str(extent + 1) for extent in net.shape)
            g.add(f"loss = {net.name}(tensor(draw(1, (4, {wide})))).sum()")
        elif kind == 1:
            g.add(
                f"loss = F.cross_entropy({net.name}({x}), tensor(np.array([0, {net.out}, 0, 0])))"
            )
        elif kind == 2:
            g.add(f"loss = F.mse_loss({net.name}({x}), tensor(draw(2, (3, 5, {net.out}))))")
        else:
            g.add(f"loss = {net.name}({x}).mean()")
        if kind == 3:
            g.add("raise ValueError('stop')")
        g.add("loss.backward()")
        if kind == 4:
            g.add("raise ValueError('stop')")
        g.add(f"{step.optimizer}.step()", "log(loss.item())")


def mistakes(g: Draw) -> None:
    """Steps that raise between those that do not."""
    net = networks.some(g)
    step = a_step(g, net)
    bad = g.some(1, 3)
    with g.block(f"for i in range({g.some(3, 5)}):"):
        with g.block(f"if i == {bad}:"):
            wrong(g, step)
        g.add(*step.batch, zeroed(g, step))
        forward(g, step)
        g.add("loss.backward()", f"{step.optimizer}.step()")
        if g.chance(0.5):
            g.look("loss", ())
    g.add(f"log({net.name})")


def accumulated(g: Draw) -> None:
    """Gradients of two batches for each step."""
    net = networks.some(g)
    step = a_step(g, net)
    rounds = g.pick((4, 6))
    clear = zeroed(g, step)
    with g.block(f"for i in range({rounds}):"):
        g.add(*step.batch)
        forward(g, step)
        if g.chance(0.4):
            g.add("loss = loss / 2")
        g.add("loss.backward()")
        if g.chance(0.3):
            g.look("loss", ())
        with g.block("if i % 2 == 1:"):
            g.add(f"{step.optimizer}.step()", clear)
            if g.chance(0.2):
                g.add(f"log({net.name})")
    g.add(f"log({net.name})")


def episode(g: Draw) -> None:
    """Acting, each step looked at, then one update of all that was kept."""
    net = networks.some(g)
    opt = optimizer(g, net)
    shape, number, count = ", ".join(map(str, net.shape)), g.number(), g.some(3, 6)
    rows = g.pick((2, 2, 3))
    critic = networks.some(g) if g.chance(0.4) else None
    critic = critic if critic is not None and critic.shape == net.shape else None
    length = f"{count} + episode % 2" if g.chance(0.3) else f"{count}"
    with g.block(f"for episode in range({g.some(2, 4)}):"):
        g.add(f"kept, state = [], draw({number} + episode, ({rows}, {shape}))")
        with g.block(f"for i in range({length}):"):
            g.add(f"p = F.softmax({net.name}(tensor(state)), dim=1)")
            g.add(g.pick(("a = int(p[0].argmax())", f"a = (i + episode) % {net.out}")))
            if g.chance(0.7):
                g.add(g.pick(("log(p)", "log(p.numpy())", "log(p[0, a].item())")))
            g.add(
                f"state = 0.5 * state + draw({number} + 10 * episode + i + 40, ({rows}, {shape}))"
            )
            g.add(
                g.pick(("kept.append(p[0, a].log())", "kept.append(F.cat([p[0, a].reshape(1)]))"))
            )
            if critic:
                g.add(f"v = {critic.name}(tensor(state))", "w = p[0, a].item() - v.mean().item()")
                g.add(g.pick(("kept.append(v[0, 0] * w)", "kept.append((v - w).square().mean())")))
        reward = g.pick(("(-0.5 + 0.1 * i)", "1.0"))
        joined = g.pick(
            (
                f"-sum(one.sum() * {reward} for i, one in enumerate(kept))",
                "-F.stack([one.sum() for one in kept]).mean()",
            )
        )
        g.add(f"{opt}.zero_grad()", f"loss = {joined}", "loss.backward()", f"{opt}.step()")
        if g.chance(0.6):
            g.look("loss", ())
        if g.chance(0.2):
            g.add(f"log({net.name})")
    g.add(f"log({net.name})")


def switches(g: Draw) -> None:
    """Modes and frozen parameters, between single steps."""
    net = networks.some(g)
    step = a_step(g, net, loop=False)
    for _ in range(g.some(2, 4)):
        kind = g.some(0, 4)
        if kind == 0:
            g.add(f"{net.name}.{g.pick(('eval()', 'train()', 'train(False)'))}")
        elif kind == 1:
            g.add(f"{net.name}.requires_grad_({g.chance(0.6)})")
        else:
            _event(g, step, g.pick([event for event in EVENTS if event not in ("skip", "stop")]))
        g.add(*step.batch, zeroed(g, step))
        forward(g, step)
        g.add("loss.backward()", f"{step.optimizer}.step()")
        if g.chance(0.4):
            g.look("loss", ())
    g.add(f"{net.name}.train()", f"log({net.name})")


def inputs(g: Draw) -> None:
    """Gradients with respect to inputs, several times."""
    net = networks.some(g)
    number, shape = g.number(), ", ".join(map(str, net.shape))
    with g.block(f"for i in range({g.some(2, 5)}):"):
        g.add(f"x = tensor(draw({number} + i, (3, {shape})), requires_grad=True)")
        if g.chance(0.2):
            g.add(f"x.grad = tensor(draw({number}, (3, {shape})))")
        g.add(f"y = {net.name}(x)")
        g.add(g.pick((f"y.backward(draw({number} + 50, (3, {net.out})))", "y.mean().backward()")))
        g.add("log(x.grad)")
        if g.chance(0.3):
            with g.block("with no_grad():"):
                g.add("x -= 0.5 * x.grad", "log(x)")
    g.add(f"log([p.grad for p in {net.name}.parameters()])", f"{net.name}.zero_grad()")


def copied(g: Draw) -> None:
    """A copy of a network in training; both go on."""
    net = networks.some(g)
    step = a_step(g, net, loop=False)
    twin = g.name("twin")
    copies = ("copy.deepcopy({})", "pickle.loads(pickle.dumps({}))")
    # Classes of programs cannot be imported, so that they are not pickled.
    g.add(*step.batch)
    forward(g, step)
    g.add("loss.backward()", f"{step.optimizer}.step()", f"{step.optimizer}.zero_grad()")
    if net.keeps:
        g.add(f"{net.name}.kept = None")
    g.add(f"{twin} = {copies[0] if net.own else g.pick(copies)}".format(net.name))
    for name in (twin, net.name, twin):
        with g.block("if True:"):
            g.add(f"loss = {step.loss.format(y=f'{name}({step.x})', t=step.t)}", "loss.backward()")
            if g.chance(0.4):
                g.look("loss", ())
    g.add(f"{step.optimizer}.step()", f"log({twin})", f"log({net.name})")
    g.add(f"log([p.grad for p in {twin}.parameters()])")
    if g.chance(0.3):
        g.add(f"log(in_thread(lambda: {twin}({step.x})))")
    g.add(f"{net.name}.zero_grad()")


def programs(g: Draw) -> None:
    """The same network in a compiled step, in `fit`, `predict`, and by hand."""
    net = networks.some(g)
    while net.keeps:  # what is kept in a trace cannot be used after it
        net = networks.network(g)
    step = a_step(g, net, loop=False)
    function = g.name("step")
    backend = "compiled" if g.chance(0.15) else "interpreted"
    with g.block(f"@{backend}\ndef {function}(x, t):"):
        g.add(f"loss = {step.loss.format(y=f'{net.name}(x)', t='t')}")
        g.add("loss.backward()", f"{step.optimizer}.step()", "return loss")
    number, shape = g.number(), ", ".join(map(str, net.shape))
    target = f"labels({number}, 6, {net.out})"
    target = target if step.labels else f"draw({number + 1}, (6, {net.out}))"
    g.add(f"x, t = draw({number}, (6, {shape})), {target}")
    for _ in range(g.some(2, 4)):
        kind = g.some(0, 4)
        if kind == 0:
            g.add(f"log({function}(x, t))")
        elif kind == 1:
            g.add(f"log(fit({function}, (x, t), epochs=2, batch_size=3))")
        elif kind == 2:
            g.add(f"log(predict({net.name}, x))")
        else:
            g.add(f"{step.optimizer}.zero_grad()")
            g.add(f"loss = {step.loss.format(y=f'{net.name}(given(x))', t='given(t)')}")
            g.add("loss.backward()", f"{step.optimizer}.step()")
            if g.chance(0.4):
                g.look("loss", ())
    g.add(f"log({net.name})")
