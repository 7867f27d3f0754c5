"""A network that overwrites its inputs is fitted and predicts as its twin that does not."""

import pytest
import torch
from cases import METHODS, Method
from torch import nn

from bayesnn import BayesianNeuralNetwork, fit_svi, likelihoods

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{words}")
    for words in ("the ELBO, .* is below", "the fit ended while", "the chains may not show")
]

SVI = {"num_epochs": 10, "num_samples": 7, "warmup": 0}
WAYS = [
    *METHODS,
    Method("svi, all data at once", fit_svi, {**SVI, "batch_size": 30}),
    Method("svi, shared noise", fit_svi, {**SVI, "per_datum_noise": False, "num_particles": 3}),
    Method("svi, several draws", fit_svi, {**SVI, "num_particles": 3}),
]


class Scaled(nn.Module):
    """A network of numbers."""

    def __init__(self, overwrites):
        super().__init__()
        self.overwrites = overwrites
        self.first, self.drop, self.last = nn.Linear(3, 5), nn.Dropout(0.1), nn.Linear(5, 1)

    def forward(self, x):
        x = x.mul_(2).sub_(0.3) if self.overwrites else x * 2 - 0.3
        return self.last(self.drop(self.first(x).tanh()))


class Words(nn.Module):
    """A network of indices, each column with its own rows of one table."""

    def __init__(self, overwrites):
        super().__init__()
        self.overwrites = overwrites
        self.table, self.drop, self.last = nn.Embedding(12, 2), nn.Dropout(0.1), nn.Linear(6, 1)

    def forward(self, x):
        rows = torch.arange(3, device=x.device) * 4
        x = x.add_(rows) if self.overwrites else x + rows
        return self.last(self.drop(self.table(x).flatten(1).tanh()))


NUMBERS_ONLY = ("gp", "gp with inducing points", "deep kernel", "adversarial")
CASES = [(way, Scaled) for way in WAYS] + [(way, Words) for way in WAYS if way.name not in NUMBERS_ONLY]


@pytest.mark.parametrize(("method", "kind"), [pytest.param(*c, id=f"{c[0].name}-{c[1].__name__}") for c in CASES])
def test_a_network_that_overwrites_its_inputs_is_fitted_as_its_twin(method, kind):
    torch.manual_seed(0)
    x = torch.randn(30, 3) if kind is Scaled else torch.randint(4, (30, 3))
    y, kept, found = x.double().sum(1).sin().float(), x.clone(), []
    for overwrites in (False, True):
        torch.manual_seed(1)
        model = BayesianNeuralNetwork(kind(overwrites), likelihood=likelihoods.gaussian)
        predictive = method.fit(model, x, y, progress=False, **method.options)(x)
        found.append(predictive.log_prob(y))
        assert torch.equal(x, kept)
    assert torch.equal(*found)
