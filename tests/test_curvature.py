"""Informations against Hessians and closed forms."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch.func import functional_call

from bayesnn import BayesianNeuralNetwork, likelihoods, networks
from bayesnn.curvature import diagonal_information, fisher_of_outputs, linear_information, prior_precision
from bayesnn.heads import LastLayer


def known(likelihood, num_outputs, y, hidden=(3,)):
    torch.manual_seed(0)
    x = torch.randn(len(y), 2, dtype=torch.float64)
    network = networks.mlp(2, num_outputs, hidden=hidden, activation="tanh").double()
    return BayesianNeuralNetwork(network, likelihood=likelihood).for_data(x, y), x


NATURAL = {
    "categorical": (likelihoods.categorical, 3, torch.arange(12) % 3),
    "bernoulli": (likelihoods.bernoulli, 1, torch.arange(12) % 2),
    "labels": (likelihoods.bernoulli, 2, torch.arange(24).reshape(12, 2) % 2),
    "gaussian": (likelihoods.gaussian, 1, torch.linspace(-3, 5, 12).double()),
    "gaussians": (likelihoods.gaussian, 2, torch.linspace(-3, 5, 24).double().reshape(12, 2).sin()),
}


@pytest.mark.parametrize(("likelihood", "num_outputs", "y"), NATURAL.values(), ids=NATURAL.keys())
def test_fisher_of_natural_parameters_is_minus_the_hessian(likelihood, num_outputs, y):
    model, x = known(likelihood, num_outputs, y)
    latents = {name: prior.sample() for name, prior in model.latents().items()}
    outputs = model.outputs(model.start(), x)
    found = fisher_of_outputs(model, outputs, latents)
    assert found.shape == (12, num_outputs, num_outputs)
    for n in range(12):
        hessian = torch.autograd.functional.hessian(
            lambda f, n=n: model.members(f[None], latents).log_prob(model.targets(y)[n : n + 1]).sum(), outputs[n]
        )
        torch.testing.assert_close(found[n], -hessian)


def test_fisher_of_a_predicted_scale_is_the_normals():
    """In mean and scale it is diag(1, 2) / scale^2; the chain rule through the softplus does the rest."""
    y = torch.linspace(-3, 5, 12).double()
    model, x = known(likelihoods.heteroscedastic_gaussian, 2, y)
    outputs = model.outputs(model.start(), x)
    found = fisher_of_outputs(model, outputs, {})
    scale, slope = model.members(outputs, {}).stddev, model.y_scale * outputs[:, 1].sigmoid()
    torch.testing.assert_close(found[:, 0, 0], (model.y_scale / scale).square())
    torch.testing.assert_close(found[:, 1, 1], 2 * (slope / scale).square())
    torch.testing.assert_close(found[:, 0, 1], torch.zeros(12, dtype=torch.float64), atol=1e-12, rtol=0)


def test_fisher_by_draws_is_that_of_a_laplace_and_a_poisson():
    """A Laplace's is 1 / b^2 in its place, at any draws; a Poisson's in its log-mean is the mean, within 5 se."""
    y = torch.linspace(-3, 5, 12).double()
    model, x = known(likelihoods.laplace, 2, y)
    outputs = model.outputs(model.start(), x)
    members = model.members(outputs, {})
    found = fisher_of_outputs(model, outputs, {})[:, 0, 0]
    torch.testing.assert_close(found, (model.y_scale / members.scale).square())
    model, x = known(likelihoods.poisson, 1, (torch.arange(12) % 5))
    outputs = model.outputs(model.start(), x).expand(12, 1)
    rate = model.members(outputs, {}).mean
    found = torch.stack([fisher_of_outputs(model, outputs, {})[:, 0, 0] for _ in range(200)]).mean(0)
    found = found / model.y_scale.square()
    error = ((rate + 2 * rate.square()) / (64 * 200)).sqrt()  # the fourth central moment less the squared variance
    assert ((found - rate).abs() < 5 * error).all()
    assert not ((found - rate.sqrt()).abs() < 5 * error).all()


@pytest.mark.parametrize("name", ["categorical", "labels", "gaussians"])
def test_diagonal_information_is_that_of_the_dense_jacobian(name, monkeypatch):
    likelihood, num_outputs, y = NATURAL[name]
    model, x = known(likelihood, num_outputs, y)
    weights, latents = model.start(), {name: prior.sample() for name, prior in model.latents().items()}
    jacobian = torch.func.jacrev(lambda at: model.outputs(at, x))(weights)
    fisher = fisher_of_outputs(model, model.outputs(weights, x), latents)
    found = diagonal_information(model, weights, latents, x)
    for parameter, j in jacobian.items():
        flat = j.flatten(2)
        wanted = torch.einsum("nkp,nkj,njp->p", flat, fisher, flat)
        torch.testing.assert_close(found[parameter].flatten(), wanted)
    monkeypatch.setattr("bayesnn.curvature._NUMBERS_AT_ONCE", 1)
    for parameter, value in diagonal_information(model, weights, latents, x).items():
        torch.testing.assert_close(value, found[parameter])


@pytest.mark.parametrize("name", NATURAL)
def test_information_of_a_last_layer_is_minus_the_hessian(name):
    likelihood, num_outputs, y = NATURAL[name]
    model, x = known(likelihood, num_outputs, y)
    latents = {name: prior.sample() for name, prior in model.latents().items()}
    head = LastLayer.of(model, model.start(), x)
    coefficients = head.joined(model.start())

    def log_likelihood(flat):
        values = head.split(flat.reshape(coefficients.shape))
        outputs = functional_call(model.network, model.start() | values, (model.standardised(x),))
        return model.members(outputs, latents).log_prob(model.targets(y)).sum()

    hessian = torch.autograd.functional.hessian(log_likelihood, coefficients.flatten())
    design = head.design(head.features(x))
    found = linear_information(model, design, model.outputs(model.start(), x), latents)
    torch.testing.assert_close(found.reshape(hessian.shape), -hessian)


def test_prior_precision():
    value = torch.tensor([0.0, 0.5, 40.0], dtype=torch.float64)
    normal = dist.Normal(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 2.0, 4.0]))
    torch.testing.assert_close(prior_precision(normal, value), torch.tensor([4.0, 0.25, 0.0625]).double())
    student = dist.StudentT(3.0, torch.zeros(3), 2.0)
    # Minus the second derivative, (v + 1) (v s^2 - x^2) / (v s^2 + x^2)^2; far out it is below zero.
    wanted = torch.tensor([4 / 12, 4 * (12 - 0.25) / (12.25) ** 2, 1 / 12], dtype=torch.float64)
    torch.testing.assert_close(prior_precision(student, value), wanted)
    laplace = dist.Laplace(torch.zeros(3), 2.0)
    torch.testing.assert_close(prior_precision(laplace, value), torch.full((3,), 1 / 8).double())
    assert math.isclose(float(student.variance[0]), 12)
