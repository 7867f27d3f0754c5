"""What every test gets: a fixed seed, one thread, and a check that it leaves the world as it was."""

import warnings

import pyro
import pytest
import torch

torch.set_num_threads(1)
# Some libraries add warning filters when first used; that is theirs, so it happens before anything is checked.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import sklearn.metrics
    import sklearn.model_selection  # noqa: F401

    torch.optim.Adam([torch.zeros(1, requires_grad=True)])


@pytest.fixture(autouse=True)
def unchanged_world():
    filters, settings, dtype = list(warnings.filters), pyro.settings.get(), torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    assert list(pyro.get_param_store().keys()) == [], "Pyro's global parameter store must stay empty"
    assert pyro.settings.get() == settings, "Pyro's settings must stay as they were"
    assert torch.get_default_dtype() is dtype, "the default dtype must stay as it was"
    assert bool(torch.tensor(1e-40, dtype=torch.float32).mul(1.0)), "denormal numbers must stay what they are"
    assert list(warnings.filters) == filters, "the warning filters must stay as they were"
