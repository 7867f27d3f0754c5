"""Brier and zero-one decompositions against expected scores, summed over every label that can come."""

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from bayesnn.decompositions import (
    brier_decomposition,
    entropy_decomposition,
    variance_decomposition,
    zero_one_decomposition,
)
from bayesnn.predictive import Predictive

S, N, C, D = 4, 5, 3, 2
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}
DECOMPOSITIONS = {"brier": brier_decomposition, "zero-one": zero_one_decomposition}


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def classes(*shape, seed=0, scale=2.0):
    return Predictive(Categorical(logits=scale * random(*shape, seed=seed)))


def certain(votes, num_classes):
    """Draws that are sure of a class each, of one input."""
    one_hot = torch.nn.functional.one_hot(torch.tensor(votes), num_classes)
    return Predictive(Categorical(logits=1e4 * one_hot[:, None].double()))


def score_of(name, belief, label):
    if name == "brier":
        return ((belief - np.eye(len(belief))[label]) ** 2).sum()
    if name == "zero-one":
        return float(belief.argmax() != label)
    return -np.log(belief[label])


def expected_score(name, belief, truth):
    return sum(chance * score_of(name, belief, label) for label, chance in enumerate(truth) if chance > 0)


@pytest.fixture(params=DECOMPOSITIONS)
def decomposition(request):
    return DECOMPOSITIONS[request.param]


@pytest.mark.parametrize("scale", [2.0, 1e4])
@pytest.mark.parametrize("name", [*DECOMPOSITIONS, "log"])
def test_parts_are_expected_scores_of_the_draws_and_of_their_mean(name, scale):
    predictive = classes(S, N, C, scale=scale)
    parts = (DECOMPOSITIONS | {"log": entropy_decomposition})[name](predictive)
    probs = scipy.special.softmax(predictive.members.logits.numpy(), axis=-1)
    for n in range(N):
        draws, mean = probs[:, n], probs[:, n].mean(0)
        own = np.mean([expected_score(name, p, p) for p in draws])
        common = np.mean([expected_score(name, mean, p) for p in draws])
        np.testing.assert_allclose(parts.aleatoric[n], own, **TOLERANCE)
        np.testing.assert_allclose(parts.epistemic[n], common - own, **TOLERANCE)
        np.testing.assert_allclose(parts.total[n], expected_score(name, mean, mean), **TOLERANCE)


@pytest.mark.parametrize("name", DECOMPOSITIONS)
def test_labels_are_decomposed_each_for_itself(name):
    logits = 2 * random(S, N, D)
    parts = DECOMPOSITIONS[name](Predictive(Independent(Bernoulli(logits=logits), 1)))
    for d in range(D):
        alone = DECOMPOSITIONS[name](Predictive(Bernoulli(logits=logits[..., d])))
        torch.testing.assert_close(parts.aleatoric[:, d], alone.aleatoric, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(parts.epistemic[:, d], alone.epistemic, rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    draws=st.integers(1, 6),
    num_classes=st.integers(2, 4),
    scale=st.sampled_from([0.1, 3.0, 1e4]),
)
def test_parts_lie_within_their_bounds(seed, draws, num_classes, scale):
    predictive = classes(draws, N, num_classes, seed=seed, scale=scale)
    for decomposition in DECOMPOSITIONS.values():
        parts = decomposition(predictive)
        assert (parts.aleatoric >= 0).all()
        assert (parts.epistemic >= 0).all()
        assert (parts.total <= 1 - 1 / num_classes + 1e-12).all()
        assert (parts.epistemic <= 1 - 1 / min(draws, num_classes) + 1e-12).all()


@pytest.mark.parametrize(("votes", "bound"), [([0, 1], 1 / 2), ([0, 1, 2], 2 / 3), ([0, 1, 2, 0, 1, 2], 2 / 3)])
def test_draws_that_contradict_each_other_reach_the_bound(decomposition, votes, bound):
    parts = decomposition(certain(votes, 3))
    assert (parts.aleatoric.item(), parts.epistemic.item()) == pytest.approx((0, bound), abs=1e-12)


def test_draws_that_all_say_anything_goes_have_the_largest_aleatoric_part(decomposition):
    parts = decomposition(Predictive(Categorical(logits=torch.zeros(S, 1, C, dtype=torch.float64))))
    assert (parts.aleatoric.item(), parts.epistemic.item()) == pytest.approx((1 - 1 / C, 0), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_draw_has_no_epistemic_part_at_all(decomposition, dtype):
    assert (decomposition(Predictive(Categorical(logits=3 * random(1, N, C).to(dtype)))).epistemic == 0).all()


def test_draws_that_agree_on_the_class_have_no_zero_one_epistemic_part_at_all():
    logits = random(S, N, C).abs()
    logits[..., 1] += 10
    assert (zero_one_decomposition(Predictive(Categorical(logits=logits))).epistemic == 0).all()
    assert (brier_decomposition(Predictive(Categorical(logits=logits))).epistemic > 0).all()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), order=st.permutations(range(S)))
def test_order_of_draws_and_repeated_draws_change_nothing(seed, order):
    logits = 2 * random(S, N, C, seed=seed)
    for decomposition in DECOMPOSITIONS.values():
        expected = decomposition(Predictive(Categorical(logits=logits)))
        for draws in (order, [*order, *order]):
            found = decomposition(Predictive(Categorical(logits=logits[draws])))
            torch.testing.assert_close(found.aleatoric, expected.aleatoric, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(found.epistemic, expected.epistemic, rtol=1e-12, atol=1e-12)


def test_single_precision_still_tells_sure_inputs_apart():
    logits = torch.zeros(2, 3, 2)
    logits[..., 0] = torch.tensor([15.0, 20.0, 30.0])
    aleatoric = brier_decomposition(Predictive(Categorical(logits=logits))).aleatoric
    assert (aleatoric > 0).all()
    assert (aleatoric.diff() < 0).all()


def test_units_say_what_is_measured():
    predictive = classes(S, N, C)
    assert brier_decomposition(predictive).unit == "expected Brier score"
    assert zero_one_decomposition(predictive).unit == "probability of error"


def test_real_targets_have_no_class_probabilities(decomposition):
    with pytest.raises(NotImplementedError, match="need a finite support"):
        decomposition(Predictive(Normal(random(S, N), 1.0)))


def test_labels_that_are_no_numbers_have_no_variance():
    with pytest.raises(NotImplementedError, match="class labels have no variance; write entropy_decomposition"):
        variance_decomposition(classes(S, N, C))
    yes = Predictive(Bernoulli(logits=random(S, N)))  # 0 and 1 are numbers
    torch.testing.assert_close(variance_decomposition(yes).total, yes.variance)
