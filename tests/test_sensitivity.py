"""Fits with other priors beside a fit."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from bayesnn import BayesianNeuralNetwork, fit_last_layer, fit_map, likelihoods, priors
from bayesnn.sensitivity import rescaled, sensitivities


def model(prior):
    torch.manual_seed(0)
    return BayesianNeuralNetwork(nn.Linear(2, 1).double(), prior, likelihoods.gaussian.with_noise(0.5))


def test_scales_are_multiplied_about_the_middle():
    moved = rescaled(model(lambda name, value: dist.Normal(torch.full_like(value, 3.0), 0.5)), 2.0).priors()["weight"]
    assert_close(moved.mean, torch.full((1, 2), 3.0).double())
    assert_close(moved.stddev, torch.full((1, 2), 1.0).double())
    other = rescaled(model(priors.laplace(0.7)), 2.0).priors()["weight"]
    value = torch.tensor([[0.3, -2.0]]).double()
    assert_close(other.log_prob(value), dist.Laplace(torch.zeros(()).double(), 1.4).log_prob(value))
    shifted = rescaled(model(lambda n, v: dist.Laplace(torch.full_like(v, 1.0), 0.7)), 3.0).priors()["bias"]
    assert_close(shifted.log_prob(value[0, :1]), dist.Laplace(torch.ones(()).double(), 2.1).log_prob(value[0, :1]))


@pytest.mark.filterwarnings("ignore:these are the rows of the fit")
def test_scores_are_those_of_fits_with_these_priors():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(10, 2, generator=generator).double()
    y = 3 * x.sum(1) + 0.5 * torch.randn(10, generator=generator).double()
    alone = model(priors.normal(0.2))

    def refit(given, x, y):
        return fit_last_layer(given, x, y, body=None, num_epochs=20, progress=False)

    def score(scale):
        fitted = refit(model(priors.normal(scale)), x, y)
        return -float(fitted(x).log_prob(y).mean())

    fit = fit_map(alone, x, y, num_epochs=1, progress=False)
    figures, findings = sensitivities(fit, x, y, (x, y), refit)
    here = -float(fit(x).log_prob(y).mean())
    assert figures.keys() == {"nll_change_prior_0.5", "nll_change_prior_2"}
    assert_close(figures["nll_change_prior_0.5"], score(0.1) - here, rtol=1e-3, atol=1e-3)
    assert_close(figures["nll_change_prior_2"], score(0.4) - here, rtol=1e-3, atol=1e-3)
    assert findings[0].name == "sensitive to the prior"
    assert not findings[0].is_warning
