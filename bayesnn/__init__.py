"""Bayesian neural networks in Pyro that fit well by default, and say when they did not."""

from bayesnn import datasets, likelihoods, networks, priors
from bayesnn.comparison import compare
from bayesnn.conformal import conformal_intervals, conformal_sets
from bayesnn.evaluation import evaluate
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
from bayesnn.recalibration import temperature_scaled
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
    "priors",
    "temperature_scaled",
    "unknown_from_ambiguous",
]
__version__ = "0.1.0.dev0"
