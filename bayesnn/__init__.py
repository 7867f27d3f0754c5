"""Bayesian neural networks in Pyro that fit well by default, and say when they did not."""

from bayesnn import likelihoods, networks, priors
from bayesnn.methods.map import fit_map
from bayesnn.methods.svi import fit_svi
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.predictive import Predictive
from bayesnn.uncertainty import decompose

__all__ = [
    "BayesianNeuralNetwork",
    "Predictive",
    "decompose",
    "fit_map",
    "fit_svi",
    "likelihoods",
    "networks",
    "priors",
]
__version__ = "0.1.0.dev0"
