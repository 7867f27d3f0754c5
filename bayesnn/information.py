"""What labels would tell: of the weights, through disagreement between draws, and of each other."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.streamed import blockwise

__all__ = ["expected_pairwise_kl", "expected_predictive_information_gain"]

_NUMBERS_AT_ONCE = 2**22
"""Joint probabilities held in one array; a handful of such arrays live at a time."""


@blockwise
def expected_pairwise_kl(predictive: Predictive) -> Tensor:
    r"""Mean divergence between two draws, an epistemic measure.

    .. math:: \frac{1}{S^2} \sum_{s, t} \operatorname{KL}[p_s \,\|\, p_t]
              = \sum_c \operatorname{Cov}_s[p_{sc}, \log p_{sc}] = I[y; \theta] + M[y; \theta]

    The S pairs of a draw with itself count, at 0. Only so is it the sum of the mutual information
    :math:`I = \frac1S \sum_s \operatorname{KL}[p_s \| \bar p]` and the reverse mutual information
    :math:`M = \frac1S \sum_s \operatorname{KL}[\bar p \| p_s]`; the mean over different draws is S / (S - 1) times as
    much. The covariance needs no pairs: time and memory (six arrays) are of the order of S N C.

    Args:
        predictive: Members of finite support.

    Returns:
        ``(N,)`` in nats, no less than the mutual information and without upper bound; of D labels the sum over them.
        A class that every draw rules out (probability exactly 0) counts for nothing. One that some draws rule out and
        others do not makes it infinite, for so the divergence is; with finite logits that does not happen.

    References:
        Malinin & Gales (2021), Uncertainty Estimation in Autoregressive Structured Prediction, arXiv:2002.07650.

    Example:
        >>> two = torch.distributions.Categorical(probs=torch.tensor([[[0.8, 0.2]], [[0.2, 0.8]]]))
        >>> expected_pairwise_kl(Predictive(two))  # half of 0.6 log 4
        tensor([0.4159])
    """
    log_probs = predictive.member_log_probs
    ruled_out = log_probs.isneginf()
    disputed = ruled_out.any(0) & ~ruled_out.all(0)
    # Any finite number does: where all draws have it the covariance is 0, and where some have it, it is not used.
    log_probs = log_probs.masked_fill(ruled_out, 0)
    probs = log_probs.exp()
    covariance = ((probs - probs.mean(0)) * (log_probs - log_probs.mean(0))).mean(0)
    # Both factors rise together, so no class has a negative covariance but by rounding.
    return covariance.clamp_min(0).masked_fill(disputed, torch.inf).flatten(1).sum(1)


@blockwise
def expected_predictive_information_gain(predictive: Predictive, target: Predictive) -> Tensor:
    r"""What the label of each input would tell of the labels of target inputs (EPIG).

    .. math:: \mathbb{E}_{x^*}\big[I[y; y^*]\big], \qquad
              I[y; y^*] = \operatorname{KL}\Big[\frac1S \sum_s p_s(y)\, p_s(y^*) \,\Big\|\, \bar p(y)\, \bar p(y^*)\Big]

    where :math:`p_s` and :math:`\bar p` are the predictions of draw :math:`s` and their mean. Mutual information with
    the weights (BALD) also prizes labels that tell of weights on which no prediction at stake depends; this does not.

    Args:
        predictive: Members of finite support over N candidate inputs.
        target: The predictive of M inputs drawn from where predictions matter, at the very same draws of the weights:
            ``posterior(x_target)`` of the same posterior. Only the number of draws can be checked.

    Returns:
        ``(N,)`` in nats, between 0 and the mutual information of either label with the weights, the candidate's own and
        the targets' on average; so at most ``log min(S, C)``. Time is of the order of S N M C²; memory is bounded,
        beside the probabilities of both, ``(S, N, C)`` and ``(S, M, C)``.

    Raises:
        ValueError: If the two have not the same number of draws, or there is no target.
        NotImplementedError: If an input has several labels, or real targets.

    References:
        Bickford Smith et al. (2023), Prediction-Oriented Bayesian Active Learning, arXiv:2304.08151.

    Example:
        >>> sure = torch.distributions.Categorical(probs=torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
        >>> expected_predictive_information_gain(Predictive(sure), Predictive(sure))  # one label settles the other
        tensor([0.6931])
    """
    _check_pair(predictive, target)
    mean, deviation = _centred(predictive)
    target_mean, target_deviation = _centred(target)
    pairs = max(1, _NUMBERS_AT_ONCE // (mean.shape[-1] * target_mean.shape[-1]))
    columns = min(len(target), pairs)
    rows = pairs // columns
    gains = []
    for n in range(0, len(predictive), rows):
        gain = mean.new_zeros(len(mean[n : n + rows]))
        for m in range(0, len(target), columns):
            theirs = target_mean[m : m + columns], target_deviation[:, m : m + columns]
            gain = gain + _information(mean[n : n + rows], deviation[:, n : n + rows], *theirs).sum(1)
        gains.append(gain / len(target))
    # Never negative; rounding may say -1e-9.
    return torch.cat(gains).clamp_min(0) if gains else mean.new_zeros(0)


def _check_pair(predictive: Predictive, target: Predictive) -> None:
    for given in (predictive, target):
        expect_predictive(given)
        if given.event_shape:
            raise NotImplementedError(
                "information gain needs one class label per input; this predictive has event shape "
                f"{tuple(given.event_shape)}. Take the labels one by one: predictive.target(0)."
            )
    if predictive.num_samples != target.num_samples:
        raise ValueError(
            "predictive and target must come from the same draws of one posterior; got S = "
            f"{predictive.num_samples} and S = {target.num_samples}. Pass posterior(x) and posterior(x_target)."
        )
    if not len(target):
        raise ValueError("target must hold one input at least, to average over; got none. Pass posterior(x_target).")


def _centred(predictive: Predictive) -> tuple[Tensor, Tensor]:
    """Mean probabilities ``(N, C)``, and how the draws differ from them ``(S, N, C)``."""
    probs = predictive.member_log_probs.exp()
    mean = probs.mean(0)
    return mean, probs - mean


def _information(mean: Tensor, deviation: Tensor, target_mean: Tensor, target_deviation: Tensor) -> Tensor:
    r"""Mutual information of the labels of each pair of inputs ``(n, m)``.

    A joint probability is :math:`p q (1 + r)` with :math:`r = \operatorname{Cov}_s / (p q)`, and the divergence
    :math:`\sum p q \, [(1 + r) \log(1 + r) - r]`, whose terms are all positive: nothing large cancels.
    """
    covariance = torch.einsum("snc,smk->nmck", deviation, target_deviation) / len(deviation)
    independent = mean[:, None, :, None] * target_mean[None, :, None, :]
    ratio = torch.where(independent > 0, covariance / independent, 0)
    ratio = ratio.clamp_min(-1)  # a joint probability is not negative; rounding may say so
    return (independent * (torch.special.xlog1py(1 + ratio, ratio) - ratio)).sum((-1, -2))
