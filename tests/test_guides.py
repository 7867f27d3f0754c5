"""The mean-field guide: its sites, its parameters, its draws."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoDelta, AutoLowRankMultivariateNormal
from pyro.infer.autoguide import AutoNormal as PyroAutoNormal
from torch.distributions import Independent, LogNormal, Normal, TransformedDistribution
from torch.distributions.transforms import SigmoidTransform, StickBreakingTransform
from torch.testing import assert_close

from bayesnn import BayesianNeuralNetwork, likelihoods, networks, priors
from bayesnn.guides import AutoNormal, built, guide_draws

N, S = 12, 4000


@pytest.fixture(autouse=True)
def _private_store():
    with pyro.settings.context(module_local_params=True):
        yield


@pytest.fixture
def data():
    return torch.randn(N, 2).double(), 3 + torch.randn(N).double()


@pytest.fixture
def model(data):
    network = networks.mlp(2, 1, hidden=(3,)).double()
    return BayesianNeuralNetwork(network, priors.normal(1.0), likelihoods.gaussian).for_data(*data)


def constrained_model(x, y=None):
    """Sites of real, positive, bounded and simplex support, the last ones with a plate and a batch axis."""
    one = torch.ones((), dtype=x.dtype)
    slope = pyro.sample("slope", dist.Normal(0 * one, 1.0))
    scale = pyro.sample("scale", dist.Gamma(2 * one, 1.0))
    rates = pyro.sample("rates", dist.LogNormal(torch.zeros(3).double(), 1.0).to_event(1))
    fraction = pyro.sample("fraction", dist.Beta(2 * one, 2.0))
    with pyro.plate("groups", 2):
        shares = pyro.sample("shares", dist.Dirichlet(torch.ones(4).double()))
    mean = slope * x[:, 0] + fraction + shares.sum() + rates.sum()
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(mean, scale), obs=y)


def randomised(guide):
    with torch.no_grad():
        for value in guide.parameters():
            value.add_(0.3 * torch.randn_like(value))
    return guide


def unconstrained(guide, name):
    """Location and scale of a site straight from the guide's parameters."""
    values = dict(guide.named_parameters())
    return values[f"locs.{name}_unconstrained"], values[f"scales.{name}_unconstrained"].exp()


# What it is


def test_it_has_the_parameters_of_pyros_own(model, data):
    theirs = PyroAutoNormal(model)
    theirs(*data)
    ours = AutoNormal(model, *data)
    assert isinstance(ours, PyroAutoNormal)
    assert {n: v.shape for n, v in ours.named_parameters()} == {n: v.shape for n, v in theirs.named_parameters()}


def test_it_is_built_at_once_and_its_state_goes_round(model, data):
    guide = randomised(AutoNormal(model, *data))
    assert len(guide.state_dict()) == 10
    other = AutoNormal(model, *data, init_scale=0.7)
    assert not torch.equal(other.draws(3, 0)["0.weight"], guide.draws(3, 0)["0.weight"])
    other.load_state_dict(guide.state_dict())
    assert_close(other.draws(3, 0), guide.draws(3, 0), rtol=0, atol=0)


def test_building_leaves_the_random_state_and_the_store_alone(data):
    with pyro.settings.context(module_local_params=False):
        before = torch.random.get_rng_state()
        AutoNormal(constrained_model, *data)
        assert torch.equal(torch.random.get_rng_state(), before)
        assert len(pyro.get_param_store()) == 0


def test_built_at_the_first_call_it_is_the_same(model, data):
    lazy, eager = (
        AutoNormal(model, init_scale={"0.weight": 0.2}),
        AutoNormal(model, *data, init_scale={"0.weight": 0.2}),
    )
    lazy(*data)
    assert_close(dict(lazy.state_dict()), dict(eager.state_dict()), rtol=0, atol=0)


def test_real_sites_are_normals_themselves(model, data):
    guide = randomised(AutoNormal(model, *data))
    trace = poutine.trace(guide).get_trace(*data)
    assert set(trace.stochastic_nodes) == {*model.parameter_names, "noise_scale"}
    for name in model.parameter_names:
        loc, scale = unconstrained(guide, name)
        site = trace.nodes[name]
        assert isinstance(site["fn"], Independent)
        assert type(site["fn"].base_dist) is dist.Normal
        assert_close((site["fn"].mean, site["fn"].stddev), (loc, scale))
        assert_close(guide.real_moments()[name], (loc, scale))
        assert_close(site["fn"].log_prob(site["value"]), Normal(loc, scale).log_prob(site["value"]).sum())
    assert "noise_scale" not in guide.real_moments()


# Where it starts


def test_it_starts_from_the_network_and_the_medians_of_other_priors(model, data):
    guide = AutoNormal(model, *data)
    for name, value in model.start().items():
        assert_close(guide.real_moments()[name], (value, torch.full_like(value, 0.05)))
    # Pyro takes the median of 15 draws; its standard error in log space is sqrt(pi / 2 / 15). Within 6: chance 1e-8.
    found = guide.median()["noise_scale"] / (0.3 * data[1].std(correction=0))
    assert abs(float(found.log())) < 6 * (torch.pi / 2 / 15) ** 0.5


def test_it_starts_from_given_values_in_the_models_own_space(model, data):
    start = {"0.weight": torch.full((3, 2), 0.5).double(), "noise_scale": torch.tensor(0.01).double()}
    guide = AutoNormal(model, *data, start=start)
    for name, value in start.items():
        assert_close(guide.median()[name], value)
    shares = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]]).double()
    assert_close(AutoNormal(constrained_model, *data, start={"shares": shares}).median()["shares"], shares)


def test_matrices_without_a_start_do_not_start_alike(data):
    def user_model(x, y=None):
        weight = pyro.sample("weight", dist.Normal(torch.zeros(2, 3).double(), 1.0).to_event(2))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal((x @ weight).tanh().sum(1), 1.0), obs=y)

    assert len(AutoNormal(user_model, *data).median()["weight"].unique()) == 6


def test_each_site_may_have_its_own_initial_scale(model, data):
    guide = AutoNormal(model, *data, init_scale={"0.weight": 0.2, "noise_scale": 0.5})
    scales = {name: unconstrained(guide, name)[1].unique() for name in guide.supports}
    for name, scale in scales.items():
        assert_close(
            scale, torch.tensor([{"0.weight": 0.2, "noise_scale": 0.5}.get(name, 0.05)]).double(), rtol=1e-6, atol=0
        )
    assert_close(AutoNormal(model, *data, init_scale=0.3).real_moments()["2.bias"][1], torch.tensor([0.3]).double())


# Constrained sites


def by_hand(name, loc, scale):
    normal = Normal(loc, scale)
    return {
        "slope": lambda: normal,
        "scale": lambda: LogNormal(loc, scale),
        "rates": lambda: Independent(LogNormal(loc, scale), 1),
        "fraction": lambda: TransformedDistribution(normal, SigmoidTransform()),
        "shares": lambda: TransformedDistribution(Independent(normal, 1), StickBreakingTransform()),
    }[name]()


@pytest.mark.parametrize("name", ["slope", "scale", "rates", "fraction", "shares"])
def test_constrained_sites_have_the_density_of_the_transformed_normal(name, data):
    guide = randomised(AutoNormal(constrained_model, *data))
    expected = by_hand(name, *unconstrained(guide, name))
    site = guide.site(name)
    assert (site.batch_shape, site.event_shape) == (expected.batch_shape, expected.event_shape)
    value = site.sample((5,))
    assert bool(guide.supports[name].check(value).all())
    assert_close(site.log_prob(value), expected.log_prob(value))
    traced = poutine.trace(guide).get_trace(*data).nodes[name]
    assert_close(traced["fn"].log_prob(traced["value"]), expected.log_prob(traced["value"]))
    assert bool(guide.supports[name].check(guide.draws(50, 0)[name]).all())


# Draws


def test_draws_are_repeatable_and_leave_the_random_state_alone(data):
    guide = randomised(AutoNormal(constrained_model, *data))
    before = torch.random.get_rng_state()
    first, again, other = guide.draws(7, 3), guide.draws(7, 3), guide.draws(7, 4)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert_close(first, again, rtol=0, atol=0)
    assert {name: tuple(value.shape) for name, value in first.items()} == {
        "slope": (7,),
        "scale": (7,),
        "rates": (7, 3),
        "fraction": (7,),
        "shares": (7, 2, 4),
    }
    for name in first:
        assert not torch.equal(first[name], other[name])
    assert not any(value.requires_grad for value in first.values())


@pytest.mark.parametrize("seed", [0, 1])
def test_draws_have_the_guides_moments(seed, data):
    """Twelve numbers, two moments, within 6 standard errors: fails on right code with chance below 1e-6."""
    guide = randomised(AutoNormal(constrained_model, *data))
    for name, draws in guide.draws(S, seed).items():
        loc, scale = unconstrained(guide, name)
        real = torch.distributions.biject_to(guide.supports[name]).inv(draws)
        assert bool(((real.mean(0) - loc).abs() < 6 * scale / S**0.5).all()), name
        assert bool(((real.var(0) / scale.square() - 1).abs() < 6 * (2 / S) ** 0.5).all()), name


def test_draws_of_different_sites_are_independent(model, data):
    """One correlation within 6 standard errors, 1/sqrt(S): chance below 1e-8."""
    draws = randomised(AutoNormal(model, *data)).draws(S, 0)
    pairs = torch.stack([draws["0.bias"][:, 0], draws["0.weight"][:, 0, 0], draws["2.weight"][:, 0, 0]])
    assert float((torch.corrcoef(pairs) - torch.eye(3).double()).abs().max()) < 6 / S**0.5


# Any guide


def hand_written(x, y=None):
    pyro.sample("slope", dist.Normal(torch.tensor(2.0).double(), 0.1))
    with pyro.plate("groups", 3):
        pyro.sample("offset", dist.Normal(torch.zeros(3).double(), 0.1))


@pytest.mark.parametrize("make", [AutoNormal, PyroAutoNormal, AutoDelta, AutoLowRankMultivariateNormal])
def test_any_guide_is_built_at_the_start_and_drawn_from(make, model, data):
    start = {name: torch.full_like(value, 0.3) for name, value in model.start().items()}
    guide = built(make, model, data, start=start, init_scale=0.01)
    before = torch.random.get_rng_state()
    draws = guide_draws(guide, data, 20, 5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert_close(guide_draws(guide, data, 20, 5), draws, rtol=0, atol=0)
    assert {n: v.shape for n, v in draws.items()} == {
        **{name: (20, *value.shape) for name, value in start.items()},
        "noise_scale": (20,),
    }
    for name, value in start.items():
        assert bool(((guide.median(*data)[name] - value).abs() < 1e-6).all())
        assert bool(draws[name].std(0).gt(0).all()) == (make is not AutoDelta)


def test_draws_of_a_hand_written_guide_are_its_sites_only(data):
    assert set(guide_draws(hand_written, data, 2, 0)) == {"slope", "offset"}


def test_a_guide_module_is_copied(model, data):
    mine = AutoNormal(model, *data)
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    randomised(built(mine, model, data, start=None, init_scale=0.05))
    assert_close(dict(mine.state_dict()), before, rtol=0, atol=0)


def test_a_function_may_make_the_guide(model, data):
    guide = built(lambda m: AutoLowRankMultivariateNormal(m, rank=2), model, data, start=None, init_scale=0.05)
    assert guide.cov_factor.shape == (14, 2)


# Refusals


@pytest.mark.parametrize("init_scale", [0.0, -1.0, float("nan"), {"0.weight": 0.0}])
def test_initial_scales_must_be_positive(init_scale, model, data):
    with pytest.raises(ValueError, match=r"initial scale must be positive; got .*init_scale=0\.05"):
        AutoNormal(model, *data, init_scale=init_scale)


def test_initial_scales_must_name_sites(model, data):
    with pytest.raises(ValueError, match=r"init_scale names no latent site 'weight'; the sites are 0\.weight"):
        AutoNormal(model, *data, init_scale={"weight": 0.1})


@pytest.mark.parametrize("guide", ["low_rank", None, 3])
def test_a_guide_must_make_one(guide, model, data):
    with pytest.raises(TypeError, match=rf"guide must be a Pyro guide class, or .*; got {guide!r}\. Write guide=pyro"):
        built(guide, model, data, start=None, init_scale=0.05)


@pytest.mark.parametrize("guide", [lambda model: hand_written, lambda model: None])
def test_a_guide_must_be_a_module(guide, model, data):
    with pytest.raises(TypeError, match=r"guide must be a Pyro guide class .* it gave \w+\. Put"):
        built(guide, model, data, start=None, init_scale=0.05)


@pytest.mark.filterwarnings("ignore:the ELBO, .* is below")
def test_a_fit_leaves_the_values_it_starts_from_alone():
    from bayesnn import BayesianNeuralNetwork, fit_svi, likelihoods, networks

    x = torch.randn(20, 2)
    model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=(3,)), likelihood=likelihoods.gaussian.with_noise(1.0))
    start = model.start()
    before = {name: value.clone() for name, value in start.items()}
    fit_svi(model, x, 3 * x[:, 0], start=start, num_epochs=30, warmup=0.0, num_samples=2, progress=False)
    assert all(torch.equal(start[name], before[name]) for name in before)
