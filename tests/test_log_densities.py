"""Log-densities in single precision against scipy's in double."""

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.special
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

from bayesnn.log_densities import log_prob
from bayesnn.predictive import Predictive
from bayesnn.quantiles import inside
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


# Entropy

ENDS = {
    "beta near 1": (Beta, [2.0], [0.3]),
    "beta at 1 but for rounding": (Beta, [2.0], [0.1]),
    "beta near 0": (Beta, [0.05], [3.0]),
    "beta at both ends": (Beta, [0.02], [0.03]),
    "beta of large precision": (Beta, [3e5], [7e5]),
    "betas": (Beta, [2.0, 2.0], [0.3, 0.1]),
    "betas alike at 1": (Beta, [2.0, 2.0, 1.0], [0.1, 0.11, 1.0]),
    "gamma near 0": (Gamma, [0.05], [1.0]),
    "gammas": (Gamma, [0.05, 0.1, 2.0], [1.0, 2.0, 3.0]),
    "gammas of large shape": (Gamma, [1e5, 1.01e5], [1.0, 1.0]),
}


def entropy_by_sums(family, first, second):
    """On a fine grid of the logit of y (of its logarithm, for positive y), where densities have no poles."""
    w = np.concatenate([np.linspace(-3000, -30, 300_001)[:-1], np.linspace(-30, 30, 600_001),
                        np.linspace(30, 3000, 300_001)[1:]])  # fmt: skip
    log_y, log_rest = -np.logaddexp(0, -w), -np.logaddexp(0, w)
    if family is Gamma:
        log_y, log_rest = w, np.zeros_like(w)
    each = []
    for a, b in zip(first, second, strict=True):
        if family is Beta:
            each.append((a - 1) * log_y + (b - 1) * log_rest - scipy.special.betaln(a, b))
        else:
            each.append((a - 1) * w - b * np.exp(np.minimum(w, 700)) + a * np.log(b) - scipy.special.gammaln(a))
    log_density = scipy.special.logsumexp(each, axis=0) - np.log(len(each))
    chance = np.exp(log_density + log_y + log_rest)
    assert np.trapezoid(chance, w) == pytest.approx(1, abs=1e-6)
    return -np.trapezoid(np.where(chance > 0, chance * log_density, 0), w)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("family", "first", "second"), ENDS.values(), ids=ENDS)
def test_entropy_where_densities_have_poles(family, first, second, kind):
    parameters = [torch.tensor(values, dtype=kind)[:, None] for values in (first, second)]
    found = Predictive(family(*parameters)).entropy()
    assert found.dtype == kind
    wanted = entropy_by_sums(family, *(values[:, 0].double().numpy() for values in parameters))
    assert float(found) == pytest.approx(wanted, abs=3e-4, rel=1e-6)


def test_entropy_of_families_that_do_not_tell_their_own():
    """Of a mixture's members torch has none: by quadrature alone."""
    member = MixtureSameFamily(Categorical(torch.ones(1, 1, 2)), Normal(torch.tensor([[[0.0, 2.0]]]), 1.0))
    y = np.linspace(-12, 14, 100_001)
    density = scipy.stats.norm(np.array([0.0, 2.0])[:, None]).pdf(y).mean(0)
    wanted = np.trapezoid(scipy.special.entr(density), y)
    assert float(Predictive(member).entropy()) == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("narrow", [1e-2, 1e-3, 1e-4])
def test_entropy_of_members_of_unlike_widths_is_as_near_as_is_said(narrow):
    y = np.unique(np.concatenate([np.linspace(-12, 12, 100_001), narrow * np.linspace(-12, 12, 100_001)]))
    density = scipy.stats.norm(0, np.array([1, narrow])[:, None]).pdf(y).mean(0)
    wanted = np.trapezoid(scipy.special.entr(density), y)
    found = Predictive(Normal(torch.zeros(2, 1), torch.tensor([[1.0], [narrow]]))).entropy()
    assert float(found) == pytest.approx(wanted, abs=0.02)


def test_a_value_at_the_end_of_the_support_is_moved_inside():
    for ours, ends in ((Beta(SHARE, SHARE), (0.0, 1.0)), (Gamma(SHARE, SHARE), (0.0,))):
        for end in ends:
            found = inside(ours, torch.full_like(SHARE, end))
            assert ours.log_prob(found).isfinite().all()
            torch.testing.assert_close(found, torch.full_like(SHARE, end))
