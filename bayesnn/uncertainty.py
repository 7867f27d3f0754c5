"""How uncertain a predictive is, and of which kind: noise in the data (aleatoric) or ignorance (epistemic).

Every measure grows with uncertainty. Entropies are in nats, variances in squared units of ``y``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesnn.predictive import Predictive, expect_predictive

__all__ = [
    "Uncertainty",
    "decompose",
    "entropy_decomposition",
    "expected_entropy",
    "max_probability",
    "mutual_information",
    "predictive_entropy",
    "scores",
    "variance_decomposition",
]


@dataclass(frozen=True)
class Uncertainty:
    """Two parts that add up: ``total = aleatoric + epistemic``.

    Attributes:
        aleatoric: Noise in the data ``(N,)`` or ``(N, D)``.
        epistemic: Ignorance of the model, same shape.
        unit: ``"nats"`` or ``"squared units of y"``.
    """

    aleatoric: Tensor
    epistemic: Tensor
    unit: str

    @property
    def total(self) -> Tensor:
        """The sum of both parts."""
        return self.aleatoric + self.epistemic

    def __repr__(self) -> str:
        means = ", ".join(f"{part}={getattr(self, part).mean():.4g}" for part in ("total", "aleatoric", "epistemic"))
        return f"Uncertainty({means}; means over {tuple(self.aleatoric.shape)}, in {self.unit})"


def decompose(predictive: Predictive) -> Uncertainty:
    """Split a predictive's uncertainty: by entropies for a finite support, by variances otherwise.

    Args:
        predictive: Members with batch shape ``(S, N)``.

    Returns:
        `entropy_decomposition` or `variance_decomposition`.

    Example:
        >>> two = torch.distributions.Categorical(probs=torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
        >>> decompose(Predictive(two)).epistemic  # two draws that contradict each other: log 2
        tensor([0.6931])
    """
    expect_predictive(predictive)
    return entropy_decomposition(predictive) if predictive.has_enumerate_support else variance_decomposition(predictive)


def entropy_decomposition(predictive: Predictive) -> Uncertainty:
    r"""Split the predictive entropy into expected entropy and mutual information.

    .. math:: H\Big[\frac1S \sum_s p_s\Big] = \frac1S \sum_s H[p_s] + I[y; \theta]

    Args:
        predictive: Members of finite support.

    Returns:
        ``aleatoric`` = mean entropy of the members, ``epistemic`` = mutual information, in nats, ``(N,)``, or
        ``(N, D)`` for D independent labels, of each for itself.

    References:
        Houlsby et al. (2011), Bayesian Active Learning for Classification and Preference Learning, arXiv:1112.5745,
        equation 2; Depeweg et al. (2018), arXiv:1710.07283, section 3.
    """
    log_probs = predictive.member_log_probs
    mixture = log_probs.logsumexp(0) - math.log(len(log_probs))
    aleatoric = _entropy(log_probs).mean(0)
    # Mutual information is never negative; rounding may say -1e-8.
    return Uncertainty(aleatoric, (_entropy(mixture) - aleatoric).clamp_min(0), "nats")


def variance_decomposition(predictive: Predictive) -> Uncertainty:
    r"""Split the predictive variance into noise and disagreement.

    By the law of total variance over the draws :math:`s`,
    :math:`\operatorname{Var}[y] = \mathbb{E}_s[\sigma_s^2] + \operatorname{Var}_s[\mu_s]`,
    where :math:`\mu_s` and :math:`\sigma_s^2` are the mean and variance of member :math:`s`.

    Args:
        predictive: Members with batch shape ``(S, N)`` and event shape ``()`` or ``(D,)``.

    Returns:
        ``aleatoric`` (first term) and ``epistemic`` (second), each ``(N,)`` or ``(N, D)``, in squared units of ``y``.

    References:
        Depeweg et al. (2018), Decomposition of Uncertainty in Bayesian Deep Learning for Efficient and
        Risk-sensitive Learning, arXiv:1710.07283.
    """
    members = predictive.members
    return Uncertainty(members.variance.mean(0), members.mean.var(0, correction=0), "squared units of y")


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
    doubt = -predictive.log_probs.amax(-1).expm1()
    return doubt if doubt.ndim == 1 else doubt.mean(-1)


def scores(predictive: Predictive) -> dict[str, Tensor]:
    """The uncertainty of each input in every way a detector could use, by name; each ``(N,)``.

    Classes: ``max_probability``, ``entropy``, ``mutual_information``. Real targets: ``total``, ``aleatoric`` and
    ``epistemic`` standard deviation, in the units of ``y`` (over several targets, the root of the mean variance).
    """
    if predictive.has_enumerate_support:
        return {
            "max_probability": max_probability(predictive),
            "entropy": predictive_entropy(predictive),
            "mutual_information": mutual_information(predictive),
        }
    parts = variance_decomposition(predictive)
    variances = {"total": parts.total, "aleatoric": parts.aleatoric, "epistemic": parts.epistemic}
    return {name: (v if v.ndim == 1 else v.mean(1)).sqrt() for name, v in variances.items()}


def _entropy(log_probs: Tensor) -> Tensor:
    return torch.special.entr(log_probs.exp()).sum(-1)


def _over_labels(score: Tensor) -> Tensor:
    """Independent labels add up."""
    return score if score.ndim == 1 else score.sum(-1)
