"""Likelihoods against scipy and densities written by hand, in raw units, at extreme outputs, with draws in front."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesnn.likelihoods import Affine, Gaussian, bernoulli, categorical, gaussian, heteroscedastic_gaussian, poisson

S, N = 3, 5


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def affine(loc, scale):
    return Affine(torch.tensor(loc, dtype=torch.float64), torch.tensor(scale, dtype=torch.float64))


NAMED = {"noise_scale": torch.tensor(2.0, dtype=torch.float64)}
IN_THOUSANDS = {
    "one target": affine(4000.0, 250.0),
    "two targets": affine([4000.0, -3.0], [250.0, 0.1]),
    "a column": affine([4000.0], [250.0]),
}


# Outputs become distributions


def test_categorical_is_the_softmax():
    logits, y = random(S, N, 4), torch.arange(N) % 4
    expected = scipy.special.log_softmax(logits.numpy(), axis=-1)[:, np.arange(N), y]
    np.testing.assert_allclose(categorical(logits).log_prob(y), expected, rtol=1e-12)


def test_bernoulli_is_the_sigmoid():
    logits, y = random(S, N, 1), torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    expected = scipy.stats.bernoulli.logpmf(y, scipy.special.expit(logits[..., 0].numpy()))
    np.testing.assert_allclose(bernoulli(logits).log_prob(y), expected, rtol=1e-12)


def test_several_bernoulli_outputs_are_independent_labels():
    logits, y = random(S, N, 3), (random(N, 3, seed=1) > 0).double()
    members = bernoulli(logits)
    each = scipy.stats.bernoulli.logpmf(y, scipy.special.expit(logits.numpy()))
    assert members.event_shape == (3,)
    np.testing.assert_allclose(members.log_prob(y), each.sum(-1), rtol=1e-12)


@pytest.mark.parametrize(
    ("members", "y", "expected"),
    [
        (categorical(torch.tensor([[1e4, -1e4]])), 0, 0.0),
        (categorical(torch.tensor([[1e4, -1e4]])), 1, -2e4),
        (bernoulli(torch.tensor([[1e4]])), 1.0, 0.0),
        (bernoulli(torch.tensor([[1e4]])), 0.0, -1e4),
        (bernoulli(torch.tensor([[-1e4]])), 1.0, -1e4),
    ],
)
def test_extreme_logits_stay_in_log_space(members, y, expected):
    assert members.log_prob(torch.tensor([y])).item() == expected


@pytest.mark.parametrize("target", IN_THOUSANDS.values(), ids=IN_THOUSANDS)
def test_gaussian_in_raw_units_is_the_normal_written_by_hand(target):
    outputs = random(S, N, max(1, target.loc.numel()))
    noise = target.scale * random(S, *target.loc.shape, seed=1).exp()
    y = target.loc + target.scale * random(N, *target.loc.shape, seed=2)
    loc = target.loc + target.scale * outputs.reshape(S, N, *target.loc.shape)
    each = scipy.stats.norm.logpdf(y, loc, noise.unsqueeze(1))
    members = gaussian(outputs, {"noise_scale": noise}, target)
    assert (members.batch_shape, members.event_shape) == ((S, N), target.loc.shape)
    np.testing.assert_allclose(members.log_prob(y), each if target.loc.ndim == 0 else each.sum(-1), rtol=1e-12)


@pytest.mark.parametrize("target", IN_THOUSANDS.values(), ids=IN_THOUSANDS)
def test_heteroscedastic_gaussian_in_raw_units_is_the_normal_written_by_hand(target):
    mean, raw = random(S, N, *target.loc.shape), random(S, N, *target.loc.shape, seed=1)
    outputs = torch.cat([mean, raw], -1) if target.loc.ndim else torch.stack([mean, raw], -1)
    y = target.loc + target.scale * random(N, *target.loc.shape, seed=2)
    scale = target.scale * (torch.from_numpy(np.logaddexp(0, raw.numpy())) + 1e-3)
    each = scipy.stats.norm.logpdf(y, target.loc + target.scale * mean, scale)
    members = heteroscedastic_gaussian(outputs, None, target)
    assert (members.batch_shape, members.event_shape) == ((S, N), target.loc.shape)
    np.testing.assert_allclose(members.log_prob(y), each if target.loc.ndim == 0 else each.sum(-1), rtol=1e-10)


@pytest.mark.parametrize(("raw", "expected"), [(-1e4, 0.25), (1e4, 250 * 1e4)])
def test_predicted_noise_has_a_floor_and_no_ceiling(raw, expected):
    members = heteroscedastic_gaussian(torch.tensor([[0.0, raw]]).double(), None, affine(4000.0, 250.0))
    assert members.stddev.item() == pytest.approx(expected, rel=1e-6)


def test_known_noise_is_in_the_units_of_the_target():
    members = gaussian.with_noise(20.0)(random(S, N, 1), None, affine(4000.0, 250.0))
    assert members.stddev.unique().tolist() == [20.0]


@pytest.mark.parametrize(
    ("likelihood", "num_outputs", "event"),
    [
        (categorical, 4, ()),
        (bernoulli, 1, ()),
        (bernoulli, 3, (3,)),
        (gaussian.with_noise(1.0), 1, ()),
        (gaussian.with_noise(1.0), 3, (3,)),
        (heteroscedastic_gaussian, 2, ()),
        (heteroscedastic_gaussian, 6, (3,)),
    ],
)
@pytest.mark.parametrize("leading", [(), (S,), (2, S)])
def test_leading_axes_pass_through(likelihood, num_outputs, event, leading):
    outputs = random(*leading, N, num_outputs)
    members = likelihood(outputs)
    assert (members.batch_shape, members.event_shape) == ((*leading, N), event)
    assert likelihood.event_shape(num_outputs) == event
    if leading == (S,):
        y = members.mean[0] if num_outputs != 4 else torch.zeros(N)
        y = y.round() if members.support.is_discrete else y
        each = torch.stack([likelihood(part).log_prob(y) for part in outputs])
        torch.testing.assert_close(members.log_prob(y), each)


@settings(deadline=None, max_examples=20)
@given(factor=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
def test_a_change_of_unit_shifts_the_log_density(factor, shift):
    y, outputs = random(N), random(N, 1, seed=1)
    in_unit = gaussian(outputs, NAMED, gaussian.affine(y)).log_prob(y)
    other = factor * y + shift
    in_other = gaussian(outputs, {"noise_scale": factor * NAMED["noise_scale"]}, gaussian.affine(other)).log_prob(other)
    torch.testing.assert_close(in_other, in_unit - math.log(factor), rtol=1e-6, atol=1e-6)


# What standardises the targets


@pytest.mark.parametrize("likelihood", [gaussian, heteroscedastic_gaussian])
@pytest.mark.parametrize("shape", [(N,), (N, 2)])
def test_real_targets_are_standardised_by_column(likelihood, shape):
    y = 1000 + 7 * random(*shape)
    loc, scale = likelihood.affine(y)
    np.testing.assert_allclose(loc, y.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(scale, y.numpy().std(0), rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_a_constant_column_is_scaled_by_one(value):
    y = torch.stack([torch.full((N,), value), torch.arange(float(N))], -1)
    loc, scale = gaussian.affine(y)
    assert loc.tolist() == pytest.approx([value, 2.0])
    assert scale.tolist() == pytest.approx([1.0, math.sqrt(2)])


@pytest.mark.parametrize("likelihood", [categorical, bernoulli])
def test_classes_have_no_unit(likelihood):
    assert likelihood.affine(torch.arange(6.0)) == (0, 1)


# The noise scale


def test_default_noise_prior_has_the_documented_quantiles_in_raw_units():
    (prior,) = gaussian.latents(affine([4000.0, 0.0], [250.0, 0.1])).values()
    assert prior.event_shape == (2,)
    marginal = scipy.stats.lognorm(s=1.0, scale=0.3 * np.array([250.0, 0.1]))
    for level in (0.025, 0.5, 0.975):
        value = prior.base_dist.icdf(torch.tensor(level, dtype=torch.float64))
        np.testing.assert_allclose(value, marginal.ppf(level), rtol=1e-6)


def test_known_noise_has_no_latent():
    assert gaussian.with_noise(0.1).latents(affine(0.0, 1.0)) == {}


@pytest.mark.parametrize(
    "prior",
    [
        dist.HalfNormal(20.0),
        dist.Uniform(1.0, 50.0),
        dist.HalfNormal(torch.tensor([20.0, 20.0])),
        dist.HalfNormal(torch.tensor([20.0, 20.0])).to_event(1),
    ],
    ids=["one for all", "uniform", "one each", "one each, as an event"],
)
def test_a_noise_prior_is_taken_in_the_units_of_the_target(prior):
    found = gaussian.with_noise(prior).latents(affine([4000.0, -3.0], [250.0, 0.1]))["noise_scale"]
    value = torch.tensor([15.0, 30.0], dtype=torch.float64)
    expected = prior.log_prob(value).sum()
    assert (found.batch_shape, found.event_shape) == ((), (2,))
    torch.testing.assert_close(found.log_prob(value), expected, check_dtype=False)


def test_a_scalar_noise_prior_stays_scalar_for_one_target():
    (found,) = gaussian.with_noise(dist.HalfNormal(20.0)).latents(affine(4000.0, 250.0)).values()
    assert (found.batch_shape, found.event_shape) == ((), ())


@pytest.mark.parametrize("noise", [0.0, -1.0, math.inf, math.nan])
def test_impossible_noise_is_refused(noise):
    with pytest.raises(ValueError, match="noise scale must be positive and finite"):
        gaussian.with_noise(noise)


# The door for targets


@pytest.mark.parametrize(
    ("likelihood", "y", "num_outputs"),
    [
        (categorical, torch.tensor([0, 2, 1]), 3),
        (categorical, torch.tensor([0.0, 2.0, 1.0]), 3),
        (categorical, torch.tensor([True, False]), 2),
        (bernoulli, torch.tensor([True, False]), 1),
        (bernoulli, torch.tensor([[1, 0], [0, 1]]), 2),
        (gaussian, torch.tensor([0.5, -1.0]), 1),
        (gaussian, torch.tensor([[0.5], [-1.0]]), 1),
        (heteroscedastic_gaussian, torch.tensor([[0.5, 1.0], [-1.0, 2.0]]), 4),
    ],
)
def test_suitable_targets_pass_unchanged(likelihood, y, num_outputs):
    assert torch.equal(likelihood.checked(y, num_outputs), y)


def test_a_column_of_labels_becomes_a_vector():
    assert categorical.checked(torch.tensor([[0], [2]]), 3).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("likelihood", "y", "num_outputs", "words"),
    [
        (categorical, torch.tensor([0, 1]), 1, "one network output per class.*likelihoods.bernoulli"),
        (categorical, torch.eye(3), 3, "class labels must have shape.*argmax"),
        (categorical, torch.tensor([0.5, 1.0]), 3, "class labels must be integers.*fractions"),
        (categorical, torch.tensor([1, 3]), 3, r"class labels must lie in \[0, 2\].*from 1 to 3"),
        (
            categorical,
            torch.tensor([-1, 1]),
            3,
            r"class labels must lie in \[0, 2\].*from -1 to 1\. Are .*\(y \+ 1\) / 2",
        ),
        (categorical, torch.tensor([-1, 0, 1]), 3, r"from -1 to 1\.$"),
        (bernoulli, torch.tensor([-1.0, 1.0]), 1, r"Are they -1 and 1\? Pass \(y \+ 1\) / 2\.$"),
        (bernoulli, torch.tensor([0, 2]), 1, r"Bernoulli targets must lie in \[0, 1\]"),
        (bernoulli, torch.tensor([0.5, 1.0]), 1, "Bernoulli targets must be integers"),
        (bernoulli, torch.ones(4, 2), 3, r"2 targets need 2 network outputs; .*has 3, and y the shape \(4, 2\)"),
        (bernoulli, torch.ones(4), 2, r"For a logit of each of two classes write likelihoods\.categorical"),
        (gaussian, torch.ones(4), 2, r"one target needs 1 network output; .*has 2.* write .*heteroscedastic_gaussian"),
        (gaussian, torch.ones(4), 4, r"has 4.* \(N, D\)\.$"),
        (poisson, torch.ones(4), 2, r"For mean and spread write likelihoods\.negative_binomial"),
        (gaussian, torch.ones(4, 2, 1), 1, r"pass y of shape \(N,\) or \(N, D\)"),
        (heteroscedastic_gaussian, torch.ones(4), 1, "one target needs 2 network outputs; .*has 1"),
    ],
)
def test_unsuitable_targets_are_refused(likelihood, y, num_outputs, words):
    with pytest.raises(ValueError, match=words):
        likelihood.checked(y, num_outputs)


@pytest.mark.parametrize(
    ("likelihood", "dtype"), [(categorical, torch.int64), (bernoulli, torch.float64), (gaussian, torch.float64)]
)
def test_targets_are_typed_as_the_distribution_wants_them(likelihood, dtype):
    assert likelihood.typed(torch.tensor([0.0, 1.0]), torch.float64).dtype == dtype


def test_names_say_the_likelihood():
    assert [likelihood.name for likelihood in (categorical, gaussian)] == ["Categorical", "Gaussian"]


IN_FEW_OPERATIONS = {
    "latent noise": (gaussian, (N, 1), "reals"),
    "two latent noises": (gaussian, (N, 2), "reals"),
    "known noise": (gaussian.with_noise(70.0), (N, 1), "reals"),
    "predicted noise": (heteroscedastic_gaussian, (N, 2), "reals"),
    "classes": (categorical, (N, 3), "labels"),
    "yes or no": (bernoulli, (N, 1), "bits"),
    "two labels": (bernoulli, (N, 2), "bits"),
}


@pytest.mark.parametrize(("likelihood", "shape", "kind"), IN_FEW_OPERATIONS.values(), ids=IN_FEW_OPERATIONS)
def test_log_likelihood_and_its_slopes_are_the_distributions(likelihood, shape, kind):
    """Against the distribution's own density and autograd."""
    outputs, num_targets = random(*shape, seed=1).requires_grad_(), shape[1] // likelihood.outputs_per_target()
    columns = () if num_targets == 1 or likelihood is categorical else (num_targets,)
    generator = torch.Generator().manual_seed(2)
    bits = torch.randint(2, (N, *columns), generator=generator)
    y = {"reals": 1000 + 300 * random(N, *columns, seed=3), "labels": bits, "bits": bits.double()}[kind]
    target = likelihood.affine(y)
    latents = {name: prior.sample().requires_grad_() for name, prior in likelihood.latents(target).items()}
    expected = likelihood(outputs, latents, target).log_prob(y).sum()
    slopes = torch.autograd.grad(expected, [outputs, *latents.values()])
    seen, plain = likelihood.seen(y, target), {name: value.detach() for name, value in latents.items()}
    total = likelihood.log_likelihood(outputs, latents, seen, target)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(torch.autograd.grad(total, [outputs, *latents.values()]), slopes)
    found, by_outputs, by_latents = likelihood.log_likelihood_and_slopes(outputs.detach(), plain, seen, target)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close((by_outputs, *(by_latents[name] for name in latents)), slopes)


def test_another_distribution_inherits_no_short_cuts():
    class Doubtful(Gaussian):
        def _distribution(self, outputs, latents, target):
            return dist.StudentT(3.0, target.loc + target.scale * outputs[..., 0], latents["noise_scale"])

    doubtful, y = Doubtful(), 1000 + 300 * random(N, seed=3)
    target, latents = doubtful.affine(y), {"noise_scale": torch.tensor(80.0, dtype=torch.float64)}
    outputs = random(N, 1)
    expected = doubtful(outputs, latents, target).log_prob(y).sum()
    total, _, _ = doubtful.log_likelihood_and_slopes(outputs, latents, doubtful.seen(y, target), target)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(doubtful.log_likelihood(outputs, latents, doubtful.seen(y, target), target), expected)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: gaussian(),
            r"got none\. Give it to a model uncalled, or by \.with_noise\(\.\.\.\): .*likelihoods\.gaussian\)",
        ),
        (lambda: gaussian(noise=0.1), r"got noise=0\.1\."),
        (lambda: gaussian(0.1), r"got 0\.1\."),
        (lambda: gaussian(np.zeros((4, 1))), r"a tensor \(N, K\); got ndarray\."),
        (
            lambda: categorical(num_classes=3),
            r"got num_classes=3\. Give it to a model uncalled: .*likelihoods\.categorical\)",
        ),
        (lambda: heteroscedastic_gaussian(), r"likelihoods\.heteroscedastic_gaussian\)"),
    ],
)
def test_a_likelihood_that_is_called_as_if_to_make_one_says_how_to_write_it(call, said):
    with pytest.raises(TypeError, match=f"must be called with network outputs, .*{said}"):
        call()


def test_a_keyword_that_a_likelihood_does_not_know_is_named():
    with pytest.raises(TypeError, match="takes outputs, latents and target; got latent beside them"):
        gaussian(torch.zeros(3, 1), latent={})
