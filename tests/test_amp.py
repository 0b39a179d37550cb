"""Mixed precision, which is off: programs that switch it on run as in PyTorch without a GPU."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

import mynn
from mynn.errors import ArgumentError, ArgumentTypeError


def train(torch: Any, amp: str, given: tuple[Any, ...]) -> list[float]:
    """The loop of PyTorch's recipe."""
    room = importlib.import_module(f"{torch.__name__}.{amp}")
    weight = torch.tensor([1.0, -2.0], requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    scaler = room.GradScaler(*given)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        with room.autocast(*given):
            loss = (weight * torch.tensor([3.0, 4.0])).sum() ** 2
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_([weight], 1.0)
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert (scaler.get_scale(), scaler.is_enabled(), scaler.state_dict()) == (1.0, False, {})
    scaler.load_state_dict({})
    return losses


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("amp", "given"), [("amp", ("cuda",)), ("cuda.amp", ())])
def test_the_recipe(amp: str, given: tuple[Any, ...]) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("PyTorch has a GPU here")
    np.testing.assert_allclose(train(mynn, amp, given), train(torch, amp, given), rtol=1e-6)


def test_it_says_that_it_is_off() -> None:
    with pytest.warns(UserWarning, match=r"autocast\('cuda'\) has no effect, there is no cuda"):
        mynn.autocast("cuda", dtype=mynn.float16)
    with pytest.warns(UserWarning, match="there is no other precision here"):
        mynn.autocast("cpu", dtype=mynn.bfloat16)
    with pytest.warns(UserWarning, match=r"GradScaler\('cuda'\) has no effect"):
        mynn.cuda.amp.GradScaler()
    assert not mynn.is_autocast_available("cpu")


def test_a_decorator() -> None:
    @mynn.autocast("cpu", enabled=False)
    def double(x: Any) -> Any:
        return 2 * x

    assert (double(mynn.ones(1)).item(), double.__name__) == (2.0, "double")


def test_refusals() -> None:
    with pytest.raises(ArgumentError, match="there is no device 'gpu'"):
        mynn.autocast("gpu")
    with pytest.raises(ArgumentTypeError, match="device_type must be"):
        mynn.autocast(True)  # type: ignore[arg-type]
