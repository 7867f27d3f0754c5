"""Distributions survive being taken apart: what comes back has the same density, on all rows or on some."""

import pyro.distributions as dist
import pytest
import torch

from bayesnn.members import concatenate, mapped, over_classes, stack, unpack

S, N = 3, 5


def positive(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.3


LOCS, SCALES = positive(S, N), positive(S, N, seed=1)
LOGITS = positive(S, N, 4).log()
SQUARE = positive(S, N, 2, 2).tril()
DISTRIBUTIONS = {
    "normal": dist.Normal(LOCS, SCALES),
    "normal, one scale for all": dist.Normal(LOCS, torch.tensor(0.5, dtype=torch.float64)),
    "normal of torch": torch.distributions.Normal(LOCS, SCALES),
    "laplace": dist.Laplace(LOCS, SCALES),
    "student_t": dist.StudentT(torch.tensor(4.0, dtype=torch.float64), LOCS, SCALES),
    "log_normal": dist.LogNormal(LOCS, SCALES),
    "gamma": dist.Gamma(LOCS, SCALES),
    "beta": dist.Beta(LOCS, SCALES),
    "uniform": dist.Uniform(LOCS, LOCS + SCALES),
    "delta": dist.Delta(LOCS),
    "poisson": dist.Poisson(LOCS),
    "zero-inflated poisson": dist.ZeroInflatedPoisson(LOCS, gate=torch.full_like(LOCS, 0.3)),
    "zero-inflated negative binomial": dist.ZeroInflatedNegativeBinomial(
        torch.tensor(3.0, dtype=torch.float64), logits=LOCS, gate=torch.full_like(LOCS, 0.3)
    ),
    "zero-inflated geometric": dist.ZeroInflatedDistribution(dist.Geometric(LOCS / 2), gate=torch.full_like(LOCS, 0.3)),
    "negative binomial": dist.NegativeBinomial(torch.tensor(3.0, dtype=torch.float64), logits=LOCS),
    "binomial": dist.Binomial(7, probs=LOCS / 2),
    "bernoulli": dist.Bernoulli(logits=LOCS),
    "bernoulli by probs": dist.Bernoulli(probs=LOCS / 2),
    "categorical": dist.Categorical(logits=LOGITS),
    "categorical by probs": dist.Categorical(probs=LOGITS.exp()),
    "one-hot": dist.OneHotCategorical(logits=LOGITS),
    "multinomial": dist.Multinomial(6, logits=LOGITS),
    "dirichlet": dist.Dirichlet(LOGITS.exp()),
    "multivariate normal": dist.MultivariateNormal(SQUARE[..., 0], scale_tril=SQUARE),
    "low-rank normal": dist.LowRankMultivariateNormal(SQUARE[..., 0], SQUARE, positive(S, N, 2)),
    "independent": dist.Normal(positive(S, N, 2), positive(S, N, 1)).to_event(1),
    "independent of torch": torch.distributions.Independent(dist.Normal(positive(S, N, 2), 1.0), 1),
    "mixture": dist.MixtureSameFamily(dist.Categorical(logits=LOGITS), dist.Normal(LOGITS, 0.5)),
    "mixture of vectors": dist.MixtureSameFamily(
        dist.Categorical(logits=LOGITS), dist.Normal(positive(S, N, 4, 2), 0.5).to_event(1)
    ),
}


@pytest.fixture(params=DISTRIBUTIONS)
def distribution(request):
    return DISTRIBUTIONS[request.param]


def test_packing_gives_the_same_density_and_mean(distribution):
    y = distribution.sample()
    again = mapped(torch.clone, distribution)
    assert (again.batch_shape, again.event_shape) == (distribution.batch_shape, distribution.event_shape)
    torch.testing.assert_close(again.mean, distribution.mean, rtol=1e-12, atol=1e-12, equal_nan=True)
    torch.testing.assert_close(again.log_prob(y), distribution.log_prob(y), rtol=1e-12, atol=1e-12)


def test_every_tensor_has_the_batch_shape_in_front(distribution):
    tensors, _ = unpack(distribution)
    assert {tensor.shape[:2] for tensor in tensors} == {torch.Size([S, N])}


def test_some_rows_have_their_own_density(distribution):
    y, rows = distribution.sample(), [3, 0]
    some = mapped(lambda tensor: tensor[:, rows], distribution)
    torch.testing.assert_close(some.log_prob(y[:, rows]), distribution.log_prob(y)[:, rows], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1])
def test_splitting_and_concatenating_gives_the_whole(distribution, axis):
    y = distribution.sample()
    split = [slice(0, 1), slice(1, None)]
    pieces = [mapped(lambda t, i=i: t[i] if axis == 0 else t[:, i], distribution) for i in split]
    whole = concatenate(pieces, axis)
    torch.testing.assert_close(whole.log_prob(y), distribution.log_prob(y), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [1, 3])
def test_stacking_adds_a_leading_axis(count):
    several = [dist.Normal(LOCS + i, SCALES).to_event(1) for i in range(count)]
    y = torch.stack([d.sample() for d in several])
    stacked = stack(several)
    assert stacked.batch_shape == (count, S)
    torch.testing.assert_close(
        stacked.log_prob(y), torch.stack([d.log_prob(v) for d, v in zip(several, y, strict=True)])
    )


def test_one_distribution_is_its_own_concatenation():
    one = DISTRIBUTIONS["normal"]
    assert concatenate([one], 0) is one


def test_a_distribution_without_named_parameters_is_refused():
    transformed = dist.TransformedDistribution(dist.Normal(LOCS, SCALES), dist.transforms.ExpTransform())
    with pytest.raises(NotImplementedError, match="named parameters; TransformedDistribution has none"):
        unpack(transformed)


def test_binomials_are_over_classes_where_their_totals_are_alike():
    assert over_classes(dist.Binomial(7, probs=LOCS / 2))
    assert not over_classes(dist.Binomial(torch.arange(1.0, N + 1), probs=LOCS.float() / 2))
    assert over_classes(dist.Bernoulli(LOCS / 2).to_event(1))
    assert not over_classes(dist.Normal(LOCS, 1.0))


NORMAL = dist.Normal(LOCS, SCALES)


@pytest.mark.parametrize(
    ("distributions", "words"),
    [
        ([], "one distribution at least to be joined; got none"),
        ([NORMAL, dist.Laplace(LOCS, SCALES)], "of one kind can be joined; got Laplace, Normal"),
        ([NORMAL, dist.Normal(LOCS[:2], SCALES[:2])], r"as many draws, .*; got \(3, 5\) and \(2, 5\)\. Join what"),
        (
            [dist.Categorical(logits=LOGITS), dist.Categorical(logits=LOGITS[..., :3])],
            r"target dimensions and classes; got \(3, 5, 4\) and \(3, 5, 3\)",
        ),
    ],
    ids=["none", "kinds", "draws", "classes"],
)
def test_what_cannot_be_joined_gets_one_clear_sentence(distributions, words):
    with pytest.raises(ValueError, match=words):
        concatenate(distributions, axis=1)
