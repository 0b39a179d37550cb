"""Parts of programs: networks, made of layers or with a `forward` of their own."""

from __future__ import annotations

from tests.fuzz.eager.draw import Draw, Net

ACTIVATIONS = (
    "ReLU()",
    "ReLU(inplace=True)",
    "Tanh()",
    "Sigmoid()",
    "GELU()",
    "SiLU()",
    "LeakyReLU(0.1)",
)


def network(g: Draw, draws: bool = True) -> Net:
    """A network with parameters that follow from a number; one that `draws` may have dropout."""
    kind = g.pick((_layers, _layers, _images, _module, _module) if draws else (_images, _module))
    net: Net = kind(g)
    g.nets.append(net)
    return net


def some(g: Draw) -> Net:
    """A network that is there, or a new one."""
    return g.pick(g.nets) if g.nets and g.chance(0.6) else network(g)


def _dropout(g: Draw) -> str:
    if g.chance(0.3):
        g.draws = True
        return "nn.Dropout(0.4)"
    return "nn.Dropout(0.0)"


def _layers(g: Draw) -> Net:
    """Linear layers, normalisations, activations."""
    first = width = g.pick((2, 3, 5, 8))
    parts = []
    for _ in range(g.some(1, 2)):
        wide = g.pick((4, 6, 8, 13))
        parts.append(f"nn.Linear({width}, {wide}{', bias=False' if g.chance(0.15) else ''})")
        width = wide
        if g.chance(0.35):
            norm = g.pick(("BatchNorm1d", "BatchNorm1d", "LayerNorm", "RMSNorm"))
            parts.append(f"nn.{norm}({width})")
        parts.append(f"nn.{g.pick(ACTIVATIONS)}")
        if g.chance(0.15):
            parts.append(_dropout(g))
    out = g.pick((2, 3, 4))
    parts.append(f"nn.Linear({width}, {out})")
    return _filled(g, f"nn.Sequential({', '.join(parts)})", (first,), out)


def _images(g: Draw) -> Net:
    """A small convolutional network."""
    channels, side = g.pick((1, 2)), g.pick((5, 6, 8))
    first = (channels, side, side)
    wide = g.pick((2, 3, 4))
    pad = g.pick((0, 1))
    parts = [f"nn.Conv2d({channels}, {wide}, 3, padding={pad})"]
    side += 2 * pad - 2
    parts += [f"nn.BatchNorm2d({wide})"] if g.chance(0.4) else []
    parts.append(f"nn.{g.pick(ACTIVATIONS)}")
    if g.chance(0.6):
        parts.append(g.pick(("nn.MaxPool2d(2)", "nn.AvgPool2d(2)")))
        side //= 2
    parts.append("nn.Flatten()")
    out = g.pick((2, 3))
    parts.append(f"nn.Linear({wide * side * side}, {out})")
    return _filled(g, f"nn.Sequential({', '.join(parts)})", first, out)


def _filled(g: Draw, text: str, shape: tuple[int, ...], out: int) -> Net:
    net = Net(g.name("net"), shape, out)
    g.add(f"{net.name} = fill({text}, {g.number()})")
    return net


# A buffer that only changes in training.
TOTAL = "self.total = self.total * 0.9 + h.detach().mean(0)"
# Lines of a `forward` that leave [N, width] as it is.
SAME = (
    *("h = h + F.relu(self.inner(h))", "h = h + self.inner(h).tanh()", "h = F.relu(h)"),
    *("h = h * self.scale", "h = h - h.mean(1).reshape(-1, 1)", "h = F.tanh(h)", "h = h.T.T"),
    *("h = F.stack([h, h.tanh()], 1).mean(1)", "h = F.cat([h[:, 1:], h[:, :1]], 1)"),
    *("h = F.layer_norm(h, ({width},))", "h = F.softmax(h, dim=1) * 3.0", "self.kept = h"),
    *("h = h + self.kept if self.kept is not None and self.kept.shape == h.shape else h",),
    *("h = self.norm(h)", "h = h * 0.9 if self.training else h * 1.1", "self.calls += 1"),
    *("h = F.linear(h, self.inner.weight)", "h = h.reshape(h.shape[0], -1, 1)[:, :, 0]"),
    *("h = h @ self.inner.weight", "h = h + self.scale.detach()", "h = h * (h > 0.1)"),
    *(TOTAL, "h = h * 1.0\nh[:, 0] = 0.5", "h += 0.1", "h = h * self.factor"),
    *("h = h + self.factor * self.table[(h[:, 0] > 0) * 1]", "h = F.relu(h, inplace=True)"),
)


def _module(g: Draw) -> Net:
    """A class with a forward of its own."""
    name = g.name("Net")
    first, width, out, keeps = g.pick((2, 3, 5)), g.pick((4, 6)), g.pick((2, 3)), False
    with g.block(f"class {name}(nn.Module):"):
        with g.block("def __init__(self):"):
            g.add(
                "super().__init__()",
                f"self.first = nn.Linear({first}, {width})",
                f"self.inner = nn.Linear({width}, {width})",
                f"self.norm = nn.{g.pick(('BatchNorm1d', 'LayerNorm'))}({width})",
                f"self.scale = Parameter(draw({g.number()}, ({width},)))",
                f"self.last = nn.Linear({width}, {out})",
                f"self.table = Parameter(draw({g.number()}, (2, {width})))",
                "self.kept, self.calls, self.factor = None, 0, 0.5",
                f"self.register_buffer('total', tensor(draw({g.number()}, ({width},))))",
            )
        with g.block("def forward(self, x):"):
            g.add(g.pick(("h = self.first(x)", "h = F.relu(self.first(x))")))
            for _ in range(g.some(1, 4)):
                line = g.pick(SAME)
                keeps = keeps or "kept" in line
                if line == TOTAL:
                    with g.block("if self.training:"):
                        g.add(TOTAL)
                else:
                    g.add(*line.format(width=width).split("\n"))
            g.add("return self.last(h)")
    net = _filled(g, f"{name}()", (first,), out)
    net.own, net.keeps = True, keeps
    return net
