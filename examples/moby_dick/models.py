"""Two models of a language, character by character, for mynn and PyTorch alike.

`torch` is either of them: `import torch`, or `import mynn as torch`.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def gru(torch: Any, characters: int, length: int) -> Any:
    """A recurrent network: what was read is in its state."""
    nn = torch.nn

    class Model(nn.Module):  # type: ignore[misc]
        """Characters [N, L] to scores of the next ones [N, L, characters]."""

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(characters, 64)
            self.gru = nn.GRU(64, 128, batch_first=True)
            self.head = nn.Linear(128, characters)

        def forward(self, x: Any) -> Any:
            """Every place sees the ones before it."""
            return self.head(self.gru(self.table(x))[0])

    return Model()


def transformer(torch: Any, characters: int, length: int) -> Any:
    """Causal attention: each place looks at the ones before it."""
    nn = torch.nn
    mask = nn.Transformer.generate_square_subsequent_mask(length)
    places = torch.from_numpy(np.arange(length))

    class Model(nn.Module):  # type: ignore[misc]
        """Characters [N, L] to scores of the next ones [N, L, characters]."""

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(characters, 64)
            self.places = nn.Embedding(length, 64)
            layer = nn.TransformerEncoderLayer(
                *(64, 4, 256, 0.0, "gelu"), batch_first=True, norm_first=True
            )
            self.blocks = nn.TransformerEncoder(
                layer, 2, nn.LayerNorm(64), enable_nested_tensor=False
            )
            self.head = nn.Linear(64, characters)

        def forward(self, x: Any) -> Any:
            """Every place sees the ones before it."""
            n = x.shape[1]
            h = self.table(x) + self.places(places[:n])
            return self.head(self.blocks(h, mask[:n, :n], is_causal=True))

    return Model()


MODELS = {"gru": gru, "transformer": transformer}
