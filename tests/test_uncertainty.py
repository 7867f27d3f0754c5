"""Decompositions against scipy's entropies, numpy's variances and the divergence form of mutual information."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Categorical, Independent, Normal, Poisson

from bayesnn import uncertainty
from bayesnn.predictive import Predictive
from bayesnn.uncertainty import (
    all_scores,
    brier_decomposition,
    decompose,
    entropy_decomposition,
    expected_entropy,
    expected_pairwise_kl,
    max_probability,
    mutual_information,
    predictive_entropy,
    scores,
    variance_decomposition,
    variation_ratio,
    zero_one_decomposition,
)

S, N, C, D = 4, 5, 3, 2


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def classes(*shape, seed=0, scale=2.0):
    return Predictive(Categorical(logits=scale * random(*shape, seed=seed)))


def reals(*shape):
    members = Normal(4000 + random(*shape), random(*shape, seed=1).exp())
    return Predictive(Independent(members, len(shape) - 2))


def labels(*shape):
    return Predictive(Independent(Bernoulli(logits=2 * random(*shape)), 1))


PREDICTIVES = {
    "classes": classes(S, N, C),
    "yes or no": Predictive(Bernoulli(logits=random(S, N))),
    "labels": labels(S, N, D),
    "real": reals(S, N),
    "vectors": reals(S, N, D),
    "counts": Predictive(Poisson(random(S, N).exp())),
    "one input": classes(S, 1, C),
    "extreme logits": classes(S, N, C, scale=1e4),
}


@pytest.fixture(params=PREDICTIVES)
def predictive(request):
    return PREDICTIVES[request.param]


# Parts and whole


@pytest.mark.parametrize("scale", [2.0, 1e4])
def test_class_entropies_are_those_of_scipy(scale):
    predictive = classes(S, N, C, scale=scale)
    probs = scipy.special.softmax(predictive.members.logits.numpy(), axis=-1)
    parts = decompose(predictive)
    tolerance = {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(parts.aleatoric, scipy.stats.entropy(probs, axis=-1).mean(0), **tolerance)
    np.testing.assert_allclose(parts.total, scipy.stats.entropy(probs.mean(0), axis=-1), **tolerance)
    divergence = scipy.special.rel_entr(probs, probs.mean(0)).sum(-1).mean(0)
    np.testing.assert_allclose(parts.epistemic, divergence, **tolerance)
    assert parts.unit == "nats"


@pytest.mark.parametrize("shape", [(S, N), (S, N, D), (S, 1)])
def test_variances_are_those_of_numpy(shape):
    predictive = reals(*shape)
    members = predictive.members.base_dist
    parts = decompose(predictive)
    np.testing.assert_allclose(parts.aleatoric, members.scale.square().numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(parts.epistemic, members.loc.numpy().var(0), rtol=1e-10)
    np.testing.assert_allclose(parts.total, predictive.variance, rtol=1e-12)
    assert parts.unit == "squared units of y"


def test_noise_and_disagreement_of_two_known_members():
    parts = decompose(Predictive(Normal(torch.tensor([[0.0], [10.0]]), torch.tensor([[1.0], [3.0]]))))
    assert (parts.aleatoric.item(), parts.epistemic.item(), parts.total.item()) == (5, 25, 30)


def test_counts_are_decomposed_by_variance():
    predictive = PREDICTIVES["counts"]
    rates = predictive.members.rate.numpy()
    np.testing.assert_allclose(decompose(predictive).aleatoric, rates.mean(0), rtol=1e-12)
    np.testing.assert_allclose(decompose(predictive).epistemic, rates.var(0), rtol=1e-12)


def test_labels_are_decomposed_each_for_itself():
    predictive = labels(S, N, D)
    parts = decompose(predictive)
    assert parts.unit == "nats"
    for d in range(D):
        alone = decompose(Predictive(Bernoulli(logits=predictive.members.base_dist.logits[..., d])))
        torch.testing.assert_close(parts.aleatoric[:, d], alone.aleatoric, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(parts.epistemic[:, d], alone.epistemic, rtol=1e-12, atol=1e-12)


def test_parts_are_finite_never_negative_and_add_up(predictive):
    parts = decompose(predictive)
    shape = predictive.batch_shape + predictive.event_shape
    assert parts.aleatoric.shape == parts.epistemic.shape == parts.total.shape == shape
    assert torch.equal(parts.total, parts.aleatoric + parts.epistemic)
    assert (parts.aleatoric >= 0).all()
    assert (parts.epistemic >= 0).all()
    assert parts.total.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "make",
    [
        lambda logits: Categorical(logits=logits),
        lambda logits: Bernoulli(logits=logits[..., 0]),
        lambda logits: Independent(Bernoulli(logits=logits), 1),
        lambda logits: Normal(logits[..., 0], 1.0),
        lambda logits: Independent(Normal(logits, 1.0), 1),
    ],
    ids=["classes", "yes or no", "labels", "real", "vectors"],
)
def test_one_draw_has_no_epistemic_part_at_all(make, dtype):
    assert (decompose(Predictive(make(3 * random(1, N, C).to(dtype)))).epistemic == 0).all()


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), draws=st.integers(1, 6), scale=st.sampled_from([0.1, 3.0, 1e4]))
def test_mutual_information_lies_between_nothing_and_log_draws(seed, draws, scale):
    information = mutual_information(classes(draws, N, C, seed=seed, scale=scale))
    assert (information >= 0).all()
    assert (information <= math.log(draws) + 1e-12).all()


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), num_classes=st.integers(2, 4), scale=st.sampled_from([0.01, 3.0, 1e4]))
def test_measures_of_classes_lie_within_their_bounds(seed, num_classes, scale):
    predictive = classes(S, N, num_classes, seed=seed, scale=scale)
    for measure in (predictive_entropy, expected_entropy, mutual_information):
        assert (measure(predictive) >= 0).all()
        assert (measure(predictive) <= math.log(num_classes) + 1e-12).all()
    assert (max_probability(predictive) >= -1e-12).all()
    assert (max_probability(predictive) <= 1 - 1 / num_classes + 1e-12).all()


def test_draws_that_contradict_each_other_share_log_draws():
    sure = 1e4 * torch.eye(3, dtype=torch.float64)[:, None]
    assert mutual_information(Predictive(Categorical(logits=sure))).item() == pytest.approx(math.log(3), abs=1e-12)


def test_labels_that_contradict_each_other_share_log_draws_each():
    sure = torch.tensor([[[1e4] * D], [[-1e4] * D]], dtype=torch.float64)
    predictive = Predictive(Independent(Bernoulli(logits=sure), 1))
    assert mutual_information(predictive).item() == pytest.approx(D * math.log(2), abs=1e-12)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_equal_draws_have_no_epistemic_part(count):
    predictive = Predictive(Categorical(logits=random(1, N, C).expand(count, N, C)))
    torch.testing.assert_close(mutual_information(predictive), torch.zeros(N, dtype=torch.float64), rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), order=st.permutations(range(S)))
def test_order_of_draws_and_repeated_draws_change_nothing(seed, order):
    logits = 2 * random(S, N, C, seed=seed)
    expected = decompose(Predictive(Categorical(logits=logits)))
    for draws in (order, [*order, *order]):
        found = decompose(Predictive(Categorical(logits=logits[draws])))
        torch.testing.assert_close(found.aleatoric, expected.aleatoric, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.epistemic, expected.epistemic, rtol=1e-12, atol=1e-12)


# Named measures


def test_measures_of_classes_are_the_parts():
    predictive = classes(S, N, C)
    parts = entropy_decomposition(predictive)
    torch.testing.assert_close(predictive_entropy(predictive), parts.total, rtol=1e-12, atol=1e-12)
    assert torch.equal(expected_entropy(predictive), parts.aleatoric)
    assert torch.equal(mutual_information(predictive), parts.epistemic)
    torch.testing.assert_close(max_probability(predictive), 1 - predictive.probs.amax(-1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["classes", "yes or no", "labels", "one input"])
def test_scores_of_classes(name):
    predictive = PREDICTIVES[name]
    found = scores(predictive)
    assert list(found) == ["max_probability", "entropy", "mutual_information"]
    assert {score.shape for score in found.values()} == {predictive.batch_shape}
    assert torch.equal(found["entropy"], predictive_entropy(predictive))
    assert torch.equal(found["mutual_information"], mutual_information(predictive))


@pytest.mark.parametrize("shape", [(S, N), (S, N, D)])
def test_scores_of_real_targets_are_standard_deviations(shape):
    predictive = reals(*shape)
    parts, found = variance_decomposition(predictive), scores(predictive)
    assert list(found) == ["total", "aleatoric", "epistemic"]
    for name, score in found.items():
        expected = getattr(parts, name).reshape(N, -1).mean(1).sqrt()
        torch.testing.assert_close(score, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["classes", "yes or no", "one input", "extreme logits"])
def test_variation_ratio_counts_the_votes_against_the_mode(name):
    predictive = PREDICTIVES[name]
    votes = predictive.member_log_probs.argmax(-1).numpy()
    expected = 1 - scipy.stats.mode(votes, axis=0).count / len(votes)
    np.testing.assert_allclose(variation_ratio(predictive), expected, rtol=0, atol=1e-12)


def test_variation_ratio_of_labels_is_their_mean():
    logits = 2 * random(S, N, D)
    alone = [variation_ratio(Predictive(Bernoulli(logits=logits[..., d]))) for d in range(D)]
    found = variation_ratio(Predictive(Independent(Bernoulli(logits=logits), 1)))
    torch.testing.assert_close(found, torch.stack(alone).mean(0), rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), draws=st.integers(1, 7), num_classes=st.integers(2, 4))
def test_variation_ratio_lies_within_its_bounds(seed, draws, num_classes):
    ratio = variation_ratio(classes(draws, N, num_classes, seed=seed))
    assert (ratio >= 0).all()
    assert (ratio <= 1 - 1 / min(draws, num_classes) + 1e-12).all()


def test_variation_ratio_of_draws_that_agree_is_nothing_and_of_all_different_ones_the_bound():
    sure = 1e4 * torch.eye(3, dtype=torch.float64)[:, None]
    assert variation_ratio(Predictive(Categorical(logits=sure))).item() == pytest.approx(2 / 3, abs=1e-12)
    unsure = 1e-3 * torch.eye(3)[:1, None].expand(4, 1, 3)
    assert variation_ratio(Predictive(Categorical(logits=unsure))).item() == 0


def test_sampled_votes_estimate_the_largest_probability_instead():
    # The chance of failing on right code: two proportions of 1e5 labels beyond 5 standard errors, below 1e-6.
    num_samples = 100_000
    predictive = Predictive(Categorical(logits=random(1, N, C).expand(num_samples, N, C)))
    labels = predictive.members.sample().numpy()
    sampled = torch.from_numpy(1 - scipy.stats.mode(labels, axis=0).count / num_samples)
    assert ((sampled - max_probability(predictive)).abs() < 5 * 0.5 / math.sqrt(num_samples)).all()
    assert (variation_ratio(predictive) == 0).all()


def test_knowing_nothing_has_less_mutual_information_than_a_contradiction():
    # Of two classes: probabilities spread evenly over [0, 1] have log 2 - 1/2 (mean entropy: the integral of the binary
    # entropy is 1/2), two draws that are sure of either have log 2. docs/measures.md tells of it.
    even = (torch.arange(1000, dtype=torch.float64)[:, None] + 0.5) / 1000
    assert mutual_information(Predictive(Bernoulli(even))).item() == pytest.approx(math.log(2) - 0.5, abs=1e-5)
    sure = torch.tensor([[-1e4], [1e4]], dtype=torch.float64)
    assert mutual_information(Predictive(Bernoulli(logits=sure))).item() == pytest.approx(math.log(2), abs=1e-12)


ALL_OF_CLASSES = {
    "max_probability": max_probability,
    "entropy": predictive_entropy,
    "expected_entropy": expected_entropy,
    "mutual_information": mutual_information,
    "variation_ratio": variation_ratio,
    "expected_pairwise_kl": expected_pairwise_kl,
    "brier_total": lambda predictive: brier_decomposition(predictive).total,
    "brier_aleatoric": lambda predictive: brier_decomposition(predictive).aleatoric,
    "brier_epistemic": lambda predictive: brier_decomposition(predictive).epistemic,
    "zero_one_aleatoric": lambda predictive: zero_one_decomposition(predictive).aleatoric,
    "zero_one_epistemic": lambda predictive: zero_one_decomposition(predictive).epistemic,
}


@pytest.mark.parametrize("name", ["classes", "yes or no", "labels", "one input", "extreme logits"])
def test_all_scores_of_classes(name):
    predictive = PREDICTIVES[name]
    found = all_scores(predictive)
    assert list(found) == list(ALL_OF_CLASSES)
    for key, score in found.items():
        expected = ALL_OF_CLASSES[key](predictive)
        expected = expected if expected.ndim == 1 else expected.mean(1)
        assert score.shape == predictive.batch_shape
        assert score.isfinite().all()
        torch.testing.assert_close(score, expected, rtol=1e-12, atol=1e-12)
    for key, score in scores(predictive).items():
        assert torch.equal(found[key], score)


def test_zero_one_total_is_the_largest_probability_missed(predictive):
    if predictive.has_enumerate_support:
        total = all_scores(predictive)["zero_one_aleatoric"] + all_scores(predictive)["zero_one_epistemic"]
        torch.testing.assert_close(total, max_probability(predictive), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["real", "vectors", "counts"])
def test_all_scores_of_real_targets_are_the_standard_deviations(name):
    found, expected = all_scores(PREDICTIVES[name]), scores(PREDICTIVES[name])
    assert list(found) == ["total", "aleatoric", "epistemic"]
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_all_scores_of_a_mixture_in_closed_form_have_its_entropy():
    loc, scale = random(S, N), 1 + random(N, seed=1).square()
    found = all_scores(Predictive(Normal(loc, scale), mixture=Normal(loc.mean(0), scale)))
    assert list(found) == ["total", "aleatoric", "epistemic", "entropy"]
    np.testing.assert_allclose(found["entropy"], scipy.stats.norm(scale=scale).entropy(), rtol=1e-12)
    vectors = Normal(random(S, N, D), 1.0)
    found = all_scores(Predictive(Independent(vectors, 1), mixture=Independent(Normal(random(N, D), 1.0), 1)))
    assert list(found) == ["total", "aleatoric", "epistemic"]


def test_all_scores_need_a_predictive():
    with pytest.raises(TypeError, match="this needs a Predictive; got Tensor"):
        all_scores(torch.zeros(S, N))


def test_every_measure_is_found_here():
    assert all(hasattr(uncertainty, name) for name in uncertainty.__all__)


@pytest.mark.parametrize(
    "measure", [entropy_decomposition, expected_entropy, mutual_information, max_probability, variation_ratio]
)
def test_real_targets_have_no_class_entropies(measure):
    with pytest.raises(NotImplementedError, match="need a finite support"):
        measure(reals(S, N))


def test_repr_tells_the_means_and_the_unit():
    parts = decompose(Predictive(Normal(torch.tensor([[0.0], [10.0]]), torch.tensor([[1.0], [3.0]]))))
    assert repr(parts) == ("Uncertainty(total=30, aleatoric=5, epistemic=25; means over (1,), in squared units of y)")
