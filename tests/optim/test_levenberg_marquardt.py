"""Least squares: known solutions, what the report says, what is refused; the report of L-BFGS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Parameter, nn, optim
from mynn.errors import ArgumentError, ArgumentTypeError, DataError, UsageError

# NIST's Misra1a: y = b1 (1 - exp(-b2 x)), certified to 11 digits.
X = np.array(
    [
        77.6,
        114.9,
        141.1,
        190.8,
        239.9,
        289.0,
        332.8,
        378.4,
        434.8,
        477.3,
        536.8,
        593.1,
        689.1,
        760.0,
    ]
)
Y = np.array(
    [
        10.07,
        14.73,
        17.94,
        23.93,
        29.61,
        35.18,
        40.02,
        44.82,
        50.76,
        55.05,
        61.01,
        66.40,
        75.47,
        81.78,
    ]
)
CERTIFIED, SQUARES = (2.3894212918e02, 5.5015643181e-04), 1.2455138894e-01


def double(*values: float) -> Parameter:
    return Parameter(mynn.tensor(list(values), dtype="float64"))


def test_a_certified_solution() -> None:
    a, b = double(500.0), double(1e-4)
    solver = optim.LevenbergMarquardt([a, b])
    first = solver.step(lambda: a * (1 - (-b * X).exp()) - Y)
    np.testing.assert_allclose([a.item(), b.item()], CERTIFIED, rtol=1e-8)
    report = solver.report
    assert report is not None
    assert report.converged, report
    assert 2 * report.loss == pytest.approx(SQUARES, rel=1e-9)
    start = 500 * (1 - np.exp(-1e-4 * X)) - Y
    assert first.item() == pytest.approx((start * start).sum() / 2)
    assert report.iterations < report.evaluations


def test_one_step_solves_a_linear_problem() -> None:
    rng = np.random.default_rng(0)
    a, y = rng.normal(size=(9, 3)), rng.normal(size=9)
    p = double(0.0, 0.0, 0.0)
    optim.LevenbergMarquardt([p], damping=0.0, max_iter=1).step(lambda: mynn.tensor(a) @ p - y)
    np.testing.assert_allclose(p.numpy(), np.linalg.lstsq(a, y, rcond=None)[0], rtol=1e-10)


def test_a_network_is_fitted_closer_than_by_other_means() -> None:
    x = np.linspace(-2, 2, 40)[:, None]
    losses = {}
    for name in ("LevenbergMarquardt", "LBFGS"):
        mynn.manual_seed(0)
        net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
        residuals = lambda net=net: net(mynn.tensor(x)) - np.sin(2 * x)  # noqa: E731
        solver: Any = getattr(optim, name)(net.parameters(), max_iter=60)

        def closure(net: Any = net, residuals: Any = residuals) -> Any:
            net.zero_grad()
            loss = (residuals() ** 2).sum() / 2
            loss.backward()
            return loss

        solver.step(residuals if name == "LevenbergMarquardt" else closure)
        losses[name] = (residuals() ** 2).sum().item() / 2
        assert solver.report.loss == pytest.approx(losses[name], rel=1e-6)
    assert losses["LevenbergMarquardt"] < 0.5 * losses["LBFGS"]


def test_more_parameters_than_residuals_and_some_without_effect() -> None:
    p, q = double(1.0, 2.0, 3.0, 4.0), double(5.0)
    solver = optim.LevenbergMarquardt([p, q])
    solver.step(lambda: mynn.stack([p.sum() - 3, (p * p).sum() - 9]))
    assert p.numpy().sum() == pytest.approx(3)
    assert (p.numpy() ** 2).sum() == pytest.approx(9)
    assert q.item() == 5


def test_float32_ends_at_its_precision() -> None:
    p = Parameter([3.0])
    solver = optim.LevenbergMarquardt([p])
    solver.step(lambda: p * p - 2)
    assert p.item() == pytest.approx(2**0.5, rel=1e-6)
    assert solver.report is not None
    assert solver.report.converged, solver.report


def test_it_goes_on_where_it_was() -> None:
    """Limits end a step, and the damping is kept."""
    whole, parts = double(-1.2, 1.0), double(-1.2, 1.0)
    rosenbrock = lambda p: lambda: mynn.stack([10 * (p[1] - p[0] ** 2), 1 - p[0]])  # noqa: E731
    optim.LevenbergMarquardt([whole], max_iter=6).step(rosenbrock(whole))
    solver, closure = optim.LevenbergMarquardt([parts], max_iter=2), rosenbrock(parts)
    for _ in range(3):
        solver.step(closure)
        assert solver.report is not None
        assert str(solver.report).startswith("not converged: after max_iter=2 iterations; 2 iter")
    np.testing.assert_array_equal(parts.numpy(), whole.numpy())


def test_what_is_refused_changes_nothing() -> None:
    p = double(1.0)
    solver = optim.LevenbergMarquardt([p])
    for closure, error, words in (
        (lambda: p.log() * np.nan, DataError, "is nan at the beginning"),
        (lambda: 1.0, ArgumentTypeError, "must return the residuals"),
        (lambda: mynn.tensor([1.0]), UsageError, "depend on no parameter"),
        (None, ArgumentTypeError, "needs a function"),
    ):
        with pytest.raises(error, match=words):
            solver.step(closure)  # type: ignore[arg-type]
    assert (p.item(), solver.damping, solver.report) == (1.0, 1e-3, None)
    with pytest.raises(UsageError, match="which a compiled step cannot"):
        mynn.compile(lambda: solver.step(lambda: p))()
    for options in ({"damping": -1.0}, {"max_iter": 0}, {"tolerance_grad": -1.0}):
        with pytest.raises(ArgumentError):
            optim.LevenbergMarquardt([p], **options)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="empty"):
        optim.LevenbergMarquardt([])


@pytest.mark.parametrize(
    ("options", "converged", "words"),
    [
        ({"max_iter": 50, "line_search_fn": "strong_wolfe"}, True, "within tolerance_"),
        ({"max_iter": 2, "max_eval": 9}, False, "after max_iter=2 iterations"),
        ({"max_iter": 30, "max_eval": 3}, False, "after max_eval=3 evaluations"),
        ({"tolerance_grad": 1e9}, True, "the gradient is within tolerance_grad"),
        ({"tolerance_change": 1e9}, True, "the slope along the direction is within"),
    ],
)
def test_what_lbfgs_reports(options: dict[str, Any], converged: bool, words: str) -> None:
    p = double(3.0, -2.0)
    solver = optim.LBFGS([p], **options)
    assert solver.report is None

    def closure() -> Any:
        p.grad = None
        loss = (p * p * np.array([1.0, 10.0])).sum()
        loss.backward()
        return loss

    solver.step(closure)
    report = solver.report
    assert report is not None
    assert (report.converged, words in report.reason) == (converged, True), report
    assert report.evaluations == solver.state_dict()["state"][0]["func_evals"]
