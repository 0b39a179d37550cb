"""Kullback-Leibler divergences: the expected log p - log q under p."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mynn import linalg
from mynn.distributions.categorical import Categorical
from mynn.distributions.continuous import Exponential, Laplace, Uniform
from mynn.distributions.discrete import Bernoulli, Poisson
from mynn.distributions.distribution import Distribution
from mynn.distributions.gamma import Beta, Dirichlet, Gamma
from mynn.distributions.independent import Independent
from mynn.distributions.normal import LogNormal, MultivariateNormal, Normal
from mynn.errors import ArgumentError, UsageError
from mynn.functional.activation import softplus
from mynn.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])
_rules: dict[tuple[type, type], Callable[[Any, Any], Any]] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[F], F]:
    """A decorator: the function gives the divergence of a `type_p` from a `type_q`."""
    for one in (type_p, type_q):
        if not (isinstance(one, type) and issubclass(one, Distribution)):
            raise ArgumentError(f"register_kl: {one!r} is no class of distributions")

    def registered(function: F) -> F:
        _rules[type_p, type_q] = function
        return function

    return registered


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The divergence of p from q, in nats, of their batch shape.

    Raises:
        UsageError: there is no formula for the two; `register_kl` takes one.

    Example:
        >>> from mynn.distributions import Normal, kl_divergence
        >>> kl_divergence(Normal(0.0, 1.0), Normal(1.0, 1.0)).item()
        0.5
    """
    for kind_p in type(p).__mro__:
        for kind_q in type(q).__mro__:
            rule = _rules.get((kind_p, kind_q))
            if rule is not None:
                found: Tensor = rule(p, q)
                return found
    raise UsageError(
        f"kl_divergence: there is no formula for {type(p).__name__} and {type(q).__name__}; give "
        "one with register_kl, or take the mean of p.log_prob(x) - q.log_prob(x) over samples x "
        "of p"
    )


@register_kl(Normal, Normal)
def _normals(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale) ** 2
    away = ((p.loc - q.loc) / q.scale) ** 2
    return 0.5 * (ratio + away - 1 - ratio.log())


@register_kl(LogNormal, LogNormal)
def _log_normals(p: LogNormal, q: LogNormal) -> Tensor:
    return _normals(p.base_dist, q.base_dist)


@register_kl(Categorical, Categorical)
def _categoricals(p: Categorical, q: Categorical) -> Tensor:
    terms = p.probs * (p.logits - q.logits)
    terms = (q.probs == 0).choose(float("inf"), terms)
    return (p.probs == 0).choose(0.0, terms).sum(-1)


@register_kl(Bernoulli, Bernoulli)
def _bernoullis(p: Bernoulli, q: Bernoulli) -> Tensor:
    one = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    zero = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    return one + zero


@register_kl(Uniform, Uniform)
def _uniforms(p: Uniform, q: Uniform) -> Tensor:
    inside = (q.low <= p.low) & (q.high >= p.high)
    return inside.choose(((q.high - q.low) / (p.high - p.low)).log(), float("inf"))


@register_kl(Exponential, Exponential)
def _exponentials(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - ratio.log() - 1


@register_kl(Laplace, Laplace)
def _laplaces(p: Laplace, q: Laplace) -> Tensor:
    ratio, away = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + away / q.scale + ratio * (-away / p.scale).exp() - 1


@register_kl(Poisson, Poisson)
def _poissons(p: Poisson, q: Poisson) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Gamma, Gamma)
def _gammas(p: Gamma, q: Gamma) -> Tensor:
    rates = q.concentration * (p.rate / q.rate).log()
    gammas = q.concentration.lgamma() - p.concentration.lgamma()
    shapes = (p.concentration - q.concentration) * p.concentration.digamma()
    return rates + gammas + shapes + (q.rate - p.rate) * (p.concentration / p.rate)


@register_kl(Beta, Beta)
def _betas(p: Beta, q: Beta) -> Tensor:
    p_total, q_total = p.concentration1 + p.concentration0, q.concentration1 + q.concentration0
    gammas = (
        q.concentration1.lgamma()
        + q.concentration0.lgamma()
        + p_total.lgamma()
        - (p.concentration1.lgamma() + p.concentration0.lgamma() + q_total.lgamma())
    )
    ones = (p.concentration1 - q.concentration1) * p.concentration1.digamma()
    zeros = (p.concentration0 - q.concentration0) * p.concentration0.digamma()
    return gammas + ones + zeros + (q_total - p_total) * p_total.digamma()


@register_kl(Dirichlet, Dirichlet)
def _dirichlets(p: Dirichlet, q: Dirichlet) -> Tensor:
    a, b = p.concentration, q.concentration
    gammas = a.sum(-1).lgamma() - b.sum(-1).lgamma() - (a.lgamma() - b.lgamma()).sum(-1)
    expected = a.digamma() - a.sum(-1, keepdim=True).digamma()
    return gammas + ((a - b) * expected).sum(-1)


@register_kl(MultivariateNormal, MultivariateNormal)
def _vectors(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    shape = (*(p.loc - q.loc).shape[:-1], *q.scale_tril.shape[-2:])
    lower = q.scale_tril.broadcast_to(shape)
    spread = linalg.solve_triangular(lower, p.scale_tril.broadcast_to(shape), upper=False)
    away = linalg.solve_triangular(lower, (q.loc - p.loc).unsqueeze(-1), upper=False)
    squares = (spread * spread).sum((-2, -1)) + (away * away).sum((-2, -1))
    size = p.event_shape[0]
    return q.half_log_det() - p.half_log_det() + 0.5 * (squares - size)


@register_kl(Independent, Independent)
def _independents(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise UsageError(
            "kl_divergence: the two Independent have "
            f"{p.reinterpreted_batch_ndims} and {q.reinterpreted_batch_ndims} axes of the event"
        )
    return p._summed(kl_divergence(p.base_dist, q.base_dist))
