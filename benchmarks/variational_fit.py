"""What each part of the default variational fit brings, on the digits: the main table of docs/variational-fit.md.

    .venv/bin/python benchmarks/variational_fit.py --seeds 5 --hidden 50 --activation relu

One line per recipe: ELBO per datum, NLL, accuracy, and the best AUROC of finding the unseen 9s; mean over the seeds (of
split, start and fit) and its standard error.
"""

import argparse
import warnings
from typing import Any

import numpy as np
import torch

from bayesnn import BayesianNeuralNetwork, datasets, fit_svi, likelihoods, networks, priors
from bayesnn.evaluation import figures

RECIPES: dict[str, tuple[priors.Prior, dict[str, Any]]] = {
    "fixed N(0, 2 / fan-in)": (priors.fan_in_normal(2**0.5, fit=None), {"warmup": 0.0, "rotate": False}),
    "fixed N(0, 10 / fan-in)": (priors.fan_in_normal(10**0.5, fit=None), {"warmup": 0.0, "rotate": False}),
    "a scale a tensor": (priors.fan_in_normal(fit="tensor"), {"warmup": 0.0, "rotate": False}),
    "and the rising KL weight": (priors.fan_in_normal(fit="tensor"), {"rotate": False}),
    "and a scale a unit": (priors.fan_in_normal(), {"rotate": False}),
    "and the principal axes (default)": (priors.fan_in_normal(), {}),
    "default, KL rising for 90 %": (priors.fan_in_normal(), {"warmup": 0.9}),
    "default, start from the MAP": (priors.fan_in_normal(), {"start": "map"}),
    "default, 4 draws a step": (priors.fan_in_normal(), {"num_particles": 4}),
}


def one(seed: int, prior: priors.Prior, options: dict[str, Any], hidden: list[int], activation: str) -> list[float]:
    split = datasets.digits(seed=seed)
    torch.manual_seed(seed)
    network = networks.mlp((8, 8), len(split.classes), hidden=hidden, activation=activation)
    model = BayesianNeuralNetwork(network, prior=prior, likelihood=likelihoods.categorical)
    posterior = fit_svi(model, split.x_train, split.y_train, seed=seed, progress=False, **options)
    row = figures(posterior(split.x_test), split.y_test, posterior(split.x_ood))
    best = max(area for name, area in row.items() if name.startswith("ood"))
    return [posterior.summary["elbo_per_datum"], row["nll"], row["accuracy"], best]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--hidden", type=int, nargs="*", default=[50])
    parser.add_argument("--activation", default="relu")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # some of these recipes are bad, and fit_svi says so
    print(f"{'recipe':36}{'ELBO':>16}{'NLL':>16}{'accuracy':>16}{'unseen 9s':>16}")
    for name, (prior, settings) in RECIPES.items():
        rows = np.array([one(s, prior, settings, options.hidden, options.activation) for s in range(options.seeds)])
        errors = rows.std(0, ddof=1) / len(rows) ** 0.5
        cells = "".join(f"{mean:9.3f} ± {se:.3f}" for mean, se in zip(rows.mean(0), errors, strict=True))
        print(f"{name:36}{cells}", flush=True)


if __name__ == "__main__":
    main()
