"""from_networks: what trained networks say is what its members say."""

import copy

import pytest
import torch
from torch import nn

from bayesnn import BayesianNeuralNetwork, fit_ensemble, likelihoods, networks
from bayesnn.methods.trained import from_networks


def trained(number=3, num_outputs=3, hidden=6):
    torch.manual_seed(0)
    return [networks.mlp(2, num_outputs, hidden=hidden, dropout=0.2) for _ in range(number)]


def model(network, likelihood=likelihoods.categorical):
    return BayesianNeuralNetwork(network, likelihood=likelihood, standardise=False)


@pytest.mark.parametrize("kind", ["modules", "state dictionaries"])
def test_members_are_the_networks_in_eval_mode(kind):
    nets, x = trained(), 50 * torch.randn(8, 2)
    given = nets if kind == "modules" else [net.state_dict() for net in nets]
    posterior = from_networks(model(networks.mlp(2, 3, hidden=6, dropout=0.2)), given)
    predictive = posterior(x)
    assert (posterior.method, posterior.num_samples) == ("trained", 3)
    for s, net in enumerate(nets):
        torch.testing.assert_close(predictive.members.probs[s], net.eval()(x).softmax(1))
    with pytest.raises(NotImplementedError, match="trained has no other draws than the 3"):
        posterior.resample(2)


def test_nothing_that_was_given_is_changed_or_kept():
    nets, x = trained(), torch.randn(8, 2)
    given = model(nets[0])
    before = copy.deepcopy([net.state_dict() for net in nets])
    posterior = from_networks(given, nets)
    wanted = posterior(x).probs
    for net, state in zip(nets, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
        assert net.training
    with torch.no_grad():
        nets[1][1].weight.zero_()
    assert torch.equal(posterior(x).probs, wanted)


def normalised(channels):
    """Two networks with batch normalisation, trained for a little while on data of different units."""
    nets = []
    for unit in (1.0, 30.0):
        flat = [nn.Linear(2, 6), nn.BatchNorm1d(6), nn.ReLU()]
        maps = [nn.Unflatten(1, (1, 2)), nn.Conv1d(1, 3, 1), nn.BatchNorm1d(3), nn.ReLU(), nn.Flatten()]
        net = nn.Sequential(*(maps if channels else flat), nn.Linear(6, 3))
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(5):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(unit * (1 + torch.randn(40, 2))), torch.arange(40) % 3).backward()
            optimiser.step()
        nets.append(net)
    return nets


@pytest.mark.parametrize("channels", [False, True], ids=["columns", "channels"])
def test_batch_normalisation_uses_each_networks_own_running_statistics(channels):
    nets, x, y = normalised(channels), 10 * torch.randn(8, 2), torch.arange(8) % 3
    before = copy.deepcopy([net.state_dict() for net in nets])
    fresh = copy.deepcopy(nets[0])
    for module in fresh:
        if isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()
    for given in ({}, {"x": x, "y": y}):
        predictive = from_networks(model(fresh), nets, **given)(x)
        for s, net in enumerate(nets):
            assert net.training
            torch.testing.assert_close(predictive.members.probs[s], copy.deepcopy(net).eval()(x).softmax(1))
            assert not torch.allclose(predictive.members.probs[s], copy.deepcopy(net)(x).softmax(1), atol=0.01)
    for net, state in zip(nets, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


class Scaled(nn.Module):
    """A network with a buffer that its output depends on."""

    def __init__(self, factor):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.register_buffer("factor", torch.tensor(factor))
        self.register_buffer("count", torch.tensor(3))

    def forward(self, x):
        return self.factor * self.layer(x)


def test_buffers_are_of_each_network():
    nets, x = [Scaled(1.0), Scaled(5.0)], torch.randn(8, 2)
    posterior = from_networks(model(nets[0], likelihoods.gaussian.with_noise(1.0)), nets)
    for s, net in enumerate(nets):
        torch.testing.assert_close(posterior(x).members.mean[s], net(x)[:, 0])


def test_a_model_that_standardises_feeds_standardised_data():
    """The networks of an ensemble, out and in again."""
    x, y = 100 + 20 * torch.randn(30, 2), 5000 + 300 * torch.randn(30)
    given = BayesianNeuralNetwork(networks.mlp(2, 1), likelihood=likelihoods.gaussian)
    ensemble = fit_ensemble(given, x, y, num_members=3, num_epochs=5, progress=False)
    states = [{n: v[m] for n, v in ensemble.weights.items() if n != "noise_scale"} for m in range(3)]
    noise = {"noise_scale": ensemble.weights["noise_scale"]}
    for known, units in ((given, {"x": x, "y": y}), (given.for_data(x, y), {})):
        posterior = from_networks(known, states, latents=noise, **units)
        torch.testing.assert_close(posterior(x).log_prob(y), ensemble(x).log_prob(y))


@pytest.mark.parametrize("value", [0.3, [0.3, 0.5], [[0.3, 0.5]] * 4], ids=["one", "by target", "by network"])
def test_latents_of_any_shape_that_fits(value):
    nets = trained(4, 2)
    known = model(nets[0], likelihoods.gaussian).for_data(torch.randn(9, 2), torch.randn(9, 2))
    noise = from_networks(known, nets, latents={"noise_scale": value}).weights["noise_scale"]
    assert torch.equal(noise, torch.tensor(value).expand(4, 2))


class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(2, 3)

    def forward(self, x):
        return self.one(x)


BAD = {
    "one network": (lambda nets: nets[0], TypeError, r"got Sequential. One network\? Pass \[network\]"),
    "one state": (lambda nets: nets[0].state_dict(), TypeError, "list of modules or state dictionaries"),
    "a generator": (lambda nets: (net for net in nets), TypeError, "got generator"),
    "none": (lambda nets: [], ValueError, "hold one network at least"),
    "a number": (lambda nets: [nets[0], 3], TypeError, "number 1 is 3"),
    "other names": (
        lambda nets: [nets[0], Other()],
        ValueError,
        "number 1 is of another architecture: '1.weight'.*'one.bias' on one side",
    ),
    "other shapes": (
        lambda nets: [*nets, *trained(1, hidden=7)],
        ValueError,
        r"number 3 is of another architecture: '1.weight' is \(7, 2\), not \(6, 2\)",
    ),
    "no tensor": (
        lambda nets: [{**nets[0].state_dict(), "1.bias": "zeros"}],
        TypeError,
        r"hold tensors; '1.bias' of number 0 is 'zeros'. Pass network.state_dict\(\)",
    ),
}


@pytest.mark.parametrize(("spoil", "kind", "words"), BAD.values(), ids=BAD.keys())
def test_what_are_no_networks_of_the_model(spoil, kind, words):
    nets = trained()
    with pytest.raises(kind, match=words):
        from_networks(model(nets[0]), spoil(nets))


def test_a_model_that_standardises_needs_data():
    nets = trained()
    with pytest.raises(ValueError, match=r"must know the data's units.*standardise=False if on raw data"):
        from_networks(BayesianNeuralNetwork(nets[0], likelihood=likelihoods.categorical), nets)


def test_refuses_what_is_no_model():
    with pytest.raises(TypeError, match="model must be a BayesianNeuralNetwork; got Sequential"):
        from_networks(trained()[0], trained())


@pytest.mark.parametrize(
    ("latents", "words"),
    [
        (None, "the likelihood's unknowns, noise_scale; got none"),
        ({"noise": 0.3}, "unknowns, noise_scale; got noise"),
        ({"noise_scale": [0.3, 0.2]}, r"noise_scale must be of shape \(\) or \(3,\).*got \(2,\)"),
        ({"noise_scale": -0.3}, "in its prior's support; got .* with values from -0.3"),
        ({"noise_scale": []}, r"noise_scale must be of shape .*got \(0,\)\. Write one number"),
        ({1: 0.3}, "unknowns, noise_scale; got 1"),
    ],
    ids=str,
)
def test_latents_that_do_not_fit(latents, words):
    nets = trained(num_outputs=1)
    with pytest.raises(ValueError, match=words):
        from_networks(model(nets[0], likelihoods.gaussian), nets, latents=latents)


@pytest.mark.parametrize(
    ("latents", "words"),
    [
        ("noise", "latents must be a dictionary of values by site name; got 'noise'"),
        ([0.3], r"latents must be a dictionary .*; got \[0\.3\]"),
        ({"noise_scale": "small"}, "noise_scale must be a number, or a tensor or list of them; got 'small'"),
        ({"noise_scale": None}, "noise_scale must be a number, .*; got None"),
        ({"noise_scale": [[1.0], [2.0, 3.0]]}, "noise_scale must be a number"),
    ],
    ids=str,
)
def test_latents_of_the_wrong_kind(latents, words):
    nets = trained(num_outputs=1)
    with pytest.raises(TypeError, match=words):
        from_networks(model(nets[0], likelihoods.gaussian), nets, latents=latents)
