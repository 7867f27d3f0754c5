"""SWAG: its moments and draws against numpy's, its step size against the Hessian's eigenvalue."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bayesnn import BayesianNeuralNetwork, fit_map, fit_swag, likelihoods, networks
from bayesnn.methods.swag import _sharpness, _Walk
from bayesnn.points import Objective

SIGMAS = 5  # a normal variate lies further out with a chance of 6e-7


def data(num=60):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num, 3, generator=generator, dtype=torch.float64)
    return x, x.sum(1) + 0.3 * torch.randn(num, generator=generator, dtype=torch.float64)


def model(hidden=(4,), prior=None):
    torch.manual_seed(0)
    network = networks.mlp(3, 1, hidden=hidden, activation="tanh").double()
    return BayesianNeuralNetwork(network, prior=prior, likelihood=likelihoods.gaussian)


def half_normal(name, value):
    return dist.HalfNormal(torch.ones_like(value))


def test_moments_and_covariance_of_draws_are_the_papers():
    snapshots = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).cumsum(0)
    walk = _Walk(rank=4)
    for row in snapshots:
        walk.add({"a": row[:2], "b": row[2:]})
    values = snapshots.numpy()
    np.testing.assert_allclose(walk.mean, values.mean(0))
    np.testing.assert_allclose(walk.squares, (values**2).mean(0))
    running = np.cumsum(values, 0) / np.arange(1, 8)[:, None]
    deviations = (values - running)[-4:]
    np.testing.assert_allclose(torch.stack(walk.deviations), deviations)
    wanted = np.diag(values.var(0)) / 2 + deviations.T @ deviations / (2 * 3)
    drawn = walk.draw(40_000, torch.Generator().manual_seed(2)).numpy()
    found = np.cov(drawn.T)
    # The variance of a sample covariance of normals: (c_ij^2 + c_ii c_jj) / S.
    error = np.sqrt((wanted**2 + np.outer(np.diag(wanted), np.diag(wanted))) / 40_000)
    assert (np.abs(found - wanted) < SIGMAS * error).all()
    assert not (np.abs(found - 2 * wanted) < SIGMAS * error).any()
    assert (np.abs(drawn.mean(0) - values.mean(0)) < SIGMAS * np.sqrt(np.diag(wanted) / 40_000)).all()


@pytest.mark.parametrize("prior", [None, half_normal], ids=["normal", "half-normal"])
def test_the_density_is_scipys(prior):
    """Of the normal in the unconstrained space, with the Jacobian of the logarithms of what is above zero."""
    x, y = data()
    posterior = fit_swag(
        model(prior=prior), x, y, num_samples=5, num_epochs=20, num_snapshots=12, rank=3, progress=False
    )
    found = posterior.density.args[1]
    deviations, mean = torch.stack(found.deviations).numpy(), found.mean.numpy()
    covariance = np.diag(found.squares.numpy() - mean**2) / 2 + deviations.T @ deviations / (2 * 2)
    weights = posterior.weights
    logarithms = {n: v.log().numpy().reshape(5, -1) for n, v in weights.items() if prior or n == "noise_scale"}
    flat = np.concatenate([logarithms.get(n, v.numpy().reshape(5, -1)) for n, v in weights.items()], 1)
    wanted = stats.multivariate_normal(mean, covariance, allow_singular=False).logpdf(flat)
    wanted = wanted - np.concatenate(list(logarithms.values()), 1).sum(1)
    np.testing.assert_allclose(posterior.log_density(), wanted, rtol=1e-6)


def test_a_weight_that_never_moved_leaves_no_density():
    walk = _Walk(rank=2)
    for value in (0.1, 0.2, 0.4):
        walk.add({"a": torch.tensor([value, 1.0])})
    assert not walk.moved
    assert walk.draw(3, torch.Generator().manual_seed(0))[:, 1].tolist() == [1.0, 1.0, 1.0]


class Attentive(nn.Module):
    """Every input a word of its own."""

    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(1, 1, batch_first=True), nn.Linear(3, 1)

    def forward(self, x):
        words = x[..., None]
        return self.head(self.attention(words, words, words, need_weights=False)[0].flatten(1))


@pytest.mark.parametrize("kind", ["linear layers", "attention"])
def test_step_size_is_from_the_largest_eigenvalue_of_the_hessian(kind):
    x, y = data()
    torch.manual_seed(0)
    attentive = BayesianNeuralNetwork(Attentive().double(), likelihood=likelihoods.gaussian)
    known = (attentive if kind == "attention" else model(hidden=(2,))).for_data(x, y)
    objective = Objective(known, x)
    free = {name: value.requires_grad_() for name, value in objective.free(known.start()).items()}
    shapes = [value.shape for value in free.values()]

    def loss(flat):
        parts = flat.split([shape.numel() for shape in shapes])
        at = {n: part.view(s) for n, part, s in zip(free, parts, shapes, strict=True)}
        return objective.terms(at, x, y)["loss"]

    flat = torch.cat([value.detach().flatten() for value in free.values()])
    with sdpa_kernel(SDPBackend.MATH):
        largest = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat)).abs().max()
    torch.manual_seed(0)
    assert _sharpness(objective, free, x, y) == pytest.approx(float(largest), rel=0.05)


def test_the_walk_begins_at_the_map_and_stays_about_it():
    x, y = data()
    options = {"num_epochs": 300, "batch_size": 16, "progress": False}
    plain, swag = fit_map(model(), x, y, beta=0.0, **options), fit_swag(model(), x, y, num_samples=50, **options)
    assert swag.method == "swag"
    assert len(swag.history.epochs) == 360
    assert (swag(x).mean - plain(x).mean).abs().max() < 0.3 * y.std()
    assert (swag.weights["0.weight"].std(0) > 0).all()
    assert (swag.weights["noise_scale"] > 0).all()
    wide = fit_swag(model(), x, y, num_samples=50, step=1.9, **options)
    narrow = fit_swag(model(), x, y, num_samples=50, step=0.1, **options)
    assert wide.weights["0.weight"].std(0).mean() > 2 * narrow.weights["0.weight"].std(0).mean()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_snapshots": 1}, "num_snapshots must be 2 or more"),
        ({"num_snapshots": 0}, "num_snapshots must be a whole number"),
        ({"rank": 0}, "rank must be a whole number"),
        ({"step": 2.0}, "step must lie between 0 and 2"),
        ({"step": "large"}, "step must lie between 0 and 2.*got 'large'. Write step=1.0"),
    ],
    ids=str,
)
def test_settings_out_of_range(options, words):
    x, y = data()
    with pytest.raises(ValueError, match=words):
        fit_swag(model(), x, y, progress=False, **options)


def test_few_data_spread_as_well():
    """All data in one minibatch would be a walk without noise, and its spread nothing."""
    torch.manual_seed(0)
    x = torch.randn(100, 2)
    y = x.sum(1).sin() + 0.3 * torch.randn(100)
    model = BayesianNeuralNetwork(networks.mlp(2, 1), likelihood=likelihoods.gaussian)
    posterior = fit_swag(model, x, y, num_epochs=300, progress=False)
    assert float(posterior(x).members.mean.std(0).mean()) > 0.01
