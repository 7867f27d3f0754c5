"""The body of a network: its features, the name of its last layer, and what has no such layer."""

import copy

import pytest
import torch
from torch import nn

from bayesnn import networks
from bayesnn.features import body_of


class Residual(nn.Module):
    """A network with a skip connection around hidden layers, its last layer not the last one to be registered."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 2)
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 4)

    def forward(self, x):
        h = self.first(x).relu()
        return self.out(h + self.second(h).relu())


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.LSTM(3, 5, batch_first=True)
        self.out = nn.Linear(5, 2, bias=False)

    def forward(self, x):
        return self.out(self.inner(x)[0][:, -1])


def normalised():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    network(3 + 5 * torch.randn(50, 3))
    return network


NETWORKS = {
    "mlp": (networks.mlp(3, 2, hidden=(6, 5), activation="tanh", dropout=0.5), (3,), "7", ["7.weight", "7.bias"]),
    "convolutions": (networks.conv_net((8, 8), 3), (8, 8), "8", ["8.weight", "8.bias"]),
    "residual": (Residual(), (3,), "out", ["out.weight", "out.bias"]),
    "batch normalisation": (normalised(), (3,), "3", ["3.weight", "3.bias"]),
    "recurrent": (Recurrent(), (6, 3), "out", ["out.weight"]),
    "one layer": (nn.Linear(3, 2), (3,), "", ["weight", "bias"]),
    "an identity at the end": (nn.Sequential(nn.Linear(3, 2), nn.Identity()), (3,), "0", ["0.weight", "0.bias"]),
}


@pytest.mark.parametrize(("network", "shape", "layer", "names"), NETWORKS.values(), ids=NETWORKS.keys())
def test_head_of_features_is_the_network(network, shape, layer, names):
    x = torch.randn(12, *shape)
    body = body_of(network, x)
    assert (body.layer, body.names) == (layer, names)
    features = body(x)
    torch.testing.assert_close(body.head(features), network.eval()(x))
    own = {name: value[None] for name, value in network.named_parameters() if name in names}
    torch.testing.assert_close(body.outputs(features, own), network(x)[None])


def test_outputs_of_several_heads_at_once():
    network, x = networks.mlp(3, 2), torch.randn(7, 3)
    body = body_of(network, x)
    weights = {"2.weight": torch.randn(5, 2, 50), "2.bias": torch.randn(5, 2)}
    outputs = body.outputs(body(x), weights)
    assert outputs.shape == (5, 7, 2)
    for s in range(5):
        wanted = torch.func.functional_call(network, {name: value[s] for name, value in weights.items()}, (x,))
        torch.testing.assert_close(outputs[s], wanted)


def test_given_weights_are_put_into_a_copy():
    network, x = networks.mlp(3, 2), torch.randn(7, 3)
    before = copy.deepcopy(network.state_dict())
    other = networks.mlp(3, 2)
    body = body_of(network.train(), x, dict(other.named_parameters()))
    torch.testing.assert_close(body.head(body(x)), other(x))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    assert not any(module._forward_pre_hooks for module in network.modules())
    assert not any(module._forward_pre_hooks for module in body.network.modules())


def test_chunks_change_nothing():
    network, x = networks.mlp(3, 2), torch.randn(2500, 3)
    torch.testing.assert_close(body_of(network, x[:8])(x), network[:2](x))


def test_random_state_stays():
    state = torch.get_rng_state()
    body_of(networks.mlp(3, 2), torch.zeros(2, 3))
    after = torch.get_rng_state()
    networks.mlp(3, 2)  # draws from the state, so that the check above can fail
    assert not torch.equal(after, torch.get_rng_state())
    torch.set_rng_state(state)
    networks.mlp(3, 2)
    assert torch.equal(after, torch.get_rng_state())


class Tied(nn.Module):
    def __init__(self, twice):
        super().__init__()
        self.inner, self.out = nn.Linear(3, 3), nn.Linear(3, 3)
        if not twice:
            self.out.weight = self.inner.weight
        self.twice = twice

    def forward(self, x):
        return self.out(self.out(x).relu() if self.twice else self.inner(x).relu())


class ByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(3, 3)

    def forward(self, x):
        return self.out(x @ self.out.weight)


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean, self.scale = nn.Linear(3, 1), nn.Linear(3, 1)

    def forward(self, x):
        return torch.cat([self.mean(x), self.scale(x)], 1)


class Bounded(nn.Module):
    """What stands behind its last layer is reached by large outputs only."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(3, 2)

    def forward(self, x):
        return self.out(x).clamp(-1000, 1000)


BAD = {
    "a far bound": (Bounded(), "something comes after it"),
    "softmax": (nn.Sequential(nn.Linear(3, 2), nn.Softmax(1)), "something comes after it"),
    "tanh": (nn.Sequential(nn.Linear(3, 2), nn.Tanh()), "something comes after it"),
    "relu": (nn.Sequential(nn.Linear(3, 2), nn.ReLU()), "something comes after it"),
    "relu in place": (nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True)), "something comes after it"),
    "two heads": (TwoHeads(), "something comes after it"),
    "used twice": (Tied(twice=True), "used once in a forward pass; 'out' is used again"),
    "shared weights": (Tied(twice=False), "weights of its own and be used once"),
    "read by hand": (ByHand(), "what enters 'out' depends on them"),
    "no linear layer": (nn.Sequential(nn.Conv1d(1, 1, 3), nn.Flatten()), "it runs none"),
}


@pytest.mark.parametrize(("network", "words"), BAD.values(), ids=BAD.keys())
def test_outputs_that_are_not_those_of_a_last_linear_layer(network, words):
    x = torch.randn(5, 1, 9) if isinstance(network, nn.Sequential) and isinstance(network[0], nn.Conv1d) else None
    with pytest.raises(ValueError, match=words):
        body_of(network, torch.randn(5, 3) if x is None else x)
