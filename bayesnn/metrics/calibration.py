"""Calibration: do the stated probabilities come true?"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bayesnn.metrics.reliability import Reliability, gaps, reliability
from bayesnn.predictive import Predictive
from bayesnn.rows import one_each

__all__ = [
    "Reliability",
    "calibration_error",
    "classwise_ece",
    "coverage",
    "ece",
    "pit",
    "reliability",
    "sharpness",
]


def ece(predictive: Predictive, y: Tensor, num_bins: int = 15, *, equal_mass: bool = False) -> Tensor:
    r"""Expected calibration error of the most probable class, as a fraction.

    .. math:: \sum_b \frac{n_b}{N} \, |\text{accuracy}_b - \text{confidence}_b|

    over the bins of `reliability`, of equal width or of equal mass. Of a calibrated predictive it is above 0, the more
    so the fewer inputs a bin has: compare it at the same number of inputs and bins.

    Args:
        predictive: Members of finite support.
        y: Labels ``(N,)`` or ``(N, D)``.
        num_bins: Number of bins.
        equal_mass: Bins of equally many inputs in place of equal width.

    References:
        Guo et al. (2017), On Calibration of Modern Neural Networks, arXiv:1706.04599, equation 3 (15 bins as there).

    Example:
        >>> sure = Predictive(torch.distributions.Categorical(torch.tensor([[[0.75, 0.25]]]).expand(1, 4, 2)))
        >>> ece(sure, torch.tensor([0, 0, 0, 1])), ece(sure, torch.tensor([0, 0, 1, 1]))
        (tensor(0., dtype=torch.float64), tensor(0.2500, dtype=torch.float64))
    """
    return reliability(predictive, y, num_bins, equal_mass=equal_mass).ece


def classwise_ece(predictive: Predictive, y: Tensor, num_bins: int = 15) -> Tensor:
    r"""Calibration error of the probabilities of all classes, not the largest alone, as a fraction.

    .. math:: \frac1C \sum_c \sum_b \frac{n_{bc}}{N} \, |\text{frequency}_{bc} - \text{probability}_{bc}|

    over ``num_bins`` bins of equal width of the probability of class :math:`c`. Where there are many classes most
    probabilities are nearly 0 and calibrated, so that it is small: compare it at the same number of classes.

    Args:
        predictive: Members of finite support.
        y: Labels ``(N,)``, or ``(N, D)``: each label's classes are classes of their own.
        num_bins: Number of bins.

    Returns:
        A scalar between 0 and 1.

    Raises:
        NotImplementedError: If the targets are real.
        ValueError: If the labels are none of the classes, one for each input, or there is no bin.

    References:
        Kull et al. (2019), Beyond temperature scaling, arXiv:1910.12656, where it has this name; Nixon et al. (2019),
        Measuring Calibration in Deep Learning, arXiv:1904.01685, where it is the static calibration error.
    """
    probs = predictive.probs.double()
    target = one_each(predictive.checked(y), predictive.batch_shape + predictive.event_shape)
    truth = torch.nn.functional.one_hot(target.long(), probs.shape[-1])
    return gaps(probs.flatten(1), truth.flatten(1), num_bins).mean()


def coverage(predictive: Predictive, y: Tensor, level: float = 0.9) -> Tensor:
    """Fraction of targets within their central interval of the given level; ``level`` itself when calibrated.

    NaN where an interval is NaN.
    """
    lower, upper = predictive.interval(level)
    y = predictive.checked(y)
    inside = ((lower <= y) & (y <= upper)).double()
    return torch.where(lower.isnan() | upper.isnan(), math.nan, inside).mean()


def sharpness(predictive: Predictive, level: float = 0.9) -> Tensor:
    """Mean width of the central interval of the given level, over inputs and target dimensions, in the units of ``y``.

    Of two methods whose `coverage` is right, the sharper one says more.

    References:
        Gneiting et al. (2007), Probabilistic forecasts, calibration and sharpness, Journal of the Royal Statistical
        Society B 69(2).

    Example:
        >>> sharpness(Predictive(torch.distributions.Normal(torch.zeros(1, 3), 2.0)))
        tensor(6.5794, dtype=torch.float64)
    """
    lower, upper = predictive.interval(level)
    return (upper - lower).double().mean()


def pit(predictive: Predictive, y: Tensor) -> Tensor:
    r"""Probability integral transform :math:`F(y)`, uniform between 0 and 1 when calibrated.

    Heaps near 0 and 1 tell of predictions that are too sure, a heap in the middle of ones that are not sure enough.
    For counts :math:`F` jumps at :math:`y`, from :math:`F(y - 1)`; here is the middle of the jump (mid-PIT), which is
    the mean of the randomised transform: the same call gives the same answer, but among few counts it is uniform in its
    mean alone, 1/2. `calibration_error` takes the whole jump.

    Args:
        predictive: Members over real targets or counts.
        y: Targets ``(N,)`` or ``(N, D)``.

    Returns:
        The shape of ``y``, each target dimension for itself.

    Raises:
        NotImplementedError: If the targets are classes, or the members do not tell their distribution function.
        ValueError: If there is not one target for each input.

    References:
        Gneiting et al. (2007), as in `sharpness`; Czado et al. (2009), Predictive Model Assessment for Count Data,
        Biometrics 65(4), for counts.

    Example:
        >>> pit(Predictive(torch.distributions.Normal(torch.zeros(1, 2), 1.0)), torch.tensor([0.0, 1.0]))
        tensor([0.5000, 0.8413])
    """
    below, reached = _jump(predictive, y)
    return (below + reached) / 2


def calibration_error(predictive: Predictive, y: Tensor, num_levels: int = 99) -> Tensor:
    r"""Root mean squared distance of the frequencies of the predictive's quantiles from their levels, as a fraction.

    .. math:: \sqrt{\frac1m \sum_{j=1}^m (\hat p_j - p_j)^2}, \qquad p_j = \frac{j}{m + 1}, \qquad
              \hat p_j = \frac1N \sum_n [F_n(y_n) \le p_j]

    over all targets, dimensions together. For counts the bracket is the chance that a uniform number in the jump from
    :math:`F_n(y_n - 1)` to :math:`F_n(y_n)` is at most :math:`p_j`, so that a calibrated predictive has
    :math:`\mathbb{E} \, \hat p_j = p_j` there too.

    Of N independent targets of a calibrated predictive it is about :math:`1 / \sqrt{6 N}`; it is 0.58 at most, where
    all targets lie far below or all far above.

    Args:
        predictive: Members over real targets or counts.
        y: Targets ``(N,)`` or ``(N, D)``.
        num_levels: Number of levels :math:`m`; 99 for 0.01, 0.02, ..., 0.99.

    Returns:
        A scalar; NaN where a distribution function is NaN.

    Raises:
        NotImplementedError: If the targets are classes, or the members do not tell their distribution function.
        ValueError: If there is not one target for each input, or no level.

    References:
        Kuleshov et al. (2018), Accurate Uncertainties for Deep Learning Using Calibrated Regression, arXiv:1807.00263,
        whose calibration error is a weighted sum of the same squares, without the root; Czado et al. (2009), as in
        `pit`, for counts.

    Example:
        >>> wide = Predictive(torch.distributions.Normal(torch.zeros(1, 100), 100.0))
        >>> calibration_error(wide, torch.linspace(-1, 1, 100))
        tensor(0.2858, dtype=torch.float64)
    """
    if num_levels < 1:
        raise ValueError(f"num_levels must be 1 or more; got {num_levels}. Write num_levels=99.")
    below, reached = (end.double() for end in _jump(predictive, y))
    jump = reached - below
    levels = torch.arange(1, num_levels + 1, dtype=torch.float64) / (num_levels + 1)
    seen = [
        torch.where(jump > 0, ((p - below) / jump).clamp(0, 1), (reached <= p).double()).mean() for p in levels.tolist()
    ]
    found = (torch.stack(seen) - levels.to(reached.device)).square().mean().sqrt()
    return torch.where(jump.isnan().any(), math.nan, found)


def _jump(predictive: Predictive, y: Tensor) -> tuple[Tensor, Tensor]:
    """What the distribution function is just before its target, and at it; the same for real targets."""
    if predictive.has_enumerate_support:
        raise NotImplementedError(
            "the probability integral transform is of numbers; this predictive is over classes. Write reliability or "
            "ece for them."
        )
    y = predictive.checked(y)
    reached = predictive.cdf(y)
    counts = predictive.support is not None and predictive.support.is_discrete
    return (predictive.cdf(y - 1) if counts else reached), reached
