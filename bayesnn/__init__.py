"""Bayesian neural networks in Pyro that fit well by default, and say when they did not.

Names are imported when they are first used, and torch with them: the command line tells its options without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bayesnn.catalogue import VERSION

if TYPE_CHECKING:
    from bayesnn import datasets, likelihoods, networks, priors
    from bayesnn.comparison import compare
    from bayesnn.conformal import conformal_intervals, conformal_sets
    from bayesnn.diagnostics import diagnose
    from bayesnn.evaluation import evaluate
    from bayesnn.export import to_arviz
    from bayesnn.kinds import unknown_from_ambiguous
    from bayesnn.methods.dropout import fit_dropout
    from bayesnn.methods.ensemble import fit_ensemble
    from bayesnn.methods.gp import fit_gp
    from bayesnn.methods.laplace import fit_laplace
    from bayesnn.methods.last_layer import fit_last_layer
    from bayesnn.methods.map import fit_map
    from bayesnn.methods.nuts import fit_nuts
    from bayesnn.methods.sghmc import fit_sghmc
    from bayesnn.methods.svi import fit_svi
    from bayesnn.methods.swag import fit_swag
    from bayesnn.methods.trained import from_networks
    from bayesnn.model import BayesianNeuralNetwork
    from bayesnn.posterior import WeightPosterior
    from bayesnn.predictive import Predictive
    from bayesnn.prior_draws import prior_predictive
    from bayesnn.recalibration import temperature_scaled
    from bayesnn.reference import predictive_distance
    from bayesnn.simulated import simulation_based_calibration
    from bayesnn.sparsity import pruned, signal_to_noise
    from bayesnn.tasks import misclassification, out_of_distribution
    from bayesnn.uncertainty import decompose

__all__ = [
    "BayesianNeuralNetwork",
    "Predictive",
    "WeightPosterior",
    "compare",
    "conformal_intervals",
    "conformal_sets",
    "datasets",
    "decompose",
    "diagnose",
    "evaluate",
    "fit_dropout",
    "fit_ensemble",
    "fit_gp",
    "fit_laplace",
    "fit_last_layer",
    "fit_map",
    "fit_nuts",
    "fit_sghmc",
    "fit_svi",
    "fit_swag",
    "from_networks",
    "likelihoods",
    "misclassification",
    "networks",
    "out_of_distribution",
    "predictive_distance",
    "prior_predictive",
    "priors",
    "pruned",
    "signal_to_noise",
    "simulation_based_calibration",
    "temperature_scaled",
    "to_arviz",
    "unknown_from_ambiguous",
]

__version__ = VERSION

_PARTS = ("datasets", "likelihoods", "networks", "priors")

_HOMES = {
    "comparison": ["compare"],
    "conformal": ["conformal_intervals", "conformal_sets"],
    "diagnostics": ["diagnose"],
    "evaluation": ["evaluate"],
    "export": ["to_arviz"],
    "kinds": ["unknown_from_ambiguous"],
    "methods.dropout": ["fit_dropout"],
    "methods.ensemble": ["fit_ensemble"],
    "methods.gp": ["fit_gp"],
    "methods.laplace": ["fit_laplace"],
    "methods.last_layer": ["fit_last_layer"],
    "methods.map": ["fit_map"],
    "methods.nuts": ["fit_nuts"],
    "methods.sghmc": ["fit_sghmc"],
    "methods.svi": ["fit_svi"],
    "methods.swag": ["fit_swag"],
    "methods.trained": ["from_networks"],
    "model": ["BayesianNeuralNetwork"],
    "posterior": ["WeightPosterior"],
    "predictive": ["Predictive"],
    "prior_draws": ["prior_predictive"],
    "recalibration": ["temperature_scaled"],
    "reference": ["predictive_distance"],
    "simulated": ["simulation_based_calibration"],
    "sparsity": ["pruned", "signal_to_noise"],
    "tasks": ["misclassification", "out_of_distribution"],
    "uncertainty": ["decompose"],
}
"""Where each name is defined."""

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return import_module(f"bayesnn.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'bayesnn' has no attribute {name!r}")
    value = getattr(import_module(f"bayesnn.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
