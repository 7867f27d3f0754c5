"""Every family against scipy's: densities, distribution functions, quantiles and moments, in raw units."""

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import torch
from torch.func import vmap

from bayesnn import Predictive, likelihoods, members
from bayesnn.likelihoods import Affine, beta_weighted

S, N = 4, 6


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def softplus(x):
    return np.log1p(np.exp(x))


def place_and_scale(outputs, y):
    y = y.numpy()
    return y.mean() + y.std() * outputs[..., 0], y.std() * (softplus(outputs[..., 1]) + 1e-3)


def student_t(outputs, y):
    return scipy.stats.t(4, *place_and_scale(outputs, y))


def laplace(outputs, y):
    return scipy.stats.laplace(*place_and_scale(outputs, y))


def log_normal(outputs, y):
    loc, scale = place_and_scale(outputs, y.log())
    return scipy.stats.lognorm(scale, scale=np.exp(loc))


def multiple(raw):
    return softplus(raw) / math.log(2) + 1e-3


def mean_and_relative_variance(outputs, y):
    """Of a positive target: 0 stands for the targets' own mean m, and its unit for sqrt(log(1 + v / m^2))."""
    own, relative = y.numpy().mean(), y.numpy().var() / y.numpy().mean() ** 2
    return own * np.exp(np.sqrt(np.log1p(relative)) * outputs[..., 0]), relative


def gamma(outputs, y):
    mean, relative = mean_and_relative_variance(outputs, y)
    shape = 1 / (relative * multiple(outputs[..., 1]) ** 2)
    return scipy.stats.gamma(shape, scale=mean / shape)


def beta(outputs, y):
    m, v = y.numpy().mean(), y.numpy().var()
    unit = np.sqrt(np.log1p(v / (m * (1 - m)) ** 2))
    mean = scipy.special.expit(scipy.special.logit(m) + unit * outputs[..., 0])
    precision = (m * (1 - m) / v - 1) / multiple(outputs[..., 1]) ** 2
    return scipy.stats.beta(precision * mean, precision * (1 - mean))


def poisson(outputs, y):
    return scipy.stats.poisson(mean_and_relative_variance(outputs, y)[0])


def negative_binomial(outputs, y):
    mean, relative = mean_and_relative_variance(outputs, y)
    excess = relative - 1 / y.numpy().mean()  # these counts spread wider than a Poisson's
    size = 1 / (excess * multiple(outputs[..., 1]) ** 2)
    return scipy.stats.nbinom(size, size / (size + mean))


REAL = random(50, seed=7)
FAMILIES = {
    "student_t": (student_t, 5000 + 300 * REAL),
    "laplace": (laplace, 5000 + 300 * REAL),
    "log_normal": (log_normal, 5000 * REAL.exp()),
    "gamma": (gamma, 5000 * REAL.exp()),
    "beta": (beta, REAL.sigmoid()),
    "poisson": (poisson, (4 * REAL.exp()).round()),
    "negative_binomial": (negative_binomial, (4 * REAL.exp()).round()),
}
ALL = pytest.mark.parametrize("name", FAMILIES)
COUNTS = ("poisson", "negative_binomial")


def case(name):
    """Members (S, N), scipy's own, and N targets."""
    oracle, y = FAMILIES[name]
    likelihood = getattr(likelihoods, name)
    outputs = random(S, N, likelihood.outputs_per_target(), seed=1)
    target = likelihood.affine(y)
    return likelihood(outputs, target=target), oracle(outputs.numpy(), y), y[:N]


def close(left, right, tolerance=1e-8):
    np.testing.assert_allclose(np.asarray(left), right, rtol=tolerance, atol=tolerance)


@ALL
def test_density_and_moments_are_scipys(name):
    ours, theirs, y = case(name)
    log_prob = theirs.logpmf(y.numpy()) if name in COUNTS else theirs.logpdf(y.numpy())
    close(ours.log_prob(y), log_prob)
    close(ours.mean, theirs.mean())
    close(ours.variance, theirs.var())


@ALL
def test_distribution_function_and_quantiles_are_those_of_scipys_mixture(name):
    ours, theirs, y = case(name)
    predictive = Predictive(ours)
    close(predictive.cdf(y), theirs.cdf(y.numpy()).mean(0))
    for level in (0.05, 0.5, 0.9):
        found = predictive.icdf(level)
        if name in COUNTS:
            assert (theirs.cdf(found.numpy()).mean(0) >= level).all()
            assert (theirs.cdf(found.numpy() - 1).mean(0) < level).all()
        else:
            close(theirs.cdf(found.numpy()).mean(0), level, 1e-6)
    low, high = predictive.interval(0.9)
    assert (low <= high).all()


@ALL
def test_members_come_apart_and_together_again(name):
    ours, _, y = case(name)
    halves = [members.mapped(lambda t: t[:, :2], ours), members.mapped(lambda t: t[:, 2:], ours)]
    close(members.concatenate(halves, axis=1).log_prob(y), ours.log_prob(y))
    first, last = members.mapped(lambda t: t[0], ours), members.mapped(lambda t: t[-1], ours)
    close(members.stack([first, last]).log_prob(y), ours.log_prob(y)[[0, -1]])


@ALL
def test_draws_pass_through_vmap(name):
    likelihood, (_, y) = getattr(likelihoods, name), FAMILIES[name]
    outputs, target = random(S, N, likelihood.outputs_per_target(), seed=1), likelihood.affine(y)
    together = vmap(lambda o: likelihood(o, target=target).log_prob(y[:N]))(outputs)
    close(together, likelihood(outputs, target=target).log_prob(y[:N]))


@ALL
def test_targets_in_columns_are_independent(name):
    likelihood, (_, y) = getattr(likelihoods, name), FAMILIES[name]
    both, per_target = torch.stack([y, y.flip(0)], 1), likelihood.outputs_per_target()
    outputs = random(S, len(y), 2 * per_target, seed=2)
    joint = likelihood(outputs, target=likelihood.affine(both))
    assert joint.event_shape == (2,)
    each = 0.0
    for d in range(2):
        own = outputs[..., d::2]
        each = each + likelihood(own, target=likelihood.affine(both[:, d])).log_prob(both[:, d])
    close(joint.log_prob(both), each)


@ALL
def test_outputs_of_zero_are_about_the_targets_own_distribution(name):
    likelihood, (_, y) = getattr(likelihoods, name), FAMILIES[name]
    start = likelihood(y.new_zeros(len(y), likelihood.outputs_per_target()), target=likelihood.affine(y))
    assert (start.mean.log() - y.mean().log()).abs().max() < 1
    if name != "poisson":  # which has no spread of its own
        assert 0.3 < float(start.stddev.mean() / y.std()) < 3


@ALL
def test_units_change_the_density_by_their_factor_alone(name):
    if name in (*COUNTS, "beta"):
        pytest.skip("has no unit")
    likelihood, (_, y) = getattr(likelihoods, name), FAMILIES[name]
    outputs = random(len(y), 2, seed=3)
    here = likelihood(outputs, target=likelihood.affine(y)).log_prob(y)
    there = likelihood(outputs, target=likelihood.affine(1000 * y)).log_prob(1000 * y)
    close(there, here - math.log(1000))


@pytest.mark.parametrize("name", ["laplace", "log_normal", "poisson"])
def test_best_constant_is_the_best_of_its_family(name):
    _, y = FAMILIES[name]
    families = {
        "laplace": lambda p: scipy.stats.laplace.logpdf(y, 5000 + p[0], np.exp(p[1])),
        "log_normal": lambda p: scipy.stats.lognorm.logpdf(y, np.exp(p[1] - 5), scale=np.exp(p[0] / 100)),
        "poisson": lambda p: scipy.stats.poisson.logpmf(y, np.exp(p[0] / 100)),
    }
    start = {"laplace": [0.0, 5.0], "log_normal": [850.0, 5.0], "poisson": [150.0, 0.0]}[name]
    best = scipy.optimize.minimize(lambda p: -families[name](p).mean(), start, method="Nelder-Mead")
    assert getattr(likelihoods, name).constant_log_likelihood(y) == pytest.approx(-best.fun, abs=2e-3)


def test_ordered_classes_are_cumulative_logits():
    outputs = random(S, N, 3)
    o = outputs.numpy()
    first = o[..., :1] - math.log(2)  # outputs of 0 put the three cutpoints at -log 2, 0 and log 2
    cuts = np.cumsum(np.concatenate([first, softplus(o[..., 1:]) + 1e-3], -1), -1)
    below = np.concatenate([np.zeros((S, N, 1)), 1 / (1 + np.exp(-cuts)), np.ones((S, N, 1))], -1)
    close(likelihoods.ordinal(outputs).probs, np.diff(below, axis=-1))


def test_ordered_classes_stay_finite_far_out():
    logits = likelihoods.ordinal(torch.tensor([[-300.0, 1.0, 1.0], [300.0, 30.0, 1.0]])).logits
    assert not logits.isnan().any()
    close(logits.exp().sum(-1), 1.0, 1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("columns", [1, 2])
def test_beta_weights_are_the_published_ones_over_their_mean(beta, columns):
    y = random(N, columns) if columns > 1 else random(N)
    target = Affine(10 * torch.ones_like(y[0]), 3 * torch.ones_like(y[0]))
    outputs = random(N, 2 * columns, seed=4)
    likelihood = likelihoods.heteroscedastic_gaussian
    normal = likelihood(outputs, target=target)
    found = likelihood.weighted_log_prob(normal, y, beta, target)
    inner = normal.base_dist if columns > 1 else normal
    loss = scipy.stats.norm.logpdf(y, inner.loc, inner.scale)
    weight = (inner.scale.numpy() / 3) ** (2 * beta)
    wanted = weight / weight.mean(0) * loss
    close(found, wanted.sum(-1) if columns > 1 else wanted)
    if beta == 0:
        close(found, normal.log_prob(y))


def test_beta_weights_are_constants_in_the_gradient():
    y, target = random(N), Affine(torch.zeros(()), torch.ones(()))
    raw = random(N, seed=5).requires_grad_()
    normal = likelihoods.heteroscedastic_gaussian(torch.stack([torch.zeros(N), raw], -1), target=target)
    beta_weighted(normal, y, 1.0, target).sum().backward()
    scale = normal.scale.detach()
    # d/d sigma of the log-density is ((y / sigma)^2 - 1) / sigma, and of the softplus a sigmoid.
    weight = scale**2 / (scale**2).mean()
    close(raw.grad, weight * ((y / scale) ** 2 - 1) / scale * raw.detach().sigmoid())


@pytest.mark.parametrize("name", ["categorical", "gaussian", "poisson", "gamma", "beta", "negative_binomial"])
def test_families_that_are_not_of_place_and_scale_take_no_weights(name):
    likelihood = getattr(likelihoods, name)
    y = torch.arange(1.0, 4) if name != "categorical" else torch.arange(3)
    y = y / 4 if name == "beta" else y
    named = {"noise_scale": torch.tensor(2.0)}
    outputs = torch.ones(3, 3 if name == "categorical" else likelihood.outputs_per_target())
    normal = likelihood(outputs, named)
    close(likelihood.weighted_log_prob(normal, y, 1.0, None), normal.log_prob(y))


BAD = {
    "negative price": ("log_normal", torch.tensor([1.0, -1.0]), 2, "log-normal targets must be positive"),
    "zero duration": ("gamma", torch.tensor([1.0, 0.0]), 2, "gamma targets must be positive"),
    "percentages": ("beta", torch.tensor([30.0, 50.0]), 2, "pass y / 100"),
    "half a count": ("poisson", torch.tensor([1.0, 0.5]), 1, "counts must be integers"),
    "negative count": ("negative_binomial", torch.tensor([1.0, -2.0]), 2, "counts must lie in"),
    "too few outputs": ("student_t", torch.tensor([1.0, 2.0]), 1, "one target needs 2 network outputs"),
    "unknown grade": ("ordinal", torch.tensor([0, 4]), 3, r"ordered labels must lie in \[0, 3\]"),
    "grades in columns": ("ordinal", torch.zeros(2, 3), 3, r"must have shape \(N,\)"),
}


@pytest.mark.parametrize(("name", "y", "outputs", "words"), BAD.values(), ids=BAD)
def test_targets_of_another_kind_get_one_clear_sentence(name, y, outputs, words):
    with pytest.raises(ValueError, match=words):
        getattr(likelihoods, name).checked(y, outputs)


def test_degrees_of_freedom():
    wide = likelihoods.student_t.with_degrees_of_freedom(10)
    outputs = random(N, 2)
    scale = softplus(outputs[:, 1].numpy()) + 1e-3
    close(wide(outputs).log_prob(torch.zeros(N)), scipy.stats.t(10, outputs[:, 0], scale).logpdf(0))
    with pytest.raises(ValueError, match="degrees_of_freedom must be above 2"):
        likelihoods.student_t.with_degrees_of_freedom(2)


def test_entropy_of_counts_is_refused():
    ours, _, _ = case("poisson")
    with pytest.raises(NotImplementedError, match="mixture of counts"):
        Predictive(ours).entropy()
