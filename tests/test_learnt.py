"""against_a_constant: fits that have learnt nothing, of every kind, and predictives whose scores are known."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Normal

from bayesnn import (
    BayesianNeuralNetwork,
    diagnose,
    fit_dropout,
    fit_ensemble,
    fit_gp,
    fit_laplace,
    fit_last_layer,
    fit_map,
    fit_svi,
    fit_swag,
    likelihoods,
    networks,
)
from bayesnn.learnt import against_a_constant
from bayesnn.predictive import Predictive

QUIET = {"progress": False}


def wave(number=200):
    x = torch.randn(number, 3, generator=torch.Generator().manual_seed(0))
    return x, 3 * x[:, 0] + (3 * x[:, 1]).sin()


def model(likelihood=likelihoods.gaussian):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BayesianNeuralNetwork(networks.mlp(3, 1, hidden=(10,), dropout=0.1), likelihood=likelihood)


class Fixed:
    """A method that says the same of every input, and counts those it is asked for."""

    model = SimpleNamespace(likelihood=likelihoods.gaussian)

    def __init__(self, scale):
        self.scale, self.asked = scale, 0

    def __call__(self, x):
        self.asked += len(x)
        return Predictive(Normal(torch.zeros(1, len(x)), self.scale))


@pytest.mark.parametrize(
    ("fit", "options"),
    [
        (fit_map, {}),
        (fit_ensemble, {"num_members": 2}),
        (fit_dropout, {}),
        (fit_laplace, {}),
    ],
    ids=["map", "ensemble", "dropout", "laplace"],
)
def test_a_fit_that_has_learnt_nothing_is_told_so(fit, options):
    x, y = wave()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        posterior = fit(model(), x, y, num_epochs=1, **options, **QUIET)
    with pytest.warns(UserWarning, match="^below a constant: of its own data the log-likelihood, .* is below"):
        found = diagnose(posterior, x, y, **QUIET)
    assert found.figures["train_nll"] == pytest.approx(float(-posterior(x).log_prob(y).mean()))
    assert [one.name for one in found.warnings] == ["below a constant"]


def test_a_last_layer_is_asked_with_its_whole_model():
    """Its regression is exact, but for a noise that is far too small."""
    x, y = wave()
    posterior = fit_last_layer(model(likelihoods.gaussian.with_noise(0.05)), x, y, num_epochs=5, **QUIET)
    with pytest.warns(UserWarning, match="^below a constant: of its own data"):
        diagnose(posterior, x, y, **QUIET)


@pytest.mark.parametrize(("fit", "num_epochs"), [(fit_map, 300), (fit_swag, 100)])
def test_a_fit_that_has_learnt_something_is_not_complained_of(fit, num_epochs):
    x, y = wave()
    found = diagnose(fit(model(), x, y, num_epochs=num_epochs, **QUIET), x, y, **QUIET)  # warnings are errors
    assert found.is_well
    assert found.figures["train_nll"] < -found.figures["constant"]


def test_a_process_is_asked_too():
    x, y = wave(60)
    posterior = fit_gp(likelihoods.gaussian, x, y, num_epochs=100, **QUIET)
    assert against_a_constant(posterior, x, y)[0]["train_nll"] == pytest.approx(float(-posterior(x).log_prob(y).mean()))


def test_the_score_is_beside_that_of_a_normal_with_the_moments_of_the_targets():
    y = torch.tensor([-1.0, 1.0] * 50)
    best = float(Normal(0.0, 1.0).log_prob(y).mean())
    assert against_a_constant(Fixed(1.0), torch.zeros(100, 1), y)[0]["constant"] == pytest.approx(best)
    (one,) = against_a_constant(Fixed(2.0), torch.zeros(100, 1), y)[1]
    assert "log-likelihood, -1.74 nats per datum, is below -1.42" in one.words


def test_of_many_data_2000_are_looked_at():
    posterior = Fixed(1.0)
    against_a_constant(posterior, torch.zeros(9000, 1), torch.randn(9000))
    assert posterior.asked == 2000


def test_where_a_constant_prediction_is_not_known_nothing_is_said():
    assert against_a_constant(SimpleNamespace(), torch.zeros(9, 1), torch.zeros(9)) == ({}, [])
    assert against_a_constant(Fixed(1.0), torch.zeros(9, 1), torch.zeros(9)) == ({}, [])  # a spike, of infinite density


@pytest.mark.parametrize(
    ("likelihood", "num_outputs", "label"),
    [(likelihoods.bernoulli, 1, 0), (likelihoods.bernoulli, 1, 1), (likelihoods.categorical, 3, 2)],
    ids=["no", "yes", "a class"],
)
@pytest.mark.parametrize("fit", [fit_map, fit_svi])
def test_targets_of_one_class_are_told_as_such(fit, likelihood, num_outputs, label):
    x, y = wave(60)[0], torch.full((60,), label)
    task = BayesianNeuralNetwork(networks.mlp(3, num_outputs, hidden=(4,)), likelihood=likelihood)
    with warnings.catch_warnings(record=True, action="always") as told:
        posterior = fit(task, x, y, num_epochs=1500, **QUIET)
    assert [str(one.message)[:28] for one in told] == ["all targets are of one class"] * (fit is fit_svi)
    with pytest.warns(UserWarning, match=r"^one class: all targets .* To mend it, pass data of every class\."):
        found = diagnose(posterior, x, y, **QUIET)
    assert [one.name for one in found.warnings] == ["one class"]
    assert str(found.figures["constant"]) == "0.0"
