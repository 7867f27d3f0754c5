"""A prediction's columns are the fit's, in their order."""

import pandas as pd
import pytest
import torch
from cases import METHODS

from bayesnn import BayesianNeuralNetwork, likelihoods, networks
from bayesnn.columns import columns_of

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{words}")
    for words in ("the ELBO, .* is below", "the fit ended while", "the chains may not show")
]

NAMES = ("age", "cement", "water")


def frame():
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    return pd.DataFrame(x.numpy(), columns=list(NAMES)), x.sum(1)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_columns_in_another_order_are_refused(method):
    x, y = frame()
    model = BayesianNeuralNetwork(networks.mlp(3, 1, hidden=4, dropout=0.1), likelihood=likelihoods.gaussian)
    posterior = method.fit(model, x, y, progress=False, **method.options)
    assert posterior.columns == NAMES
    mean = posterior(x).mean
    assert torch.equal(posterior(x.to_numpy()).mean, mean)  # without names, by position
    turned = x[["water", "age", "cement"]]
    for ask in (posterior, posterior.plan):
        with pytest.raises(ValueError, match=r"in their order, 'age', 'cement', 'water'; got them as 'water', 'age'"):
            ask(turned)
    assert torch.equal(posterior(turned[list(posterior.columns)]).mean, mean)


def test_what_is_missing_or_too_much_is_named():
    x, y = frame()
    model = BayesianNeuralNetwork(networks.mlp(3, 1, hidden=4), likelihood=likelihoods.gaussian)
    posterior = METHODS[0].fit(model, x, y, progress=False, num_epochs=2)
    with pytest.raises(ValueError, match=r"got .strength. besides\. Write"):
        posterior(x.assign(strength=1.0))
    with pytest.raises(ValueError, match="'water' is missing"):
        posterior(x.rename(columns={"water": "Water"}))
    assert METHODS[0].fit(model, x.to_numpy(), y, progress=False, num_epochs=2).columns == ()


def test_numbers_are_no_names():
    assert columns_of(frame()[0]) == NAMES
    assert columns_of(pd.DataFrame([[1.0, 2.0]])) == ()
    assert columns_of(frame()[0]["age"]) == ()
    assert columns_of(torch.zeros(2, 2)) == ()
