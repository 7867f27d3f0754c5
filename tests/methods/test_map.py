"""fit_map against ridge regression and scikit-learn."""

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from scipy.optimize import nnls
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bayesnn import (
    BayesianNeuralNetwork,
    fit_ensemble,
    fit_laplace,
    fit_map,
    fit_nuts,
    fit_sghmc,
    fit_swag,
    likelihoods,
    networks,
    priors,
)


def test_linear_gaussian_map_is_ridge_regression():
    x = torch.randn(50, 3, dtype=torch.float64)
    y = x @ torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64) + 0.5 * torch.randn(50, dtype=torch.float64)
    model = BayesianNeuralNetwork(
        nn.Linear(3, 1, bias=False).double(),
        prior=priors.normal(0.7),
        likelihood=likelihoods.gaussian.with_noise(0.5),
        standardise=False,
    )
    posterior = fit_map(model, x, y, batch_size=50, num_epochs=3000, progress=False)
    ridge = torch.linalg.solve(x.T @ x / 0.25 + torch.eye(3, dtype=x.dtype) / 0.49, x.T @ y / 0.25)
    torch.testing.assert_close(posterior.weights["weight"].flatten(), ridge, atol=1e-4, rtol=0)


def test_map_of_weights_that_may_not_be_negative_is_least_squares_under_that_bound():
    """Half-normal weights are ridge regression where they are above zero; one that would be below is zero."""
    x = torch.randn(50, 3, dtype=torch.float64)
    y = x @ torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64) + 0.5 * torch.randn(50, dtype=torch.float64)
    network = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[-0.3, 0.2, -0.1]]))  # starts where the prior has no density
    model = BayesianNeuralNetwork(
        network,
        prior=lambda name, value: dist.HalfNormal(torch.full_like(value, 0.7)),
        likelihood=likelihoods.gaussian.with_noise(0.5),
        standardise=False,
    )
    posterior = fit_map(model, x, y, batch_size=50, num_epochs=3000, learning_rate=0.03, progress=False)
    rows, targets = np.vstack([x.numpy() / 0.5, np.eye(3) / 0.7]), np.concatenate([y.numpy() / 0.5, np.zeros(3)])
    expected = torch.tensor(nnls(rows, targets)[0])
    assert expected[2] == 0
    torch.testing.assert_close(posterior.weights["weight"].flatten(), expected, atol=1e-3, rtol=0)


def test_a_prior_that_torch_has_no_map_for_is_fitted_as_it_is():
    """A scale mixture of two equal normals is that normal."""
    x = torch.randn(50, 3, dtype=torch.float64)
    y = x @ torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64) + 0.5 * torch.randn(50, dtype=torch.float64)

    def mixture(name, value):
        chosen = dist.Categorical(value.new_tensor([0.5, 0.5]).expand(*value.shape, 2))
        return dist.MixtureSameFamily(chosen, dist.Normal(value.new_zeros(*value.shape, 2), 0.7))

    network = nn.Linear(3, 1, bias=False).double()
    known = likelihoods.gaussian.with_noise(0.5)
    plain, mixed = (
        BayesianNeuralNetwork(network, prior=prior, likelihood=known, standardise=False)
        for prior in (priors.normal(0.7), mixture)
    )
    options = {"batch_size": 50, "num_epochs": 200, "progress": False}
    expected, found = (fit_map(model, x, y, **options).weights["weight"] for model in (plain, mixed))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert fit_ensemble(mixed, x, y, num_members=2, **options)(x).mean.isfinite().all()


def test_logistic_map_is_scikit_learns():
    x = torch.randn(80, 2, dtype=torch.float64)
    y = (x[:, 0] + 0.5 * torch.randn(80, dtype=torch.float64) > 0).long()
    model = BayesianNeuralNetwork(
        nn.Linear(2, 1, bias=False).double(),
        prior=priors.normal(2.0),
        likelihood=likelihoods.bernoulli,
        standardise=False,
    )
    posterior = fit_map(model, x, y, batch_size=80, num_epochs=10000, learning_rate=0.03, progress=False)
    oracle = LogisticRegression(C=4.0, fit_intercept=False, tol=1e-10).fit(x.numpy(), y.numpy())
    torch.testing.assert_close(posterior.weights["weight"][0, 0], torch.tensor(oracle.coef_[0]), atol=1e-4, rtol=0)


def test_noise_scale_is_at_the_maximum_too():
    """With a flat prior the maximum is the residual standard deviation; the log-normal prior moves it a little."""
    x = torch.randn(2000, 1, dtype=torch.float64)
    y = 2 * x[:, 0] + 0.5 * torch.randn(2000, dtype=torch.float64)
    model = BayesianNeuralNetwork(nn.Linear(1, 1).double(), likelihood=likelihoods.gaussian)
    posterior = fit_map(model, x, y, batch_size=2000, num_epochs=2000, progress=False)
    residual = (y - posterior(x).mean).square().mean().sqrt()
    assert float(posterior.weights["noise_scale"][0]) == pytest.approx(float(residual), rel=2e-3)


def test_refuses_what_is_no_model():
    with pytest.raises(TypeError, match="model must be a BayesianNeuralNetwork; got Linear"):
        fit_map(nn.Linear(1, 1), torch.zeros(3, 1), torch.zeros(3))


def test_has_no_other_draws():
    model = BayesianNeuralNetwork(nn.Linear(1, 1), likelihood=likelihoods.gaussian)
    posterior = fit_map(model, torch.randn(9, 1), torch.randn(9), num_epochs=1, progress=False)
    with pytest.raises(NotImplementedError, match="map has no other draws"):
        posterior.resample(3)


BRIEF = {"num_epochs": 2, "progress": False}
METHODS = {
    "map": (fit_map, BRIEF),
    "ensemble": (fit_ensemble, {**BRIEF, "num_members": 2}),
    "swag": (fit_swag, {**BRIEF, "num_samples": 3, "num_snapshots": 2}),
    "laplace": (fit_laplace, {**BRIEF, "num_samples": 3}),
    "sghmc": (fit_sghmc, {**BRIEF, "num_samples": 2, "num_chains": 2, "num_warmup": 1, "cycle_steps": 2}),
    "nuts": (fit_nuts, {"num_samples": 2, "num_warmup": 2, "num_chains": 1, "max_tree_depth": 2, "progress": False}),
}
DOORS = {
    "frame": lambda x, y: (pd.DataFrame(x.numpy(), columns=["a", "b"], index=range(5, 25)), pd.Series(y.numpy())),
    "array of doubles": lambda x, y: (x.double().numpy(), y.double().numpy()),
    "loader": lambda x, y: (DataLoader(TensorDataset(x, y), batch_size=7), None),
    "lists": lambda x, y: (x.tolist(), y.tolist()),
}


@pytest.mark.filterwarnings("ignore:the chains may not show")
@pytest.mark.parametrize("double", [False, True], ids=["single", "double"])
@pytest.mark.parametrize(("fit", "options"), METHODS.values(), ids=METHODS)
def test_a_fit_is_the_same_through_every_door(fit, options, double):
    torch.manual_seed(0)
    x, y = torch.randn(20, 2), torch.randn(20)
    network = networks.mlp(2, 1, hidden=(3,))
    model = BayesianNeuralNetwork(network.double() if double else network, likelihood=likelihoods.gaussian)
    options = options if fit is not fit_nuts else {**options, "start": "network"}
    wanted = fit(model, x, y, **options)
    assert {value.dtype for value in wanted.weights.values()} == {torch.double if double else torch.float}
    for door in DOORS.values():
        inputs, targets = door(x, y)
        found = fit(model, inputs, targets, **options)
        torch.testing.assert_close(found.weights, wanted.weights)
        torch.testing.assert_close(found(inputs).mean, wanted(x).mean)


@pytest.mark.parametrize(
    ("setting", "words"), [("beta", "beta must lie"), ("adversarial", "adversarial must be a fra")]
)
@pytest.mark.parametrize("value", ["a half", None, torch.ones(2)], ids=["text", "nothing", "tensor"])
def test_refuses_settings_that_are_no_numbers(setting, words, value):
    model = BayesianNeuralNetwork(nn.Linear(1, 1), likelihood=likelihoods.gaussian)
    with pytest.raises(ValueError, match=f"{words}.*; got .*Write {setting}="):
        fit_map(model, torch.randn(9, 1), torch.randn(9), num_epochs=1, progress=False, **{setting: value})
