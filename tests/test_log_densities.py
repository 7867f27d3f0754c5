"""Log-densities in single precision against scipy's in double."""

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
    Poisson,
    StudentT,
)

from bayesnn.log_densities import log_prob
from bayesnn.predictive import Predictive
from bayesnn.streamed import Streamed

RATES = torch.tensor([0.3, 30.0, 1e5, 1e6, 1e7, 1e9])
SHARE = torch.tensor([0.2, 0.5, 0.7])
LARGE = torch.tensor([1e3, 1e5, 1e6])
LOGITS = (RATES / 2).log()
TOTAL = torch.tensor([100.0, 1e5, 1e7])
FREE = torch.tensor([3.0, 1e5, 1e7])
AT = {
    "poisson": (Poisson(RATES), scipy.stats.poisson(RATES.double()), RATES.round()),
    "negative_binomial": (
        NegativeBinomial(2.0, logits=LOGITS),
        scipy.stats.nbinom(2.0, torch.sigmoid(-LOGITS.double())),
        RATES.round(),
    ),
    "gamma": (Gamma(LARGE, 1.0), scipy.stats.gamma(LARGE.double()), LARGE),
    "beta": (Beta(SHARE * LARGE, (1 - SHARE) * LARGE),
             scipy.stats.beta((SHARE * LARGE).double(), ((1 - SHARE) * LARGE).double()), SHARE),
    "binomial": (Binomial(TOTAL, SHARE), scipy.stats.binom(TOTAL.double(), SHARE.double()), (SHARE * TOTAL).round()),
    "student_t": (StudentT(FREE), scipy.stats.t(FREE.double()), SHARE),
}  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs", "y"), AT.values(), ids=AT)
def test_single_precision_is_right_to_its_own_digits(ours, theirs, y):
    found = log_prob(ours, y)
    density = getattr(theirs, "logpmf", None) if ours.support.is_discrete else theirs.logpdf
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, density(y.double().numpy()), rtol=1e-5)


def test_zeros_of_their_own_and_mixtures_are_computed_alike():
    gate, rate = torch.tensor([0.25]), torch.tensor([1e7])
    wanted = np.log(0.75) + scipy.stats.poisson(1e7).logpmf(1e7)
    for ours in (
        dist.ZeroInflatedPoisson(rate, gate=gate),
        dist.ZeroInflatedDistribution(Poisson(rate), gate=gate),
        MixtureSameFamily(Categorical(torch.tensor([[0.75, 0.25]])), Poisson(torch.tensor([[1e7, 1.0]]))),
    ):
        assert float(log_prob(ours, rate)) == pytest.approx(wanted, rel=1e-6)
    mean, size = 1e6, 2.0
    ours = dist.ZeroInflatedNegativeBinomial(torch.tensor(size), logits=torch.tensor(mean / size).log(), gate=gate)
    chance = 1 / (1 + mean / size)
    wanted = np.log(0.75) + scipy.stats.nbinom(size, chance).logpmf(mean)
    assert float(log_prob(ours, torch.tensor([mean]))) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("rate", [1e5, 1e7, 1e9])
def test_a_predictive_of_many_counts_held_or_not(rate):
    x = torch.tensor([[rate], [rate * 1.5]])

    def predict(x):
        return Predictive(Poisson(torch.stack([x[:, 0], 2 * x[:, 0]])))

    y = x[:, 0]
    wanted = np.logaddexp(*scipy.stats.poisson(np.array([y.numpy(), 2 * y.numpy()], float)).logpmf(y.numpy())) - np.log(
        2
    )
    np.testing.assert_allclose(predict(x).log_prob(y), wanted, rtol=1e-6)
    np.testing.assert_allclose(Streamed(predict, x, 1, 10**9).log_prob(y), wanted, rtol=1e-6)


def test_gradients_flow_as_the_closed_form_says():
    rate = torch.tensor([[1e6], [1.001e6]], requires_grad=True)
    Predictive(Poisson(rate)).log_prob(torch.tensor([1.0005e6])).backward()
    each = scipy.stats.poisson(rate.detach().numpy().astype(float)).pmf(1.0005e6)
    wanted = each / each.sum() * (1.0005e6 / rate.detach().numpy().astype(float) - 1)
    np.testing.assert_allclose(rate.grad, wanted, rtol=1e-4)
