"""Divergences against torch's over all pairs of draws, information gain against entropies of the joint distribution."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Categorical, Independent, Normal, kl_divergence
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bayesnn import information
from bayesnn.information import expected_pairwise_kl, expected_predictive_information_gain
from bayesnn.predictive import Predictive
from bayesnn.uncertainty import mutual_information

S, N, M, C, D = 4, 5, 6, 3, 2
TOLERANCE = {"rtol": 1e-9, "atol": 1e-12}


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def classes(*shape, seed=0, scale=2.0):
    return Predictive(Categorical(logits=scale * random(*shape, seed=seed)))


def bits(*columns):
    """Inputs whose label is sure in every draw: one column of zeros and ones an input."""
    votes = torch.tensor(columns).T
    return Predictive(Categorical(logits=1e4 * torch.nn.functional.one_hot(votes, 2).double()))


class Largest(TorchDispatchMode):
    """Size of the largest tensor that was made."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.size = max([self.size, *(leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor))])
        return made


# Divergence between draws


MEMBERS = {
    "classes": lambda logits: Categorical(logits=logits),
    "nearly equal": lambda logits: Categorical(logits=1e-3 * logits),
    "far apart": lambda logits: Categorical(logits=50 * logits),
    "yes or no": lambda logits: Bernoulli(logits=logits[..., 0]),
    "labels": lambda logits: Independent(Bernoulli(logits=logits), 1),
}


@pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)
def test_divergence_is_the_mean_over_all_pairs_of_draws(make):
    logits = 2 * random(S, N, C)
    pairs = torch.stack([torch.stack([kl_divergence(make(a), make(b)) for b in logits]) for a in logits])
    found = expected_pairwise_kl(Predictive(make(logits)))
    assert found.shape == (N,)
    torch.testing.assert_close(found, pairs.mean((0, 1)), rtol=1e-7, atol=1e-14)
    different = pairs.sum((0, 1)) / (S * (S - 1))
    torch.testing.assert_close(found * S / (S - 1), different, rtol=1e-7, atol=1e-14)


def test_divergence_stays_finite_where_probabilities_underflow():
    # KL between logits a and -a is a tanh(a / 2): here a, for half of the four pairs. Torch's own says infinity.
    sure = torch.tensor([[1e4], [-1e4]], dtype=torch.float64)
    assert expected_pairwise_kl(Predictive(Bernoulli(logits=sure))).item() == pytest.approx(1e4 / 2, rel=1e-12)


def test_divergence_is_mutual_and_reverse_mutual_information():
    predictive = classes(S, N, C)
    probs = scipy.special.softmax(predictive.members.logits.numpy(), axis=-1)
    mean = np.broadcast_to(probs.mean(0), probs.shape)
    mutual, reverse = scipy.stats.entropy(probs, mean, axis=-1), scipy.stats.entropy(mean, probs, axis=-1)
    np.testing.assert_allclose(expected_pairwise_kl(predictive), (mutual + reverse).mean(0), **TOLERANCE)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), draws=st.integers(1, 6), scale=st.sampled_from([0.1, 3.0, 1e4]))
def test_divergence_is_at_least_the_mutual_information(seed, draws, scale):
    predictive = classes(draws, N, C, seed=seed, scale=scale)
    found = expected_pairwise_kl(predictive)
    assert found.isfinite().all()
    assert (found >= mutual_information(predictive) - 1e-12).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_draw_does_not_diverge_from_itself(dtype):
    assert (expected_pairwise_kl(Predictive(Categorical(logits=3 * random(1, N, C).to(dtype)))) == 0).all()


def test_order_of_draws_and_repeated_draws_change_no_divergence():
    logits = 2 * random(S, N, C)
    expected = expected_pairwise_kl(Predictive(Categorical(logits=logits)))
    for draws in ([2, 0, 3, 1], [0, 1, 2, 3, 3, 2, 1, 0]):
        found = expected_pairwise_kl(Predictive(Categorical(logits=logits[draws])))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_class_all_draws_rule_out_counts_for_nothing_and_a_disputed_one_makes_it_infinite():
    logits = 2 * random(S, 3, C)
    logits[:, 0, 1] = -torch.inf
    logits[:2, 1, 1] = -torch.inf
    found = expected_pairwise_kl(Predictive(Categorical(logits=logits)))
    without = expected_pairwise_kl(Predictive(Categorical(logits=logits[:, :, [0, 2]])))
    torch.testing.assert_close(found[0], without[0], rtol=1e-12, atol=1e-12)
    assert found.isinf().tolist() == [False, True, False]


def test_divergence_builds_no_pairs_of_draws():
    with Largest() as largest:
        expected_pairwise_kl(classes(40, 3, 2))
    assert largest.size <= 40 * 3 * 2


# Information gain


def joint_information(candidates, targets):
    """Entropies of both labels less that of their joint distribution, for each candidate, averaged over targets."""
    found = np.zeros(candidates.shape[1])
    for n in range(candidates.shape[1]):
        for m in range(targets.shape[1]):
            joint = sum(np.outer(p, q) for p, q in zip(candidates[:, n], targets[:, m], strict=True)) / len(targets)
            either = scipy.stats.entropy(joint.sum(0)) + scipy.stats.entropy(joint.sum(1))
            found[n] += (either - scipy.stats.entropy(joint.flatten())) / targets.shape[1]
    return found


@pytest.mark.parametrize("scale", [0.5, 2.0, 1e4])
def test_gain_is_the_information_of_the_joint_distribution(scale):
    candidates, targets = classes(S, N, C, scale=scale), classes(S, M, C + 1, seed=1, scale=scale)
    probs = [scipy.special.softmax(p.members.logits.numpy(), axis=-1) for p in (candidates, targets)]
    found = expected_predictive_information_gain(candidates, targets)
    np.testing.assert_allclose(found, joint_information(*probs), **TOLERANCE)


def test_gain_of_yes_or_no():
    candidates, targets = (Predictive(Bernoulli(logits=3 * random(S, n, seed=n))) for n in (N, M))
    probs = [scipy.special.expit(np.stack([-p.members.logits, p.members.logits], -1)) for p in (candidates, targets)]
    found = expected_predictive_information_gain(candidates, targets)
    np.testing.assert_allclose(found, joint_information(*probs), **TOLERANCE)


@pytest.mark.parametrize("numbers", [1, 2 * C * C, 7 * C * C, 14 * C * C])
def test_gain_in_chunks_is_the_gain_in_one_go(numbers, monkeypatch):
    candidates, targets = classes(S, N, C), classes(S, M, C, seed=1)
    whole = expected_predictive_information_gain(candidates, targets)
    monkeypatch.setattr(information, "_NUMBERS_AT_ONCE", numbers)
    torch.testing.assert_close(expected_predictive_information_gain(candidates, targets), whole, rtol=1e-12, atol=1e-15)


def test_gain_holds_no_more_at_once_than_it_may(monkeypatch):
    monkeypatch.setattr(information, "_NUMBERS_AT_ONCE", 500)
    candidates, targets = classes(2, 40, C), classes(2, 50, C, seed=1)
    with Largest() as largest:
        expected_predictive_information_gain(candidates, targets)
    assert largest.size <= 500


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), draws=st.integers(1, 6), scale=st.sampled_from([0.1, 3.0, 1e4]))
def test_gain_lies_between_nothing_and_what_either_label_tells_of_the_weights(seed, draws, scale):
    candidates, targets = (classes(draws, n, C, seed=seed + n, scale=scale) for n in (N, M))
    gain = expected_predictive_information_gain(candidates, targets)
    assert (gain >= 0).all()
    assert (gain <= mutual_information(candidates) + 1e-12).all()
    assert (gain <= mutual_information(targets).mean() + 1e-12).all()
    assert (gain <= math.log(min(draws, C)) + 1e-12).all()


def test_a_label_that_no_target_depends_on_tells_nothing():
    # Four draws of two coins: one candidate shows the first coin, one the second, and the targets the second only.
    first, second = [0, 0, 1, 1], [0, 1, 0, 1]
    candidates, targets = bits(first, second), bits(second, second)
    both = torch.full((2,), math.log(2), dtype=torch.float64)
    torch.testing.assert_close(mutual_information(candidates), both, rtol=0, atol=1e-12)
    gain = expected_predictive_information_gain(candidates, targets)
    torch.testing.assert_close(gain, both * torch.tensor([0, 1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_gain_at_all_from_one_draw_or_about_targets_the_draws_agree_on(dtype):
    logits = 3 * random(S, N, C).to(dtype)
    one = Predictive(Categorical(logits=logits[:1]))
    assert (expected_predictive_information_gain(one, one) == 0).all()
    agreed = Predictive(Categorical(logits=torch.zeros(S, M, C, dtype=dtype)))
    assert (expected_predictive_information_gain(Predictive(Categorical(logits=logits)), agreed) == 0).all()


def test_small_gains_survive_single_precision():
    logits = random(1, N, C) + 0.01 * random(S, N, C, seed=1)
    exact, single = (Predictive(Categorical(logits=logits.to(dtype))) for dtype in (torch.float64, torch.float32))
    gain = expected_predictive_information_gain(exact, exact)
    assert (gain < 1e-7).all()
    torch.testing.assert_close(expected_predictive_information_gain(single, single).double(), gain, rtol=0.01, atol=0)


def test_gain_of_no_candidates_is_empty():
    assert expected_predictive_information_gain(classes(S, N, C)[:0], classes(S, M, C)).shape == (0,)


def test_gain_needs_the_same_draws():
    with pytest.raises(ValueError, match=r"same draws of one posterior; got S = 4 and S = 3\. Pass posterior"):
        expected_predictive_information_gain(classes(S, N, C), classes(S - 1, M, C))


def test_gain_needs_a_target():
    with pytest.raises(ValueError, match="target must hold one input at least"):
        expected_predictive_information_gain(classes(S, N, C), classes(S, M, C)[:0])


def test_gain_needs_predictives():
    with pytest.raises(TypeError, match="this needs a Predictive; got Tensor"):
        expected_predictive_information_gain(classes(S, N, C), torch.zeros(S, M, C))


def test_gain_needs_one_label_an_input():
    labels = Predictive(Independent(Bernoulli(logits=random(S, N, D)), 1))
    with pytest.raises(NotImplementedError, match="one class label per input"):
        expected_predictive_information_gain(labels, labels)


def test_real_targets_have_no_class_probabilities():
    real = Predictive(Normal(random(S, N), 1.0))
    with pytest.raises(NotImplementedError, match="need a finite support"):
        expected_pairwise_kl(real)
    with pytest.raises(NotImplementedError, match="need a finite support"):
        expected_predictive_information_gain(real, real)
