"""Every method once: what the contract tests put each of them through."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bayesnn import (
    BayesianNeuralNetwork,
    fit_dropout,
    fit_ensemble,
    fit_gp,
    fit_laplace,
    fit_last_layer,
    fit_map,
    fit_nuts,
    fit_sghmc,
    fit_svi,
    fit_swag,
    likelihoods,
    networks,
)


@dataclass(frozen=True)
class Method:
    name: str
    fit: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)
    one_draw: bool = False
    by_adam: bool = True
    chaotic: bool = False
    """Whether rounding grows along a chain, so that other units give other draws of the same posterior."""
    without: tuple[str, ...] = ()
    """Shared settings it has no use for."""


METHODS = [
    Method("map", fit_map, {"num_epochs": 5}, one_draw=True),
    Method("adversarial", fit_map, {"num_epochs": 5, "adversarial": 0.01}, one_draw=True),
    Method("dropout", fit_dropout, {"num_epochs": 5, "num_samples": 7}),
    Method("concrete dropout", fit_dropout, {"num_epochs": 5, "num_samples": 7, "concrete": True}),
    Method("ensemble", fit_ensemble, {"num_epochs": 5, "num_members": 7}),
    Method("ensemble in turn", fit_ensemble, {"num_epochs": 5, "num_members": 7, "vectorised": False}),
    Method("ensemble of svi", fit_ensemble, {"num_epochs": 10, "num_members": 2, "num_samples": 7, "member": fit_svi}),
    Method("gp", fit_gp, {"num_epochs": 5, "num_samples": 7}, by_adam=False),
    Method("gp with inducing points", fit_gp, {"num_epochs": 5, "num_samples": 7, "num_inducing": 10}),
    Method("deep kernel", fit_gp, {"num_epochs": 5, "num_samples": 7, "num_inducing": 10, "deep_kernel": True}),
    Method("last layer", fit_last_layer, {"num_epochs": 5, "num_samples": 7}),
    Method("laplace", fit_laplace, {"num_epochs": 5, "num_samples": 7}),
    Method("laplace of all weights", fit_laplace, {"num_epochs": 5, "num_samples": 7, "structure": "diagonal"}),
    Method(
        "nuts",
        fit_nuts,
        {"num_samples": 7, "num_warmup": 10, "num_chains": 1, "max_tree_depth": 4},
        by_adam=False,
        chaotic=True,
        without=("num_epochs", "batch_size", "learning_rate"),
    ),
    Method(
        "sghmc",
        fit_sghmc,
        {"num_epochs": 5, "num_samples": 7, "num_chains": 2, "num_warmup": 1, "cycle_steps": 10},
        chaotic=True,
    ),
    Method("swag", fit_swag, {"num_epochs": 5, "num_samples": 7, "num_snapshots": 5}),
    Method("svi", fit_svi, {"num_epochs": 10, "num_samples": 7, "batch_size": 16}),
]


@dataclass(frozen=True)
class Task:
    name: str
    likelihood: likelihoods.Likelihood
    num_outputs: int
    targets: Callable[[Tensor], Tensor]

    def data(self, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Forty inputs of three features in raw units, and targets that depend on them."""
        generator = torch.Generator().manual_seed(1)
        z = torch.randn(40, 3, generator=generator, dtype=dtype)
        return 100 + 20 * z, self.targets(z)

    def model(self, dtype: torch.dtype = torch.float32) -> BayesianNeuralNetwork:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            network = networks.mlp(3, self.num_outputs, hidden=(8,), activation="tanh", dropout=0.1).to(dtype)
        return BayesianNeuralNetwork(network, likelihood=self.likelihood)


TASKS = [
    Task("classes", likelihoods.categorical, 3, lambda z: z.argmax(1)),
    Task("yes or no", likelihoods.bernoulli, 1, lambda z: (z[:, 0] > 0).long()),
    Task("labels", likelihoods.bernoulli, 2, lambda z: (z[:, :2] > 0).long()),
    Task("one target", likelihoods.gaussian, 1, lambda z: 5000 + 300 * z.sum(1)),
    Task("one column", likelihoods.gaussian, 1, lambda z: 5000 + 300 * z[:, :1]),
    Task("two targets", likelihoods.gaussian, 2, lambda z: 5000 + 300 * z[:, :2]),
    Task("own noise", likelihoods.heteroscedastic_gaussian, 2, lambda z: 5000 + 300 * z.sum(1)),
    Task("own noises", likelihoods.heteroscedastic_gaussian, 4, lambda z: 5000 + 300 * z[:, :2]),
    Task("outliers", likelihoods.student_t, 2, lambda z: 5000 + 300 * z.sum(1)),
    Task("pointed", likelihoods.laplace, 4, lambda z: 5000 + 300 * z[:, :2]),
    Task("prices", likelihoods.log_normal, 2, lambda z: 5000 * z.sum(1).exp()),
    Task("durations", likelihoods.gamma, 4, lambda z: 5000 * z[:, :2].exp()),
    Task("fractions", likelihoods.beta, 2, lambda z: z.sum(1).sigmoid()),
    Task("counts", likelihoods.poisson, 2, lambda z: (2 * z[:, :2].exp()).round()),
    Task("wide counts", likelihoods.negative_binomial, 2, lambda z: (2 * z.sum(1).exp()).round()),
    Task("grades", likelihoods.ordinal, 3, lambda z: (z[:, 0] + 2).clamp(0, 3).long()),
]
