"""Conformal prediction of real targets: intervals that hold them as often as they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, overload

import torch
from torch import Tensor

from bayesnn.conformal.quantile import conformal_quantile
from bayesnn.data import as_targets
from bayesnn.held_out import Posterior, predicted, within
from bayesnn.predictive import Predictive
from bayesnn.quantiles import common_bounds
from bayesnn.rows import chosen, is_one
from bayesnn.tables import json_text

__all__ = ["ConformalIntervals", "PredictionIntervals", "conformal_intervals"]


@dataclass(frozen=True, eq=False)
class PredictionIntervals:
    """For each of N inputs, an interval for its target, in the units of ``y``.

    Attributes:
        lower: Lower ends ``(N,)`` or ``(N, D)``.
        upper: Upper ends. One below the lower end is that of an empty interval.
        level: Chance that an interval holds the target, of each target dimension for itself.

    Example:
        >>> intervals = PredictionIntervals(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0]), 0.9)
        >>> intervals.widths, intervals.coverage([0.5, 0.5])
        (tensor([1., 2.]), tensor(0.5000, dtype=torch.float64))
        >>> intervals[1], intervals[:1]
        ((1.0, 3.0), PredictionIntervals(N=1, event=(), level=0.9, mean width 1))
    """

    lower: Tensor
    upper: Tensor
    level: float

    def __repr__(self) -> str:
        widths = ", ".join(f"{width:.4g}" for width in self.widths.mean(0).flatten().tolist())
        return (
            f"PredictionIntervals(N={len(self)}, event={tuple(self.lower.shape[1:])}, level={self.level}, "
            f"mean width {widths})"
        )

    def __len__(self) -> int:
        return len(self.lower)

    @overload
    def __getitem__(self, index: int) -> tuple[Any, Any]: ...

    @overload
    def __getitem__(self, index: Any) -> PredictionIntervals: ...

    def __getitem__(self, index: Any) -> tuple[Any, Any] | PredictionIntervals:
        """Lower and upper end of one input, two numbers or two lists of D; or the intervals of several inputs.

        Several are taken by a slice, a list or a mask.
        """
        at = chosen(index, len(self))
        lower, upper = self.lower[at], self.upper[at]
        return (lower[0].tolist(), upper[0].tolist()) if is_one(index) else replace(self, lower=lower, upper=upper)

    @property
    def widths(self) -> Tensor:
        """Upper minus lower end, 0 for an empty interval, ``(N,)`` or ``(N, D)``."""
        return (self.upper - self.lower).clamp_min(0)

    def coverage(self, y: Any) -> Tensor:
        """Fraction of the targets within their intervals, ``()``, or ``(D,)`` of each target dimension for itself.

        Args:
            y: True targets ``(N,)`` or ``(N, D)``.

        Raises:
            ValueError: If there is not one target for each interval.
        """
        targets = as_targets(y).to(self.lower)
        if len(targets) == len(self) and targets.numel() == self.lower.numel():  # (N, 1) and (N,) are one
            targets = targets.reshape(self.lower.shape)
        if targets.shape != self.lower.shape:
            raise ValueError(
                f"y must have one target for each interval, shape {tuple(self.lower.shape)}; got "
                f"{tuple(targets.shape)}. Transposed? Pass y.T."
            )
        return ((self.lower <= targets) & (targets <= self.upper)).double().mean(0)

    def to_pandas(self) -> Any:
        """The ends as a ``pandas.DataFrame``, a row for each input; needs pandas."""
        import pandas as pd

        columns: dict[str, Any] = {}
        for name, ends in (("lower", self.lower), ("upper", self.upper)):
            parts = {name: ends} if ends.ndim == 1 else {f"{name}[{d}]": column for d, column in enumerate(ends.T)}
            columns |= {key: part.cpu().numpy() for key, part in parts.items()}
        return pd.DataFrame(columns).rename_axis("input")

    def to_json(self) -> str:
        """The ends and the level as JSON; ends that are not finite as ``null``."""
        return json_text({"lower": self.lower.tolist(), "upper": self.upper.tolist(), "level": self.level})


@dataclass(frozen=True, eq=False)
class ConformalIntervals:
    """A fitted method and how far a target may be off. Call it on inputs to get `PredictionIntervals`.

    Attributes:
        posterior: The fitted method.
        quantile: The largest score of a target within an interval, ``()`` or ``(D,)``.
        level: Chance that an interval holds the target.
        score: ``"residual"`` or ``"quantile"``.
        normalise: Whether scores are in predictive standard deviations.
        num_data: Held-out rows n.
    """

    posterior: Posterior
    quantile: Tensor
    level: float
    score: str
    normalise: bool
    num_data: int

    def __repr__(self) -> str:
        bounds = ", ".join(f"{value:.4g}" for value in self.quantile.flatten().tolist())
        unit = " standard deviations" if self.normalise else ""
        return (
            f"ConformalIntervals(level={self.level}, {self.score} score <= {bounds}{unit}, n={self.num_data}, "
            f"{self.posterior!r})"
        )

    def plan(self, x: Any, *, memory: str | int | None = None) -> Any:
        """How the fitted method would predict, see `WeightPosterior.plan`."""
        return self.posterior.plan(x, memory=memory)  # type: ignore[attr-defined]

    @torch.no_grad()
    def __call__(self, x: Any, *, memory: str | int | None = None) -> PredictionIntervals:
        """The interval of each input, in the units of ``y``.

        Args:
            x: Inputs, as the fitted method takes them.
            memory: What the predictions of all draws may take, as the fitted method takes it.
        """
        predictive = within(self.posterior, x, memory)
        low, high = _STARTS[self.score](predictive, self.level)
        margin = self.quantile.to(low) * _spread(predictive, self.normalise)
        least, most = common_bounds(predictive.support)  # an empty interval must stay empty: each end has one bound
        return PredictionIntervals((low - margin).clamp_min(least), (high + margin).clamp_max(most), self.level)


@torch.no_grad()
def conformal_intervals(
    posterior: Posterior,
    x: Any,
    y: Any = None,
    *,
    level: float = 0.9,
    normalise: bool = True,
    score: Literal["residual", "quantile"] = "residual",
) -> ConformalIntervals:
    r"""Intervals that hold the target with a chance of ``level`` or more.

    A target scores by how far it lies outside :math:`[a, b]`, negative inside,

    .. math:: s = \max(a - y, \; y - b) / \sigma,

    and intervals are :math:`[a - q \sigma, b + q \sigma]`, with q the `conformal_quantile` of the scores on held-out
    data. For ``"residual"`` a and b are the predictive mean, and :math:`s = |y - m| / \sigma`; for ``"quantile"`` they
    are the ends of the predictive's own central interval of this level, so that skewed predictions keep their shape.
    :math:`\sigma` is the predictive standard deviation, or 1 without ``normalise``.

    They end at the bounds of counts, positive targets and fractions, beyond which no target lies.

    Of several targets each has its own q and its own promise: that all of them lie within at once is less likely.

    Args:
        posterior: A fitted method: any function of inputs that gives a `Predictive` over real targets or counts.
        x: Held-out inputs ``(N, ...)`` in raw units, which the fit (and a recalibration) has not seen; or a ``Dataset``
            or ``DataLoader`` of ``(x, y)``.
        y: Their true targets ``(N,)`` or ``(N, D)``.
        level: Chance that an interval holds the target.
        normalise: Whether the margin is in predictive standard deviations, wider where the method is less sure.
        score: ``"residual"`` or ``"quantile"``.

    Returns:
        A function of inputs that gives their `PredictionIntervals`.

    Raises:
        ValueError: If there are too few rows for the level, targets do not suit, the score is unknown, or a predictive
            standard deviation is 0 or infinite.
        TypeError: If the posterior is no function of inputs that gives a `Predictive`, or something is not data.
        NotImplementedError: If targets are classes.

    References:
        Lei et al. (2018), Distribution-Free Predictive Inference for Regression, arXiv:1604.04173, sections 2.2 and
        5.2, for residuals, and those in units of a spread; Romano et al. (2019), Conformalized Quantile Regression,
        arXiv:1905.03222, for ``"quantile"`` without ``normalise``.

    Example:
        >>> standard = lambda x: Predictive(torch.distributions.Normal(x.mT, 1.0))
        >>> x, residuals = torch.zeros(9, 1), torch.linspace(-4, 4, 9)
        >>> intervals = conformal_intervals(standard, x, residuals, level=0.8)
        >>> intervals(torch.tensor([[10.0]]))[0]
        (6.0, 14.0)
    """
    if score not in _STARTS:
        raise ValueError(f"score must be one of {', '.join(map(repr, _STARTS))}; got {score!r}.")
    predictive, targets = predicted(posterior, x, y)
    if predictive.has_enumerate_support:
        raise NotImplementedError(f"intervals need real targets; got {predictive!r}. For classes write conformal_sets.")
    low, high = _STARTS[score](predictive, level)
    scores = (low - targets).maximum(targets - high) / _spread(predictive, normalise)
    return ConformalIntervals(posterior, conformal_quantile(scores, level), level, score, normalise, len(scores))


def _spread(predictive: Predictive, normalise: bool) -> Tensor:
    """The predictive standard deviation, or 1."""
    if not normalise:
        return torch.ones_like(predictive.mean)
    spread = predictive.stddev
    if not bool((spread.isfinite() & (spread > 0)).all()):
        raise ValueError(
            "scores in standard deviations need finite predictive ones above 0; got values from "
            f"{float(spread.min()):.4g} to {float(spread.max()):.4g}. Write normalise=False."
        )
    return spread


def _at_the_mean(predictive: Predictive, level: float) -> tuple[Tensor, Tensor]:
    return predictive.mean, predictive.mean


_STARTS: dict[str, Callable[[Predictive, float], tuple[Tensor, Tensor]]] = {
    "residual": _at_the_mean,
    "quantile": Predictive.interval,
}
