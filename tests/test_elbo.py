"""The ELBO: its value against Pyro's, its divergence against closed forms, its two paths against each other."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoLowRankMultivariateNormal, init_to_value
from pyro.infer.autoguide import AutoNormal as PyroAutoNormal
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from bayesnn import BayesianNeuralNetwork, likelihoods, networks, priors
from bayesnn.elbo import MeanFieldELBO, site_divergence
from bayesnn.guides import AutoNormal

N, B = 12, 4
PRIORS = {
    "fixed": priors.fan_in_normal(1.0, fit=None),
    "fitted": priors.fan_in_normal(1.0, fit="tensor"),
    "laplace": priors.laplace(0.7),
    "student": priors.student_t(0.7),
}
LOCAL = ("0.weight", "0.bias", "2.weight", "2.bias")


@pytest.fixture(autouse=True)
def _private_store():
    with pyro.settings.context(module_local_params=True):
        yield


def setting(prior="fixed", likelihood=likelihoods.gaussian, num_targets=1, known=True):
    """A small model and guide, the guide's parameters anywhere, and data."""
    network = networks.mlp(2, num_targets, hidden=(8,), activation="tanh").double()
    x, y = torch.randn(N, 2).double(), 3 + torch.randn(N, num_targets).double()
    y = y.squeeze(1) if num_targets == 1 else y
    model = BayesianNeuralNetwork(network, PRIORS[prior], likelihood)
    model = model.for_data(x, y) if known else model
    guide = AutoNormal(model, x, y, init_scale=0.2)
    with torch.no_grad():
        for value in guide.parameters():
            value.add_(0.2 * torch.randn_like(value))
    return model, guide, x, y


def traced(model):
    """The same model, but not known to be ours: the ELBO runs it in Pyro."""
    return lambda *args: model(*args)


def seeded(seed, function, *args):
    torch.manual_seed(seed)
    return function(*args)


def standard_errors(values, expected=0.0):
    values = torch.as_tensor(values, dtype=torch.float64)
    return abs(float(values.mean()) - expected) / float(values.std() / len(values) ** 0.5)


# Against Pyro's estimate


@pytest.mark.parametrize("rows", [N, B])
@pytest.mark.parametrize("path", [lambda m: m, traced])
def test_the_value_is_that_of_pyros_elbo(rows, path):
    """Mean of 80 paired differences within 5 standard errors (chance 1e-6); 20 % more divergence is seen."""
    model, guide, x, y = setting()
    args = (guide, x[:rows], y[:rows])
    sampled = torch.tensor([seeded(s, Trace_ELBO().loss, model, *args) for s in range(80)], dtype=torch.float64)
    with torch.no_grad():
        terms = [seeded(s, MeanFieldELBO().terms, path(model), *args) for s in range(80)]
    fit, divergence = (torch.stack(term) for term in zip(*terms, strict=True))
    assert standard_errors(divergence - fit - sampled) < 5
    assert standard_errors(1.2 * divergence - fit - sampled) > 8


@pytest.mark.parametrize("method", ["loss", "loss_and_grads", "differentiable_loss"])
def test_pyros_entry_points_agree_with_the_terms(method):
    model, guide, x, y = setting()
    elbo = MeanFieldELBO(3, kl_weight=0.7)
    fit, divergence = seeded(1, elbo.terms, model, guide, x, y)
    found = torch.as_tensor(seeded(1, getattr(elbo, method), model, guide, x, y), dtype=torch.float64)
    assert_close(found, 0.7 * divergence - fit)


def test_vectorised_particles_are_averaged():
    def model(x, y=None):
        slope = pyro.sample("slope", dist.Normal(torch.zeros(()).double(), 1.0))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(slope * x, 1.0), obs=y)

    x = torch.randn(N).double()
    guide = AutoNormal(model, x, x)
    elbo = MeanFieldELBO(10, vectorize_particles=True, max_plate_nesting=1)
    expected = seeded(0, elbo.loss, model, guide, x, x)
    assert_close(seeded(0, elbo.differentiable_loss, model, guide, x, x).item(), expected)


def test_called_as_a_module():
    model, guide, x, y = setting()
    loss = seeded(0, MeanFieldELBO()(traced(model), guide), x, y)
    assert_close(loss, seeded(0, MeanFieldELBO().differentiable_loss, model, guide, x, y))


# Divergence


@pytest.mark.parametrize("path", [lambda m: m, traced])
def test_the_divergence_is_the_sum_over_sites(path):
    model, guide, x, y = setting(likelihood=likelihoods.gaussian.with_noise(0.5))
    expected = sum(
        kl_divergence(Normal(loc, scale), Normal(model.priors()[name].loc, model.priors()[name].scale)).sum()
        for name, (loc, scale) in guide.real_moments().items()
    )
    assert_close(MeanFieldELBO().terms(path(model), guide, x, y)[1], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("num_targets", [1, 2])
def test_the_divergence_of_the_noise_scale_is_that_of_the_logarithms(num_targets):
    model, guide, _, y = setting(num_targets=num_targets)
    base, prior = guide.site("noise_scale"), model.latents()["noise_scale"]
    while not isinstance(base, Normal):
        base = base.base_dist
    expected = kl_divergence(base, Normal((0.3 * y.std(0, correction=0)).log(), torch.ones_like(base.loc))).sum()
    assert_close(site_divergence(guide.site("noise_scale"), prior, model.latents()["noise_scale"].sample()), expected)


def quadrature(guide, prior):
    """Divergence of scalar distributions by the trapezoidal rule over 12 standard deviations to each side."""
    z = torch.linspace(-12, 12, 20001).double().view(-1, *[1] * guide.loc.ndim)
    value = guide.loc + guide.scale * z
    log_q = guide.log_prob(value)
    return torch.trapezoid(log_q.exp() * (log_q - prior.log_prob(value)), value, dim=0).sum()


@pytest.mark.parametrize("prior", [dist.Normal(0.3, 0.7), dist.Laplace(0.0, 0.7), dist.StudentT(3.0, 0.0, 0.7)])
def test_the_divergence_of_a_site_equals_quadrature(prior):
    """Closed forms to 1e-6; sampled ones, 2000 draws, within 5 standard errors (chance 1e-6)."""
    prior = prior.expand([3])
    site = dist.Normal(torch.tensor([-1.0, 0.0, 0.4]).double(), torch.tensor([0.1, 0.5, 1.5]).double())
    expected = quadrature(site, prior).detach()
    draws = [site_divergence(site.to_event(1), prior.to_event(1), site.sample()) for _ in range(2000)]
    if isinstance(prior, dist.StudentT):
        assert standard_errors(draws, float(expected)) < 5
        assert standard_errors(draws, 1.1 * float(expected)) > 8
    else:
        assert_close(draws[0], expected, rtol=1e-6, atol=1e-6)
        assert torch.stack(draws).unique().numel() == 1


@pytest.mark.parametrize("prior", ["laplace", "student"])
def test_other_priors_have_the_value_of_pyros_elbo(prior):
    """Mean of 80 paired differences within 5 standard errors: chance 1e-6."""
    model, guide, x, y = setting(prior)
    with torch.no_grad():
        ours = [seeded(s, MeanFieldELBO().differentiable_loss, model, guide, x, y) for s in range(80)]
    pyros = [seeded(s, Trace_ELBO().loss, model, guide, x, y) for s in range(80)]
    difference = torch.stack(ours) - torch.tensor(pyros, dtype=torch.float64)
    assert standard_errors(difference) < 5


def test_scaled_sites_count_as_pyro_counts_them():
    """A prior taken twice is no closed form; both estimates agree draw by draw."""
    model, guide, x, y = setting()
    with_twice = pyro.poutine.scale(traced(model), 2.0)
    ours = seeded(0, MeanFieldELBO().loss, with_twice, guide, x, y)
    assert_close(ours, seeded(0, Trace_ELBO().loss, with_twice, guide, x, y))


# Fitted priors


def fitted_site(shared):
    prior = priors.FittedNormal(torch.ones(8, 5).double(), shared)
    return prior, torch.randn(8, 5).double(), torch.rand(8, 5).double() + 0.1


def divergence(loc, scale, prior_scale):
    return kl_divergence(Normal(loc, scale), Normal(torch.zeros_like(loc), prior_scale)).sum()


@pytest.mark.parametrize(("shared", "groups"), [((-1,), (8, 1)), ((-2, -1), (1, 1))])
def test_fitted_scales_are_where_the_elbo_is_largest(shared, groups):
    """Against a numeric optimum over one scale for each group."""
    prior, loc, scale = fitted_site(shared)
    log_scales = torch.zeros(groups).double().requires_grad_()
    optimiser = torch.optim.LBFGS([log_scales], max_iter=200, tolerance_grad=1e-12, tolerance_change=0)

    def closure():
        optimiser.zero_grad()
        value = divergence(loc, scale, log_scales.exp().expand(8, 5))
        value.backward()
        return value

    optimiser.step(closure)
    best = log_scales.detach().exp().expand(8, 5)
    assert_close(prior.fitted(loc, scale).scale, best, rtol=1e-6, atol=0)
    found = site_divergence(dist.Normal(loc, scale).to_event(2), prior.to_event(2), loc)
    assert_close(found, divergence(loc, scale, best))
    for factor in (0.5, 0.99, 1.01, 2.0):
        assert found < divergence(loc, scale, factor * best)


@pytest.mark.parametrize("shared", [(-1,), (-2, -1)])
def test_the_gradient_is_that_of_the_divergence_at_its_best_scales(shared):
    """There the divergence is ``sum log(s / sigma)``, ``s`` depending on the guide."""
    prior, loc, scale = fitted_site(shared)
    loc.requires_grad_()
    scale.requires_grad_()
    found = site_divergence(dist.Normal(loc, scale).to_event(2), prior.to_event(2), loc)
    best = (loc.square() + scale.square()).mean(shared, keepdim=True).sqrt()
    explicit = (best / scale).log().sum()
    assert_close(found, explicit)
    assert_close(torch.autograd.grad(found, [loc, scale]), torch.autograd.grad(explicit, [loc, scale]))


def test_fitted_priors_enter_the_elbo_at_their_best_scales():
    model, guide, x, y = setting("fitted")
    moments = {name: (loc.detach(), scale.detach()) for name, (loc, scale) in guide.real_moments().items()}
    fit, found = seeded(0, MeanFieldELBO().terms, model, guide, x, y)
    known = seeded(0, TraceMeanField_ELBO().loss, model.with_fitted_priors(moments), guide, x, y)
    assert_close((found - fit).item(), known)
    assert known < seeded(0, TraceMeanField_ELBO().loss, model, guide, x, y)


# The two paths


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("rows", [N, B])
@pytest.mark.parametrize("local", [(), LOCAL])
def test_direct_and_traced_paths_agree(prior, rows, local):
    model, guide, x, y = setting(prior)
    elbo = MeanFieldELBO(2, per_datum_noise=local)
    results = []
    for path in (model, traced(model)):
        terms = seeded(0, elbo.terms, path, guide, x[:rows], y[:rows])
        results.append((terms, torch.autograd.grad(terms[1] - terms[0], list(guide.parameters()))))
    assert_close(results[0], results[1])


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("num_targets", "likelihood"),
    [(3, likelihoods.gaussian), (1, likelihoods.gaussian.with_noise(0.3)), (3, likelihoods.bernoulli)],
)
def test_paths_agree_for_other_likelihoods(num_targets, likelihood, known):
    model, guide, x, y = setting(num_targets=num_targets, known=False)
    y = (y > 3).double() if likelihood is likelihoods.bernoulli else y
    model = BayesianNeuralNetwork(model.network, PRIORS["fixed"], likelihood)
    model = model.for_data(x, y) if known else model
    guide = AutoNormal(model, x, y)
    direct, by_pyro = (seeded(0, MeanFieldELBO().terms, path, guide, x, y) for path in (model, traced(model)))
    assert_close(direct, by_pyro)


def test_minibatches_add_up_to_the_data_set():
    """At one draw of the weights the mean over minibatches is the whole, exactly."""
    model, guide, x, y = setting()
    whole = seeded(0, MeanFieldELBO().terms, model, guide, x, y)
    parts = [seeded(0, MeanFieldELBO().terms, model, guide, *part) for part in zip(x.split(B), y.split(B), strict=True)]
    assert len(parts) == 3
    assert_close(torch.stack([fit for fit, _ in parts]).mean(), whole[0])
    for _, kl in parts:
        assert_close(kl, whole[1])


# Loops written by hand


@pytest.mark.parametrize("make", [MeanFieldELBO, TraceMeanField_ELBO])
def test_a_loop_of_pyros_has_the_same_losses(make):
    model, guide, x, y = setting()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), loss=make())
    losses = []
    for step in range(40):
        rows = torch.randperm(N)[:B]
        fit, kl = seeded(step, MeanFieldELBO().terms, model, guide, x[rows], y[rows])
        losses.append(seeded(step, svi.step, x[rows], y[rows]))
        assert_close(losses[-1], (kl - fit).item())
    assert sum(losses[-10:]) < sum(losses[:10])


@pytest.mark.parametrize("make", [PyroAutoNormal, AutoLowRankMultivariateNormal])
def test_pyros_own_guides_are_sampled(make):
    model, _, x, y = setting()
    guide = make(model, init_loc_fn=init_to_value(values=model.start()))
    guide(x, y)
    for seed in range(3):
        fit, kl = seeded(seed, MeanFieldELBO().terms, model, guide, x, y)
        assert_close((kl - fit).item(), seeded(seed, Trace_ELBO().loss, model, guide, x, y))


def test_pyros_auto_normal_fits_with_it():
    model, _, x, y = setting()
    svi = SVI(model, PyroAutoNormal(model), pyro.optim.Adam({"lr": 0.05}), loss=MeanFieldELBO())
    losses = [svi.step(x, y) for _ in range(60)]
    assert sum(losses[-20:]) < sum(losses[:20])


def test_pyros_auto_normal_has_our_divergence_on_average():
    """200 sampled divergences around the closed form within 5 standard errors: chance 1e-6; 10 % too much is seen."""
    model, guide, x, y = setting(likelihood=likelihoods.gaussian.with_noise(0.5))
    theirs = PyroAutoNormal(model)
    theirs(x, y)
    with torch.no_grad():
        for name in guide.supports:
            loc, scale = guide._get_loc_and_scale(name)
            holder, _, last = name.rpartition(".")
            setattr(theirs.locs.get_submodule(holder), last, loc.detach())
            setattr(theirs.scales.get_submodule(holder), last, scale.detach())
    closed = MeanFieldELBO().terms(model, guide, x, y)[1].item()
    sampled = [MeanFieldELBO().terms(model, theirs, x, y)[1].item() for _ in range(200)]
    assert standard_errors(sampled, closed) < 5
    assert standard_errors(sampled, 1.1 * closed) > 8
