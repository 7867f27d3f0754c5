r"""Splitting a predictive's uncertainty in two: noise in the data (aleatoric) and ignorance (epistemic).

Whoever believes in :math:`p` expects of a proper score :math:`G(p)`, a concave function. Of draws :math:`p_s` with mean
:math:`\bar p`, total uncertainty is :math:`G(\bar p)`, aleatoric :math:`\frac1S \sum_s G(p_s)`, and epistemic their
difference (the Bregman information of the draws), never negative: what believing :math:`\bar p` costs on average where
one of the draws holds. The logarithmic score gives entropies, the Brier score :math:`1 - \sum_c p_c^2`, the zero-one
score :math:`1 - \max_c p_c`, and the squared error of a real target variances.

Each function holds at most four arrays of all draws, inputs and classes, ``(S, N, C)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesnn.predictive import Predictive
from bayesnn.streamed import blockwise

__all__ = [
    "Uncertainty",
    "brier_decomposition",
    "entropy_decomposition",
    "variance_decomposition",
    "zero_one_decomposition",
]


@dataclass(frozen=True)
class Uncertainty:
    """Two parts that add up: ``total = aleatoric + epistemic``.

    Attributes:
        aleatoric: Noise in the data ``(N,)`` or ``(N, D)``.
        epistemic: Ignorance of the model, same shape.
        unit: ``"nats"``, ``"squared units of y"``, ``"expected Brier score"`` or ``"probability of error"``.
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


@blockwise
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
    aleatoric = _entropy(log_probs).mean(0)
    # Mutual information is never negative; rounding may say -1e-8.
    return Uncertainty(aleatoric, (_entropy(_mixture(log_probs)) - aleatoric).clamp_min(0), "nats")


@blockwise
def brier_decomposition(predictive: Predictive) -> Uncertainty:
    r"""Split the expected Brier score into that of the draws and their variance.

    .. math:: 1 - \sum_c \bar p_c^2 = \frac1S \sum_s \sum_c p_{sc} (1 - p_{sc}) + \sum_c \operatorname{Var}_s[p_{sc}]

    The score is :math:`\sum_c (p_c - [y = c])^2`, as in `bayesnn.metrics.scoring.brier`. (Murphy's decomposition of
    the same score, into reliability, resolution and uncertainty, needs labels and is another thing.)

    Args:
        predictive: Members of finite support.

    Returns:
        ``aleatoric`` within ``[0, 1 - 1/C]`` and ``epistemic`` within ``[0, 1 - 1/min(S, C)]``, as is their sum within
        ``[0, 1 - 1/C]``, expected Brier scores, ``(N,)``, or ``(N, D)`` for D independent labels, of each for itself.

    References:
        Hofman, Sale & Hüllermeier (2024), Quantifying Aleatoric and Epistemic Uncertainty with Proper Scoring Rules,
        arXiv:2404.12215; Kotelevskii et al. (2024), arXiv:2402.10727.

    Example:
        >>> two = torch.distributions.Categorical(probs=torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
        >>> brier_decomposition(Predictive(two)).epistemic  # two draws that contradict each other
        tensor([0.5000])
    """
    log_probs = predictive.member_log_probs
    probs = log_probs.exp()
    aleatoric = -(probs * log_probs.expm1()).sum(-1).mean(0)
    return Uncertainty(aleatoric, probs.var(0, correction=0).sum(-1), "expected Brier score")


@blockwise
def zero_one_decomposition(predictive: Predictive) -> Uncertainty:
    r"""Split the probability of error into that of the draws and what their common vote loses.

    .. math:: 1 - \max_c \bar p_c = \frac1S \sum_s (1 - \max_c p_{sc})
              + \frac1S \sum_s (\max_c p_{sc} - p_{s \hat c}), \qquad \hat c = \arg\max_c \bar p_c

    The zero-one score is proper, not strictly: draws that agree on the most probable class have no epistemic part,
    however much their probabilities differ.

    Args:
        predictive: Members of finite support.

    Returns:
        ``aleatoric`` within ``[0, 1 - 1/C]`` and ``epistemic`` within ``[0, 1 - 1/min(S, C)]``, as is their sum within
        ``[0, 1 - 1/C]``: probabilities of error, ``(N,)``, or ``(N, D)`` for D independent labels, of each for itself.

    References:
        Hofman, Sale & Hüllermeier (2024), arXiv:2404.12215; the same (2025), Uncertainty Quantification with Proper
        Scoring Rules: Adjusting Measures to Prediction Tasks, arXiv:2505.22538.

    Example:
        >>> two = torch.distributions.Categorical(probs=torch.tensor([[[0.9, 0.1]], [[0.6, 0.4]]]))
        >>> zero_one_decomposition(Predictive(two))  # they agree on the class
        Uncertainty(total=0.25, aleatoric=0.25, epistemic=0; means over (1,), in probability of error)
    """
    log_probs = predictive.member_log_probs
    best = log_probs.amax(-1)
    common = _mixture(log_probs).argmax(-1, keepdim=True).expand(len(log_probs), *log_probs.shape[1:-1], 1)
    regret = best.exp() - log_probs.gather(-1, common).squeeze(-1).exp()
    return Uncertainty(-best.expm1().mean(0), regret.mean(0), "probability of error")


@blockwise
def variance_decomposition(predictive: Predictive) -> Uncertainty:
    r"""Split the predictive variance into noise and disagreement.

    By the law of total variance over the draws :math:`s`,
    :math:`\operatorname{Var}[y] = \mathbb{E}_s[\sigma_s^2] + \operatorname{Var}_s[\mu_s]`,
    where :math:`\mu_s` and :math:`\sigma_s^2` are the mean and variance of member :math:`s`.

    Args:
        predictive: Members with batch shape ``(S, N)`` and event shape ``()`` or ``(D,)``.

    Returns:
        ``aleatoric`` (first term) and ``epistemic`` (second), each ``(N,)`` or ``(N, D)``, in squared units of ``y``.

    Raises:
        NotImplementedError: If the targets are classes that are no numbers.

    References:
        Depeweg et al. (2018), Decomposition of Uncertainty in Bayesian Deep Learning for Efficient and
        Risk-sensitive Learning, arXiv:1710.07283.
    """
    members = predictive.members
    if predictive.has_enumerate_support and len(predictive) and bool(members.variance.isnan().all()):
        raise NotImplementedError("class labels have no variance; write entropy_decomposition, or decompose.")
    return Uncertainty(members.variance.mean(0), members.mean.var(0, correction=0), "squared units of y")


def _mixture(log_probs: Tensor) -> Tensor:
    """Log-probabilities of the mean over draws."""
    return log_probs.logsumexp(0) - math.log(len(log_probs))


def _entropy(log_probs: Tensor) -> Tensor:
    return torch.special.entr(log_probs.exp()).sum(-1)
