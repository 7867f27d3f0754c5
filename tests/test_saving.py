"""Every fitted method can be kept in a file and taken up again, whole."""

import copy
import io
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from cases import METHODS, TASKS
from pyro.infer.autoguide import AutoNormal as PyroAutoNormal

from bayesnn import fit_svi, likelihoods, networks, prior_predictive, priors, pruned
from bayesnn.guides import AutoNormal
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.posterior import WeightPosterior
from bayesnn.recalibration import tempered

pytestmark = pytest.mark.filterwarnings("ignore:the ELBO, .* is below", "ignore:the fit ended", "ignore:the chains may")

TASKS_HERE = [task for task in TASKS if task.name in ("classes", "two targets", "counts")]


def by_torch(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS = {"torch": by_torch, "pickle": lambda value: pickle.loads(pickle.dumps(value)), "copy": copy.deepcopy}


def assert_same(loaded, posterior, x, y):
    assert loaded is not posterior
    assert torch.equal(loaded(x).log_prob(y), posterior(x).log_prob(y))
    assert loaded.summary == posterior.summary
    assert loaded.history == posterior.history
    assert repr(loaded) == repr(posterior)


def assert_same_draws(loaded, posterior):
    """Weights, other draws, densities and guide of a posterior of weights."""
    assert all(torch.equal(value, posterior.weights[name]) for name, value in loaded.weights.items())
    assert loaded.weights.keys() == posterior.weights.keys()
    assert (loaded.draws is None, loaded.density is None) == (posterior.draws is None, posterior.density is None)
    if posterior.draws is not None:
        ours, theirs = posterior.resample(5, seed=4).weights, loaded.resample(5, seed=4).weights
        assert all(torch.equal(value, ours[name]) for name, value in theirs.items())
    if posterior.density is not None:
        assert torch.equal(loaded.log_density(), posterior.log_density())
    if posterior.method != "ensemble of svi":  # whose fits have prior scales of their own
        assert torch.equal(loaded.log_prior(), posterior.log_prior())
    assert type(loaded.guide) is type(posterior.guide)
    if posterior.guide is not None:
        assert all(torch.equal(v, loaded.guide.state_dict()[n]) for n, v in posterior.guide.state_dict().items())


@pytest.mark.parametrize("task", TASKS_HERE, ids=lambda task: task.name)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_fit_is_saved_and_loaded_whole(method, task):
    x, y = task.data()
    posterior = method.fit(task.model(), x, y, progress=False, **method.options)
    loaded = by_torch(posterior)
    assert_same(loaded, posterior, x, y)
    if isinstance(posterior, WeightPosterior):
        assert_same_draws(loaded, posterior)
    else:
        ours, theirs = (one.resample(5, seed=4)(x) for one in (posterior, loaded))
        assert torch.equal(theirs.members.log_prob(y), ours.members.log_prob(y))


X = torch.linspace(-1, 1, 30)[:, None].repeat(1, 3)
Y = X.sum(1).sin()
SHORT = {"num_epochs": 6, "num_samples": 4, "progress": False}


def regression(prior=None):
    network = networks.mlp(3, 1, hidden=(4,))
    return BayesianNeuralNetwork(network, *([prior] if prior else []), likelihood=likelihoods.gaussian)


def straight_line(x, y=None):
    slope = pyro.sample("slope", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    noise = pyro.sample("noise", dist.LogNormal(-1.0, 1.0))
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(x @ slope, noise), obs=y)


MADE = {
    "moved": lambda: fit_svi(regression(), X, Y, **SHORT).to("cpu"),
    "pruned": lambda: pruned(fit_svi(regression(), X, Y, **SHORT)),
    "prior": lambda: prior_predictive(regression(), X, Y, num_samples=4),
    "normal prior": lambda: fit_svi(regression(priors.normal(0.5)), X, Y, **SHORT),
    "laplace prior": lambda: fit_svi(regression(priors.laplace(0.5)), X, Y, **SHORT),
    "student prior": lambda: fit_svi(regression(priors.student_t(0.5)), X, Y, **SHORT),
    "a model of one's own": lambda: fit_svi(straight_line, X, Y, **SHORT),
    "Pyro's guide": lambda: fit_svi(straight_line, X, Y, guide=PyroAutoNormal, **SHORT),
}


@pytest.mark.filterwarnings("ignore:functions drawn from the prior")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("make", MADE.values(), ids=MADE.keys())
def test_what_is_made_of_fits_too(make, way):
    posterior = make()
    loaded = way(posterior)
    assert_same(loaded, posterior, X, Y)
    assert_same_draws(loaded, posterior)


def test_a_loaded_guide_goes_on_as_a_guide():
    posterior = fit_svi(regression(), X, Y, **SHORT)
    loaded = by_torch(posterior).guide
    assert isinstance(loaded, AutoNormal)
    assert torch.equal(loaded.median()["0.weight"], posterior.guide.median()["0.weight"])
    with pyro.settings.context(module_local_params=True):
        elbo = pyro.infer.Trace_ELBO()(by_torch(posterior).model, loaded)
        elbo(X, Y).backward()
    assert all(leaf.grad.isfinite().all() for leaf in loaded.parameters())


def test_a_predictive_computed_block_by_block_is_saved():
    posterior = fit_svi(regression(), X, Y, **SHORT)
    streamed = posterior(X, memory=400)
    assert torch.equal(by_torch(streamed.to("cpu")).mean, streamed.mean)
    assert torch.equal(by_torch(streamed).log_prob(Y), streamed.log_prob(Y))
    assert torch.equal(by_torch(tempered(streamed, 2.0)).variance, tempered(streamed, 2.0).variance)


@pytest.mark.parametrize("name", ["svi", "last layer", "laplace", "dropout", "ensemble of svi", "swag"])
def test_the_training_data_do_not_go_along(name):
    method = next(method for method in METHODS if method.name == name)
    x = torch.randn(20_000, 3)
    posterior = method.fit(
        TASKS[3].model(), x, x.sum(1), progress=False, **{**method.options, "num_epochs": 1, "batch_size": 1000}
    )
    file = io.BytesIO()
    torch.save(posterior, file)
    assert isinstance(posterior, WeightPosterior)
    assert file.tell() < x.nbytes / 2
