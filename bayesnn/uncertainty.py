"""How uncertain a predictive is, and of which kind: noise in the data (aleatoric) or ignorance (epistemic).

Every measure grows with uncertainty. Entropies are in nats, variances in squared units of ``y``. What is imported from
`bayesnn.decompositions` and `bayesnn.information` is meant to be found here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bayesnn.decompositions import (
    Uncertainty,
    brier_decomposition,
    entropy_decomposition,
    variance_decomposition,
    zero_one_decomposition,
)
from bayesnn.information import expected_pairwise_kl, expected_predictive_information_gain
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.streamed import blockwise

__all__ = [
    "Uncertainty",
    "all_scores",
    "brier_decomposition",
    "decompose",
    "entropy_decomposition",
    "expected_entropy",
    "expected_pairwise_kl",
    "expected_predictive_information_gain",
    "max_probability",
    "mutual_information",
    "predictive_entropy",
    "scores",
    "spreads",
    "variance_decomposition",
    "variation_ratio",
    "zero_one_decomposition",
]


def decompose(predictive: Predictive) -> Uncertainty:
    """Split a predictive's uncertainty: by entropies for a finite support, by variances otherwise.

    Args:
        predictive: Members with batch shape ``(S, N)``.

    Returns:
        `entropy_decomposition` or `variance_decomposition`.

    Example:
        >>> import torch
        >>> two = torch.distributions.Categorical(probs=torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
        >>> decompose(Predictive(two)).epistemic  # two draws that contradict each other: log 2
        tensor([0.6931])
    """
    expect_predictive(predictive)
    return entropy_decomposition(predictive) if predictive.has_enumerate_support else variance_decomposition(predictive)


def predictive_entropy(predictive: Predictive) -> Tensor:
    """Entropy of the mean class probabilities, the total uncertainty, in nats ``(N,)``; of labels, summed over them."""
    return _over_labels(entropy_decomposition(predictive).total)


def expected_entropy(predictive: Predictive) -> Tensor:
    """Mean entropy of the members' class probabilities, the aleatoric part, in nats ``(N,)``; summed over labels."""
    return _over_labels(entropy_decomposition(predictive).aleatoric)


def mutual_information(predictive: Predictive) -> Tensor:
    """Mutual information of label and weights (BALD), the epistemic part, in nats ``(N,)``.

    It lies within ``[0, log S]``. Of D labels it is the sum over them, each for itself, within ``[0, D log S]``.
    """
    return _over_labels(entropy_decomposition(predictive).epistemic)


def max_probability(predictive: Predictive) -> Tensor:
    """One less the largest class probability ``(N,)``: the chance that the most probable class is wrong.

    Of D labels it is the mean over them.
    """
    return _mean_over_labels(-predictive.log_probs.amax(-1).expm1())


@blockwise
def variation_ratio(predictive: Predictive) -> Tensor:
    r"""Fraction of the draws that do not vote for the class most voted for.

    .. math:: 1 - \frac1S \max_c \sum_s [\arg\max_{c'} p_{sc'} = c]

    Each draw votes for its most probable class, and of several for one of them. Draws that agree on the class have
    ratio 0, however unsure each of them is. Other authors let each draw vote by a label sampled from it; that
    estimates `max_probability`, which needs no sampling.

    Args:
        predictive: Members of finite support.

    Returns:
        ``(N,)``, within ``[0, 1 - 1/min(S, C)]``; of D labels the mean over them.

    References:
        Freeman (1965), Elementary Applied Statistics; Gal (2016), Uncertainty in Deep Learning, section 3.3.1 (with
        sampled labels).

    Example:
        >>> import torch
        >>> probs = torch.tensor([[[0.9, 0.1]], [[0.6, 0.4]], [[0.2, 0.8]]])
        >>> variation_ratio(Predictive(torch.distributions.Categorical(probs=probs)))  # two against one
        tensor([0.3333])
    """
    log_probs = predictive.member_log_probs
    votes = log_probs.argmax(-1).movedim(0, -1)
    counts = log_probs.new_zeros(log_probs.shape[1:]).scatter_add(-1, votes, log_probs.new_ones(votes.shape))
    return _mean_over_labels((len(log_probs) - counts.amax(-1)) / len(log_probs))


def scores(predictive: Predictive, *, scale: Tensor | None = None) -> dict[str, Tensor]:
    """The uncertainty of each input in every way the reports compare detectors by, by name; each ``(N,)``.

    Classes: ``max_probability``, ``entropy``, ``mutual_information``. Real targets: ``total``, ``aleatoric`` and
    ``epistemic`` standard deviation, in the units of ``y``; over several targets the root of the mean variance, which
    the target of the largest unit decides, unless ``scale`` says in which units each of them is told, as `spreads`.
    `all_scores` has more.
    """
    if predictive.has_enumerate_support:
        return {
            "max_probability": max_probability(predictive),
            "entropy": predictive_entropy(predictive),
            "mutual_information": mutual_information(predictive),
        }
    parts = variance_decomposition(predictive)
    variances = {"total": parts.total, "aleatoric": parts.aleatoric, "epistemic": parts.epistemic}
    if scale is not None:
        variances = {name: v / scale.to(v).square() for name, v in variances.items()}
    return {name: (v if v.ndim == 1 else v.mean(1)).sqrt() for name, v in variances.items()}


def spreads(predictive: Predictive) -> Tensor | None:
    r"""Standard deviation of each of several real targets, whatever the input ``(D,)``, in the units of ``y``.

    .. math:: \sqrt{\frac1N \sum_n \operatorname{Var}[y_n] + \operatorname{Var}_n \big[\mathbb{E}[y_n]\big]}

    by the law of total variance: the scale in which uncertainties of targets in different units can be put together.

    Returns:
        Of finite moments; 1 where there is no spread, or none is finite. ``None`` for one target, and for classes.

    Example:
        >>> import torch
        >>> two = torch.distributions.Normal(torch.tensor([[[0.0, 0.0], [0.0, 600.0]]]), torch.tensor([1.0, 400.0]))
        >>> spreads(Predictive(torch.distributions.Independent(two, 1)))
        tensor([  1., 500.])
    """
    if predictive.has_enumerate_support or not predictive.event_shape:
        return None
    noise, place = (t.where(t.isfinite(), math.nan) for t in (predictive.variance, predictive.mean))
    found = (noise.nanmean(0) + (place - place.nanmean(0)).square().nanmean(0)).sqrt()
    return torch.where(found > 0, found, 1.0)  # which NaN is not


@blockwise
def all_scores(predictive: Predictive, *, scale: Tensor | None = None) -> dict[str, Tensor]:
    """The uncertainty of each input in every way this package knows from one predictive, by name; each ``(N,)``.

    Args:
        predictive: Members with batch shape ``(S, N)``.
        scale: Units of several real targets, see `scores`.

    Returns:
        Classes: ``max_probability``, ``entropy``, ``expected_entropy``, ``mutual_information``, ``variation_ratio``,
        ``expected_pairwise_kl``, ``brier_total``, ``brier_aleatoric``, ``brier_epistemic``, ``zero_one_aleatoric`` and
        ``zero_one_epistemic`` (the zero-one total is ``max_probability``). Those in nats are summed over D labels, the
        others averaged. Real targets: the three of `scores`, and ``entropy`` in nats where the mixture of one target is
        known in closed form, as a Gaussian process's is; elsewhere it costs S times a score: `Predictive.entropy`.

    Example:
        >>> import torch
        >>> two = torch.distributions.Categorical(probs=torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
        >>> {name: round(score.item(), 2) for name, score in all_scores(Predictive(two)).items() if "zero" in name}
        {'zero_one_aleatoric': 0.0, 'zero_one_epistemic': 0.5}
    """
    expect_predictive(predictive)
    if not predictive.has_enumerate_support:
        known = predictive.mixture is not None and not predictive.event_shape
        return scores(predictive, scale=scale) | ({"entropy": predictive.entropy()} if known else {})
    entropy, brier = entropy_decomposition(predictive), brier_decomposition(predictive)
    zero_one = zero_one_decomposition(predictive)
    return {
        "max_probability": max_probability(predictive),
        "entropy": _over_labels(entropy.total),
        "expected_entropy": _over_labels(entropy.aleatoric),
        "mutual_information": _over_labels(entropy.epistemic),
        "variation_ratio": variation_ratio(predictive),
        "expected_pairwise_kl": expected_pairwise_kl(predictive),
        "brier_total": _mean_over_labels(brier.total),
        "brier_aleatoric": _mean_over_labels(brier.aleatoric),
        "brier_epistemic": _mean_over_labels(brier.epistemic),
        "zero_one_aleatoric": _mean_over_labels(zero_one.aleatoric),
        "zero_one_epistemic": _mean_over_labels(zero_one.epistemic),
    }


def _over_labels(score: Tensor) -> Tensor:
    """Independent labels add up."""
    return score if score.ndim == 1 else score.sum(-1)


def _mean_over_labels(score: Tensor) -> Tensor:
    return score if score.ndim == 1 else score.mean(-1)
