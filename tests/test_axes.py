"""Principal axes against numpy's, and the guide along them against a dense normal written by hand."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.distributions import kl_divergence

from bayesnn import BayesianNeuralNetwork, likelihoods, networks, priors
from bayesnn.axes import Rotation, principal_axes, turned_inputs
from bayesnn.elbo import MeanFieldELBO, site_divergence
from bayesnn.guides import AutoNormal
from bayesnn.reparameterisation import PerDatumNoise


@pytest.fixture(autouse=True)
def local_parameters():
    with pyro.settings.context(module_local_params=True):
        yield


def setting(prior=None, network=None, shape=(4,)):
    x = torch.randn(30, *shape, dtype=torch.float64)
    x = (x.flatten(1) @ torch.randn(x[0].numel(), x[0].numel(), dtype=torch.float64)).view_as(x) + 1
    y = x.flatten(1).sum(1)
    network = network or networks.mlp(shape, 1, hidden=(5,), activation="tanh")
    model = BayesianNeuralNetwork(network.double(), prior=prior, likelihood=likelihoods.gaussian).for_data(x, y)
    return model, x, y


def weight_name(model):
    return model.parameter_names[0]


@pytest.mark.parametrize("shape", [(4,), (2, 3)], ids=["columns", "pictures"])
def test_axes_are_the_eigenvectors_of_the_standardised_inputs(shape):
    model, x, _ = setting(shape=shape)
    (axes,) = principal_axes(model, x, model.parameter_names).values()
    rows = model.standardised(x).flatten(1).numpy()
    size = rows.shape[1]
    np.testing.assert_allclose(axes.T @ axes, np.eye(size), atol=1e-12)
    rotated = (rows @ axes.numpy()).T @ (rows @ axes.numpy())
    np.testing.assert_allclose(rotated, np.diag(np.linalg.eigvalsh(rows.T @ rows)), atol=1e-9)


def test_only_the_layer_that_reads_the_inputs_has_axes():
    model, x, _ = setting()
    assert list(principal_axes(model, x, model.parameter_names)) == ["0.weight"]
    assert principal_axes(model, x, ["2.weight"]) == {}
    hidden = nn.Sequential(nn.Tanh(), nn.Linear(4, 1))
    model, x, _ = setting(network=hidden)
    assert principal_axes(model, x, model.parameter_names) == {}


def dense(guide, name):
    """The guide's distribution of each row of a weight, as a dense normal."""
    loc, scale = guide._get_loc_and_scale(name)
    axes = guide.axes[name]
    covariance = axes @ torch.diag_embed(scale.square()) @ axes.T
    return dist.MultivariateNormal(loc @ axes.T, covariance)


def rotated_guide(prior=None):
    model, x, y = setting(prior)
    guide = AutoNormal(model, x, y, init_scale=0.3, axes=principal_axes(model, x, model.parameter_names))
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model, guide, x, y


def test_the_guide_is_a_dense_normal_with_these_axes():
    _, guide, _, _ = rotated_guide()
    wanted, site = dense(guide, "0.weight"), guide.site("0.weight")
    value = site.sample()
    torch.testing.assert_close(site.log_prob(value), wanted.log_prob(value).sum())
    mean, sd = guide.real_moments()["0.weight"]
    torch.testing.assert_close(mean, wanted.mean)
    torch.testing.assert_close(sd, wanted.stddev)
    torch.testing.assert_close(guide.median()["0.weight"], wanted.mean)
    torch.testing.assert_close(guide.quantiles([0.5, 0.9])["0.weight"][1], wanted.mean + 1.2815515655446004 * sd)
    draws = guide.draws(40000, seed=0)["0.weight"]
    assert ((draws.mean(0) - mean) / (sd / 200)).abs().max() < 6
    # A sample covariance's relative error is 1 / sqrt(20000) or less of the variances it stands between.
    bound = 6 / 200 * sd[:, :, None] * sd[:, None, :]
    centred = (draws - mean).movedim(0, -1)
    found = centred @ centred.mT / 40000
    assert ((found - wanted.covariance_matrix).abs() < 2 * bound).all()


def test_the_guide_starts_at_the_network_whatever_the_axes():
    model, x, y = setting()
    guide = AutoNormal(model, x, y, axes=principal_axes(model, x, model.parameter_names))
    torch.testing.assert_close(guide.median()["0.weight"], model.start()["0.weight"])


@pytest.mark.parametrize(
    "prior",
    [priors.normal(0.7, loc=0.4), priors.fan_in_normal(fit=None), lambda n, v: dist.Normal(0.1, 0.5 + v.abs())],
    ids=["shifted", "fan in", "of different scales"],
)
def test_divergence_is_that_of_dense_normals(prior):
    model, guide, _, _ = rotated_guide(prior)
    base = model.priors()["0.weight"]
    wanted = kl_divergence(
        dense(guide, "0.weight"), dist.MultivariateNormal(base.mean, torch.diag_embed(base.variance))
    )
    site = guide.site("0.weight")
    torch.testing.assert_close(site_divergence(site, base.to_event(2), site.sample()), wanted.sum())


@pytest.mark.parametrize("fit", ["unit", "tensor"])
def test_fitted_scales_are_the_same_along_all_axes(fit):
    model, guide, _, _ = rotated_guide(priors.fan_in_normal(fit=fit))
    site = guide.site("0.weight")
    divergence = site_divergence(site, model.priors()["0.weight"].to_event(2), site.sample())
    base = model.with_fitted_priors(guide.real_moments()).priors()["0.weight"]
    wanted = kl_divergence(
        dense(guide, "0.weight"), dist.MultivariateNormal(base.mean, torch.diag_embed(base.variance))
    )
    torch.testing.assert_close(divergence, wanted.sum())


def test_an_odd_prior_is_sampled_without_bias():
    model, guide, _, _ = rotated_guide(priors.student_t(1.0))
    site, prior = guide.site("0.weight"), model.priors()["0.weight"].to_event(2)
    values = [site.sample() for _ in range(50)]
    ours = torch.stack([site_divergence(site, prior, value) for value in values])
    wanted = torch.stack([dense(guide, "0.weight").log_prob(v).sum() - prior.log_prob(v) for v in values])
    torch.testing.assert_close(ours, wanted)


def test_direct_and_traced_paths_agree():
    model, guide, x, y = rotated_guide()
    results = []
    for target in (model, lambda *args: model(*args)):
        torch.manual_seed(3)
        results.append(torch.stack(MeanFieldELBO(3, per_datum_noise=["0.weight"]).terms(target, guide, x[:9], y[:9])))
    torch.testing.assert_close(*results)


def test_noise_of_each_datum_has_the_moments_of_shared_weights():
    model, guide, x, _ = rotated_guide()
    repeats, few = 4000, x[:5]
    values = guide.draws(repeats, seed=1)
    first = model.standardised(few) @ values["0.weight"].mT
    value = guide.site("0.weight").sample()
    with PerDatumNoise({"0.weight": value}, guide.noise(["0.weight"])):
        local = torch.stack([nn.functional.linear(model.standardised(few), value) for _ in range(repeats)])
    error = (first.mean(0) - local.mean(0)) / (first.var(0) / repeats + local.var(0) / repeats).sqrt()
    assert error.abs().max() < 5.5
    ratio = (first.var(0) / local.var(0)).log() / (4 / repeats) ** 0.5
    assert ratio.abs().max() < 5.5


def test_rotation_is_a_transform():
    axes = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    rotation, z = Rotation(axes), torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(rotation.inv(rotation(z)), z)
    jacobian = torch.autograd.functional.jacobian(rotation, z[0])
    torch.testing.assert_close(rotation.log_abs_det_jacobian(z[0], rotation(z[0])), jacobian.slogdet().logabsdet)


def test_scales_by_column_are_fitted_too():
    model, guide, _, _ = rotated_guide(
        lambda n, v: priors.FittedNormal(torch.ones_like(v), (-2,) if v.ndim > 1 else (-1,))
    )
    site = guide.site("0.weight")
    divergence = site_divergence(site, model.priors()["0.weight"].to_event(2), site.sample())
    base = model.with_fitted_priors(guide.real_moments()).priors()["0.weight"]
    wanted = kl_divergence(
        dense(guide, "0.weight"), dist.MultivariateNormal(base.mean, torch.diag_embed(base.variance))
    )
    torch.testing.assert_close(divergence, wanted.sum())


def test_inputs_are_turned_only_where_all_rows_allow_it():
    """Calm rows come first, and a clip does nothing to them."""
    torch.manual_seed(0)
    x = torch.randn(600, 2, dtype=torch.float64)
    x[:100] *= 0.01
    clipped = nn.Sequential(nn.Hardtanh(), nn.Linear(2, 1)).double()
    for network, turns in ((clipped, False), (nn.Sequential(nn.Linear(2, 1)).double(), True)):
        model = BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian).for_data(x, x[:, 0])
        name = model.parameter_names[0]
        axes = {name: torch.linalg.qr(torch.randn(2, 2, dtype=torch.float64))[0]}
        turned = turned_inputs(model, model.standardised(x), axes)
        assert (turned is not None) == turns
        if turned is not None:
            torch.testing.assert_close(turned, model.standardised(x) @ axes[name])
