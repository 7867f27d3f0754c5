"""Predictive against torch's own mixture, brute force over the support and numerical integration."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import (
    Bernoulli,
    Categorical,
    Dirichlet,
    Independent,
    Laplace,
    LogNormal,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    Pareto,
    Poisson,
    StudentT,
    Uniform,
)

from bayesnn.inspected import member_log_likelihood
from bayesnn.predictive import Predictive

S, N, C, D = 4, 5, 3, 2
FAMILIES = [Normal, Laplace, LogNormal]
SIGMAS = 5  # a normal variate lies further out with a chance of 6e-7


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def predictive_of(family, *shape, seed=0):
    """Members of different places and widths, of event shape () for (S, N) and (D,) for (S, N, D)."""
    members = family(random(*shape, seed=seed), (random(*shape, seed=seed + 1) / 2).exp())
    return Predictive(Independent(members, len(shape) - 2))


def marginal_mixture(predictive):
    """Torch's mixture with a component for each draw, of batch shape (N,) or (N, D)."""
    members = predictive.members
    members = members.base_dist if isinstance(members, Independent) else members
    family = type(members)
    loc, scale = (value.movedim(0, -1) for value in (members.loc, members.scale))
    return MixtureSameFamily(Categorical(torch.ones_like(loc)), family(loc, scale))


def classes(*shape, seed=0):
    return Predictive(Categorical(logits=2 * random(*shape, seed=seed)))


def labels(*shape, seed=0):
    return Predictive(Independent(Bernoulli(logits=2 * random(*shape, seed=seed)), 1))


def close(left, right, tolerance=1e-12):
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


# Moments, densities and quantiles


def test_moments_of_the_mixture_not_of_the_average_member():
    predictive = Predictive(Normal(torch.tensor([[0.0], [10.0]]).double(), torch.tensor([[1.0], [3.0]]).double()))
    assert predictive.mean.item() == 5
    assert predictive.variance.item() == 30
    assert predictive.stddev.item() == pytest.approx(math.sqrt(30))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(S, N), (S, N, D), (1, N), (S, 1), (1, 1, 1)])
def test_moments_and_cdf_are_those_of_the_mixture(family, shape):
    predictive = predictive_of(family, *shape)
    mixture, y = marginal_mixture(predictive), random(*shape[1:], seed=2).exp()
    assert (predictive.batch_shape, predictive.event_shape) == (shape[1:2], shape[2:])
    close(predictive.mean, mixture.mean)
    close(predictive.variance, mixture.variance)
    close(predictive.cdf(y), mixture.cdf(y))


@pytest.mark.parametrize("family", FAMILIES)
def test_log_density_is_that_of_the_mixture(family):
    predictive, y = predictive_of(family, S, N), random(N, seed=2).exp()
    close(predictive.log_prob(y), marginal_mixture(predictive).log_prob(y))


def test_log_density_of_vectors_is_joint():
    members = predictive_of(Normal, S, N, D).members
    base, y = members.base_dist, random(N, D, seed=2)
    components = Independent(Normal(base.loc.movedim(0, 1), base.scale.movedim(0, 1)), 1)
    mixture = MixtureSameFamily(Categorical(torch.ones(N, S, dtype=torch.float64)), components)
    close(Predictive(members).log_prob(y), mixture.log_prob(y))


def test_log_probability_of_counts_is_that_of_scipy():
    rates, y = random(S, N).exp(), torch.arange(N)
    each = scipy.stats.poisson.logpmf(y, rates)
    np.testing.assert_allclose(
        Predictive(Poisson(rates)).log_prob(y), scipy.special.logsumexp(each, 0) - math.log(S), rtol=1e-12
    )


@pytest.mark.parametrize("shape", [(S, N), (S, N, D)])
@pytest.mark.parametrize("name", ["log_prob", "cdf"])
def test_leading_axes_of_targets_stay_in_front(shape, name):
    predictive, y = predictive_of(Normal, *shape), random(2, 3, *shape[1:], seed=2)
    ask = getattr(predictive, name)
    each = torch.stack([torch.stack([ask(part) for part in row]) for row in y])
    close(ask(y), each)


@pytest.mark.parametrize("name", ["log_prob", "cdf"])
def test_a_number_is_the_target_of_every_input(name):
    if name == "log_prob":
        close(labels(S, N, D).log_prob(torch.tensor(1)), labels(S, N, D).log_prob(torch.ones(N, D)))
    ask = getattr(predictive_of(Normal, S, N), name)
    close(ask(torch.tensor(0.3)), ask(torch.full((N,), 0.3)))


def test_far_tails_stay_in_log_space():
    predictive = Predictive(Normal(torch.tensor([[0.0], [1e4]]).double(), 1.0))
    expected = -0.5e8 - 0.5 * math.log(2 * math.pi) - math.log(2)
    assert predictive.log_prob(torch.tensor([-1e4])).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(S, N), (S, N, D), (1, 1)])
@pytest.mark.parametrize("level", [1e-6, 0.05, 0.5, 0.999])
def test_quantiles_invert_the_cdf(family, shape, level):
    predictive = predictive_of(family, *shape)
    quantile = predictive.icdf(level)
    assert quantile.shape == shape[1:]
    close(marginal_mixture(predictive).cdf(quantile), torch.full(shape[1:], level, dtype=torch.float64), 1e-11)


def test_quantiles_in_raw_units():
    predictive = Predictive(Normal(40_000 + random(S, N), 250.0))
    close(predictive.cdf(predictive.icdf(0.2)), torch.full((N,), 0.2, dtype=torch.float64), 1e-11)


@pytest.mark.parametrize("shape", [(S, N), (S, N, D)])
def test_several_levels_broadcast(shape):
    predictive, levels = predictive_of(Normal, *shape), torch.tensor([0.1, 0.5, 0.9])
    found = predictive.icdf(levels.reshape(3, *[1] * len(shape[1:])))
    close(found, torch.stack([predictive.icdf(level) for level in levels]))


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("shape", [(S, N), (S, N, D)])
def test_an_interval_is_central_and_holds_its_level(level, shape):
    predictive = predictive_of(Normal, *shape)
    mixture, (lower, upper) = marginal_mixture(predictive), predictive.interval(level)
    tail = torch.full(shape[1:], (1 - level) / 2, dtype=torch.float64)
    close(mixture.cdf(lower), tail, 1e-11)
    close(1 - mixture.cdf(upper), tail, 1e-11)


def readings(predictive):
    """All a predictive says, at targets it could have been asked for."""
    if predictive.has_enumerate_support:
        return predictive.log_probs, predictive.entropy(), predictive.log_prob(predictive.mode)
    y = random(*predictive.batch_shape, *predictive.event_shape, seed=2)
    return predictive.mean, predictive.variance, predictive.log_prob(y), predictive.cdf(y), predictive.icdf(0.3)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 10**6),
    order=st.permutations(range(S)),
    make=st.sampled_from(
        [lambda seed: predictive_of(Normal, S, N, D, seed=seed), lambda seed: classes(S, N, C, seed=seed)]
    ),
)
def test_order_of_draws_and_repeated_draws_change_nothing(seed, order, make):
    predictive = make(seed)
    members = predictive.members
    original = readings(predictive)
    for draws in (order, [*order, *order, *order]):
        for mine, theirs in zip(readings(Predictive(taken(members, draws))), original, strict=True):
            close(mine, theirs, 1e-11)


def taken(members, draws):
    if isinstance(members, Independent):
        return Independent(taken(members.base_dist, draws), members.reinterpreted_batch_ndims)
    if isinstance(members, Categorical):
        return Categorical(logits=members.logits[draws])
    return type(members)(members.loc[draws], members.scale[draws])


# Finite supports


@pytest.mark.parametrize("shape", [(S, N, C), (1, N, C), (S, 1, C), (S, N, 2)])
def test_class_probabilities_are_the_mean_softmax(shape):
    predictive = classes(*shape)
    probs = scipy.special.softmax(predictive.members.logits.numpy(), axis=-1).mean(0)
    np.testing.assert_allclose(predictive.probs, probs, rtol=1e-12)
    np.testing.assert_allclose(predictive.log_probs, np.log(probs), rtol=1e-10)
    np.testing.assert_array_equal(predictive.mode, probs.argmax(-1))
    assert predictive.member_log_probs.shape == shape


def test_one_logit_gives_two_classes():
    logits = 2 * random(S, N)
    predictive = Predictive(Bernoulli(logits=logits))
    yes = scipy.special.expit(logits.numpy()).mean(0)
    np.testing.assert_allclose(predictive.probs, np.stack([1 - yes, yes], -1), rtol=1e-12)
    np.testing.assert_allclose(predictive.mean, yes, rtol=1e-12)
    np.testing.assert_allclose(predictive.variance, yes * (1 - yes), rtol=1e-12)
    np.testing.assert_array_equal(predictive.mode, yes > 0.5)


@pytest.mark.parametrize("make", [lambda: classes(S, N, C), lambda: Predictive(Bernoulli(logits=random(S, N)))])
def test_log_probability_over_the_support_are_the_class_probabilities(make):
    predictive = make()
    support = predictive.enumerate_support()
    assert support.shape[1:] == (N,)
    assert predictive.enumerate_support(expand=False).shape == (len(support), 1)
    close(predictive.log_prob(support).T, predictive.log_probs)
    close(predictive.probs.sum(-1), torch.ones(N, dtype=torch.float64))


@pytest.mark.parametrize(
    ("logits", "expected"),
    [([[1e4, -1e4]], [0.0, -2e4]), ([[1e4, -1e4], [-1e4, 1e4]], [-math.log(2)] * 2)],
    ids=["one sure draw", "two that contradict each other"],
)
def test_extreme_logits_keep_their_log_probabilities(logits, expected):
    predictive = Predictive(Categorical(logits=torch.tensor(logits).double()[:, None]))
    assert predictive.log_probs[0].tolist() == pytest.approx(expected, rel=1e-15)
    assert predictive.log_prob(torch.tensor([1])).item() == pytest.approx(expected[1], rel=1e-15)


def every_labelling(num_labels):
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * num_labels)


def test_labels_depend_on_each_other_through_the_draws():
    predictive = labels(S, N, D)
    yes = scipy.special.expit(predictive.members.base_dist.logits.numpy())
    for labelling in every_labelling(D).numpy():
        joint = np.where(labelling == 1, yes, 1 - yes).prod(-1).mean(0)
        y = torch.from_numpy(labelling).expand(N, D)
        np.testing.assert_allclose(predictive.log_prob(y), np.log(joint), rtol=1e-10)


def test_labels_have_a_finite_support():
    predictive = labels(S, N, D)
    yes = scipy.special.expit(predictive.members.base_dist.logits.numpy()).mean(0)
    assert predictive.has_enumerate_support
    np.testing.assert_allclose(predictive.probs, np.stack([1 - yes, yes], -1), rtol=1e-12)
    np.testing.assert_array_equal(predictive.mode, yes > 0.5)
    assert predictive.member_log_probs.shape == (S, N, D, 2)


# Entropy


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_entropy_of_classes_is_that_of_scipy(scale):
    predictive = Predictive(Categorical(logits=scale * random(S, N, C)))
    np.testing.assert_allclose(
        predictive.entropy(), scipy.stats.entropy(predictive.probs.numpy(), axis=-1), rtol=1e-10, atol=1e-14
    )


@pytest.mark.parametrize(
    ("locs", "scales"),
    [([0.0], [1.0]), ([0.0, 1.0], [1.0, 2.0]), ([0.0, 10.0], [1.0, 3.0]), ([4000.0, 4100.0], [50.0, 250.0])],
)
@pytest.mark.parametrize("family", [Normal, Laplace])
def test_entropy_of_real_targets_is_the_integral(family, locs, scales):
    members = family(torch.tensor(locs).double()[:, None], torch.tensor(scales).double()[:, None])
    width = 40 * max(scales)
    y = np.linspace(min(locs) - width, max(locs) + width, 400_001)
    density = np.mean([np.exp(member(y)) for member in _log_densities(family, locs, scales)], 0)
    expected = scipy.integrate.simpson(scipy.special.entr(density), x=y)
    assert Predictive(members).entropy().item() == pytest.approx(expected, abs=1e-3)


def _log_densities(family, locs, scales):
    reference = {Normal: scipy.stats.norm, Laplace: scipy.stats.laplace}[family]
    return [reference(loc, scale).logpdf for loc, scale in zip(locs, scales, strict=True)]


def test_entropy_of_members_far_apart_is_their_own_and_the_choice_among_them():
    members = Normal(1000 * torch.arange(100.0).double()[:, None], torch.logspace(-1, 1, 100).double()[:, None])
    expected = members.entropy().mean().item() + math.log(100)
    assert Predictive(members).entropy().item() == pytest.approx(expected, abs=1e-2)


# Supports


def test_a_target_in_the_support_of_some_members_only():
    low, high = torch.tensor([[0.0, 0.0], [1.0, 3.0]]), torch.tensor([[2.0, 1.0], [5.0, 4.0]])
    predictive, y = Predictive(Uniform(low, high)), torch.tensor([1.5, 2.0])
    wanted = torch.tensor([math.log((1 / 2 + 1 / 4) / 2), -math.inf])
    torch.testing.assert_close(predictive.log_prob(y), wanted)
    assert member_log_likelihood(predictive, y).exp().tolist() == [[0.5, 0.25], [0.0, 0.0]]
    torch.testing.assert_close(predictive.cdf(y), torch.tensor([(3 / 4 + 1 / 8) / 2, 0.5]))
    beyond = Predictive(Pareto(torch.tensor([[1.0], [3.0]]), torch.tensor(2.0)))  # whose formula goes on below
    assert beyond.log_prob(torch.tensor([2.0])).exp().item() == pytest.approx(2 / 2**3 / 2)


def test_an_end_of_the_support_that_has_no_density():
    predictive = Predictive(LogNormal(torch.zeros(2, 2), 1.0))
    assert predictive.log_prob(torch.tensor([0.0, 1.0])).exp().tolist() == pytest.approx(
        [0, 1 / math.sqrt(2 * math.pi)]
    )


def test_members_that_were_passed_keep_their_checks():
    members = LogNormal(torch.zeros(1, 1), 1.0, validate_args=True)
    Predictive(members)
    with pytest.raises(ValueError, match="within the support"):
        members.log_prob(torch.tensor([[-1.0]]))


def test_targets_that_no_member_can_take_are_refused():
    with pytest.raises(ValueError, match=r"targets must lie in \[0, inf\], the support of LogNormal"):
        Predictive(LogNormal(torch.zeros(1, 1), 1.0)).log_prob(torch.tensor([-1.0]))


# Samples


@pytest.mark.parametrize("make", [lambda: predictive_of(Normal, S, N), lambda: predictive_of(Normal, S, N, D)])
def test_samples_follow_the_mixture(make):
    predictive, num_samples = make(), 20_000
    y = predictive.sample((num_samples,))
    for level in (0.1, 0.5, 0.9):
        below = (y <= predictive.icdf(level)).double().mean(0)
        assert ((below - level).abs() < SIGMAS * math.sqrt(level * (1 - level) / num_samples)).all()


def test_classes_are_sampled_by_their_probabilities():
    predictive, num_samples = classes(S, N, C), 20_000
    y, probs = predictive.sample((num_samples,)), predictive.probs
    found = torch.nn.functional.one_hot(y, C).double().mean(0)
    assert ((found - probs).abs() < SIGMAS * (probs * (1 - probs) / num_samples).sqrt()).all()


def test_the_dimensions_of_one_sample_come_from_one_member():
    members = Normal(torch.tensor([[[-5.0, -5.0]], [[5.0, 5.0]]]), 0.1)
    y = Predictive(Independent(members, 1)).sample((1000,))
    assert torch.equal(y[..., 0] > 0, y[..., 1] > 0)


def test_every_input_chooses_its_own_member():
    y = Predictive(Normal(torch.tensor([[-5.0, -5.0], [5.0, 5.0]]), 0.1)).sample((1000,))
    assert not torch.equal(y[:, 0] > 0, y[:, 1] > 0)


@pytest.mark.parametrize("shape", [(), (7,), (2, 3)])
@pytest.mark.parametrize(
    ("make", "event"),
    [
        (lambda: predictive_of(Normal, S, N), ()),
        (lambda: predictive_of(Normal, S, N, D), (D,)),
        (lambda: classes(S, N, C), ()),
        (lambda: labels(S, N, D), (D,)),
        (lambda: Predictive(StudentT(3.0, random(S, N), 1.0)), ()),
    ],
)
def test_samples_have_their_shape_and_repeat_under_a_seed(make, event, shape):
    predictive = make()
    y = predictive.sample(shape)
    torch.manual_seed(0)  # where every test begins
    assert y.shape == (*shape, N, *event)
    assert torch.equal(y, predictive.sample(shape))
    assert predictive.log_prob(y).isfinite().all()


# Parts of the inputs


@pytest.mark.parametrize("make", [lambda: predictive_of(Normal, S, N, D), lambda: classes(S, N, C)])
@pytest.mark.parametrize(
    "index", [slice(1, 4), [3, 0], torch.tensor([4, 4]), torch.tensor([True, False, True, False, False])], ids=str
)
def test_some_inputs_have_what_the_whole_says_of_them(make, index):
    predictive = make()
    some = predictive[index]
    assert len(some) == len(torch.arange(N)[index])
    close(some.log_prob(torch.tensor(1)), predictive.log_prob(torch.tensor(1))[index])


@pytest.mark.parametrize("at", [np.int64(3), np.int64(-2), torch.tensor(3), torch.tensor(-2), np.array(3), 3], ids=repr)
def test_a_whole_number_of_any_kind_keeps_the_axis(at):
    predictive = predictive_of(Normal, S, N, D)
    assert predictive[at].batch_shape == (1,)
    assert torch.equal(predictive[at].mean, predictive.mean[3:4])
    with pytest.raises(IndexError, match="there are 5 inputs; got index 5"):
        predictive[at - at + N]


@pytest.mark.parametrize("labels", [range(7, 7 + N), list("abcde"), pd.date_range("2026-01-01", periods=N)], ids=str)
def test_a_series_is_a_mask_by_its_place(labels):
    predictive = predictive_of(Normal, S, N)
    mask = pd.Series([False, True, True, False, False], index=labels)
    assert torch.equal(predictive[mask].mean, predictive.mean[1:3])
    assert torch.equal(predictive[pd.Series([4, 0], index=labels[:2])].mean, predictive.mean[[4, 0]])


@pytest.mark.parametrize("at", [torch.tensor([3]), torch.tensor([False, False, False, True, False]), np.array([3])])
def test_an_index_with_an_axis_is_no_whole_number(at):
    assert torch.equal(predictive_of(Normal, S, N)[at].mean, predictive_of(Normal, S, N).mean[3:4])


@pytest.mark.parametrize(
    "at",
    [(slice(None), 0), (3, 0), 1.5, torch.tensor(1.5), torch.tensor(True), True, np.bool_(True), None, ...,
     torch.tensor([[1]]), torch.ones(N, D) > 0],
    ids=str,
)  # fmt: skip
def test_an_index_that_is_not_of_inputs_is_refused(at):
    with pytest.raises(
        TypeError, match=r"(?s)indexed along their inputs, by a whole number.*; got .*predictive\.target\(0\)"
    ):
        predictive_of(Normal, S, N, D)[at]


# One target of several


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
@pytest.mark.parametrize("number", [0, 1, -1])
def test_one_target_is_the_mixture_of_its_own_members(family, number):
    whole = predictive_of(family, S, N, D)
    members, y = whole.members.base_dist, whole.icdf(0.3)[:, number]
    loc, scale = (value[..., number].movedim(0, -1) for value in (members.loc, members.scale))
    alone = MixtureSameFamily(Categorical(torch.ones_like(loc)), family(loc, scale))
    one = whole.target(number)
    assert (one.batch_shape, one.event_shape, one.num_samples) == ((N,), (), S)
    close(one.log_prob(y), alone.log_prob(y))
    close(one.variance, alone.variance)
    close(one.cdf(y), torch.full((N,), 0.3, dtype=torch.float64))
    close(one.mean, whole.mean[:, number])


def test_one_label_of_several_is_a_class():
    whole = labels(S, N, D)
    one = whole.target(1)
    assert one.has_enumerate_support
    close(one.probs[:, 1], whole.members.mean.mean(0)[:, 1])
    assert torch.equal(one.mode, (whole.members.mean.mean(0)[:, 1] > 0.5).double())


def test_one_target_of_mixtures_within_the_members_has_their_weights():
    weights, loc = random(S, N, D, C).softmax(-1), random(S, N, D, C, seed=1)
    members = Independent(MixtureSameFamily(Categorical(weights), Normal(loc, 1.0)), 1)
    one = Predictive(members).target(1)
    close(one.mean, (weights * loc).sum(-1)[..., 1].mean(0))
    alone = (weights * Normal(loc, 1.0).log_prob(torch.tensor(0.5)).exp()).sum(-1)[..., 1].mean(0).log()
    close(one.log_prob(torch.tensor(0.5)), alone)


@pytest.mark.parametrize("number", [0, 2, -1])
def test_one_of_jointly_normal_targets_is_their_marginal(number):
    loc, root, factor, noise = random(S, N, 3), random(S, N, 3, 3), random(S, N, 3, 1, seed=2), random(S, N, 3).exp()
    members = MultivariateNormal(loc, root @ root.mT + torch.eye(3))
    one, mixture = Predictive(members).target(number), marginal_mixture(Predictive(
        Normal(loc[..., number], members.covariance_matrix[..., number, number].sqrt())
    ))  # fmt: skip
    close(one.log_prob(torch.tensor(0.3)), mixture.log_prob(torch.tensor(0.3)))
    low_rank = LowRankMultivariateNormal(loc, factor, noise)
    close(Predictive(low_rank).target(number).members.variance, (factor[..., 0] ** 2 + noise)[..., number])


def test_one_target_has_the_closed_form_of_its_own():
    closed, _ = in_closed_form(N, D)
    y = random(N, seed=3)
    assert closed.target(1).mixture is not None
    close(closed.target(1).log_prob(y), closed.mixture.base_dist.log_prob(y[:, None])[:, 1])


def test_the_only_target_is_the_first():
    whole = predictive_of(Normal, S, N)
    y = random(N)
    close(whole.target(0).log_prob(y), whole.log_prob(y))
    close(predictive_of(Normal, S, N, 1).target(0).log_prob(y), predictive_of(Normal, S, N, 1).log_prob(y[:, None]))


def test_targets_that_are_not_there_are_refused():
    with pytest.raises(IndexError, match="there are 2 targets, from 0 on; got 2"):
        predictive_of(Normal, S, N, D).target(2)
    with pytest.raises(IndexError, match="there is 1 target, from 0 on; got -2"):
        classes(S, N, C).target(-2)
    for number in ("price", True, np.bool_(True), torch.tensor(True), 1.5, torch.tensor(1.5), None, [0]):
        with pytest.raises(TypeError, match="by its place, a whole number from 0 on; got "):
            predictive_of(Normal, S, N, D).target(number)
    with pytest.raises(NotImplementedError, match=r"targets with axes \(2, 2\) is not implemented"):
        Predictive(Independent(Normal(torch.zeros(S, N, 2, 2), 1.0), 2)).target(0)
    with pytest.raises(NotImplementedError, match="one target of a Dirichlet is not implemented; sample them"):
        Predictive(Dirichlet(torch.ones(S, N, 3))).target(0)


@pytest.mark.parametrize("make", [lambda: predictive_of(Normal, S, N, D), lambda: classes(S, N, C)])
def test_concatenating_the_parts_gives_the_whole(make):
    predictive = make()
    whole = Predictive.concatenate([predictive[:2], predictive[2:3], predictive[3:]])
    assert (whole.num_samples, len(whole)) == (S, N)
    for mine, theirs in zip(readings(whole), readings(predictive), strict=True):
        close(mine, theirs)


def test_moving_keeps_the_predictive():
    predictive = predictive_of(Normal, S, N, D).to("cpu")
    assert predictive.device == torch.device("cpu")
    assert torch.equal(predictive.mean, predictive_of(Normal, S, N, D).mean)


def test_repr_tells_family_and_shapes():
    assert repr(predictive_of(Normal, S, N, D)) == "Predictive(Normal, S=4, N=5, event=(2,))"


# What is refused


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((N,), r"batch shape \(S, N\).*got \(5,\)"),
        ((S, N, D), r"batch shape \(S, N\).*got \(4, 5, 2\).*to_event"),
        ((0, N), "one draw at least; got S = 0"),
    ],
)
def test_members_without_draws_by_inputs_are_refused(shape, words):
    with pytest.raises(ValueError, match=words):
        Predictive(Normal(torch.zeros(shape), 1.0))


def test_one_hot_vectors_are_refused():
    with pytest.raises(
        ValueError, match=r"one label for each input; got OneHotCategorical.* \(3,\)\. Write Categorical"
    ):
        Predictive(OneHotCategorical(logits=random(S, N, C)))


def test_members_are_a_distribution_and_devices_are_here():
    with pytest.raises(TypeError, match="members must be a torch Distribution of all draws; got Tensor"):
        Predictive(torch.zeros(S, N))
    with pytest.raises(ValueError, match=r"device must be one that is here \(cpu.*; got 'nowhere'"):
        predictive_of(Normal, S, N).to("nowhere")


@pytest.mark.parametrize("ask", ["log_prob", "cdf", "checked"])
def test_targets_are_numbers(ask):
    with pytest.raises(ValueError, match=r"targets must be numbers; got 1 NaN\. Leave"):
        getattr(predictive_of(Normal, S, N), ask)(torch.tensor([0.0, 1.0, 2.0, 3.0, math.nan]))


def test_targets_may_be_arrays_series_or_lists_but_not_masked():
    predictive, y = predictive_of(Normal, S, N), torch.arange(float(N))
    for same in (y.numpy(), pd.Series(y.numpy()), y.tolist()):
        torch.testing.assert_close(predictive.log_prob(same), predictive.log_prob(y))
    with pytest.raises(ValueError, match="targets must have no masked entries"):
        predictive.log_prob(np.ma.masked_less(y.numpy(), 1.0))


@pytest.mark.parametrize("name", ["probs", "log_probs", "member_log_probs", "mode"])
def test_real_targets_have_no_classes(name):
    with pytest.raises(NotImplementedError, match="need a finite support; this predictive is over real targets"):
        getattr(predictive_of(Normal, S, N), name)


@pytest.mark.parametrize("name", ["mean", "variance"])
def test_class_labels_have_no_moments(name):
    with pytest.raises(NotImplementedError, match=f"class labels have no {name}; use .probs or .mode"):
        getattr(classes(S, N, C), name)


@pytest.mark.parametrize("level", [0.0, 1.0, 90.0, math.nan])
def test_impossible_levels_are_refused(level):
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        predictive_of(Normal, S, N).interval(level)


@pytest.mark.parametrize("name", ["log_prob", "cdf"])
@pytest.mark.parametrize(("shape", "wrong"), [((S, N), (N, 2)), ((S, N), (1,)), ((S, N, D), (N,)), ((S, N, D), (D, N))])
def test_targets_of_another_shape_never_broadcast(name, shape, wrong):
    with pytest.raises(ValueError, match=r"one row per input, shape \(5,.*got"):
        getattr(predictive_of(Normal, *shape), name)(torch.zeros(wrong))


@pytest.mark.parametrize("y", [0.7, -1.0, float(C)])
def test_a_target_that_is_no_class_is_refused(y):
    with pytest.raises(ValueError):  # noqa: PT011 - torch's own words
        classes(S, N, C).log_prob(torch.full((N,), y))


@pytest.mark.parametrize("make", [lambda: predictive_of(Normal, S, N, D), lambda: labels(S, N, D)])
def test_several_targets_have_no_closed_entropy(make):
    with pytest.raises(NotImplementedError, match="joint entropy of several targets has no closed form"):
        make().entropy()


def test_one_column_of_targets_is_taken_for_one_target():
    predictive = predictive_of(Normal, S, N)
    assert torch.equal(predictive.log_prob(torch.zeros(N, 1)), predictive.log_prob(torch.zeros(N)))


def in_closed_form(*shape):
    """A normal mixture of normals: members at the quantiles of a normal, and what they tend to."""
    loc, spread, noise = random(*shape), random(*shape, seed=1).exp(), random(*shape, seed=2).exp()
    z = Normal(0.0, 1.0).icdf((torch.arange(200, dtype=torch.float64) + 0.5) / 200)
    z = (z / z.std(correction=0)).view(-1, *[1] * len(shape))
    event = len(shape) - 1
    members = Independent(Normal(loc + spread * z, noise.expand(200, *shape)), event)
    return Predictive(members, Independent(Normal(loc, (spread**2 + noise**2).sqrt()), event)), Predictive(members)


@pytest.mark.parametrize("shape", [(N,), (N, D)], ids=str)
def test_a_closed_form_is_used_and_agrees_with_its_members(shape):
    closed, members = in_closed_form(*shape)
    y = closed.mean + closed.stddev * random(*shape, seed=3).clamp(-1, 1)  # finitely many members have thinner tails
    close(closed.mean, members.mean)
    close(closed.variance, members.variance)
    close(closed.log_prob(y), closed.mixture.log_prob(y))
    close(closed.cdf(y), members.cdf(y), 0.01)
    close(closed.cdf(closed.icdf(0.3)), torch.full(shape, 0.3, dtype=torch.float64))
    torch.manual_seed(0)
    drawn = closed.sample((4000,))
    assert drawn.shape == (4000, *shape)
    assert ((drawn.mean(0) - closed.mean).abs() < SIGMAS * closed.stddev / 4000**0.5).all()
    if len(shape) == 1:  # these members move all targets together
        close(closed.log_prob(y), members.log_prob(y), 0.05)
        close(closed.entropy(), closed.mixture.entropy())


def test_a_closed_form_follows_its_inputs():
    closed, _ = in_closed_form(N)
    y = random(N, seed=3)
    parts = [closed[:2], closed[[2, 3, 4]]]
    close(Predictive.concatenate(parts).log_prob(y), closed.log_prob(y))
    assert Predictive.concatenate(parts).mixture is not None
    close(closed.to("cpu").log_prob(y), closed.log_prob(y))


def test_a_closed_form_must_have_the_shape_of_its_members():
    with pytest.raises(ValueError, match=r"mixture must have batch shape \(5,\) and event shape"):
        Predictive(Normal(torch.zeros(S, N), 1.0), Normal(torch.zeros(N + 1), 1.0))
