"""Likelihoods: what a network's outputs say about the distribution of one target.

A likelihood is a pure function ``outputs -> Distribution``; leading axes (draws) pass through. Outputs of shape
``(..., N, K)`` give a distribution of batch shape ``(..., N)`` and event shape ``()`` or ``(D,)``.
"""

from bayesnn.likelihoods.classes import Bernoulli, Categorical, Ordinal, bernoulli, categorical, ordinal
from bayesnn.likelihoods.counts import NegativeBinomial, Poisson, negative_binomial, poisson
from bayesnn.likelihoods.gaussians import Gaussian, HeteroscedasticGaussian, gaussian, heteroscedastic_gaussian
from bayesnn.likelihoods.heavy_tails import Laplace, StudentT, laplace, student_t
from bayesnn.likelihoods.likelihood import Affine, Likelihood, beta_weighted
from bayesnn.likelihoods.positives import Beta, Gamma, LogNormal, beta, gamma, log_normal

__all__ = [
    "Affine",
    "Bernoulli",
    "Beta",
    "Categorical",
    "Gamma",
    "Gaussian",
    "HeteroscedasticGaussian",
    "Laplace",
    "Likelihood",
    "LogNormal",
    "NegativeBinomial",
    "Ordinal",
    "Poisson",
    "StudentT",
    "bernoulli",
    "beta",
    "beta_weighted",
    "categorical",
    "gamma",
    "gaussian",
    "heteroscedastic_gaussian",
    "laplace",
    "log_normal",
    "negative_binomial",
    "ordinal",
    "poisson",
    "student_t",
]
