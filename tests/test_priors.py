"""Priors against scipy densities; fitted scales against the stationary point of the KL divergence."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch import nn
from torch.distributions import kl_divergence

from bayesnn.priors import FittedNormal, allowed, center, describe, fan_in_normal, laplace, normal, only, student_t


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("prior", "reference"),
    [
        (normal(0.5, loc=2.0), scipy.stats.norm(2.0, 0.5)),
        (laplace(0.5), scipy.stats.laplace(0, 0.5)),
        (student_t(0.5, degrees_of_freedom=4.0), scipy.stats.t(4.0, 0, 0.5)),
        (fan_in_normal(2.0, fit=None), scipy.stats.norm(0, 2 / math.sqrt(9))),
        (fan_in_normal(2.0), scipy.stats.norm(0, 2 / math.sqrt(9))),
    ],
    ids=["normal", "laplace", "student_t", "fan_in fixed", "fan_in fitted"],
)
def test_densities_are_those_of_scipy(prior, reference):
    value = random(4, 9)
    found = prior("0.weight", value)
    assert (found.batch_shape, found.event_shape) == (value.shape, ())
    assert found.mean.dtype == torch.float64
    np.testing.assert_allclose(found.log_prob(value), reference.logpdf(value), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape", "loc", "scale"),
    [
        ("0.weight", (4, 25), 0, 2 / 5),
        ("conv.weight", (4, 3, 5, 5), 0, 2 / math.sqrt(75)),
        ("0.bias", (4,), 0, 2),
        ("slope.weight", (4,), 0, 2),
        ("temperature", (), 0, 2),
    ],
)
def test_fan_in_counts_the_inputs_of_a_unit(name, shape, loc, scale):
    found = fan_in_normal(2.0)(name, torch.zeros(shape))
    assert found.batch_shape == shape
    assert found.mean.unique().tolist() == [loc]
    assert found.stddev.unique().tolist() == pytest.approx([scale])


@pytest.mark.parametrize(
    ("fit", "shape", "groups"),
    [
        ("unit", (4, 9), 4),
        ("unit", (4, 1, 3, 3), 4),
        ("unit", (9,), 1),
        ("tensor", (4, 9), 1),
        ("tensor", (4, 1, 3, 3), 1),
    ],
)
def test_fitted_scales_are_stationary_points_of_the_divergence(fit, shape, groups):
    prior = fan_in_normal(fit=fit)("0.bias", torch.zeros(shape, dtype=torch.float64))
    guide = dist.Normal(random(*shape), random(*shape, seed=1).exp())
    fitted = prior.fitted(guide.loc, guide.scale)
    assert fitted.batch_shape == shape
    assert len(fitted.scale.unique()) == groups

    by_group = fitted.scale.reshape(groups, -1)[:, :1].clone().requires_grad_()
    divergence = kl_divergence(
        guide, dist.Normal(0, by_group.expand(groups, guide.loc.numel() // groups).reshape(shape))
    )
    (slope,) = torch.autograd.grad(divergence.sum(), by_group)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("fit", "name", "shape"),
    [
        (None, "0.weight", (4, 9)),
        ("unit", "0.bias", (7,)),
        ("tensor", "0.weight", (1, 7)),
    ],
    ids=["not asked for", "short vector", "small tensor"],
)
def test_small_groups_keep_their_scale(fit, name, shape):
    assert not isinstance(fan_in_normal(fit=fit)(name, torch.zeros(shape)), FittedNormal)


def test_units_of_few_weights_share_the_scale_of_their_layer():
    assert fan_in_normal()("0.weight", torch.zeros(4, 7)).shared == (-2, -1)


@pytest.mark.parametrize(("outputs", "shared"), [(1, (-2,)), (7, (-2,)), (8, (-1,))])
def test_a_readout_of_few_outputs_has_a_scale_for_each_hidden_unit(outputs, shared):
    network = nn.Sequential(nn.Linear(9, 20), nn.ReLU(), nn.Linear(20, outputs))
    prior = fan_in_normal().for_network(network)
    assert prior("0.weight", network[0].weight).shared == (-1,)
    assert prior("2.weight", network[2].weight).shared == shared


def test_gains_of_normalisation_layers_are_around_one_and_keep_their_scale():
    network = nn.Sequential(nn.Linear(3, 20), nn.LayerNorm(20), nn.PReLU(20), nn.Linear(20, 1))
    prior = only("none", normal(), otherwise=fan_in_normal(2.0)).for_network(network)
    gain, slope = prior("1.weight", network[1].weight), prior("2.weight", network[2].weight)
    assert not isinstance(gain, FittedNormal)
    assert gain.mean.unique().tolist() == [1]
    assert isinstance(slope, FittedNormal)


def test_a_fitted_normal_keeps_its_groups():
    prior = FittedNormal(torch.ones(3, 8), (-1,))
    assert prior.expand(torch.Size((5, 3, 8))).shared == prior.with_scale(torch.ones(3, 8)).shared == (-1,)
    assert prior.expand(torch.Size((5, 3, 8))).batch_shape == (5, 3, 8)
    assert prior.with_scale(torch.full((3, 8), 2.0)).stddev.unique().tolist() == [2.0]


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*.bias", "2.bias", True),
        ("*.bias", "2.weight", False),
        ("0.*", "0.weight", True),
        ("0.*", "10.weight", False),
        ("*.BIAS", "2.bias", False),
    ],
)
def test_only_follows_the_name(pattern, name, matches):
    prior = only(pattern, normal(1.0), otherwise=laplace(1.0))
    assert isinstance(prior(name, torch.zeros(2)), dist.Normal if matches else dist.Laplace)


def mixture(number):
    """The scale mixture of Blundell et al. (2015), whose support torch has no map to."""
    chosen = dist.Categorical(torch.tensor([0.5, 0.5]).expand(number, 2))
    return dist.MixtureSameFamily(chosen, dist.Normal(torch.zeros(number, 2), torch.tensor([1.0, 0.1])))


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        (dist.Normal(torch.zeros(3), 1.0), [-0.5, 0.25, 3.0]),
        (dist.HalfNormal(torch.ones(3)), [0.5, 0.25, 3.0]),
        (dist.Uniform(torch.zeros(3), 1.0), [0.5, 0.25, 0.5]),  # mirrored; mirrored no better: the middle
        (dist.LogNormal(torch.zeros(3), 1.0), [0.5, 0.25, 3.0]),
        (mixture(3), [-0.5, 0.25, 3.0]),
    ],
    ids=["normal", "half-normal", "uniform", "log-normal", "mixture"],
)
def test_a_start_is_moved_to_where_the_prior_has_density(prior, expected):
    start = torch.tensor([-0.5, 0.25, 3.0])
    assert allowed(prior, start).tolist() == expected
    assert start.tolist() == [-0.5, 0.25, 3.0]


@pytest.mark.parametrize("prior", [dist.HalfNormal(torch.ones(2)), dist.Uniform(torch.zeros(2), 1.0)])
def test_a_start_leaves_the_ends_of_a_support_and_shows_what_is_no_number(prior):
    """A zero, as biases often begin at, would be held there by the logarithm; a network that diverged is not hidden."""
    moved = allowed(prior, torch.tensor([0.0, float("nan")]))
    assert moved[0] == center(prior)[0] > 0
    assert moved[1].isnan()


def test_an_end_of_a_support_from_above_is_left_too():
    assert allowed(dist.Uniform(torch.zeros(1), 1.0), torch.ones(1)).tolist() == [0.5]


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        (dist.Normal(torch.zeros(3), 0.25), "Normal(sd 0.25)"),
        (dist.Normal(torch.zeros(2), torch.tensor([0.5, 2.0])).to_event(1), "Normal(sd 0.5 to 2)"),
        (laplace(1.0)("0.weight", torch.zeros(2)), "Laplace(sd 1.41)"),
        (FittedNormal(torch.ones(8), (-1,)), "FittedNormal(sd 1)"),
    ],
)
def test_describe_tells_family_and_spread(prior, words):
    assert describe(prior) == words


@pytest.mark.parametrize("make", [normal, laplace, student_t, fan_in_normal])
@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan, "1"])
def test_impossible_scales_are_refused(make, scale):
    with pytest.raises(ValueError, match="prior scale must be a positive number"):
        make(scale)


@pytest.mark.parametrize("degrees", [0.0, -1.0, math.nan])
def test_impossible_degrees_of_freedom_are_refused(degrees):
    with pytest.raises(ValueError, match="degrees_of_freedom must be positive"):
        student_t(degrees_of_freedom=degrees)


def test_an_unknown_way_to_fit_is_refused():
    with pytest.raises(ValueError, match='fit must be "unit", "tensor" or None'):
        fan_in_normal(fit="layer")
