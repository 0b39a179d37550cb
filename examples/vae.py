"""Digits that nobody wrote, a variational autoencoder: `python -m examples.vae`.

It learns to squeeze a digit of MNIST into 8 numbers and to draw it again; numbers from the normal
distribution then give digits of their own. The noise is drawn in the native loop.
`python -m examples.mnist.fetch` gets the data.

Source: Kingma, Welling, "Auto-encoding variational Bayes", 2014.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from examples.common import descend, figure, library, options, predict, save, train
from examples.mnist.data import load_bytes
from examples.mnist.fetch import FOLDER, MNIST

LATENT, BATCH = 8, 128


def network(torch: Any) -> Any:
    """Images [N, 784] of bytes; `draw` makes scores of pixels [N, 784] of numbers [N, 8]."""
    nn = torch.nn

    class VAE(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(784, 256), nn.SiLU(), nn.Linear(256, 2 * LATENT))
            self.decoder = nn.Sequential(nn.Linear(LATENT, 256), nn.SiLU(), nn.Linear(256, 784))

        def encode(self, x: Any) -> tuple[Any, Any]:
            """Means and logarithms of variances, [N, 8] each."""
            code = self.encoder(x)
            return code[:, :LATENT], code[:, LATENT:]

        def loss(self, images: Any) -> Any:
            """The bound of -log p(x), in nats for an image."""
            x = images.float() / 255
            mean, log_variance = self.encode(x)
            z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
            drawn = torch.nn.functional.binary_cross_entropy_with_logits(
                self.decoder(z), x, reduction="sum"
            )
            far = 0.5 * (mean * mean + log_variance.exp() - log_variance - 1).sum()
            return (drawn + far) / x.shape[0]

    return VAE()


def draw(path: Path, torch: Any, net: Any, images: np.ndarray) -> None:
    """Digits and what they come back as; on the way from one to another; of pure noise."""

    def pixels(z: np.ndarray) -> np.ndarray:
        scores = predict(torch, net.decoder, z.astype(np.float32))
        return (1 / (1 + np.exp(-scores))).reshape(-1, 28, 28)

    def codes(x: np.ndarray) -> np.ndarray:
        found = predict(torch, net.encoder, (x / 255).astype(np.float32).reshape(-1, 784))
        return found[:, :LATENT]

    drawn, (panels,) = figure(3, width=3.0, height=3.1)
    given = images[:32]
    back = pixels(codes(given))
    pairs = np.concatenate(
        [np.stack([given[r : r + 8] / 255, back[r : r + 8]]) for r in (0, 8, 16)]
    )
    ends = codes(images[[7, 8, 4, 14, 1, 3]])
    shares = np.linspace(0, 1, 8)[:, None]
    between = [pixels(a * (1 - shares) + b * shares) for a, b in pairwise(ends)]
    noise = np.random.default_rng(3).normal(size=(64, LATENT))
    rows = pairs, np.stack(between), pixels(noise).reshape(8, 8, 28, 28)
    titles = "digits, and below each as it comes back", "from digit to digit", "of noise"
    for panel, grid, title in zip(panels, rows, titles, strict=True):
        panel.imshow(np.vstack([np.hstack(row) for row in grid]), "gray_r", vmin=0, vmax=1)
        panel.set_title(title, fontsize=8)
        panel.axis("off")
    save(drawn, path)


def main(arguments: list[str] | None = None, data: Any = None) -> float:
    """Train; the bound on images that were not trained on, in nats."""
    given = options(__doc__, epochs=20).parse_args(arguments)
    if data is None:
        MNIST.require(FOLDER, "examples.mnist.fetch")
        data = load_bytes("train").x, load_bytes("t10k").x
    images, held = (part.reshape(len(part), -1) for part in data)
    torch = library(given.library)
    net = network(torch)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    _, seconds = train(torch, descend(torch, net, adam, net.loss), (images,), given.epochs, BATCH)
    parts = np.array_split(held, max(1, len(held) // 1000))
    with torch.no_grad():
        bound = float(np.mean([net.loss(torch.from_numpy(part.copy())).item() for part in parts]))
    print(f"{given.library}: {bound:.1f} nats an image held out, {seconds:.1f} s")
    if given.picture:
        draw(given.picture, torch, net, data[1])
    return bound


if __name__ == "__main__":
    main()
