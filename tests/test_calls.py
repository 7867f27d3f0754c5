"""A network called at other weights answers as one that has them, and is left as it was."""

import copy
import pickle

import pytest
import torch
from cases import METHODS
from torch import nn
from torch.func import functional_call, vmap

from bayesnn import BayesianNeuralNetwork, likelihoods
from bayesnn.calls import call

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{words}")
    for words in ("the ELBO, .* is below", "the fit ended while", "the chains may not show")
]


class Keeps(nn.Module):
    """It keeps what it has seen, as for maps of attention."""

    def __init__(self):
        super().__init__()
        self.body, self.drop, self.head = nn.Linear(3, 4), nn.Dropout(0.1), nn.Linear(4, 1)
        self.seen = None

    def forward(self, x):
        self.seen = torch.tanh(self.body(x))
        self.all = {"body": [self.seen]}
        return self.head(self.drop(self.seen))


class Again(nn.Module):
    """One layer in three places."""

    def __init__(self):
        super().__init__()
        self.layers, self.drop, self.head = nn.ModuleList([nn.Linear(3, 3)] * 3), nn.Dropout(0.1), nn.Linear(3, 1)

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.head(self.drop(x))


class Tied(nn.Module):
    """One weight in two layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.head(self.second(self.first(x).tanh()).tanh())


@pytest.mark.parametrize("kind", [Keeps, Again, Tied, lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))])
def test_the_answer_is_that_of_a_network_with_these_weights(kind):
    network, x = kind().eval(), torch.randn(5, 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    values = {name: torch.randn_like(value) for name, value in network.named_parameters()}
    other = copy.deepcopy(network)
    for name, value in other.named_parameters():
        value.data = values[name]
    torch.testing.assert_close(call(network, values, x), other(x))
    stacked = {name: torch.stack([value, 2 * value]) for name, value in values.items()}
    assert torch.allclose(vmap(lambda own: call(network, own, x))(stacked)[0], other(x), atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    pickle.dumps(network)


def test_torchs_own_leaves_the_last_value_behind():
    """Why `call` is there: when this fails, torch has mended it."""
    network = Again()
    values = {name: torch.randn_like(value) for name, value in network.named_parameters()}
    functional_call(network, values, (torch.randn(5, 3),))
    assert network.layers[0].weight is values["layers.0.weight"]


@pytest.mark.parametrize("kind", [Keeps, Again])
@pytest.mark.parametrize("method", [m for m in METHODS if not m.name.startswith("gp")], ids=lambda method: method.name)
def test_a_posterior_that_has_predicted_can_still_be_saved_and_copied(method, kind):
    torch.manual_seed(0)
    x, model = torch.randn(20, 3), BayesianNeuralNetwork(kind(), likelihood=likelihoods.gaussian)
    posterior = method.fit(model, x, x.sum(1).sin(), progress=False, **method.options)
    mean = posterior(x).mean
    assert torch.equal(pickle.loads(pickle.dumps(posterior))(x).mean, mean)
    assert torch.equal(copy.deepcopy(posterior)(x).mean, mean)
    assert torch.equal(posterior.to("cpu")(x).mean, mean)
