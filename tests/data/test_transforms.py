"""Augmentation: what comes out is made of what goes in, drawn for each image, natively too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import data, nn
from mynn.core.types import Array
from mynn.errors import ArgumentError, DTypeError, ShapeError
from tests.train.reference import backends


def images(n: int = 64, channels: int = 2, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(0).integers(1, 255, (n, channels, 6, 5)).astype(dtype)


def drawn(layer: nn.Module, *arrays: Any, backend: str = "native") -> Any:
    """What a compiled call gives, with random keys of its own."""
    mynn.manual_seed(0)
    found = mynn.compile(layer, backend=backend)(*arrays)
    return [np.array(one) for one in found] if isinstance(found, tuple) else np.array(found)


LAYERS: dict[str, nn.Module] = {
    "flip": data.RandomHorizontalFlip(),
    "vertical flip": data.RandomVerticalFlip(p=0.3),
    "crop": data.RandomCrop(4),
    "crop with a border": data.RandomCrop((6, 5), padding=2, fill=7),
    "edge": data.RandomCrop(6, padding=(1, 2, 3, 0), padding_mode="edge"),
    "reflect": data.RandomCrop((7, 6), padding=(2, 3), padding_mode="reflect"),
    "shift": data.RandomShift((1, 2)),
    "noise": data.GaussianNoise(0.5, 2.0, clip=False),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", LAYERS)
def test_native_and_interpreted_runs_draw_the_same(name: str) -> None:
    x = images()
    native, interpreted = (drawn(LAYERS[name], x, backend=b) for b in ("native", "interpreter"))
    np.testing.assert_allclose(native, interpreted, rtol=1e-5)
    mynn.manual_seed(0)
    np.testing.assert_allclose(native, np.array(LAYERS[name](x)), rtol=1e-5)
    assert not np.array_equal(native, np.array(LAYERS[name](x)))  # the next draw is another one


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_flips_are_each_images_own(dtype: str) -> None:
    x = images(2000, dtype=dtype)
    for layer, axis, p in (("flip", 3, 0.5), ("vertical flip", 2, 0.3)):
        found = drawn(LAYERS[layer], x)
        flipped = (found == np.flip(x, axis)).all((1, 2, 3))
        assert (flipped | (found == x).all((1, 2, 3))).all()
        assert abs(flipped.mean() - p) < 0.05
        assert found.dtype == x.dtype


MODES = {"edge": "edge", "reflect": "reflect", "crop": "constant", "crop with a border": "constant"}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("without_channels", [False, True])
def test_crops_are_parts_of_the_image_and_its_border(name: str, without_channels: bool) -> None:
    """All places occur, about equally often."""
    layer: Any = LAYERS[name]
    x = images(1500)[:, 0] if without_channels else images(1500)
    found = drawn(layer, x)
    borders = [(0, 0)] * (x.ndim - 2) + list(layer.borders)
    filled = {"constant_values": 7} if MODES[name] == "constant" else {}
    padded = np.pad(x, borders, MODES[name], **filled)  # type: ignore[call-overload]
    h, w = layer.size
    counts = []
    matched = np.zeros(len(x), bool)
    for top in range(padded.shape[-2] - h + 1):
        for left in range(padded.shape[-1] - w + 1):
            part = padded[..., top : top + h, left : left + w]
            same = (found == part).reshape(len(x), -1).all(1)
            matched |= same
            counts.append(same.sum())
    assert matched.all()
    assert min(counts) > 0.5 * len(x) / len(counts)
    assert found.shape == (*x.shape[:-2], h, w)


def test_a_shift_is_a_crop_of_the_same_size() -> None:
    x = images(8)
    ours, crop = drawn(LAYERS["shift"], x), drawn(data.RandomCrop((6, 5), padding=(2, 1)), x)
    np.testing.assert_array_equal(ours, crop)


def test_noise_has_its_mean_and_deviation() -> None:
    x = np.zeros((200, 1, 10, 10), np.float32)
    found = drawn(LAYERS["noise"], x)
    assert abs(found.mean() - 0.5) < 0.05
    assert abs(found.std() - 2) < 0.05
    clipped = drawn(data.GaussianNoise(0.5, 2.0), x)
    assert (clipped.min(), clipped.max()) == (0, 1)


@pytest.mark.parametrize("name", LAYERS)
def test_evaluation_leaves_images_as_they_are(name: str) -> None:
    x = images(4)
    found = None if name in ("reflect", "edge") else mynn.predict(LAYERS[name], x)
    if name == "crop":
        np.testing.assert_array_equal(found, x[:, :, 1:5, 0:4])
    elif name == "edge":
        with pytest.raises(ShapeError, match="give larger images"):
            mynn.predict(LAYERS[name], x)
    elif found is not None:
        np.testing.assert_array_equal(found, x)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0, 4.0])
def test_mixed_shares_have_their_distribution(alpha: float) -> None:
    """Mean 1/2, variance 1 / (4 (2 alpha + 1)), and a quartile, which a draw of NumPy's has too."""
    mix = data.MixUp(alpha=alpha)

    @mynn.compile
    def shares(n: Any) -> Any:
        return mynn.stack([mix._share() for _ in range(64)]) + n

    mynn.manual_seed(0)
    found = np.concatenate([np.array(shares(0.0)) for _ in range(100)])
    expected = np.random.default_rng(0).beta(alpha, alpha, 100_000)
    assert ((found >= 0) & (found <= 1)).all()
    assert abs(found.mean() - 0.5) < 0.02
    assert abs(found.var() - 1 / (4 * (2 * alpha + 1))) < 0.005
    assert abs(np.quantile(found, 0.25) - np.quantile(expected, 0.25)) < 0.02


def test_mixed_images_have_mixed_targets() -> None:
    x, t = images(6) / 255, np.array([0, 1, 2, 0, 1, 2])
    mix = data.MixUp(alpha=1.0, num_classes=3)
    mixed, targets = drawn(mix, x, t)
    lam = targets[0, 0]
    ones = np.eye(3)[t]
    np.testing.assert_allclose(targets, lam * ones + (1 - lam) * np.roll(ones, 1, 0), atol=1e-6)
    np.testing.assert_allclose(mixed, lam * x + (1 - lam) * np.roll(x, 1, 0), atol=1e-6)
    same, targets = (np.array(one) for one in data.MixUp(num_classes=3).eval()(x, t))
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(targets, ones)


@backends
def test_a_network_trains_on_what_is_drawn_in_the_loop(backend: str) -> None:
    """Each epoch sees other images; the network measures those that are given."""
    x, t = images(32), np.arange(32) % 2
    net = nn.Sequential(data.RandomHorizontalFlip(), data.RandomShift(1), nn.Flatten())
    seen = []

    def step(x: Any, t: Any) -> Any:
        return (net(x) * np.arange(60, dtype=np.float32)).mean() + 0.0 * t.sum()

    mynn.manual_seed(3)
    compiled = mynn.compile(step, backend=backend)
    history = mynn.fit(compiled, (x, t), epochs=3, batch_size=8, shuffle=False)
    seen = history["loss"].tolist()
    assert len(set(seen)) == 3
    np.testing.assert_array_equal(mynn.predict(net, x), x.reshape(32, -1))


def test_what_is_wrong_is_refused() -> None:
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: data.RandomHorizontalFlip(1.5), ArgumentError, "RandomHorizontalFlip: p"),
        (lambda: data.RandomCrop(0), ArgumentError, "size must be at least 1"),
        (lambda: data.RandomCrop(3, padding=-1), ArgumentError, "padding must be at least 0"),
        (lambda: data.RandomCrop(3, padding=(1, 2, 3)), ArgumentError, "1, 2 or 4 numbers"),
        (lambda: data.RandomCrop(3, padding_mode="wrap"), ArgumentError, "'wrap'"),
        (lambda: data.RandomCrop(9)(images()), ShapeError, r"9x9 of images of shape \(64, 2, 6, 5"),
        (
            lambda: data.RandomCrop(6, padding=5, padding_mode="reflect")(images()),
            ShapeError,
            "reflects no image of 5 pixels",
        ),
        (lambda: data.RandomShift(1)(np.zeros((4, 4))), ShapeError, r"these have shape \(4, 4\)"),
        (lambda: data.GaussianNoise()(images(dtype=np.uint8)), DTypeError, "uint8.*255"),
        (lambda: data.MixUp(alpha=0), ArgumentError, "alpha"),
        (lambda: data.MixUp()(images(), np.zeros(64, int)), ArgumentError, "give num_classes"),
        (
            lambda: data.MixUp(num_classes=2)(images(), np.zeros(9, int)),
            ShapeError,
            "64 images and 9 targets",
        ),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
