"""What there is to compare, by name: known without torch, so that the command line can tell at once."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "BETWEEN_STARTS",
    "BIG_PICTURES",
    "CONVOLUTIONAL",
    "DATA",
    "METHODS",
    "OWN_NOISE",
    "PICTURES",
    "PROTOCOLS",
    "QUICK",
    "TABLES",
    "UCI",
    "UCI_METHODS",
    "UCI_SPLITS",
    "VERSION",
    "Network",
    "Settings",
]

VERSION = "0.1.0.dev0"

METHODS = (
    "map", "own_noise", "dropout", "concrete_dropout", "ensemble", "adversarial_ensemble", "own_noise_ensemble", "gp",
    "gp_best", "last_layer", "laplace", "sghmc", "svi", "swag", "svi_ensemble", "svi_own_noise",
    "svi_own_noise_ensemble",
)  # fmt: skip
"""Names of the roster's methods, in its order."""

OWN_NOISE = ("own_noise", "own_noise_ensemble", "svi_own_noise", "svi_own_noise_ensemble")
"""Those whose network predicts its own noise: for real targets alone."""

QUICK = ("map", "dropout", "ensemble", "svi")
"""Those that a comparison takes unless told otherwise."""

UCI_METHODS = ("svi", "svi_ensemble", "dropout", "ensemble", "own_noise", "own_noise_ensemble", "gp", "last_layer")
"""Those that the UCI benchmark takes unless told otherwise."""

PROTOCOLS: dict[str, int | None] = {"short": 40, "converged": None}
"""Passes over the data: those of the first published results, or each method's own default, which lets it settle."""

UCI = ("boston", "concrete", "energy", "kin8nm", "power", "wine-red", "yacht")
"""Names of the UCI regression sets."""

UCI_SPLITS = 20
"""Standard splits of each."""

BETWEEN_STARTS = 100
"""From one start's seed to the next one's on the same split: more than there are splits, so that no two are equal."""

BIG_PICTURES = ("mnist", "fashion-mnist")
"""Those of 28 x 28 pixels, read from a folder or downloaded, which take each other for another world (``ood``)."""

DATA = ("digits", *BIG_PICTURES, *(f"uci/{name}" for name in UCI))
"""Names of the data sets that can be compared on."""


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
