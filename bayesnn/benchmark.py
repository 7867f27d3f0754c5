"""The main job: which methods know what they don't know? Several seeds, one row per method."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bayesnn import datasets, likelihoods, networks, priors
from bayesnn.datasets import Split
from bayesnn.evaluation import figures
from bayesnn.methods.map import fit_map
from bayesnn.methods.svi import fit_svi
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.posterior import WeightPosterior
from bayesnn.predictive import Predictive

__all__ = ["DATA", "METHODS", "Run", "Settings", "run"]

METHODS: dict[str, Callable[..., WeightPosterior]] = {"map": fit_map, "svi": fit_svi}
"""Every method by the name of its row."""

DATA: dict[str, Callable[..., Split]] = {"digits": datasets.digits}
"""Every data set by name; each takes a ``seed`` for its split."""

_PRIOR_SCALE = 5.0
"""Prior scale of the comparison, the same for every method. The default of 3 would hold the plain network back (NLL
0.13 on the digits with 200 units, 0.08 here); the variational fit moves the scales, wherever they start."""


@dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        data: Name of the data set.
        methods: Names of the methods.
        seeds: Seeds: of the split, of the network's start and of the fit.
        hidden: Widths of the hidden layers.
        activation: Their activation.
        num_epochs: Passes over the data; each method's own default if ``None``.
        num_samples: Draws of a posterior that has any.
        device: Where to fit.
    """

    data: str = "digits"
    methods: tuple[str, ...] = tuple(METHODS)
    seeds: tuple[int, ...] = (0, 1, 2)
    hidden: tuple[int, ...] = (200,)
    activation: str = "silu"
    num_epochs: int | None = None
    num_samples: int = 100
    device: str | None = None


@dataclass(frozen=True)
class Run:
    """What came of a comparison.

    Attributes:
        settings: What was compared.
        rows: A row per method; each figure as ``{"mean": m, "sd": s}`` over the seeds.
        split: The first seed's data.
        posteriors: The first seed's fits by method.
        inside: Their predictions for the test inputs.
        outside: Their predictions for the inputs from another world.
    """

    settings: Settings
    rows: list[dict[str, Any]]
    split: Split
    posteriors: dict[str, WeightPosterior]
    inside: dict[str, Predictive]
    outside: dict[str, Predictive]

    def to_json(self) -> dict[str, Any]:
        """The results as plain numbers; NaN as ``None``."""
        rows = [{name: _plain(value) for name, value in row.items()} for row in self.rows]
        options = {"hidden": list(self.settings.hidden), "activation": self.settings.activation}
        return {"data": self.settings.data, "seeds": list(self.settings.seeds), "network": options, "rows": rows}


def run(settings: Settings, *, progress: bool = True, tell: Callable[[str], object] = lambda line: None) -> Run:
    """Fit every method at every seed and score it.

    Args:
        settings: What to compare.
        progress: Whether the fits show their bars.
        tell: Called with a line before each fit.

    Raises:
        ValueError: If a method or data set is not known; the message lists those that are.
    """
    for name in settings.methods:
        _known(name, METHODS, "method")
    load = _known(settings.data, DATA, "data set")
    if not settings.seeds or not settings.methods:
        raise ValueError("a comparison needs one method and one seed at least.")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in settings.methods}
    first: dict[str, tuple[WeightPosterior, Predictive, Predictive]] = {}
    for number, seed in enumerate(settings.seeds):
        split = load(seed=seed)
        model = _model(split, settings, seed)
        for name in settings.methods:
            tell(f"{name}, seed {seed} ({number + 1} of {len(settings.seeds)})")
            options: dict[str, Any] = {"num_samples": settings.num_samples} if name != "map" else {}
            started = time.perf_counter()
            posterior = METHODS[name](
                model,
                split.x_train,
                split.y_train,
                num_epochs=settings.num_epochs,
                device=settings.device,
                seed=seed,
                progress=progress,
                **options,
            )
            fitted = time.perf_counter()
            inside, outside = posterior(split.x_test), posterior(split.x_ood)
            predicted = time.perf_counter()
            found[name].append(
                {
                    **figures(inside, split.y_test, outside),
                    "elbo_per_datum": posterior.summary.get("elbo_per_datum", float("nan")),
                    "fit_seconds": fitted - started,
                    "predict_seconds": predicted - fitted,
                }
            )
            if number == 0:
                first[name] = (posterior, inside, outside)
                first_split = split
    rows = [{"method": name, **_spread(by_seed)} for name, by_seed in found.items()]
    posteriors, insides, outsides = ({name: triple[i] for name, triple in first.items()} for i in range(3))
    return Run(settings, rows, first_split, posteriors, insides, outsides)  # type: ignore[arg-type]


def _model(split: Split, settings: Settings, seed: int) -> BayesianNeuralNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape = tuple(split.x_train.shape[1:])
        network = networks.mlp(shape, len(split.classes), hidden=settings.hidden, activation=settings.activation)
    return BayesianNeuralNetwork(network, prior=priors.fan_in_normal(_PRIOR_SCALE), likelihood=likelihoods.categorical)


def _spread(by_seed: Sequence[dict[str, float]]) -> dict[str, dict[str, float | None]]:
    columns: dict[str, dict[str, float | None]] = {}
    for name in by_seed[0]:
        values = [figures[name] for figures in by_seed]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        columns[name] = {"mean": float(np.mean(values)), "sd": spread}
    return columns


def _known(name: str, table: dict[str, Any], what: str) -> Any:
    if name not in table:
        raise ValueError(f"{what} must be one of {', '.join(table)}; got {name!r}.")
    return table[name]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
