"""Probability distributions, under PyTorch's names: samples, densities, entropies, divergences."""

from __future__ import annotations

from mynn.distributions import categorical, normal
from mynn.distributions.categorical import Categorical, OneHotCategorical
from mynn.distributions.continuous import Cauchy, Exponential, Gumbel, Laplace, Uniform
from mynn.distributions.discrete import Bernoulli, Geometric, Poisson
from mynn.distributions.distribution import Distribution
from mynn.distributions.divergence import kl_divergence, register_kl
from mynn.distributions.gamma import Beta, Dirichlet, Gamma
from mynn.distributions.independent import Independent
from mynn.distributions.normal import HalfNormal, LogNormal, MultivariateNormal, Normal

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "Cauchy",
    "Dirichlet",
    "Distribution",
    "Exponential",
    "Gamma",
    "Geometric",
    "Gumbel",
    "HalfNormal",
    "Independent",
    "Laplace",
    "LogNormal",
    "MultivariateNormal",
    "Normal",
    "OneHotCategorical",
    "Poisson",
    "Uniform",
    "categorical",
    "kl_divergence",
    "normal",
    "register_kl",
]
