"""The objective in few operations against `Objective` and autograd."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from bayesnn import BayesianNeuralNetwork, fit_ensemble, fit_map, likelihoods, networks, priors
from bayesnn.flat_points import FlatPoints
from bayesnn.points import Objective

N = 30


def wide():
    return nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 1))


CASES = {
    "latent noise": (lambda: networks.mlp(3, 1, hidden=6), likelihoods.gaussian, 1, None),
    "two latent noises": (lambda: networks.mlp(3, 2, hidden=6), likelihoods.gaussian, 2, None),
    "known noise": (wide, likelihoods.gaussian.with_noise(0.7), 1, priors.normal(0.8, loc=0.2)),
    "predicted noise": (lambda: networks.mlp(3, 2, hidden=6), likelihoods.heteroscedastic_gaussian, 1, None),
    "heavy tails": (lambda: networks.mlp(3, 2, hidden=6), likelihoods.student_t, 1, None),
    "classes": (lambda: networks.mlp(3, 4, hidden=(6, 5)), likelihoods.categorical, 0, None),
    "yes or no": (lambda: networks.mlp(3, 1, hidden=6), likelihoods.bernoulli, -1, None),
    "counts": (lambda: networks.mlp(3, 1, hidden=6), likelihoods.poisson, -2, None),
}


def case(name, number):
    make, likelihood, columns, prior = CASES[name]
    torch.manual_seed(0)
    x = 4 + torch.randn(N, 3, dtype=torch.float64)
    y = {0: torch.randint(4, (N,)), -1: torch.randint(2, (N,)), -2: torch.poisson(torch.full((N,), 3.0)), 1: x.sum(1)}
    y = torch.stack([x.sum(1), -5 * x[:, 0]], 1) if columns == 2 else y[columns]
    model = BayesianNeuralNetwork(make().double(), prior, likelihood).for_data(x, y)
    starts = [
        {name: value + 0.3 * torch.randn_like(value) for name, value in Objective(model, x).free(model.start()).items()}
        for _ in range(number)
    ]
    return model, x, y, starts


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_terms_and_gradients_are_those_of_the_reference(name, number, beta):
    model, x, y, starts = case(name, number)
    assert FlatPoints.serves(model, number)
    flat = FlatPoints(model, x, y, starts, beta)
    rows = torch.stack([torch.randperm(N)[:12] for _ in range(number)])
    batch = [flat.inputs[rows], flat.targets[rows]] if number > 1 else [flat.inputs[rows[0]], flat.targets[rows[0]]]
    terms = flat(batch)
    objective = Objective(model, x, beta)
    expected, slopes = [], []
    for start, own in zip(starts, rows, strict=True):
        free = {name: value.clone().requires_grad_() for name, value in start.items()}
        found = objective.terms(free, x[own], model.targets(y)[own])
        found["loss"].backward()
        expected.append({term: value.item() for term, value in found.items()})
        slopes.append({name: value.grad for name, value in free.items()})
    for term in ("loss", "misfit"):
        assert float(terms[term]) == pytest.approx(sum(one[term] for one in expected) / number, rel=1e-10)
    wanted = torch.cat([torch.stack([slope[n] for slope in slopes]).flatten() for n in flat.values()])
    torch.testing.assert_close(flat.parameters.grad, wanted, rtol=1e-8, atol=1e-10)
    values = flat.values()
    for m, start in enumerate(starts):
        for n, value in objective.weights(start).items():
            torch.testing.assert_close(values[n][m] if number > 1 else values[n], value)


@pytest.mark.parametrize("name", ["latent noise", "classes", "predicted noise"])
def test_fits_are_those_of_the_reference(name, monkeypatch):
    model, x, y, _ = case(name, 1)
    options = {"num_epochs": 5, "batch_size": 7, "progress": False}
    alone, several = fit_map(model, x, y, **options), fit_ensemble(model, x, y, num_members=3, **options)
    monkeypatch.setattr(FlatPoints, "serves", lambda model, number: False)
    for ours, reference in (
        (alone, fit_map(model, x, y, **options)),
        (several, fit_ensemble(model, x, y, num_members=3, **options)),
    ):
        for n, value in reference.weights.items():
            torch.testing.assert_close(ours.weights[n], value, rtol=1e-6, atol=1e-8)
        assert ours.summary["final_loss"] == pytest.approx(reference.summary["final_loss"])


@pytest.mark.parametrize(
    ("model", "number"),
    [
        (BayesianNeuralNetwork(nn.Linear(3, 1), priors.laplace(), likelihoods.gaussian), 1),
        (BayesianNeuralNetwork(nn.Linear(3, 1), None, likelihoods.gaussian.with_noise(dist.HalfNormal(1.0))), 1),
        (BayesianNeuralNetwork(networks.conv_net((4, 4), 2), None, likelihoods.categorical), 2),
    ],
    ids=["another prior", "another prior of the noise", "several of convolutions"],
)
def test_others_are_left_to_the_reference(model, number):
    assert not FlatPoints.serves(model, number)
    assert FlatPoints.serves(model, 1) is (number == 2)
