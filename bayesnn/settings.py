"""What is compared: data sets, the networks that suit them, methods and seeds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from bayesnn import datasets, likelihoods, networks, priors
from bayesnn.catalogue import BIG_PICTURES, OWN_NOISE, UCI, UCI_SPLITS, Settings
from bayesnn.checks import check_count
from bayesnn.data import on_device
from bayesnn.datasets import Split
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.roster import METHODS
from bayesnn.seeding import seeded

__all__ = ["DATA", "PRIOR_SCALE", "checked", "model_for", "options"]

DATA: dict[str, Callable[..., Split]] = {
    "digits": datasets.digits,
    "mnist": datasets.mnist,
    "fashion-mnist": datasets.fashion_mnist,
    **{f"uci/{name}": partial(datasets.uci, name) for name in UCI},
}
"""Every data set by name; each takes a ``seed`` for its split."""

PRIOR_SCALE = 5.0
"""Prior scale of the comparison, the same for every method. The default of 3 would hold the plain network back (NLL
0.13 on the digits with 200 units, 0.08 here); the variational fit moves the scales, wherever they start."""


def checked(settings: Settings) -> tuple[Callable[..., Split], list[str]]:
    """The loader of the data and the methods, each once.

    Raises:
        ValueError: If a method, data set or device is not known; the message lists those that are.
    """
    names = list(dict.fromkeys(settings.methods))
    for name in names:
        _known(name, METHODS, "method")
    load = _known(settings.data, DATA, "data set")
    if settings.data.startswith("uci/"):
        if settings.hold_out is not None:
            raise ValueError(f"a class can be held out of classes only; {settings.data} has real targets.")
    elif misplaced := [name for name in names if name in OWN_NOISE]:
        raise ValueError(f"{misplaced[0]} needs real targets; {settings.data} has classes.")
    if settings.data in BIG_PICTURES or settings.data.startswith("uci/"):
        load = partial(load, folder=settings.folder)
    if settings.ood is not None and settings.data not in BIG_PICTURES:
        raise ValueError(
            f"another data set as other world goes with {' and '.join(BIG_PICTURES)}; not {settings.data}."
        )
    if settings.ambiguous is not None:
        if settings.data.startswith("uci/"):
            raise ValueError(f"mixtures of two classes need classes; {settings.data} has real targets.")
        if not 0 < settings.ambiguous <= 1:
            raise ValueError(
                f"ambiguous must be a fraction of the training pictures, above 0 and up to 1; got {settings.ambiguous}."
            )
        load = partial(_mixed, load, settings.ambiguous)
    if settings.data in BIG_PICTURES and settings.ood is None and settings.hold_out is None:
        other = next(name for name in BIG_PICTURES if name != settings.data)
        raise ValueError(
            f"{settings.data} needs another world: pass ood={other!r} (--ood), or hold_out=9 (--hold-out)."
        )
    if not settings.seeds or not names:
        raise ValueError("a comparison needs one method and one seed at least.")
    missing = [seed for seed in settings.seeds if seed not in range(UCI_SPLITS)]
    if settings.data.startswith("uci/") and missing:
        raise ValueError(
            f"{settings.data} has {UCI_SPLITS} standard splits, from 0 to {UCI_SPLITS - 1}; split {missing[0]} "
            "is not there."
        )
    check_count("jobs", settings.jobs)
    on_device(settings.device, torch.device("cpu"))
    return load, names


def options(settings: Settings) -> dict[str, Any]:
    """What the loader of the data is told beside a seed."""
    given = {"hold_out": settings.hold_out, "ood": settings.ood}
    return {name: value for name, value in given.items() if value is not None}


def model_for(split: Split, settings: Settings, seed: int, own_noise: bool) -> BayesianNeuralNetwork:
    """The model of a split, its network's start by the seed."""
    shape, use = tuple(split.x_train.shape[1:]), settings.network
    num_outputs = len(split.classes) or (2 if own_noise else 1)
    real = likelihoods.heteroscedastic_gaussian if own_noise else likelihoods.gaussian
    with seeded(seed):
        if use.channels:
            network = networks.conv_net(shape, num_outputs, channels=use.channels, dropout=use.dropout)
        else:
            sizes = shape[0] if len(shape) == 1 else shape
            network = networks.mlp(
                sizes, num_outputs, hidden=use.hidden, activation=use.activation, dropout=use.dropout
            )
    return BayesianNeuralNetwork(
        network,
        prior=priors.fan_in_normal(PRIOR_SCALE),
        likelihood=likelihoods.categorical if split.classes else real,
    )


def _mixed(load: Callable[..., Split], fraction: float, *, seed: int, **given: Any) -> Split:
    """A data set with pictures that are two things at once."""
    return datasets.with_ambiguous(load(seed=seed, **given), fraction=fraction, seed=seed)


def _known(name: str, table: dict[str, Any], what: str) -> Any:
    if name not in table:
        raise ValueError(f"{what} must be one of {', '.join(table)}; got {name!r}.")
    return table[name]
