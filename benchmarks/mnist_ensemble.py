"""An ensemble of ten LeNet-5 on MNIST, the published one of docs/benchmarks.md; and what one and five of them say.

    .venv/bin/python benchmarks/mnist_ensemble.py --data FOLDER [--net conv_net] [--members 10]

A quarter of an hour on one CPU thread.
"""

import argparse
from dataclasses import replace

import torch
from torch import nn

from bayesnn import BayesianNeuralNetwork, datasets, fit_ensemble, likelihoods, networks
from bayesnn.evaluation import figures


def lenet() -> nn.Sequential:
    """LeNet-5 of 61 706 weights: LeCun et al. (1998), with ReLU and the largest of each four pixels."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28)), nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, 10),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder with mnist/ and fashion-mnist/")
    parser.add_argument("--net", choices=["lenet", "conv_net"], default="lenet")
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--epochs", type=int, help="(default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    split = datasets.mnist(ood="fashion-mnist", folder=options.data)
    network = lenet() if options.net == "lenet" else networks.conv_net((28, 28), 10)
    model = BayesianNeuralNetwork(network, likelihood=likelihoods.categorical)
    posterior = fit_ensemble(
        model, split.x_train, split.y_train, num_members=options.members, num_epochs=options.epochs, seed=options.seed
    )
    for number in sorted({1, 5, options.members}):
        some = replace(posterior, weights={name: value[:number] for name, value in posterior.weights.items()})
        found = figures(some(split.x_test), split.y_test, some(split.x_ood))
        words = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
        print(f"{options.net}, {number} members: {words}", flush=True)


if __name__ == "__main__":
    main()
