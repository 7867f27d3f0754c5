"""Warnings point at the caller, through decorators and callbacks too."""

import warnings

import pytest
import torch

from bayesnn import BayesianNeuralNetwork, diagnose, fit_svi, likelihoods, networks
from bayesnn.warned import warn


def line_of(code):
    """Where it is written, and where its warnings point."""
    with warnings.catch_warnings(record=True, action="always") as told:
        code()
    assert told
    return {(one.filename, one.lineno) for one in told}


def test_the_line_is_the_callers():
    def code():
        warn("something")

    first = code.__code__.co_firstlineno
    assert line_of(code) == {(__file__, first + 1)}


@pytest.mark.parametrize("decorated", [False, True])
def test_the_line_is_the_callers_from_deep_inside(decorated):
    torch.manual_seed(0)
    x, y = torch.randn(40, 2), torch.randn(40)
    model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=(20,)), likelihood=likelihoods.gaussian)

    def code():
        fit_svi(model, x, y, num_epochs=2, progress=False)  # which has not settled

    code = torch.no_grad()(code) if decorated else code
    first = getattr(code, "__wrapped__", code).__code__.co_firstlineno
    assert line_of(code) == {(__file__, first + 1)}


def test_of_a_decorated_function_too():
    torch.manual_seed(0)
    x, y = torch.randn(40, 2), torch.randn(40)
    model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=(20,)), likelihood=likelihoods.gaussian)
    with warnings.catch_warnings(action="ignore"):
        posterior = fit_svi(model, x, y, num_epochs=2, progress=False)

    def code():
        diagnose(posterior, x, y)

    assert {name for name, _ in line_of(code)} == {__file__}
