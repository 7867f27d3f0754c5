"""What every fit begins with."""

import warnings

import numpy as np
import pyro
import pytest
import torch
from cases import METHODS

from bayesnn import BayesianNeuralNetwork, fit_ensemble, fit_map, fit_svi, likelihoods, networks, priors
from bayesnn.fitting import epochs_for, isolated


def test_isolated_restores_the_random_state_and_pyros_settings():
    state, settings = torch.get_rng_state(), pyro.settings.get()
    with isolated(3, torch.device("cpu")):
        first = torch.randn(2)
        assert pyro.settings.get()["module_local_params"]
    assert torch.equal(torch.get_rng_state(), state)
    assert pyro.settings.get() == settings
    with isolated(3, torch.device("cpu")):
        assert torch.equal(torch.randn(2), first)


@pytest.mark.filterwarnings("ignore:the ELBO, .* is below", "ignore:the fit ended while", "ignore:the chains may not")
@pytest.mark.parametrize("prior", [None, priors.laplace(1.0)], ids=["normal", "laplace"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_caller_without_gradients_gets_the_same_fit(method, prior):
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))

    def fitted():
        torch.manual_seed(0)
        network = networks.mlp(3, 1, hidden=(4,), dropout=0.1)
        own = x + 0  # within inference mode of its kind
        return method.fit(
            BayesianNeuralNetwork(network, prior, likelihoods.gaussian),
            own,
            own.sum(1).sin(),
            progress=False,
            **method.options,
        )(own).mean.clone()

    wanted = fitted()
    with torch.no_grad():
        assert torch.equal(fitted(), wanted)
    with torch.inference_mode():
        assert torch.equal(fitted(), wanted)


@pytest.mark.parametrize(
    ("asked", "num_data", "batch_size", "wanted"),
    [(7, 100, 10, 7), (None, 1131, 128, 556), (None, 60000, 128, 20), (None, 50, 128, 5000)],
)
def test_epochs(asked, num_data, batch_size, wanted):
    assert epochs_for(asked, 5000, num_data, batch_size) == wanted


def test_whole_numbers_of_numpy_are_whole_numbers():
    x, y = torch.randn(20, 2), torch.randn(20)
    model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=3), likelihood=likelihoods.gaussian)
    counts = {"num_epochs": np.int64(2), "seed": np.int64(3), "batch_size": np.int32(7)}
    for fit in (fit_map, fit_ensemble, fit_svi):
        plain = {name: int(value) for name, value in counts.items()}
        with warnings.catch_warnings(action="ignore"):
            found, wanted = (fit(model, x, y, progress=False, **given) for given in (counts, plain))
        torch.testing.assert_close(found.weights, wanted.weights)
    with pytest.raises(ValueError, match="learning_rate must be positive; got 'a'"):
        fit_map(model, x, y, learning_rate="a", progress=False)
