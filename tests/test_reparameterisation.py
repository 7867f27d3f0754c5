"""Noise drawn for each datum: the same distribution for every datum, and gradients of less variance."""

from types import MethodType

import pyro
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close

from bayesnn import BayesianNeuralNetwork, fit_svi, likelihoods, networks, priors
from bayesnn.elbo import MeanFieldELBO
from bayesnn.guides import AutoNormal
from bayesnn.reparameterisation import Noise, PerDatumNoise, draw_in_layers, local_sites

R = 2000
"""Repetitions; moments are held to 6 standard errors, which right code leaves with chance below 1e-6 a test."""


@pytest.fixture(autouse=True)
def _private_store():
    with pyro.settings.context(module_local_params=True):
        yield


LAYERS = {
    "linear": (nn.Linear(3, 2), (3,)),
    "linear without bias": (nn.Linear(3, 2, bias=False), (3,)),
    "linear over a sequence": (nn.Linear(3, 2), (4, 3)),
    "conv1d": (nn.Conv1d(2, 3, 2, stride=2), (2, 4)),
    "conv1d in groups": (nn.Conv1d(2, 2, 2, groups=2, bias=False), (2, 4)),
    "conv2d": (nn.Conv2d(2, 2, 2, padding=1), (2, 3, 3)),
}


def moments_of(layer):
    """Mean and standard deviation of each of the layer's weights, anywhere."""
    return {n: (torch.randn_like(value), torch.rand_like(value) + 0.2) for n, value in layer.named_parameters()}


def repeated(layer, x, moments, sites):
    """Outputs ``(R, N, ...)`` at R draws of the layer's weights, and mean and variance they should have."""
    outputs = []
    for _ in range(R):
        values = {name: torch.normal(*moments[name]) for name in moments}
        with PerDatumNoise(values, {name: Noise(*moments[name]) for name in sites if name in moments}):
            outputs.append(functional_call(layer, values, (x,)))
    mean = functional_call(layer, {name: loc for name, (loc, _) in moments.items()}, (x,))
    variance = functional_call(layer, {name: scale.square() for name, (_, scale) in moments.items()}, (x.square(),))
    return torch.stack(outputs), mean, variance


def same_moments(draws, mean, variance):
    """Whether draws of a normal have these moments, within 6 standard errors each."""
    far_mean = (draws.mean(0) - mean).abs() / (variance / R).sqrt()
    far_variance = (draws.var(0) / variance - 1).abs() / (2 / R) ** 0.5
    return float(far_mean.max()) < 6 and float(far_variance.max()) < 6


@pytest.mark.parametrize("sites", [["weight", "bias"], ["weight"]])
@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_each_datum_has_the_moments_of_drawn_weights(name, sites):
    layer, shape = LAYERS[name]
    x = torch.randn(2, *shape).double()
    draws, mean, variance = repeated(layer.double(), x, moments_of(layer.double()), sites)
    assert same_moments(draws, mean, variance)
    assert not same_moments(draws, mean, variance.sqrt())
    assert not same_moments(draws, mean, 1.4 * variance)


@pytest.mark.parametrize("name", ["linear over a sequence", "conv1d", "conv2d"])
@torch.no_grad()
def test_places_within_a_datum_share_their_weights(name):
    """Where all places have the same inputs, the variance of their sum tells their covariance."""
    layer, shape = LAYERS[name]
    layer = layer.double()
    features = -1 if isinstance(layer, nn.Linear) else 1
    places = tuple(axis for axis in range(1, len(shape) + 1) if axis != features % (len(shape) + 1))
    x = torch.randn(2, *shape).double().mean(places, keepdim=True).expand(2, *shape)
    moments = moments_of(layer)
    plain, local = (repeated(layer, x, moments, sites)[0] for sites in ([], ["weight", "bias"]))
    axes = [axis + 1 for axis in places]
    expected = plain.sum(axes).var(0)

    def far(variance):
        return float(((variance / expected).log().abs() / (4 / R) ** 0.5).max())

    assert far(local.sum(axes).var(0)) < 6
    assert far(local.var(0).sum(places)) > 8  # as if places were independent


@pytest.mark.parametrize("sites", [["weight", "bias"], ["weight"]])
@pytest.mark.parametrize("name", ["linear", "linear over a sequence", "conv1d", "conv2d"])
@torch.no_grad()
def test_data_have_noise_of_their_own(name, sites):
    """Equal rows share no noise but that of a bias left out; under one draw they would be the same.

    Flipout's rows share the sizes of their perturbations: their product's second moment is 3 at most, within a square
    root of which 6 standard errors are counted.
    """
    layer, shape = LAYERS[name]
    layer = layer.double()
    x = torch.randn(1, *shape).double().expand(2, *shape)
    moments = moments_of(layer)
    draws, mean, variance = repeated(layer, x, moments, sites)
    covariance = ((draws - mean)[:, 0] * (draws - mean)[:, 1]).mean(0)
    shared = torch.zeros_like(variance[0])
    if "bias" not in sites:
        axis = -1 if isinstance(layer, nn.Linear) else 0
        shape = [-1 if i == axis % shared.ndim else 1 for i in range(shared.ndim)]
        shared = shared + moments["bias"][1].square().view(shape)
    tolerance = 6 * (3 / R) ** 0.5
    assert float(((covariance - shared) / variance[0]).abs().max()) < tolerance
    assert float(((covariance - variance[0]) / variance[0]).abs().max()) > tolerance


@torch.no_grad()
def test_only_the_named_sites_change():
    layer = nn.Linear(3, 2).double()
    values = dict(layer.named_parameters())
    moments = {name: (value, torch.ones_like(value)) for name, value in values.items()}
    x = torch.randn(5, 3).double()
    with PerDatumNoise(values, {}):
        assert_close(layer(x), F.linear(x, *values.values()))
    with PerDatumNoise(values, {"weight": Noise(*moments["weight"])}):
        assert not torch.allclose(layer(x), F.linear(x, *values.values()))
    assert_close(layer(x), F.linear(x, *values.values()))


def test_a_unit_without_inputs_has_a_finite_gradient():
    weight = torch.randn(2, 3).double()
    loc, scale = weight.clone().requires_grad_(), torch.ones(2, 3).double().requires_grad_()
    with PerDatumNoise({"weight": weight}, {"weight": Noise(loc, scale)}):
        output = F.linear(torch.zeros(4, 3).double(), weight)
    assert_close(output, torch.zeros(4, 2).double(), rtol=0, atol=1e-6)
    for gradient in torch.autograd.grad(output.sum(), [loc, scale]):
        assert bool(gradient.isfinite().all())


# Whole networks


def network_terms(network, x, rows, repeats):
    """Fit and gradient of a nonlinear network with shared noise and with noise for each datum."""
    x, y = x[:rows], x[:rows].flatten(1).sum(1).sin()
    model = BayesianNeuralNetwork(network, priors.normal(1.0), likelihoods.gaussian.with_noise(0.5)).for_data(x, y)
    guide = AutoNormal(model, x, y, init_scale=0.2)
    sites = local_sites(model.run, model.start(), x[:rows], y[:rows])
    assert set(sites) == set(model.parameter_names)
    results = []
    for local in ((), sites):
        elbo, fits, gradients = MeanFieldELBO(per_datum_noise=local), [], []
        for _ in range(repeats):
            fit, _ = elbo.terms(model, guide, x, y)
            gradient = torch.autograd.grad(fit, list(guide.parameters()))
            fits.append(fit.detach())
            gradients.append(torch.cat([part.flatten() for part in gradient]))
        results.append((torch.stack(fits), torch.stack(gradients)))
    return results


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (networks.mlp(2, 1, hidden=(6,), activation="tanh"), (2,)),
        (networks.conv_net((4, 4), 1, channels=(2,)), (4, 4)),
    ],
    ids=["mlp", "conv_net"],
)
def test_the_expected_fit_stays_and_the_gradient_varies_less(network, shape):
    """Means of 250 draws each, of the fit and of the gradient along one direction, within 5 standard errors: 3e-6."""
    repeats = 250
    (fit, gradient), (local_fit, local_gradient) = network_terms(
        network.double(), torch.randn(40, *shape).double(), 40, repeats
    )

    def far(a, b):
        return float((a.mean() - b.mean()).abs() / ((a.var() + b.var()) / repeats).sqrt())

    direction = gradient.mean(0) / gradient.mean(0).norm()
    assert far(fit, local_fit) < 5
    assert far(gradient @ direction, local_gradient @ direction) < 5
    assert local_gradient.var(0).sum() < 0.6 * gradient.var(0).sum()
    assert local_fit.var() < 0.6 * fit.var()


class Net(nn.Module):
    """A network whose parameters and forward pass are given."""

    def __init__(self, run, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run

    def forward(self, x):
        return self.run(self, x)


def tied():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1))
    network[1].weight = network[0].weight
    return network


NETWORKS = {
    "mlp": (lambda: networks.mlp(3, 1), (3,), {"0.weight", "0.bias", "2.weight", "2.bias"}),
    "no bias": (lambda: nn.Linear(3, 1, bias=False), (3,), {"weight"}),
    "sequence": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Flatten(), nn.Linear(20, 1)),
        (5, 3),
        {"0.weight", "0.bias", "2.weight", "2.bias"},
    ),
    "conv2d": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(12, 1)),
        (2, 3, 3),
        {"0.weight", "0.bias", "2.weight", "2.bias"},
    ),
    "conv1d": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 2, padding_mode="circular", padding=1), nn.Flatten(), nn.LazyLinear(1)),
        (2, 3),
        {"0.weight", "0.bias", "2.weight", "2.bias"},
    ),
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1)),
        (3,),
        {"0.weight", "0.bias", "2.weight", "2.bias"},
    ),
    "tied": (tied, (3,), {"2.weight", "2.bias"}),
    "layer called twice": (
        lambda: Net(lambda net, x: net.b(net.a(net.a(x))), a=nn.Linear(3, 3), b=nn.Linear(3, 1)),
        (3,),
        {"b.weight", "b.bias"},
    ),
    "shared bias": (
        lambda: Net(
            lambda net, x: F.linear(F.linear(x, net.a.weight, net.a.bias), net.b, net.a.bias),
            a=nn.Linear(3, 1),
            b=nn.Parameter(torch.ones(1, 1)),
        ),
        (3,),
        {"a.weight", "b"},
    ),
    "used outside": (
        lambda: Net(lambda net, x: net.a(x) * net.a.weight.norm(), a=nn.Linear(3, 1)),
        (3,),
        set(),
    ),
    "normed": (
        lambda: Net(lambda net, x: F.linear(x, net.a.weight / net.a.weight.norm(), net.a.bias), a=nn.Linear(3, 1)),
        (3,),
        set(),
    ),
    "tied by .t()": (
        lambda: Net(lambda net, x: net.b(F.linear(net.a(x), net.a.weight.t())), a=nn.Linear(3, 2), b=nn.Linear(3, 1)),
        (3,),
        {"b.weight", "b.bias"},
    ),
    "tied by .T": (
        lambda: Net(lambda net, x: net.b(F.linear(net.a(x), net.a.weight.T)), a=nn.Linear(3, 2), b=nn.Linear(3, 1)),
        (3,),
        {"b.weight", "b.bias"},
    ),
    "rows flattened": (
        lambda: Net(lambda net, x: net.a(x.flatten(0, 1)).view(len(x), -1).mean(1, keepdim=True), a=nn.Linear(3, 1)),
        (5, 3),
        set(),
    ),
    "sequence first": (
        lambda: Net(lambda net, x: net.b(net.a(x.transpose(0, 1)).mean(0)), a=nn.Linear(3, 4), b=nn.Linear(4, 1)),
        (5, 3),
        {"b.weight", "b.bias"},
    ),
    "sequence first, as long as the batch": (
        lambda: Net(lambda net, x: net.b(net.a(x.transpose(0, 1)).mean(0)), a=nn.Linear(3, 4), b=nn.Linear(4, 1)),
        (7, 3),
        {"b.weight", "b.bias"},
    ),
    "recurrent": (
        lambda: Net(lambda net, x: net.b(net.a(x)[0][:, -1]), a=nn.GRU(3, 4, batch_first=True), b=nn.Linear(4, 1)),
        (5, 3),
        {"b.weight", "b.bias"},
    ),
    "weight of one datum": (
        lambda: Net(lambda net, x: torch.stack([net.a(row) for row in x]), a=nn.Linear(3, 1)),
        (3,),
        set(),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_sites_whose_noise_may_be_drawn_for_each_datum(name):
    make, shape, expected = NETWORKS[name]
    x = torch.randn(7, *shape)
    network = make()
    network(x)
    weights = {name: value.detach().clone() for name, value in network.named_parameters()}
    found = local_sites(lambda values, part: functional_call(network, dict(values), (part,)), weights, x)
    assert len(found) == len(set(found))
    assert set(found) == expected


def tenth(self, x):
    return 0.1 * F.linear(x, self.weight, self.bias)


def test_a_layer_whose_forward_is_patched_is_left_as_it_is():
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    network[2].forward = MethodType(tenth, network[2])
    noise = {n: Noise(v.detach(), torch.full_like(v, 1e-9)) for n, v in network.named_parameters()}
    x = torch.randn(5, 3)
    wanted = network(x)
    assert draw_in_layers(network, noise, x) == ["2.weight", "2.bias"]
    assert_close(network(x), wanted)


class ByKeyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x):
        return self.layer(input=x)


def test_a_layer_may_be_called_by_keyword():
    x = torch.randn(20, 3)
    posterior = fit_svi(
        BayesianNeuralNetwork(ByKeyword(), likelihood=likelihoods.gaussian), x, x.sum(1), num_epochs=300, progress=False
    )
    assert (posterior(x).mean - x.sum(1)).abs().max() < 0.5
