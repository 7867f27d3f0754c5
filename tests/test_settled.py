"""Did a fit settle? Histories with a known rise, and a guide whose ELBO is known in closed form."""

import numpy as np
import pytest
import torch
from torch import nn

from bayesnn import BayesianNeuralNetwork, likelihoods, priors
from bayesnn.elbo import MeanFieldELBO
from bayesnn.fitting import isolated
from bayesnn.guides import AutoNormal
from bayesnn.settled import final_figures, rise, warn_of_a_bad_fit
from bayesnn.training import History


def history(elbo, interrupted=False):
    return History([{"misfit": -float(value) - 0.25, "kl": 0.25} for value in elbo], 1.0, interrupted)


def test_a_steady_slope_is_told_without_its_noise():
    slope = np.arange(100) * 0.05
    window = slope[60:70]  # two windows of ten epochs, twenty apart: 1 nat, less two standard errors of a ramp
    noise = 2 * np.sqrt(2 * window.var(ddof=1) / 10)
    assert rise(history(slope)) == pytest.approx(1.0 - noise, rel=1e-4)
    assert rise(history(np.zeros(100))) == 0


def test_noise_alone_is_seldom_a_rise():
    random = np.random.default_rng(0)
    values = [rise(history(random.normal(size=100))) for _ in range(200)]
    # Two standard errors: t of 18 degrees of freedom passes it with a chance of 0.03; 200 draws, 5 standard errors.
    assert np.mean(np.array(values) > 0) < 0.03 + 5 * np.sqrt(0.03 * 0.97 / 200)


def test_short_histories_and_those_without_a_divergence_tell_nothing():
    assert rise(history(np.arange(19))) == 0
    assert rise(History([{"loss": 1.0}] * 100, 1.0, False)) == 0


@pytest.mark.parametrize(
    ("summary", "words"),
    [
        ({"elbo_per_datum": -1.0, "kl_per_datum": 0.005}, "collapsed to the prior"),
        ({"elbo_per_datum": -3.0, "kl_per_datum": 0.5}, "below -2, what the best prediction that ignores the inputs"),
        ({"elbo_per_datum": -1.0, "kl_per_datum": 0.5, "elbo_rise": 0.3}, "still rising, by 0.3 nats per datum"),
    ],
)
def test_a_bad_fit_is_told_in_words(summary, words):
    with pytest.warns(UserWarning, match=words):
        warn_of_a_bad_fit(history([0.0]), summary, 100, -2.0, 0.5)


@pytest.mark.parametrize("kl", [0.005, 0.5])
def test_targets_of_one_class_are_told_in_place_of_what_they_lead_to(kl):
    with pytest.warns(UserWarning, match="^all targets are of one class") as told:
        warn_of_a_bad_fit(history([0.0]), {"elbo_per_datum": -0.5, "kl_per_datum": kl}, 100, -0.0, 0.5)
    assert len(told) == 1


def test_good_and_stopped_fits_are_not_complained_of():
    good = {"elbo_per_datum": -1.0, "kl_per_datum": 0.5, "elbo_rise": 0.1}
    warn_of_a_bad_fit(history([0.0]), good, 100, -2.0, 0.5)
    warn_of_a_bad_fit(history([0.0], interrupted=True), {"kl_per_datum": 0.0, "elbo_per_datum": -9.0}, 100, -2.0, 0.5)


def test_the_final_divergence_is_that_of_two_normals():
    model = BayesianNeuralNetwork(
        nn.Linear(2, 1, bias=False).double(), prior=priors.normal(2.0), likelihood=likelihoods.gaussian.with_noise(0.5),
        standardise=False,
    )  # fmt: skip
    x, y = torch.randn(30, 2, dtype=torch.float64), torch.randn(30, dtype=torch.float64)
    with isolated(0, x.device):
        guide = AutoNormal(model, init_scale=0.3)
        guide(x, y)
        figures = final_figures(model, guide, x, y)
        mean, scale = (moment.detach() for moment in guide.real_moments()["weight"])
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, scale), torch.distributions.Normal(torch.zeros_like(mean), 2.0)
    ).sum()
    assert figures["kl_per_datum"] == pytest.approx(float(expected) / 30)


def test_a_short_fit_is_not_followed_by_a_long_estimate(monkeypatch):
    """An estimate takes four passes, or a fifth of those of the fit."""
    passes = []
    monkeypatch.setattr(MeanFieldELBO, "terms", lambda *_: passes.append(0) or (torch.zeros(()), torch.zeros(())))
    x = torch.zeros(50, 1)
    model = BayesianNeuralNetwork(nn.Linear(1, 1), likelihood=likelihoods.gaussian)
    for num_epochs, wanted in ((1, 4), (50, 10), (5000, 32)):
        passes.clear()
        final_figures(model, None, x, x[:, 0], num_epochs)
        assert len(passes) == wanted
