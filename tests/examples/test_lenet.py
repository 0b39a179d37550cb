"""The LeNet example: bytes in, the same scores as PyTorch's network, runs beside each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mynn
from examples.mnist import lenet, lenet_compare
from examples.mnist.data import load_bytes
from examples.mnist.lenet_job import learning_rate
from tests.examples.test_mnist_data import write_idx


def test_bytes_stay_bytes(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28))
    write_idx(tmp_path / "t10k-images-idx3-ubyte", images)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.arange(5))
    digits = load_bytes("t10k", tmp_path)
    assert (digits.x.dtype, digits.x.shape) == (np.uint8, (5, 28, 28))
    np.testing.assert_array_equal(digits.x, images)


def test_scores_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    from examples.mnist import lenet_torch

    mynn.manual_seed(0)
    net, peer = lenet.LeNet(), lenet_torch.network()
    state = {k.removeprefix("layers."): torch.tensor(v) for k, v in net.state_dict().items()}
    peer.load_state_dict(state)
    images = np.random.default_rng(1).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    expected = peer(lenet_torch.scaled(torch.from_numpy(images))).detach().numpy()
    np.testing.assert_allclose(net(images).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_accuracy_counts_every_digit_once() -> None:
    labels = np.arange(1234) % 10
    digits = lenet.Digits(np.zeros((1234, 28, 28), np.uint8), labels)
    accuracy = lenet.accuracy_of(lambda images: np.eye(10)[np.full(len(images), 3)], digits)
    assert accuracy == pytest.approx((labels == 3).mean())


def test_the_learning_rate_falls() -> None:
    assert learning_rate(1) > learning_rate(2) > learning_rate(10) > 0


def test_the_table_says_how_much_faster(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        lenet_compare.Run("mynn", 1, 2.0, [1.0, 2.0], [0.5, 0.5], [0.97, 0.991]),
        lenet_compare.Run("PyTorch", 1, 11.0, [6.0, 11.0], [5.0, 5.0], [0.96, 0.99]),
    ]
    lenet_compare.show(runs)
    said = capsys.readouterr().out
    assert "97.00 99.10 %" in said
    assert "5.50x" in said
