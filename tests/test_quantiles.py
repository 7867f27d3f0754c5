"""Distribution functions and quantiles torch lacks, against scipy's."""

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch.distributions import (
    Beta,
    Binomial,
    Categorical,
    Gamma,
    MixtureSameFamily,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
)

from bayesnn import quantiles

A, B = torch.tensor([0.5, 2.0, 30.0]).double(), torch.tensor([3.0, 0.7, 11.0]).double()
TOTALS = torch.tensor([7.0, 3.0, 40.0]).double()
PAIRS = {
    "student_t": (StudentT(A, B, 2.0), scipy.stats.t(A, B, 2.0), [-3.0, 4.0]),
    "beta": (Beta(A, B), scipy.stats.beta(A, B), [-0.1, 0.3, 1.2]),
    "gamma": (Gamma(A, B), scipy.stats.gamma(A, scale=1 / B), [0.1, 4.0]),
    "poisson": (Poisson(A), scipy.stats.poisson(A), [-1.0, 0.0, 3.0, 20.0]),
    "negative_binomial": (NegativeBinomial(A, logits=B), scipy.stats.nbinom(A, torch.sigmoid(-B)), [-1.0, 0.0, 5.0]),
    "binomial": (Binomial(TOTALS, probs=B / 12), scipy.stats.binom(TOTALS, B / 12), [-1.0, 0.0, 3.0, 7.0, 40.0]),
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


@pytest.mark.parametrize(("ours", "theirs", "values"), PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("level", [0.01, 0.5, 0.95])
def test_a_mixtures_quantile_is_where_its_distribution_function_reaches_the_level(ours, theirs, values, level):
    found = float(quantiles.mixture_icdf(ours, torch.tensor(level, dtype=torch.float64)))
    if ours.support.is_discrete:
        assert np.mean(theirs.cdf(found)) >= level > np.mean(theirs.cdf(found - 1))
    else:
        np.testing.assert_allclose(np.mean(theirs.cdf(found)), level, rtol=1e-9)


def test_a_quantile_in_a_far_tail():
    tiny = Gamma(torch.tensor([[0.02], [0.03]], dtype=torch.float64), torch.ones(2, 1).double())
    found = quantiles.mixture_icdf(tiny, torch.tensor([0.05], dtype=torch.float64))
    below = scipy.stats.gamma([0.02, 0.03]).cdf(float(found))
    assert 0 < float(found) < 1e-40
    np.testing.assert_allclose(below.mean(), 0.05, rtol=1e-9)


@pytest.mark.parametrize("level", [1e-3, 0.5, 0.99])
def test_quantiles_of_members_that_are_mixtures_of_positive_numbers(level):
    parts = torch.tensor([0.3, 5.0]).double()
    ours = MixtureSameFamily(Categorical(torch.ones(1, 2)), Gamma(parts[None], torch.ones(1, 2)))
    found = float(quantiles.icdf(ours, torch.tensor(level, dtype=torch.float64)))
    np.testing.assert_allclose(scipy.stats.gamma(parts).cdf(found).mean(), level, rtol=1e-9)


def test_counts_with_zeros_of_their_own():
    gate, rate = torch.tensor([0.5, 0.1]).double(), torch.tensor([3.0, 20.0]).double()
    ours = dist.ZeroInflatedPoisson(rate, gate=gate)
    expected = gate + (1 - gate) * torch.from_numpy(scipy.stats.poisson(rate).cdf(4.0))
    torch.testing.assert_close(quantiles.cdf(ours, torch.full_like(rate, 4.0)), expected)
    found = quantiles.icdf(ours, torch.tensor(0.7, dtype=torch.float64))
    assert bool((quantiles.cdf(ours, found) >= 0.7).all())
    assert bool((quantiles.cdf(ours, found - 1) < 0.7).all())


@pytest.mark.parametrize(
    ("ours", "value", "words"),
    [
        (Gamma(A, B), [1.0, -1.0, 1.0], "support of Gamma"),
        (Beta(A, B), [0.5, 0.5, 30.0], "support of Beta"),
        (Poisson(A), [0.0, 1.0, 1.5], "whole numbers; got 1.5"),
    ],
)
def test_targets_outside_the_support_are_refused(ours, value, words):
    with pytest.raises(ValueError, match=words):
        quantiles.check_inside(ours, torch.tensor(value))


def test_a_support_that_differs_from_number_to_number_is_left_to_the_family():
    quantiles.check_inside(torch.distributions.Uniform(A, A + 1), torch.full_like(A, -5.0))


def test_a_family_without_distribution_function_says_so():
    with pytest.raises(NotImplementedError, match="VonMises has none"):
        quantiles.cdf(torch.distributions.VonMises(A, B), A)
