"""An ensemble of ten LeNet-5 on MNIST, the published one of docs/benchmarks.md; and what one and five of them say.

    .venv/bin/python benchmarks/mnist_ensemble.py --data FOLDER [--net conv_net] [--members 10]
        [--scales 3 1 0.5 0.25] [--epochs 10 20 40]

A quarter of an hour on one CPU thread, and about as long again to choose among several scales of the prior or lengths
of the fit: two members are fitted with each to 50 000 of the training pictures, and what has the lowest NLL on the
other 10 000 is taken.
"""

import argparse
import copy
import itertools
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bayesnn import BayesianNeuralNetwork, datasets, evaluate, fit_ensemble, likelihoods, networks, priors
from bayesnn.evaluation import figures


def lenet() -> nn.Sequential:
    """LeNet-5 of 61 706 weights: LeCun et al. (1998), with ReLU and the largest of each four pixels."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28)), nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, 10),
    )  # fmt: skip


HELD_OUT = 10_000


def chosen(settings: list[tuple[float, int]], fitted: Any, x: torch.Tensor, y: torch.Tensor) -> tuple[float, int]:
    """Scale and epochs with which two members predict held-out training pictures best."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, held = order[HELD_OUT:], order[:HELD_OUT]
    scores = {}
    for scale, epochs in settings:
        found = evaluate(fitted(scale, epochs, x[train], y[train], 2)(x[held]), y[held])["nll"]
        print(f"prior scale {scale:g}, {epochs} epochs: NLL {found:.4f} on held-out training pictures", flush=True)
        scores[scale, epochs] = found
    return min(scores, key=scores.get)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder with mnist/ and fashion-mnist/")
    parser.add_argument("--net", choices=["lenet", "conv_net"], default="lenet")
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--epochs", type=int, nargs="+", default=[20], help="passes over the pictures (default: 20)")
    parser.add_argument("--scales", type=float, nargs="+", default=[3.0], help="of the prior (default: 3)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    split = datasets.mnist(ood="fashion-mnist", folder=options.data)
    network = lenet() if options.net == "lenet" else networks.conv_net((28, 28), 10)

    def fitted(scale: float, epochs: int, x: torch.Tensor, y: torch.Tensor, members: int) -> Any:
        prior = priors.fan_in_normal(scale)
        model = BayesianNeuralNetwork(copy.deepcopy(network), prior=prior, likelihood=likelihoods.categorical)
        return fit_ensemble(model, x, y, num_members=members, num_epochs=epochs, seed=options.seed)

    x, y, settings = split.x_train, split.y_train, list(itertools.product(options.scales, options.epochs))
    scale, epochs = chosen(settings, fitted, x, y) if len(settings) > 1 else settings[0]
    posterior = fitted(scale, epochs, x, y, options.members)
    for number in sorted({1, 5, options.members}):
        some = replace(posterior, weights={name: value[:number] for name, value in posterior.weights.items()})
        found = figures(some(split.x_test), split.y_test, some(split.x_ood))
        words = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
        print(f"{options.net}, prior scale {scale:g}, {epochs} epochs, {number} members: {words}", flush=True)


if __name__ == "__main__":
    main()
