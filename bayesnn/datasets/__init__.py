"""Data to try methods on, split into training, test and inputs from another world."""

from bayesnn.datasets.ambiguity import ambiguous_digits, with_ambiguous
from bayesnn.datasets.bundled import breast_cancer, diabetes, digits, wine
from bayesnn.datasets.pictures import fashion_mnist, mnist
from bayesnn.datasets.split import Split
from bayesnn.datasets.toys import heteroscedastic_sine, sine_mean, sine_sd, two_moons
from bayesnn.datasets.uci_sets import UCI, uci

__all__ = [
    "UCI",
    "Split",
    "ambiguous_digits",
    "breast_cancer",
    "diabetes",
    "digits",
    "fashion_mnist",
    "heteroscedastic_sine",
    "mnist",
    "sine_mean",
    "sine_sd",
    "two_moons",
    "uci",
    "wine",
    "with_ambiguous",
]
