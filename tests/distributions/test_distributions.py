"""Distributions beside PyTorch's: densities, moments, entropies, divergences, and their gradients;
samples by their moments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import distributions
from mynn.errors import ArgumentError, DataError, MynnError, ShapeError, UsageError

RNG = np.random.default_rng(0)
LOC = RNG.normal(size=(3,))
SCALE, OTHER = RNG.uniform(0.5, 2, (2, 3))
PROBS = RNG.uniform(0.1, 0.9, (3,))
ROWS = RNG.dirichlet(np.ones(4), 3)
MATRIX = RNG.normal(size=(3, 3))
COVARIANCE = MATRIX @ MATRIX.T + np.eye(3)
REALS, POSITIVE, UNIT = RNG.normal(size=(5, 3)), RNG.uniform(0.1, 4, (5, 3)), RNG.random((5, 3))
COUNTS = RNG.integers(0, 5, (5, 3)).astype(float)
BITS = RNG.integers(0, 2, (5, 3)).astype(float)
LABELS = RNG.integers(0, 4, (5, 3))
SHARES = RNG.dirichlet(np.ones(4), (5, 3))
TRIES = RNG.multinomial(6, np.ones(4) / 4, (5, 3)).astype(float)

# Name: how it is made of parameters, the parameters, values to judge.
Case = tuple[Callable[..., Any], tuple[Any, ...], Any]
CASES: dict[str, Case] = {
    "Normal": (lambda d, a, b: d.Normal(a, b), (LOC, SCALE), REALS),
    "LogNormal": (lambda d, a, b: d.LogNormal(a, b), (LOC, SCALE), POSITIVE),
    "HalfNormal": (lambda d, a: d.HalfNormal(a), (SCALE,), POSITIVE),
    "Uniform": (lambda d, a, b: d.Uniform(a - b, a + b), (LOC, SCALE + 2), UNIT - 0.5),
    "Exponential": (lambda d, a: d.Exponential(a), (SCALE,), POSITIVE),
    "Laplace": (lambda d, a, b: d.Laplace(a, b), (LOC, SCALE), REALS),
    "Cauchy": (lambda d, a, b: d.Cauchy(a, b), (LOC, SCALE), REALS),
    "Gumbel": (lambda d, a, b: d.Gumbel(a, b), (LOC, SCALE), REALS),
    "Bernoulli": (lambda d, a: d.Bernoulli(probs=a), (PROBS,), BITS),
    "Bernoulli logits": (lambda d, a: d.Bernoulli(logits=a), (LOC,), BITS),
    "Geometric": (lambda d, a: d.Geometric(a), (PROBS,), COUNTS),
    "Poisson": (lambda d, a: d.Poisson(a), (SCALE,), COUNTS),
    "Categorical": (lambda d, a: d.Categorical(a * 2), (ROWS,), LABELS),
    "Categorical logits": (lambda d, a: d.Categorical(logits=a.log() + 1), (ROWS,), LABELS),
    "OneHotCategorical": (
        lambda d, a: d.OneHotCategorical(a),
        (ROWS,),
        np.eye(4)[LABELS],
    ),
    "Gamma": (lambda d, a, b: d.Gamma(a, b), (SCALE + 1, OTHER), POSITIVE),
    "Beta": (lambda d, a, b: d.Beta(a, b), (SCALE + 1, OTHER + 1), UNIT),
    "Dirichlet": (lambda d, a: d.Dirichlet(a * 4), (ROWS,), SHARES),
    "MultivariateNormal": (
        lambda d, a, b: d.MultivariateNormal(a, covariance_matrix=b),
        (LOC, COVARIANCE),
        REALS,
    ),
    "MultivariateNormal scale_tril": (
        lambda d, a, b: d.MultivariateNormal(a, scale_tril=b),
        (LOC, np.linalg.cholesky(COVARIANCE)),
        REALS,
    ),
    "StudentT": (lambda d, a, b, c: d.StudentT(a + 3, b, c), (SCALE, LOC, OTHER), REALS),
    "Chi2": (lambda d, a: d.Chi2(a + 1), (SCALE,), POSITIVE),
    "HalfCauchy": (lambda d, a: d.HalfCauchy(a), (SCALE,), POSITIVE),
    "Pareto": (lambda d, a, b: d.Pareto(a, b + 3), (SCALE, OTHER), POSITIVE + 2),
    "Weibull": (lambda d, a, b: d.Weibull(a, b + 1), (SCALE, OTHER), POSITIVE),
    "Binomial": (lambda d, a: d.Binomial(7, probs=a), (PROBS,), COUNTS),
    "Binomial logits": (lambda d, a: d.Binomial(5, logits=a), (LOC,), COUNTS),
    "NegativeBinomial": (
        lambda d, a, b: d.NegativeBinomial(a + 1, probs=b),
        (SCALE, PROBS),
        COUNTS,
    ),
    "Multinomial": (lambda d, a: d.Multinomial(6, a), (ROWS,), TRIES),
    "RelaxedBernoulli": (
        lambda d, a: d.RelaxedBernoulli(d.Normal(0.7, 1.0).mean, logits=a),
        (LOC,),
        UNIT,
    ),
    "RelaxedOneHotCategorical": (
        lambda d, a: d.RelaxedOneHotCategorical(d.Normal(0.7, 1.0).mean, a),
        (ROWS,),
        SHARES,
    ),
    "OneHotCategoricalStraightThrough": (
        lambda d, a: d.OneHotCategoricalStraightThrough(a),
        (ROWS,),
        np.eye(4)[LABELS],
    ),
    "Affine": (
        lambda d, a, b: d.TransformedDistribution(d.Normal(a, b), [d.AffineTransform(1.0, 2.5)]),
        (LOC, SCALE),
        REALS,
    ),
    "Tanh": (
        lambda d, a, b: d.Independent(
            d.TransformedDistribution(d.Normal(a, b), [d.TanhTransform()]), 1
        ),
        (LOC, SCALE),
        UNIT * 1.8 - 0.9,
    ),
    "Sigmoid, power": (
        lambda d, a, b: d.TransformedDistribution(
            d.Normal(a, b), [d.SigmoidTransform(), d.PowerTransform(d.Normal(2.0, 1.0).mean)]
        ),
        (LOC, SCALE),
        UNIT,
    ),
    "Softplus, exp": (
        lambda d, a, b: d.TransformedDistribution(
            d.Normal(a, b),
            d.ComposeTransform([d.SoftplusTransform(), d.ExpTransform().inv, d.ExpTransform()]),
        ),
        (LOC, SCALE),
        POSITIVE,
    ),
    "one event": (
        lambda d, a, b: d.TransformedDistribution(
            d.Normal(a, b), [d.IndependentTransform(d.ExpTransform(), 1)]
        ),
        (LOC, SCALE),
        POSITIVE,
    ),
    "MixtureSameFamily": (
        lambda d, a, b, c: d.MixtureSameFamily(d.Categorical(a), d.Normal(b, c)),
        (ROWS, RNG.normal(size=(3, 4)), RNG.uniform(0.5, 2, (3, 4))),
        REALS,
    ),
    "Mixture of vectors": (
        lambda d, a, b, c: d.MixtureSameFamily(
            d.Categorical(logits=a), d.Independent(d.Normal(b, c), 1)
        ),
        (LOC, RNG.normal(size=(3, 2)), RNG.uniform(0.5, 2, (3, 2))),
        REALS[:, :2],
    ),
    "Independent": (lambda d, a, b: d.Independent(d.Normal(a, b), 1), (LOC, SCALE), REALS),
}
TRANSFORMED = ("Affine", "Tanh", "Sigmoid, power", "Softplus, exp", "one event")
RELAXED = ("RelaxedBernoulli", "RelaxedOneHotCategorical")
NO_MOMENTS = {"Cauchy", "HalfCauchy", *TRANSFORMED, *RELAXED}
PARTS = ("log_prob", "cdf", "icdf", "entropy", "mean", "variance", "stddev", "mode")
FLAT = {"MultivariateNormal", "Independent", "Dirichlet", "Categorical", "OneHotCategorical"}


def results(lib: Any, name: str, part: str) -> list[Any]:
    """A value, and its gradients by the parameters."""
    make, given, values = CASES[name]
    parameters = [lib.tensor(one, requires_grad=True) for one in given]
    made = make(lib.distributions, *parameters)
    if part in ("log_prob", "cdf"):
        found = getattr(made, part)(lib.tensor(values))
    elif part == "icdf":
        found = made.icdf(lib.tensor(np.clip(UNIT, 0.05, 0.95)))
    else:
        found = getattr(made, part)
        found = found() if callable(found) else found
    if found.requires_grad:
        (found * found.detach().cos()).sum().backward()
    gradients = [one.grad for one in parameters if one.grad is not None]
    return [found.detach(), *gradients]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_pytorch(name: str) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    compared = 0
    for part in PARTS:
        try:
            expected = results(torch, name, part)
        except (NotImplementedError, AttributeError, ValueError):
            continue
        try:
            found = results(mynn, name, part)
        except UsageError as error:
            if f"has no {part}" not in str(error):
                raise
            continue
        compared += 1
        # Gradients of 0 need not be there.
        pairs = zip(found, expected, strict=False)
        for got, wanted in pairs:
            np.testing.assert_allclose(
                got.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-7, err_msg=part
            )
    assert compared >= (1 if name in (*TRANSFORMED, *RELAXED) else 3)
    make, given, _ = CASES[name]
    ours = make(distributions, *[mynn.tensor(one) for one in given])
    theirs = make(torch.distributions, *[torch.tensor(one) for one in given])
    assert ours.batch_shape == tuple(theirs.batch_shape)
    assert ours.event_shape == tuple(theirs.event_shape)
    assert ours.has_enumerate_support == theirs.has_enumerate_support
    wide = (2, *ours.batch_shape)
    assert ours.expand(wide).batch_shape == wide
    value = ours.sample()
    np.testing.assert_allclose(ours.expand(wide).log_prob(value)[1], ours.log_prob(value))


@pytest.mark.parametrize("name", [name for name in CASES if name not in NO_MOMENTS])
def test_samples_have_the_moments(name: str) -> None:
    mynn.manual_seed(1)
    make, given, _ = CASES[name]
    made = make(distributions, *[mynn.tensor(one) for one in given])
    drawn = made.sample((40_000,))
    assert drawn.shape == (40_000, *made.batch_shape, *made.event_shape)
    assert not drawn.requires_grad
    if name.startswith("Categorical"):
        seen = np.stack([(drawn.numpy() == k).mean(0) for k in range(4)], -1)
        np.testing.assert_allclose(seen, ROWS, atol=0.015)
        return
    values = drawn.numpy()
    spread = made.stddev.numpy()
    np.testing.assert_array_less(np.abs(values.mean(0) - made.mean.numpy()), 0.03 * spread + 1e-9)
    if name != "LogNormal":
        np.testing.assert_allclose(values.var(0), made.variance.numpy(), rtol=0.12)


@pytest.mark.parametrize(
    "name", ["Affine", "Sigmoid, power", "Softplus, exp", "HalfCauchy", "MixtureSameFamily"]
)
def test_samples_are_spread_as_the_distribution_function_says(name: str) -> None:
    mynn.manual_seed(1)
    make, given, _ = CASES[name]
    made = make(distributions, *[mynn.tensor(one) for one in given])
    ranks = made.cdf(made.sample((20_000,))).numpy()
    np.testing.assert_allclose(ranks.mean(0), 0.5, atol=0.01)
    np.testing.assert_allclose(ranks.var(0), 1 / 12, atol=0.003)


def test_a_transform_remembers_what_it_came_from() -> None:
    """As SAC needs it: the inverse of a tanh that is rounded to 1 is not infinite."""
    squash = distributions.TanhTransform(cache_size=1)
    made = distributions.TransformedDistribution(distributions.Normal(20.0, 0.1), [squash])
    drawn = made.rsample((4,))
    assert (drawn == 1).all()
    assert made.log_prob(drawn).isfinite().all()
    assert not distributions.TanhTransform().inverse(drawn).isfinite().any()
    with pytest.raises(UsageError, match="cdf through AbsTransform"):
        distributions.TransformedDistribution(
            distributions.Normal(0.0, 1.0), distributions.AbsTransform()
        ).cdf(1.0)


@pytest.mark.parametrize("name", [n for n in CASES if n not in FLAT])
def test_gradients_go_through_samples(name: str) -> None:
    make, given, _ = CASES[name]
    parameters = [mynn.tensor(one, requires_grad=True) for one in given]
    made = make(distributions, *parameters)
    if not made.has_rsample:
        with pytest.raises(UsageError, match="no gradients through its samples"):
            made.rsample()
        return
    mynn.manual_seed(2)
    made.rsample((500,)).mean(0).sum().backward()
    if name in ("Normal", "Laplace", "Gumbel"):
        np.testing.assert_allclose(parameters[0].grad.numpy(), np.ones(3))
    assert all(np.isfinite(one.grad.numpy()).all() for one in parameters)


SAME = (
    *("Normal", "LogNormal", "Exponential", "Laplace", "Bernoulli", "Poisson", "Categorical"),
    *("Gamma", "Beta", "Dirichlet", "MultivariateNormal", "Independent", "Uniform"),
)


@pytest.mark.parametrize("name", SAME)
def test_divergences_are_those_of_pytorch(name: str) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    make, given, _ = CASES[name]
    second = [one * 0.9 for one in given]

    def divergence(lib: Any, module: Any) -> list[Any]:
        p = [lib.tensor(one, requires_grad=True) for one in given]
        q = [lib.tensor(one, requires_grad=True) for one in second]
        found = module.kl_divergence(make(module, *p), make(module, *q))
        found.sum().backward()
        return [found.detach(), *[one.grad for one in (*p, *q)]]

    expected = divergence(torch, torch.distributions)
    for got, wanted in zip(divergence(mynn, distributions), expected, strict=True):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-7)


def test_in_a_compiled_step() -> None:
    logits = mynn.tensor(np.log(ROWS).astype(np.float32), requires_grad=True)

    @mynn.compile
    def score(labels: Any, returns: Any) -> Any:
        policy = distributions.Categorical(logits=logits)
        loss = -(policy.log_prob(labels) * returns).mean() - 0.01 * policy.entropy().mean()
        loss.backward()
        return loss, logits.grad

    labels, returns = LABELS, REALS.astype(np.float32)
    loss, gradient = score(labels, returns)
    expected = score.function(mynn.tensor(labels), mynn.tensor(returns))
    np.testing.assert_allclose(loss, expected[0].item(), rtol=1e-5)
    np.testing.assert_allclose(gradient, expected[1].numpy(), rtol=1e-4, atol=1e-6)
    with pytest.raises(DataError, match="0\\.\\.3"):
        score(labels + 2, returns)


def test_a_class_as_a_key_of_the_log_probability() -> None:
    choice = distributions.Categorical(probs=[0.2, 0.3, 0.5])
    assert choice.enumerate_support().tolist() == [0, 1, 2]
    np.testing.assert_allclose(
        choice.log_prob(choice.enumerate_support()).exp().numpy(), choice.probs
    )


@distributions.register_kl(distributions.Gumbel, distributions.Normal)
def _given(p: Any, q: Any) -> Any:
    return p.loc - q.loc


def test_formulas_of_ones_own() -> None:
    p, q = distributions.Gumbel(3.0, 1.0), distributions.Normal(1.0, 1.0)
    assert distributions.kl_divergence(p, q).item() == 2
    with pytest.raises(UsageError, match="register_kl"):
        distributions.kl_divergence(q, p)


WRONG: dict[str, tuple[Callable[[], Any], type[MynnError], str]] = {
    "scale": (lambda: distributions.Normal(0.0, [1.0, -2.0]), DataError, r"scale.*-2 at \(1,\)"),
    "nan": (lambda: distributions.Normal(0.0, float("nan")), DataError, "nan"),
    "probs": (lambda: distributions.Bernoulli(1.5), DataError, "1.5"),
    "weights": (lambda: distributions.Categorical([0.5, -0.5]), DataError, "-0.5"),
    "both": (lambda: distributions.Bernoulli(0.5, 0.0), ArgumentError, "probs or logits"),
    "neither": (lambda: distributions.Categorical(), ArgumentError, "probs or logits"),
    "bounds": (lambda: distributions.Uniform(1.0, 0.0), DataError, "low"),
    "class": (lambda: distributions.Categorical([0.5, 0.5]).log_prob(2).item(), DataError, "2"),
    "shape": (
        lambda: distributions.Normal(LOC, SCALE).log_prob(np.zeros(4)),
        ShapeError,
        r"\(4,\)",
    ),
    "sample shape": (lambda: distributions.Normal(0.0, 1.0).sample(5), ArgumentError, r"\(5,\)"),
    "matrix": (
        lambda: distributions.MultivariateNormal(LOC, np.eye(2)),
        ShapeError,
        "3 elements",
    ),
    "axes": (
        lambda: distributions.Independent(distributions.Normal(0.0, 1.0), 1),
        ArgumentError,
        r"0\.\.0",
    ),
    "no rsample": (lambda: distributions.Poisson(1.0).rsample(), UsageError, "sample"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name: str) -> None:
    use, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        use()
