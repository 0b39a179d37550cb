"""The language models: windows of a text, training, and what they write."""

from __future__ import annotations

import numpy as np
import pytest

from examples.moby_dick import __main__ as example
from examples.moby_dick.data import prepare, windows
from examples.moby_dick.models import MODELS
from tests.registry.running import pytorch

TEXT = "the cat sat on the mat; " * 400


def test_windows_and_the_same_one_character_later() -> None:
    x, t = windows(np.arange(11), 3)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert (t == x + 1).all()
    text = prepare(TEXT, 8)
    assert "".join(text.characters[n] for n in text.numbers("the cat")[0]) == "the cat"


@pytest.mark.wide
def test_a_model_learns_and_writes() -> None:
    """A text that repeats itself is told nearly for certain; it writes the words that it read."""
    text = prepare(TEXT, example.LENGTH)
    text = text._replace(test=text.train)
    predict, _ = example.with_mynn("gru", text, epochs=12)
    assert example.bits(predict, text, rows=64) < 0.7
    written = example.write(predict, text, 40, start="the cat ")
    assert written.startswith("the cat ")
    assert len(written) == 48
    assert {*written.split()[:-1]} <= {*TEXT.split()}


@pytest.mark.parametrize("model", MODELS)
def test_the_models_are_pytorchs(model: str) -> None:
    """The same parameters give the same scores."""
    torch = pytorch()
    import mynn

    ours = MODELS[model](mynn, 11, 16)
    theirs = MODELS[model](torch, 11, 16)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    x = np.random.default_rng(0).integers(0, 11, (2, 16))
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(x).numpy(), expected, rtol=1e-4, atol=1e-5)
