"""Where Laplace and the last layer begin: a fit of their own, one given, or the network as it stands."""

import pyro.distributions as dist
import pytest
import torch

from bayesnn import BayesianNeuralNetwork, fit_ensemble, fit_map, likelihoods, networks, priors
from bayesnn.methods.mode import mode_of

OPTIONS = {"num_epochs": 3, "progress": False}


def model(hidden=(4,)):
    torch.manual_seed(0)
    return BayesianNeuralNetwork(networks.mlp(2, 1, hidden=hidden), likelihood=likelihoods.gaussian)


def data(units=1.0):
    generator = torch.Generator().manual_seed(0)
    return units * (3 + torch.randn(30, 2, generator=generator)), torch.randn(30, generator=generator)


def test_of_nothing_it_is_the_map():
    x, y = data()
    mode, plain = mode_of(model(), x, y, None, "start", None, **OPTIONS), fit_map(model(), x, y, **OPTIONS)
    assert all(torch.equal(value[0], mode.values[name]) for name, value in plain.weights.items())
    assert list(mode.weights) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert list(mode.latents) == ["noise_scale"]
    assert len(mode.history.epochs) == 3


def test_a_fit_given_brings_its_units():
    x, y = data()
    plain = fit_map(model(), x, y, **OPTIONS)
    more = data(units=100.0)
    mode = mode_of(model(), *more, plain, "start", None)
    assert mode.history is None
    assert torch.equal(mode.model.x_loc, plain.model.x_loc)
    assert torch.equal(mode.inputs, more[0])
    wanted = plain(x).mean
    torch.testing.assert_close(mode.model.members(mode.model.outputs(mode.weights, x), mode.latents).mean, wanted)


def test_the_network_as_it_stands():
    x, y = data()
    given = model()
    mode = mode_of(given, x, y, "network", "start", None)
    assert all(torch.equal(value, mode.weights[name]) for name, value in given.network.named_parameters())
    torch.testing.assert_close(mode.latents["noise_scale"], 0.3 * y.std(correction=0))


def test_a_network_that_its_prior_rules_out_does_not_stand():
    x, y = data()
    bounded = priors.only("2.weight", lambda name, value: dist.HalfNormal(torch.ones_like(value)), priors.normal(1.0))
    given = BayesianNeuralNetwork(model().network, prior=bounded, likelihood=likelihoods.gaussian)
    with pytest.raises(ValueError, match=r"weights that its prior allows; those of '2.weight' lie outside.*HalfNormal"):
        mode_of(given, x, y, "network", "start", None)
    fitted = mode_of(given, x, y, None, "start", None, **OPTIONS)  # a fit begins where it may
    assert (fitted.weights["2.weight"] > 0).all()


def test_what_is_no_start():
    x, y = data()
    with pytest.raises(TypeError, match=r"body must be a posterior from fit_map, .network..*got 'net'"):
        mode_of(model(), x, y, "net", "body", None)
    many = fit_ensemble(model(), x, y, num_members=3, **OPTIONS)
    with pytest.raises(ValueError, match="start must be one network, as fit_map gives it; got 3 draws of ensemble"):
        mode_of(model(), x, y, many, "start", None)
    other = fit_map(model(hidden=(5,)), x, y, **OPTIONS)
    with pytest.raises(
        ValueError, match=r"fit of this model.*'0.weight', '0.bias', '2.weight' differ.*Leave start out"
    ):
        mode_of(model(), x, y, other, "start", None)
