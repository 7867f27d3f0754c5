"""Scatters of the two parts, read back against entropies and variances by numpy and scipy."""

import numpy as np
import pytest
import scipy.stats
import torch
from drawn import CLASSES, LOC, PICTURES, REALS, SCALE, N
from torch.distributions import Bernoulli, Independent, Normal

from bayesnn.plots import aleatoric_epistemic
from bayesnn.predictive import Predictive


def test_groups_of_classes_are_drawn_at_their_entropies():
    ax = aleatoric_epistemic({"known": CLASSES, "other": CLASSES[:5]})
    probs = CLASSES.members.probs.numpy()
    aleatoric = scipy.stats.entropy(probs, axis=-1).mean(0)
    epistemic = scipy.stats.entropy(probs.mean(0), axis=-1) - aleatoric
    for points, number in zip(ax.collections, (N, 5), strict=True):
        np.testing.assert_allclose(points.get_offsets(), np.stack([aleatoric, epistemic], 1)[:number], atol=1e-9)
    assert [points.get_label() for points in ax.collections] == ["known", "other"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("aleatoric (nats)", "epistemic (nats)")
    assert len({tuple(points.get_facecolor()[0]) for points in ax.collections}) == 2
    assert len({len(points.get_paths()[0].vertices) for points in ax.collections}) == 2  # marks of their own


def test_numbers_are_drawn_at_their_standard_deviations():
    ax = aleatoric_epistemic(REALS)
    deviations = np.stack([np.sqrt((SCALE.numpy() ** 2).mean(0)), LOC.numpy().std(0)], 1)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), deviations)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("aleatoric (units of y)", "epistemic (units of y)")
    assert ax.get_legend() is None


SEVERAL = Predictive(Independent(Normal(torch.zeros(2, N, 2), 1.0), 1))
LABELS = Predictive(Independent(Bernoulli(logits=torch.zeros(2, N, 3)), 1))


@pytest.mark.parametrize(
    ("groups", "kind", "words"),
    [
        ({"a": CLASSES, "b": REALS}, ValueError, "of classes, or all of real numbers; got both"),
        (SEVERAL, ValueError, r"must be of one target; the predictive has 2\. Write predictive.target"),
        ({"one": REALS, "a": SEVERAL}, ValueError, r"must be of one target; 'a' has 2\. Write predictive.target"),
        ({"b": LABELS}, ValueError, r"must be of one target; 'b' has 3\. Write predictive.target"),
        ({}, ValueError, "one group at least"),
        ({"a": PICTURES}, TypeError, "needs a Predictive"),
    ],
    ids=["classes and numbers", "several targets", "in a group", "several labels", "none", "pictures"],
)
def test_what_does_not_fit_gets_one_clear_sentence(groups, kind, words):
    with pytest.raises(kind, match=words):
        aleatoric_epistemic(groups)
