"""The density of a guide at draws: what Pyro's own trace of the guide says when it draws them."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoGuideList,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
)
from pyro.infer.autoguide import AutoNormal as PyroAutoNormal
from pyro.nn import PyroModule, PyroParam
from torch.testing import assert_close

from bayesnn.guide_density import density_of
from bayesnn.guides import AutoNormal

S = 7


@pytest.fixture(autouse=True)
def _private_store():
    with pyro.settings.context(module_local_params=True):
        yield


def model(x, y=None):
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    weight = pyro.sample("weight", dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))
    scale = pyro.sample("scale", dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
    share = pyro.sample("share", dist.Dirichlet(torch.ones(3)))
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(loc + x @ weight.sum(0)[:2] + share[0], scale[0]), obs=y)


ARGS = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(5)


class ByHand(PyroModule):
    def __init__(self, model=None):
        super().__init__()
        self.middle = PyroParam(torch.tensor(0.3))

    def forward(self, x, y=None):
        loc = pyro.sample("loc", dist.Normal(self.middle, 0.5))
        pyro.sample("weight", dist.Normal(loc * torch.ones(2, 3), 0.1).to_event(2))
        pyro.sample("scale", dist.Gamma(torch.ones(2), 3.0).to_event(1))
        pyro.sample("share", dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0])))


@pytest.mark.parametrize(
    "make",
    [
        lambda: AutoNormal(model, *ARGS),
        lambda: AutoNormal(model, *ARGS, axes={"weight": torch.linalg.qr(torch.randn(3, 3))[0]}),
        lambda: PyroAutoNormal(model),
        lambda: AutoDiagonalNormal(model),
        lambda: AutoMultivariateNormal(model),
        lambda: AutoLowRankMultivariateNormal(model),
        ByHand,
    ],
    ids=["ours", "along axes", "pyro's", "diagonal", "full", "low rank", "by hand"],
)
def test_it_is_the_density_of_pyros_trace(make):
    guide = make()
    guide(*ARGS)
    for leaf in guide.parameters():  # away from where it starts, so that no scale is that of another
        leaf.data += 0.3 * torch.randn_like(leaf)
    traces = [poutine.trace(guide).get_trace(*ARGS) for _ in range(S)]
    names = ["loc", "weight", "scale", "share"]
    draws = {name: torch.stack([trace.nodes[name]["value"] for trace in traces]) for name in names}
    wanted = torch.stack([trace.log_prob_sum() for trace in traces])
    state = torch.get_rng_state()
    found = density_of(guide, ARGS)(draws)
    assert_close(found, wanted.double().detach(), rtol=1e-4, atol=1e-4, check_dtype=False)
    assert torch.equal(torch.get_rng_state(), state)


def test_guides_without_a_density_have_none():
    parts = AutoGuideList(model)
    parts.append(PyroAutoNormal(poutine.block(model, expose=["loc", "weight"])))
    parts.append(AutoDelta(poutine.block(model, expose=["scale", "share"])))
    for guide in (AutoDelta(model), parts):
        guide(*ARGS)
        assert density_of(guide, ARGS) is None
