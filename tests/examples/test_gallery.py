"""Each example of docs/examples.md runs, small, and learns; its numbers are PyTorch's."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mynn
from examples import births, burgers, cartpole, common, fashion, fine_tuning, neural_ode, vae, wages
from examples.torch_programs.cartpole import CartPole
from mynn.data import Table
from tests.examples.test_mnist_data import write_idx
from tests.examples.test_mnist_training import digits
from tests.registry.running import pytorch

DRAW = np.random.default_rng(0)


def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    x, t = digits(DRAW, count)
    return x, t.astype(np.int64)


@pytest.fixture
def picture(tmp_path: Path) -> list[str]:
    """Arguments that ask for a picture, where it can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return []
    return ["--picture", str(tmp_path / "drawn.png")]


def is_drawn(picture: list[str]) -> bool:
    return not picture or Path(picture[1]).stat().st_size > 1000


@pytest.mark.wide
def test_fashion(tmp_path: Path, picture: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for part, count in (("train", 600), ("t10k", 100)):
        for name, values in zip(("images-idx3", "labels-idx1"), images(count), strict=True):
            path = tmp_path / f"{part}-{name}-ubyte"
            write_idx(path, values)
            (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert not fashion.complete(tmp_path)
    with pytest.raises(SystemExit, match="--fetch"):
        fashion.main([], folder=tmp_path)
    monkeypatch.setattr(fashion, "complete", lambda folder: True)
    assert fashion.main(["--epochs", "5", *picture], folder=tmp_path) > 0.6
    assert is_drawn(picture)


def test_wages(picture: list[str]) -> None:
    rows = 150
    words = {name: DRAW.choice(["a", "b", "c"], rows).astype(object) for name in wages.WORDS}
    words["union"] = DRAW.integers(0, 2, rows)
    numbers = {name: DRAW.normal(10, 3, rows) for name in wages.NUMBERS}
    wage = np.exp(0.1 * numbers["education"] + (words["race"] == "a") * 1.0)
    table = Table({**numbers, **words, "wage": wage})
    assert wages.main(["--epochs", "40", *picture], table) > 0.5
    assert is_drawn(picture)


@pytest.mark.wide
def test_births(picture: list[str]) -> None:
    days = np.arange(1100)
    week = 2 * np.pi * days / 7
    rest = np.zeros((3, len(days)))
    series = np.stack(
        [1e4 + 2e3 * np.sin(week) + DRAW.normal(0, 50, len(days)), np.cos(week), *rest]
    )
    assert births.main(["--epochs", "2", *picture], series.T) < 500
    assert is_drawn(picture)


def test_neural_ode(picture: list[str]) -> None:
    assert neural_ode.main(["--epochs", "40", *picture]) < 1.2
    assert is_drawn(picture)


@pytest.mark.wide
def test_burgers(picture: list[str]) -> None:
    """The exact solution solves the equation; the network comes nearer to it."""
    x, t, h = np.array([-0.7, -0.3, 0.2, 0.55]), 0.3, 1e-4
    u, u_t = burgers.exact(x, t), (burgers.exact(x, t + h) - burgers.exact(x, t - h)) / (2 * h)
    after, before = burgers.exact(x + h, t), burgers.exact(x - h, t)
    u_x, u_xx = (after - before) / (2 * h), (after - 2 * u + before) / h**2
    np.testing.assert_allclose(u_t + u * u_x, burgers.NU * u_xx, atol=1e-4)
    assert burgers.main(["--epochs", "5", *picture]) < 0.55
    assert is_drawn(picture)


def test_physics_are_those_of_the_other_cart() -> None:
    one = CartPole(0)
    state = np.array([one.reset()])
    for right in (1, 0, 1, 1, 0):
        expected, *_ = one.step(right)
        state = cartpole.physics(mynn, mynn.tensor(state), np.float32([right])).numpy()
        np.testing.assert_allclose(state[0], expected, rtol=1e-4, atol=1e-6)


def test_advantages_are_sums_of_what_comes_later() -> None:
    values, last = DRAW.normal(size=(5, 3)), DRAW.normal(size=3)
    fell = (DRAW.random((5, 3)) < 0.3).astype(float)
    found = cartpole.advantages(mynn, *map(mynn.tensor, (values, last, fell)), 0.9)
    expected, sum_, later = np.zeros((5, 3)), np.zeros(3), last
    for t in reversed(range(5)):
        error = 1 - cartpole.GAMMA + cartpole.GAMMA * later * (1 - fell[t]) - values[t]
        sum_ = error + cartpole.GAMMA * 0.9 * (1 - fell[t]) * sum_
        expected[t], later = sum_, values[t]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("method", ["reinforce", "ppo"])
def test_cartpole(method: str, picture: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cartpole, "CARTS", 16)
    monkeypatch.setattr(cartpole, "STEPS", 100)
    monkeypatch.setattr(cartpole, "balance", lambda agent, torch: 0.0)
    seen: list[float] = []
    real = common.train

    def train(*given: Any) -> Any:
        found = real(*given)
        seen.extend(found[0])
        return found

    monkeypatch.setattr(cartpole, "train", train)
    cartpole.main(["--epochs", "20", "--method", method, *picture])
    assert -np.mean(seen[-5:]) > 1.3 * -np.mean(seen[:3])
    assert is_drawn(picture)


@pytest.mark.wide
def test_vae(picture: list[str]) -> None:
    data = images(600)[0], images(64)[0]
    assert vae.main(["--epochs", "4", *picture], data) < 450  # 543 nats: 784 times log 2
    assert is_drawn(picture)


@pytest.mark.wide
def test_fine_tuning(picture: list[str]) -> None:
    found = fine_tuning.main(["--epochs", "3", *picture], (images(700), images(200)), few=(10,))
    assert found[0] > 0.7
    assert is_drawn(picture)


NETWORKS: dict[str, Any] = {
    "fashion": (fashion.network, lambda torch, net, x, t, *_: net(x)),
    "wages": (
        lambda torch: wages.network(torch, [3] * 7),
        lambda torch, net, x, t, numbers, words, *_: net(numbers, words),
    ),
    "births": (births.network, lambda torch, net, x, t, a, b, days, *_: net(days)),
    "neural_ode": (
        neural_ode.network,
        lambda torch, net, *given: neural_ode.rungekutta(net, given[-1], 0.1),
    ),
    "burgers": (
        burgers.network,
        lambda torch, net, *given: burgers.residual(torch, net, given[-1])[0],
    ),
    "cartpole": (cartpole.network, lambda torch, net, x, t, numbers, *_: net(numbers[:, :4])[1]),
    "vae": (vae.network, lambda torch, net, x, *_: net.encode(x.reshape(-1, 784).float() / 255)[0]),
    "fine_tuning": (fine_tuning.network, lambda torch, net, x, *_: net(x)),
}


@pytest.mark.one_in(3)
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_compute_what_pytorchs_do(name: str) -> None:
    """The same weights give the same numbers."""
    torch = pytorch()
    network, call = NETWORKS[name]
    ours, theirs = network(mynn).eval(), network(torch).eval()
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    numbers = DRAW.normal(size=(4, 4 if name == "cartpole" else 3)).astype(np.float32)
    given = (
        *(images(4)[0], np.arange(4), numbers, DRAW.integers(0, 3, (4, 7))),
        *(DRAW.normal(size=(4, 20, 5)).astype(np.float32), DRAW.random((4, 2)).astype(np.float32)),
    )
    found = call(mynn, ours, *map(mynn.tensor, given))
    expected = call(torch, theirs, *map(torch.from_numpy, given))
    np.testing.assert_allclose(
        found.numpy(), expected.detach().numpy(), rtol=2e-3, atol=2e-4, err_msg=name
    )
