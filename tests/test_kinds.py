"""The unknown from the ambiguous: areas by scikit-learn, of parts by scipy."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from made_up import CLASSES, ELSEWHERE, LOGITS, OTHER_LOGITS, REALS
from sklearn import metrics
from torch.distributions import Bernoulli, Categorical, Independent

from bayesnn.kinds import unknown_from_ambiguous
from bayesnn.predictive import Predictive


def parts(logits):
    members = scipy.special.softmax(logits.numpy(), -1)
    aleatoric = scipy.stats.entropy(members, axis=-1).mean(0)
    return scipy.stats.entropy(members.mean(0), axis=-1) - aleatoric, aleatoric


def test_the_areas_are_those_of_sklearn():
    (here, here_noise), (there, there_noise) = parts(OTHER_LOGITS), parts(LOGITS)
    epistemic, aleatoric = np.r_[here, there], np.r_[here_noise, there_noise]
    unknown = np.arange(len(epistemic)) < len(here)
    by_score = {
        "epistemic": epistemic,
        "epistemic_less_aleatoric": epistemic - aleatoric,
        "epistemic_share": epistemic / (epistemic + aleatoric),
    }
    found = unknown_from_ambiguous(ELSEWHERE, CLASSES)
    assert found.auroc == pytest.approx({name: metrics.roc_auc_score(unknown, s) for name, s in by_score.items()})
    assert (found.num_positive, found.num_negative) == (len(ELSEWHERE), len(CLASSES))
    assert "unknown, not ambiguous" in repr(found)


def test_of_several_labels_the_parts_add_up():
    probs = torch.rand(3, 7, 2, dtype=torch.float64)
    labels = Predictive(Independent(Bernoulli(probs), 1))
    other = Predictive(Independent(Bernoulli(probs.flip(1) ** 2), 1))
    entropy = lambda p: -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))  # noqa: E731
    scores = []
    for p in (probs, probs.flip(1) ** 2):
        aleatoric = entropy(p).mean(0).sum(1)
        scores.append(entropy(p.mean(0)).sum(1) - 2 * aleatoric)
    expected = metrics.roc_auc_score(np.arange(14) < 7, torch.cat(scores).numpy())
    assert unknown_from_ambiguous(labels, other).auroc["epistemic_less_aleatoric"] == pytest.approx(expected)


def test_a_certain_prediction_has_no_share_but_a_number():
    sure = Predictive(Categorical(probs=torch.tensor([[[1.0, 0.0]]]).expand(2, 3, 2)))
    assert unknown_from_ambiguous(sure, sure, num_bootstrap=0).auroc["epistemic_share"] == 0.5


@pytest.mark.parametrize(
    ("ask", "kind", "words"),
    [
        (lambda: unknown_from_ambiguous(REALS, REALS), NotImplementedError, "asked of classes; these targets are real"),
        (
            lambda: unknown_from_ambiguous(CLASSES, Predictive(Categorical(logits=LOGITS[..., :3]))),
            ValueError,
            "unknown and ambiguous must be of one posterior; got .* of 4 classes and .* of 3 classes",
        ),
        (lambda: unknown_from_ambiguous(CLASSES, LOGITS), TypeError, "needs a Predictive"),
        (lambda: unknown_from_ambiguous(CLASSES, CLASSES, num_bootstrap=-1), ValueError, "num_bootstrap must be 20"),
    ],
)
def test_what_does_not_fit_gets_one_clear_sentence(ask, kind, words):
    with pytest.raises(kind, match=words):
        ask()


def test_draws_that_are_all_the_same_tell_nothing_apart():
    logits = torch.randn(2, 60, 4, generator=torch.Generator().manual_seed(0))
    unknown, ambiguous = (Predictive(Categorical(logits=one.expand(20, 60, 4).clone())) for one in logits)
    found = unknown_from_ambiguous(unknown, ambiguous, num_bootstrap=0).auroc
    assert (found["epistemic"], found["epistemic_share"]) == (0.5, 0.5)
    assert found["epistemic_less_aleatoric"] != 0.5


def test_several_fits_give_means_and_deviations():
    torch.manual_seed(0)
    fits = [[Predictive(Categorical(logits=torch.randn(6, 40, 3))) for _ in range(2)] for _ in range(3)]
    unknown, ambiguous = zip(*fits, strict=True)
    found = unknown_from_ambiguous(list(unknown), list(ambiguous))
    each = [unknown_from_ambiguous(*pair).auroc["epistemic_share"] for pair in fits]
    assert found.auroc["epistemic_share"] == pytest.approx(sum(each) / 3)
    assert found.scores["epistemic_share"]["auroc_sd"] == pytest.approx(float(torch.tensor(each).std()), rel=1e-5)
