"""Probability distributions, under PyTorch's names: samples, densities, entropies, divergences."""

from __future__ import annotations

from mynn.distributions import categorical, normal
from mynn.distributions.categorical import Categorical, OneHotCategorical
from mynn.distributions.continuous import Cauchy, Exponential, Gumbel, Laplace, Uniform
from mynn.distributions.counted import Binomial, Multinomial, NegativeBinomial
from mynn.distributions.discrete import Bernoulli, Geometric, Poisson
from mynn.distributions.distribution import Distribution
from mynn.distributions.divergence import kl_divergence, register_kl
from mynn.distributions.gamma import Beta, Dirichlet, Gamma
from mynn.distributions.independent import Independent
from mynn.distributions.normal import HalfNormal, LogNormal, MultivariateNormal, Normal
from mynn.distributions.tails import Chi2, HalfCauchy, Pareto, StudentT, Weibull
from mynn.distributions.transformed import (
    MixtureSameFamily,
    OneHotCategoricalStraightThrough,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    TransformedDistribution,
)
from mynn.distributions.transforms import (
    AbsTransform,
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    IndependentTransform,
    PowerTransform,
    SigmoidTransform,
    SoftmaxTransform,
    SoftplusTransform,
    TanhTransform,
    Transform,
    identity_transform,
)

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Cauchy",
    "Chi2",
    "ComposeTransform",
    "Dirichlet",
    "Distribution",
    "ExpTransform",
    "Exponential",
    "Gamma",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "IndependentTransform",
    "Laplace",
    "LogNormal",
    "MixtureSameFamily",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "OneHotCategoricalStraightThrough",
    "Pareto",
    "Poisson",
    "PowerTransform",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "SigmoidTransform",
    "SoftmaxTransform",
    "SoftplusTransform",
    "StudentT",
    "TanhTransform",
    "Transform",
    "TransformedDistribution",
    "Uniform",
    "Weibull",
    "categorical",
    "identity_transform",
    "kl_divergence",
    "normal",
    "register_kl",
]
