"""What every fit begins with."""

import pyro
import pytest
import torch

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


@pytest.mark.parametrize(
    ("asked", "num_data", "batch_size", "wanted"),
    [(7, 100, 10, 7), (None, 1131, 128, 556), (None, 60000, 128, 20), (None, 50, 128, 5000)],
)
def test_epochs(asked, num_data, batch_size, wanted):
    assert epochs_for(asked, 5000, num_data, batch_size) == wanted
