"""The door for held-out data."""

import pytest
import torch
from torch.distributions import Independent, Normal
from torch.utils.data import TensorDataset

from bayesnn import BayesianNeuralNetwork, conformal_intervals, fit_map, likelihoods, networks
from bayesnn.held_out import predicted
from bayesnn.predictive import Predictive

X, Y = torch.arange(6.0)[:, None], torch.arange(6.0)


def normal(x):
    return Predictive(Normal(x.mT, 1.0))


def test_predictions_and_targets_from_arrays_and_data_sets():
    for given in ((X, Y), (X.numpy(), Y.numpy()), (X, Y[:, None]), (TensorDataset(X, Y),)):
        predictive, targets = predicted(normal, *given)
        assert torch.equal(targets, Y)
        assert torch.equal(predictive.mean, Y)


def test_targets_take_the_events_shape():
    _, targets = predicted(lambda x: Predictive(Independent(Normal(x[None], 1.0), 1)), X, Y)
    assert torch.equal(targets, Y[:, None])


@pytest.mark.parametrize(
    ("posterior", "x", "y", "error", "words"),
    [
        (
            normal(X),
            X,
            Y,
            TypeError,
            r"must be a function of inputs; got Predictive. Pass posterior itself",
        ),
        (lambda x: x, X, Y, TypeError, "this needs a Predictive; got Tensor"),
        (normal, X, None, TypeError, "targets are missing"),
        (normal, X, Y[:3], ValueError, "targets must have one row per input, N = 6"),
        (normal, X[:2], torch.ones(2, 2), ValueError, r"one row per input, shape \(2,\); got \(2, 2\)"),
    ],
)
def test_what_is_no_held_out_data_is_refused(posterior, x, y, error, words):
    with pytest.raises(error, match=words):
        predicted(posterior, x, y)


@pytest.mark.parametrize("shape", [(30, 2), (30, 3, 3)], ids=["columns", "pictures"])
def test_the_rows_of_the_fit_are_no_held_out_data(shape, recwarn):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 7 + 100
    y = x.flatten(1).sum(1)
    network = networks.mlp(shape[1:] if len(shape) > 2 else 2, 1, hidden=(3,))
    posterior = fit_map(
        BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian), x, y, num_epochs=1, progress=False
    )
    for same in (x, x.flip(0), x.double().numpy()):
        with pytest.warns(UserWarning, match="these are the rows of the fit, .* Pass rows that the fit has not seen"):
            conformal_intervals(posterior, same, y)
    recwarn.clear()
    for other in (x + 0.01, x[:29], x * 1.001, x[[0, *range(29)]]):
        predicted(posterior, other, y[: len(other)])
    assert not recwarn.list
