"""What is compared: data sets, the networks that suit them, methods and seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from bayesnn import datasets, likelihoods, networks, priors
from bayesnn.checks import check_count
from bayesnn.data import on_device
from bayesnn.datasets import Split
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.roster import METHODS, OWN_NOISE, QUICK
from bayesnn.seeding import seeded

__all__ = [
    "BIG_PICTURES",
    "CONVOLUTIONAL",
    "DATA",
    "PICTURES",
    "PRIOR_SCALE",
    "TABLES",
    "Network",
    "Settings",
    "checked",
    "model_for",
    "options",
]

DATA: dict[str, Callable[..., Split]] = {
    "digits": datasets.digits,
    "mnist": datasets.mnist,
    "fashion-mnist": datasets.fashion_mnist,
    **{f"uci/{name}": partial(datasets.uci, name) for name in datasets.UCI},
}
"""Every data set by name; each takes a ``seed`` for its split."""

BIG_PICTURES = ("mnist", "fashion-mnist")
"""Those of 28 x 28 pixels, read from a folder or downloaded, which take each other for another world (``ood``)."""

PRIOR_SCALE = 5.0
"""Prior scale of the comparison, the same for every method. The default of 3 would hold the plain network back (NLL
0.13 on the digits with 200 units, 0.08 here); the variational fit moves the scales, wherever they start."""


@dataclass(frozen=True)
class Network:
    """What network a kind of data gets.

    Attributes:
        hidden: Widths of the hidden layers.
        activation: Their activation.
        dropout: Rate of the dropout layers, which only the dropout methods use.
        channels: Channels of a convolutional network's convolutions, which then stand in the hidden layers' place.
    """

    hidden: tuple[int, ...]
    activation: str
    dropout: float
    channels: tuple[int, ...] = ()


PICTURES = Network((400,), "silu", 0.1)
CONVOLUTIONAL = Network((), "relu", 0.1, channels=(16, 32))
TABLES = Network((50,), "relu", 0.01)
"""The published results' network for the UCI sets, and one of the rates of their grid."""


@dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        data: Name of the data set.
        methods: Names of the methods.
        seeds: Seeds: of the split, of the network's start and of the fit.
        hidden: Widths of the hidden layers; those that suit the data if ``None``.
        activation: Their activation; likewise.
        num_epochs: Passes over the data; each method's own default if ``None``.
        num_samples: Draws of a posterior that has any.
        device: Where to fit.
        hold_out: The class that is never trained on; the data set's own choice if ``None``.
        ambiguous: Mixtures of two pictures that are trained on too, each under one of its two labels by chance, as a
            fraction of the training pictures; then those of test pictures are set against the other world.
        ood: Another data set whose test pictures are the other world, of mnist and fashion-mnist.
        folder: Where data are read from that are not bundled.
        jobs: Processes that fit side by side. The first seed's fits are made in this one, which the pictures are of.
    """

    data: str = "digits"
    methods: tuple[str, ...] = QUICK
    seeds: tuple[int, ...] = (0, 1, 2)
    hidden: tuple[int, ...] | None = None
    activation: str | None = None
    num_epochs: int | None = None
    num_samples: int = 100
    device: str | None = None
    hold_out: int | None = None
    ambiguous: float | None = None
    ood: str | None = None
    folder: str | None = None
    jobs: int = 1

    @property
    def network(self) -> Network:
        """The network that is compared."""
        if self.data in BIG_PICTURES and self.hidden is None and self.activation is None:
            return CONVOLUTIONAL
        usual = TABLES if self.data.startswith("uci/") else PICTURES
        hidden = usual.hidden if self.hidden is None else self.hidden
        return Network(hidden, self.activation or usual.activation, usual.dropout)


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
