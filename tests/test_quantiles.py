"""Distribution functions and quantiles torch lacks, against scipy's."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch.distributions import Beta, Gamma, NegativeBinomial, Normal, Poisson, StudentT

from bayesnn import quantiles

A, B = torch.tensor([0.5, 2.0, 30.0]).double(), torch.tensor([3.0, 0.7, 11.0]).double()
PAIRS = {
    "student_t": (StudentT(A, B, 2.0), scipy.stats.t(A, B, 2.0), [-3.0, 4.0]),
    "beta": (Beta(A, B), scipy.stats.beta(A, B), [-0.1, 0.3, 1.2]),
    "gamma": (Gamma(A, B), scipy.stats.gamma(A, scale=1 / B), [0.1, 4.0]),
    "poisson": (Poisson(A), scipy.stats.poisson(A), [-1.0, 0.0, 3.0, 20.0]),
    "negative_binomial": (NegativeBinomial(A, logits=B), scipy.stats.nbinom(A, torch.sigmoid(-B)), [-1.0, 0.0, 5.0]),
    "normal": (Normal(A, B), scipy.stats.norm(A, B), [-1.0, 2.0]),
}


@pytest.mark.parametrize(("ours", "theirs", "values"), PAIRS.values(), ids=PAIRS)
def test_distribution_function(ours, theirs, values):
    for value in values:
        found = quantiles.cdf(ours, torch.full_like(A, value))
        np.testing.assert_allclose(found, theirs.cdf(value), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("ours", "theirs", "values"), PAIRS.values(), ids=PAIRS)
def test_quantiles(ours, theirs, values):
    for level in (0.01, 0.5, 0.95):
        found = quantiles.icdf(ours, torch.full_like(A, level))
        np.testing.assert_allclose(found, theirs.ppf(level), rtol=1e-9, atol=1e-12)


def test_single_precision_stays_single():
    assert quantiles.icdf(StudentT(torch.tensor([4.0])), torch.tensor([0.3])).dtype == torch.float32
