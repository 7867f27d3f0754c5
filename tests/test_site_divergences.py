"""What sites have learnt: against torch's own divergences, weight by weight."""

import pyro
import torch
from torch.distributions import LogNormal, Normal, kl_divergence
from torch.testing import assert_close

from bayesnn import BayesianNeuralNetwork, likelihoods, networks, priors
from bayesnn.guides import AutoNormal
from bayesnn.site_divergences import site_divergences

X, Y = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(12)


def fitted(prior, axes=None, likelihood=likelihoods.gaussian):
    torch.manual_seed(1)
    model = BayesianNeuralNetwork(networks.mlp(3, 1, hidden=(4,)), prior, likelihood).for_data(X, Y + X[:, 0])
    with pyro.settings.context(module_local_params=True):
        guide = AutoNormal(model, X, Y, axes=axes)
    for leaf in guide.parameters():
        leaf.data += 0.5 * torch.randn_like(leaf)
    return model, guide


def test_each_figure_is_that_of_the_weights():
    model, guide = fitted(priors.normal(0.7))
    found = site_divergences(model, guide)
    assert set(found) == {"0.weight", "0.bias", "2.weight", "2.bias", "noise_scale"}
    for name in ("0.weight", "2.bias"):
        loc, scale = guide.real_moments()[name]
        loc, scale = loc.detach(), scale.detach()
        each = kl_divergence(Normal(loc, scale), Normal(0.0, 0.7))
        assert found[name]["size"] == loc.numel()
        assert_close(found[name]["kl"], float(each.sum()), rtol=1e-5, atol=0)
        assert_close(found[name]["kl_per_weight"], float(each.mean()), rtol=1e-5, atol=0)
        assert_close(found[name]["at_prior"], float((each < 0.01).double().mean()))
        assert_close(found[name]["signal_to_noise"], float((loc.abs() / scale).median()))
    noise, prior = guide.site("noise_scale"), model.latents()["noise_scale"]
    assert isinstance(prior, LogNormal)
    inner = kl_divergence(noise.base_dist, Normal(prior.loc, prior.scale))
    assert_close(found["noise_scale"]["kl"], float(inner.detach()), rtol=1e-5, atol=0)


def test_weights_at_their_prior_are_counted():
    model, guide = fitted(priors.normal(0.7))
    with torch.no_grad():
        for name, leaf in guide.locs.named_parameters():
            leaf.zero_() if name.startswith("0.weight") else None
        for name, leaf in guide.scales.named_parameters():
            leaf.fill_(torch.tensor(0.7).log()) if name.startswith("0.weight") else None
        guide.get_parameter("locs.0.weight_unconstrained")[0] += 5.0
    found = site_divergences(model, guide)["0.weight"]
    assert found["at_prior"] == 0.75
    assert found["signal_to_noise"] == 0.0


def test_a_guide_along_other_axes_has_the_divergence_of_its_joint_normal():
    axes = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2)))[0]
    model, guide = fitted(priors.normal(0.7), {"0.weight": axes})
    along = guide._get_loc_and_scale("0.weight")
    wanted = kl_divergence(Normal(*along), Normal(0.0, 0.7)).sum()  # a prior of one scale is the same along all axes
    assert_close(site_divergences(model, guide)["0.weight"]["kl"], float(wanted.detach()), rtol=1e-5, atol=0)


def test_other_priors_have_a_sampled_divergence_and_no_shares():
    model, guide = fitted(priors.laplace(1.0), likelihood=likelihoods.gaussian.with_noise(1.0))
    found = site_divergences(model, guide)["2.weight"]
    assert found["at_prior"] != found["at_prior"]
    draws = guide.draws(20_000, 0)["2.weight"]
    loc, scale = (moment.detach() for moment in guide.real_moments()["2.weight"])
    each = (Normal(loc, scale).log_prob(draws) - torch.distributions.Laplace(0.0, 1.0).log_prob(draws)).sum((1, 2))
    error = float(each.std()) * (1 / 20_000 + 1 / 100) ** 0.5
    assert abs(found["kl"] - float(each.mean())) < 5 * error
