"""A user's own Pyro model: predictions draw by draw and vectorised, what is refused, and what is left alone."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.nn import PyroModule, PyroSample
from torch import nn
from torch.testing import assert_close

from bayesnn.fitting import isolated
from bayesnn.posterior import WeightPosterior
from bayesnn.pyro_model import PyroModel

N, S = 9, 5


@pytest.fixture(autouse=True)
def _private_store():
    with pyro.settings.context(module_local_params=True):
        yield


def zeros(*shape):
    return torch.zeros(*shape).double()


def hierarchical(x, y=None):
    """Slopes of three groups around a common one."""
    centre = pyro.sample("centre", dist.Normal(zeros(()), 1.0))
    with pyro.plate("groups", 3):
        slopes = pyro.sample("slopes", dist.Normal(centre, 1.0))
    noise = pyro.sample("noise", dist.LogNormal(zeros(()), 1.0))
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(slopes[x[:, 1].long() % 3] * x[:, 0], noise), obs=y)


class Regression(PyroModule):
    """A layer with priors, a plain layer, and a latent noise scale."""

    def __init__(self):
        super().__init__()
        self.layer = PyroModule[nn.Linear](2, 4)
        self.layer.weight = PyroSample(dist.Normal(zeros(4, 2), 1.0).to_event(2))
        self.layer.bias = PyroSample(dist.Normal(zeros(4), 1.0).to_event(1))
        self.last = nn.Linear(4, 1).double()

    def forward(self, x, y=None):
        noise = pyro.sample("noise", dist.HalfNormal(torch.ones(()).double()))
        mean = self.last(self.layer(x).tanh()).squeeze(-1)
        with pyro.plate("data", len(x)):
            return pyro.sample("seen", dist.Normal(mean, noise), obs=y)


def two_targets(x, y=None):
    weight = pyro.sample("weight", dist.Normal(zeros(2, 2), 1.0).to_event(2))
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.StudentT(4.0, x @ weight, 0.5).to_event(1), obs=y)


def classes(x, y=None):
    weight = pyro.sample("weight", dist.Normal(zeros(2, 3), 1.0).to_event(2))
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Categorical(logits=x @ weight), obs=y)


def indifferent(x, y=None):
    """No draw changes what it predicts."""
    pyro.sample("unused", dist.Normal(zeros(()), 1.0))
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(x.sum(1), 1.0), obs=y)


def without_plate(x, y=None):
    slope = pyro.sample("slope", dist.Normal(zeros(()), 1.0))
    return pyro.sample("y", dist.Normal(slope * x[:, 0], 1.0), obs=y)


VECTORISED = [hierarchical, Regression, two_targets, classes, indifferent, without_plate]


def branching(x, y=None):
    slope = pyro.sample("slope", dist.Normal(zeros(()), 1.0))
    mean = slope * x[:, 0] if slope > 0 else slope * x[:, 1]
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def in_numbers(x, y=None):
    slope = pyro.sample("slope", dist.Normal(zeros(()), 1.0)).item()
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(slope * x[:, 0], 1.0), obs=y)


def in_arrays(x, y=None):
    slope = torch.as_tensor(pyro.sample("slope", dist.Normal(zeros(1), 1.0).to_event(1)).numpy())
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(slope * x[:, 0], 1.0), obs=y)


def in_place(x, y=None):
    slope = pyro.sample("slope", dist.Normal(zeros(()), 1.0))
    mean = torch.zeros_like(x[:, 0])
    mean[:] = slope
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(mean * x[:, 0], 1.0), obs=y)


def fixture_of(make):
    """The model, knowing inputs and targets, and draws of its latent sites from the prior."""
    model = make() if isinstance(make, type) else make
    x = torch.randn(N, 2).double()
    y = poutine.trace(model).get_trace(x).nodes["seen" if make is Regression else "y"]["value"]
    traces = [poutine.trace(poutine.block(model, hide=["y", "seen", "data", "groups"])).get_trace(x) for _ in range(S)]
    weights = {name: torch.stack([t.nodes[name]["value"] for t in traces]) for name in traces[0].stochastic_nodes}
    return model, PyroModel(model).for_data(x, y, N), weights, x


@pytest.mark.parametrize("make", [*VECTORISED, branching, in_numbers, in_arrays, in_place])
def test_predictions_equal_the_model_draw_by_draw(make):
    model, known, weights, x = fixture_of(make)
    members = known.predict(weights, x)
    assert members.batch_shape == (S, N)
    for s in range(S):
        trace = poutine.trace(poutine.condition(model, {name: w[s] for name, w in weights.items()})).get_trace(x)
        expected = trace.nodes[known.observed]["fn"]
        assert members.event_shape == expected.event_shape
        at = expected.sample()
        assert_close(members.log_prob(at)[s], expected.log_prob(at))


@pytest.mark.parametrize("make", [make for make in VECTORISED if make is not Regression])  # which a lambda hides
def test_models_that_allow_it_run_once_for_all_draws(make):
    model, known, weights, x = fixture_of(make)
    calls = []
    y = known.predict(weights, x).sample()[0]
    counted = PyroModel(lambda *args: (calls.append(1), model(*args))[1]).for_data(x, y, N)
    calls.clear()
    counted.predict(weights, x)
    assert len(calls) == 1


@pytest.mark.parametrize("make", [hierarchical, Regression, branching])
def test_prediction_leaves_the_random_state_alone(make):
    _, known, weights, x = fixture_of(make)
    state = torch.random.get_rng_state()
    known.predict(weights, x)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_module_built_under_pyros_own_settings_is_as_welcome():
    """As a user builds it: parameters global until a fit makes its place private; the store stays empty."""
    model, _, weights, x = fixture_of(Regression)
    with pyro.settings.context(module_local_params=False):
        plain = Regression()
        plain.load_state_dict(model.state_dict())
        with isolated(0, x.device):
            known = PyroModel(plain).to(x.device).for_data(x, x[:, 0], N)
        members = known.predict(weights, x)
        assert len(pyro.get_param_store()) == 0
    assert_close(members.mean, PyroModel(model).for_data(x, x[:, 0], N).predict(weights, x).mean)


def test_inputs_may_have_another_floating_point_type():
    _, known, weights, x = fixture_of(classes)
    posterior = WeightPosterior(known, {name: w.float() for name, w in weights.items()}, "by hand")
    assert_close(posterior(x.numpy()).members.probs, posterior(x.float()).members.probs)


# What it knows


def test_it_finds_the_observed_site_and_the_size_of_the_data():
    _, known, _, _ = fixture_of(hierarchical)
    assert (known.observed, known.num_data, known.name) == ("y", N, "hierarchical")
    assert known.likelihood_factor(N) == 1.0


@pytest.mark.parametrize(("size", "factor"), [(None, N / 3), (N, 1.0)])
def test_minibatches_are_scaled_once(size, factor):
    """By the model's own plate where that knows the data set's size, else by us."""

    def model(x, y=None):
        slope = pyro.sample("slope", dist.Normal(zeros(()), 1.0))
        with pyro.plate("data", size or len(x), subsample=torch.arange(len(x))):
            return pyro.sample("y", dist.Normal(slope * x[:, 0], 1.0), obs=y)

    x = torch.randn(N, 2).double()
    known = PyroModel(model).for_data(x, x[:, 0], 3)
    site = poutine.trace(known).get_trace(x[:3], x[:3, 0]).nodes["y"]
    assert known.likelihood_factor(3) == pytest.approx(factor)
    assert float(site["scale"]) * factor == pytest.approx(N / 3)


def test_moving_copies_a_module():
    module = Regression()
    model = PyroModel(module)
    moved = model.to(torch.device("cpu"))
    (ours,), (theirs,) = moved.trainable(), model.trainable()
    assert theirs is module
    assert ours is not module
    with torch.no_grad():
        ours.last.weight.zero_()
    assert module.last.weight.abs().sum() > 0
    assert (moved.dtype, moved.device, moved.name) == (torch.float64, torch.device("cpu"), "Regression")
    plain = PyroModel(hierarchical)
    assert (plain.dtype, plain.device, plain.trainable()) == (torch.get_default_dtype(), torch.device("cpu"), [])


# Refusals


def unobserved(x, y=None):
    return pyro.sample("y", dist.Normal(x[:, 0], 1.0).to_event(1))


def observed_twice(x, y=None):
    pyro.sample("first", dist.Normal(x[:, 0], 1.0), obs=y)
    return pyro.sample("second", dist.Normal(x[:, 1], 1.0), obs=y)


def local_latents(x, y=None):
    with pyro.plate("data", len(x)):
        offset = pyro.sample("offset", dist.Normal(zeros(()), 1.0))
        return pyro.sample("y", dist.Normal(offset + x[:, 0], 1.0), obs=y)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (unobserved, r"exactly one sample site; found 0 \(none\)\. Write pyro\.sample"),
        (observed_twice, r"exactly one sample site; found 2 \(first, second\)"),
        (local_latents, "'offset' must not lie within the plate over the data, 'data'"),
    ],
)
def test_models_that_cannot_predict_are_refused(model, words):
    x = torch.randn(N, 2).double()
    with pytest.raises(ValueError, match=words):
        PyroModel(model).for_data(x, x[:, 0], N)


def test_a_model_must_be_callable():
    with pytest.raises(TypeError, match=r"must be a BayesianNeuralNetwork or a Pyro model\(x, y=None\); got 3"):
        PyroModel(3)


def test_the_observed_site_must_have_one_batch_axis():
    def wide(x, y=None):
        slope = pyro.sample("slope", dist.Normal(zeros(()), 1.0))
        return pyro.sample("y", dist.Normal(slope * x, 1.0), obs=y)

    x = torch.randn(N, 2).double()
    known = PyroModel(wide).for_data(x, x, N)
    with pytest.raises(ValueError, match=r"batch shape \(N,\) = \(9,\); got \(9, 2\).*to_event\(1\)"):
        known.predict({"slope": zeros(S)}, x)


def test_whole_numbers_are_refused_where_the_distribution_computes_with_them():
    def yes_or_no(x, y=None):
        slope = pyro.sample("slope", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Bernoulli(logits=x @ slope), obs=y)

    def counts(x, y=None):
        rate = pyro.sample("rate", dist.Gamma(1.0, 1.0))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Poisson(rate).expand([len(x)]), obs=y)

    x, y = torch.randn(N, 2), torch.arange(N) % 2
    with pytest.raises(
        TypeError, match=r"targets of Bernoulli must be floating point; got torch\.int64.*Pass y\.float"
    ):
        PyroModel(yes_or_no).for_data(x, y, N)
    assert PyroModel(yes_or_no).for_data(x, y.float(), N).observed == "y"
    assert PyroModel(counts).for_data(x, y, N).observed == "y"


def test_distributions_without_parameters_are_refused():
    def bounded(x, y=None):
        slope = pyro.sample("slope", dist.Normal(zeros(()), 1.0))
        base = dist.Normal(slope * x[:, 0], 1.0)
        return pyro.sample("y", dist.TransformedDistribution(base, [dist.transforms.SigmoidTransform()]), obs=y)

    x = torch.randn(N, 2).double()
    known = PyroModel(bounded).for_data(x, x[:, 0].sigmoid(), N)
    with pytest.raises(NotImplementedError, match="TransformedDistribution has none"):
        known.predict({"slope": zeros(S)}, x)
