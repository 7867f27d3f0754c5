"""The three networks that are timed, and their data: noise, as time does not depend on what they say."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bayesnn import BayesianNeuralNetwork, likelihoods, networks


@dataclass
class Case:
    """A network and data for it."""

    name: str
    network: nn.Module
    x: Tensor
    y: Tensor
    batch: int
    epochs: int

    @property
    def model(self):
        """The Bayesian network."""
        likelihood = likelihoods.gaussian if self.y.is_floating_point() else likelihoods.categorical
        return BayesianNeuralNetwork(self.network, likelihood=likelihood)

    def loss(self, outputs, y):
        """The plain network's loss."""
        if y.is_floating_point():
            return nn.functional.mse_loss(outputs[:, 0], y)
        return nn.functional.cross_entropy(outputs, y)


def perceptron(num=1280, dropout=0.0):
    network = networks.mlp(784, 10, hidden=(400, 400))
    if dropout:
        layers = list(network)
        network = nn.Sequential(*layers[:2], nn.Dropout(dropout), *layers[2:4], nn.Dropout(dropout), layers[4])
    return Case("784-400-400-10", network, torch.randn(num, 784), torch.randint(10, (num,)), 128, 4)


def small(num=1000):
    return Case("8-50-1", networks.mlp(8, 1, hidden=50), torch.randn(num, 8), torch.randn(num), 100, 40)


def lenet(num=1280):
    network = nn.Sequential(
        nn.Unflatten(1, (1, 28)), nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    return Case("LeNet", network, torch.randn(num, 28, 28), torch.randint(10, (num,)), 128, 2)
