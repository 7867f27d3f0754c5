"""Going on with a fit: what is gained is what the fit was short of."""

import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal
from torch import nn

from bayesnn import BayesianNeuralNetwork, fit_svi, likelihoods, priors
from bayesnn.continued import continued


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 2, generator=generator)
    return x, x.sum(1) + 0.5 * torch.randn(100, generator=generator)


def fitted(num_epochs, **options):
    torch.manual_seed(0)
    model = BayesianNeuralNetwork(nn.Linear(2, 1), priors.normal(1.0), likelihoods.gaussian.with_noise(0.5))
    return fit_svi(model, *data(), num_epochs=num_epochs, num_samples=2, progress=False, **options)


def test_a_short_fit_gains_what_a_long_one_has():
    """The ELBO of a conjugate model has one maximum, which both reach."""
    short, long = fitted(20, learning_rate=0.03), fitted(2000)
    gained = continued(short, *data(), 1000, progress=False)
    assert gained["steps_more"] == 1000
    short_of = long.summary["elbo_per_datum"] - short.summary["elbo_per_datum"]
    assert gained["elbo_gain"] == pytest.approx(short_of, abs=0.05)
    assert short_of > 0.3
    assert abs(continued(long, *data(), 500, progress=False)["elbo_gain"]) < 0.03


def test_any_guide_goes_on():
    assert (
        continued(fitted(20, guide=AutoMultivariateNormal, learning_rate=0.03), *data(), 500, progress=False)[
            "elbo_gain"
        ]
        > 0.1
    )


@pytest.mark.filterwarnings("ignore::UserWarning")  # of so short a fit
@pytest.mark.parametrize(("own", "expected"), [(0.002, 0.002), (0.03, 0.01), (None, 0.01)])
def test_it_goes_on_at_no_larger_a_step_than_the_fit_began_with(own, expected, monkeypatch):
    posterior, seen = fitted(20, learning_rate=own), []

    def watched(*given, learning_rate, **options):
        seen.append(learning_rate)
        return fit_svi(*given, learning_rate=learning_rate, **options)

    monkeypatch.setattr("bayesnn.continued.fit_svi", watched)
    continued(posterior, *data(), 10, progress=False)
    assert seen == [expected]


@pytest.mark.parametrize("options", [{"temperature": 0.5}, {"elbo": Trace_ELBO()}], ids=["temperature", "elbo"])
def test_fits_of_something_else_tell_nothing(options):
    assert continued(fitted(300, **options), *data(), 10, progress=False) == {}
