"""Results that are changed in place: gradients that need what they were are refused on the tape, as
at once and in PyTorch; all others are as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.base import recording
from mynn.errors import UsageError
from mynn.nn import functional as F

REFUSED = "modified by an inplace operation"
# So many times that programs are made of runs and of gradients.
ROUNDS = 16


def slope(loss: Any, x: Any) -> Any:
    loss.backward()
    return x.grad


def a_result_that_its_rule_needs(x: Any) -> Any:
    y = x.exp()
    y.mul_(2)
    return slope(y.sum(), x)


def asked_for_as_a_result(x: Any) -> Any:
    y = (x * 2).tanh()
    y += 1
    return mynn.autograd.grad(y.sum(), x)[0]


def an_operand(x: Any) -> Any:
    y = x * 3
    z = y * y
    y.add_(1)
    return slope((z + y).sum(), x)


def itself(x: Any) -> Any:
    y = x * 3
    y.mul_(y)
    return slope(y.sum(), x)


def an_operand_without_gradient(x: Any) -> Any:
    c = mynn.tensor([1.0, 3.0]).exp()
    z = c * x
    c.mul_(2)
    return slope(z.sum(), x)


def what_was_looked_at(x: Any) -> Any:
    y = x.exp()
    z = y * 2
    z.sum().item()
    y.mul_(2)
    return slope(z.sum(), x)


def an_operand_that_was_looked_at(x: Any) -> Any:
    y = x * 2
    z = y * y
    z.sum().item()
    y.add_(1)
    return slope(z.sum(), x)


def what_a_layer_has_changed(x: Any, net: Any = mynn.nn.Sequential()) -> Any:  # noqa: B008
    if not len(net):
        net.append(mynn.nn.Sigmoid())
        net.append(mynn.nn.ReLU(inplace=True))
    return slope(net(x * 1).sum(), x)


def a_result_that_only_values_need(x: Any) -> Any:
    y = x * 3
    z = y.exp()
    y += 1
    return slope((y * z).sum(), x)


def a_factor_in_place(x: Any) -> Any:
    y = x * 3
    y.mul_(x * 2)
    return slope(y.sum(), x)


def a_constant_times_what_asks_for_a_gradient(x: Any) -> Any:
    c = mynn.tensor([3.0, 4.0])
    c.mul_(x)
    c.lerp_(mynn.tensor([1.0, 0.5]), x)
    return slope((c * c).sum(), x)


def a_result_times_what_asks_for_a_gradient(x: Any) -> Any:
    c = mynn.tensor([3.0, 4.0]).exp()
    c.div_(x)
    return slope((c * c).sum(), x)


def a_function_in_place(x: Any) -> Any:
    y = x * 3 - 1
    y.relu_()
    z = F.relu(y * 2, inplace=True)
    return slope((z * z).sum(), x)


def a_quotient(x: Any) -> Any:
    y = x * 3
    z = 5 / y
    z *= 0.5
    return slope(z.sum(), x)


def without_gradients(x: Any) -> Any:
    y = x * 3
    with mynn.no_grad():
        y.mul_(2)
    return slope((y * y).sum(), x)


WRONG = [
    a_result_that_its_rule_needs,
    asked_for_as_a_result,
    an_operand,
    itself,
    an_operand_without_gradient,
    what_was_looked_at,
    an_operand_that_was_looked_at,
    what_a_layer_has_changed,
]
RIGHT = [
    a_result_that_only_values_need,
    a_factor_in_place,
    a_constant_times_what_asks_for_a_gradient,
    a_result_times_what_asks_for_a_gradient,
    a_function_in_place,
    a_quotient,
    without_gradients,
]


def start() -> Any:
    return mynn.tensor([1.0, -2.0], requires_grad=True)


@pytest.mark.parametrize("program", WRONG)
def test_what_a_gradient_needs(program: Callable[[Any], Any]) -> None:
    with mynn.eager("at once"), pytest.raises(UsageError, match=REFUSED):
        program(start())
    with mynn.eager("tape"):
        for _ in range(ROUNDS):
            with pytest.raises(UsageError, match=REFUSED):
                program(start())


@pytest.mark.parametrize("program", RIGHT)
def test_what_no_gradient_needs(program: Callable[[Any], Any]) -> None:
    with mynn.eager("at once"):
        expected = program(start()).numpy()
    with mynn.eager("tape"):
        for _ in range(ROUNDS):
            np.testing.assert_allclose(program(start()).numpy(), expected, rtol=1e-5)


def test_the_same_calls_with_and_without_a_change() -> None:
    """A result that stays beside the product is another program than one that becomes it."""
    with mynn.eager("tape"):
        for number in range(ROUNDS):
            x = start()
            y = x.exp()
            if number % 2:
                z = y * 2
                np.testing.assert_allclose(slope(z.sum(), x).numpy(), 2 * np.exp([1, -2]), 1e-5)
            else:
                y *= 2
                with pytest.raises(UsageError, match=REFUSED):
                    y.sum().backward()


def gradients_added_up() -> list[Any]:
    """Two gradients before each update, which are added to zeros that are kept."""
    mynn.manual_seed(0)
    net, rng = nn.Linear(5, 2), np.random.default_rng(0)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad(set_to_none=False)
        recording.settle()  # what this thread held before is known to be free
        for _ in range(2):
            h = net(mynn.tensor(rng.normal(size=(4, 5)))) * 2
            h += 1
            F.softmax(h, dim=1).pow(2).sum().backward()
        optimizer.step()
    return [parameter.detach().numpy() for parameter in net.parameters()]


def test_a_second_gradient_beside_one_that_was_put_off() -> None:
    """Whether gradients find all that they need is traced, which reads what was put off: gradients
    are not put off after that has run.
    """
    with mynn.eager("at once"):
        expected = gradients_added_up()
    with mynn.eager("tape"):
        for got, want in zip(gradients_added_up(), expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_field_that_was_put_off_in_vain() -> None:
    """Nothing was recorded after all, as where a signal handler has run all in between."""
    with mynn.eager("tape"):
        parameter = mynn.Parameter(np.ones(2))
        recording.current.own._hide(parameter, "_grad")
        assert parameter.grad is None
