"""Networks that end with a softmax or a sigmoid are told where logits are wanted; no others are."""

import warnings

import pytest
import torch
from torch import nn

from bayesnn import BayesianNeuralNetwork, fit_map, likelihoods, networks

N = 40
LABELS = {"categorical": torch.arange(N) % 3, "bernoulli": torch.arange(N) % 2}


def data(likelihood):
    return torch.randn(N, 4), LABELS[likelihood]


def model(likelihood, *ends, num_outputs=3):
    network = nn.Sequential(networks.mlp(4, num_outputs, hidden=(10,)), *ends)
    return BayesianNeuralNetwork(network, likelihood=getattr(likelihoods, likelihood))


@pytest.mark.parametrize(
    ("squashed", "likelihood", "words"),
    [
        (lambda: model("categorical", nn.Softmax(1)), "categorical", "sum to 1 in each row, .*Leave the softmax out"),
        (lambda: model("categorical", nn.Softmax(1)).double(), "categorical", "Leave the softmax out"),
        (lambda: model("categorical", nn.Sigmoid()), "categorical", "all lie between 0 and 1, .*Leave the sigmoid out"),
        (
            lambda: model("bernoulli", nn.Sigmoid(), num_outputs=1),
            "bernoulli",
            "all lie between 0 and 1, .*Leave the sigmoid out",
        ),
    ],
)
def test_probabilities_in_place_of_logits_are_told_where_the_fit_was_called(squashed, likelihood, words):
    with pytest.warns(UserWarning, match=f"a {likelihood} likelihood takes logits; .*{words}") as caught:
        fit_map(squashed(), *data(likelihood), num_epochs=1, progress=False)
    assert [one.filename for one in caught] == [__file__]


def test_a_sure_softmax_is_told_too():
    sure = model("categorical", nn.Softmax(1))
    with torch.no_grad():
        sure.network[0][-1].weight.mul_(1000.0)
    x, y = data("categorical")
    assert (sure.network(x) == 1).any()
    with pytest.warns(UserWarning, match="Leave the softmax out"):
        sure.for_data(x, y)


def tuned(own, last):
    with torch.no_grad():
        for value, factor in zip(list(own.network.parameters())[-2:], last, strict=True):
            value.fill_(1 / 3) if factor is None else value.mul_(factor)
    return own


NO_PROBABILITIES = {
    "a log-softmax, whose outputs are logits": lambda: model("categorical", nn.LogSoftmax(1)),
    "outputs that are all 0": lambda: tuned(model("categorical"), (0.0, 0.0)),
    "outputs of one third": lambda: tuned(model("categorical"), (0.0, None)),
    "outputs near one third": lambda: tuned(model("categorical"), (0.001, None)),
    "outputs of two units that are never negative": lambda: model("categorical", nn.ReLU()),
    "one output within 0 and 1": lambda: tuned(model("bernoulli", num_outputs=1), (0.001, None)),
}


@pytest.mark.parametrize("own", NO_PROBABILITIES.values(), ids=NO_PROBABILITIES)
def test_logits_are_not_taken_for_probabilities(own):
    own = own()
    own.for_data(*data(own.likelihood.name.lower()))


@pytest.mark.parametrize("seed", range(50))
def test_networks_as_they_begin_are_not(seed):
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model("bernoulli", num_outputs=1).for_data(torch.rand(N, 4), LABELS["bernoulli"])


def test_real_targets_may_be_fitted_by_a_sigmoid():
    network = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())
    BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian).for_data(torch.randn(N, 4), torch.rand(N))
