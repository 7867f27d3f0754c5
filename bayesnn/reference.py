"""How far one predictive is from another that is taken for the truth: an approximate posterior's from long chains'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bayesnn import quantiles
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.streamed import in_double
from bayesnn.tables import html_table, json_text, text_table
from bayesnn.uncertainty import decompose

__all__ = ["Distance", "predictive_distance"]

_TAIL = 1e-4
"""Probability beyond either end of the grid on which two densities are compared."""

_LEVELS, _BETWEEN = 51, 8
"""Quantiles of each that the grid goes through, and its steps from one of them to the next."""

_AT_ONCE = 100
_MOST_COUNTS = 20_000


@dataclass(frozen=True)
class Distance:
    """How far a predictive is from the reference, input by input.

    Attributes:
        per_input: Figures by name, ``(N,)`` each, or ``(N, D)`` for several real targets.
    """

    per_input: Mapping[str, Tensor]

    def __repr__(self) -> str:
        return text_table(self._rows())

    def _repr_html_(self) -> str:
        return html_table(self._rows())

    @property
    def means(self) -> dict[str, float]:
        """The mean of each figure over the inputs; of ratios the geometric one."""
        return {
            name: float(values.double().log().mean().exp() if name.endswith("_ratio") else values.double().mean())
            for name, values in self.per_input.items()
        }

    def to_pandas(self) -> Any:
        """A row for each input as a ``pandas.DataFrame``; needs pandas."""
        import pandas as pd

        columns: dict[str, Any] = {}
        for name, values in self.per_input.items():
            parts = {name: values} if values.ndim == 1 else {f"{name}[{d}]": v for d, v in enumerate(values.T)}
            columns |= {key: part.cpu().numpy() for key, part in parts.items()}
        return pd.DataFrame(columns)

    def to_json(self) -> str:
        """The means as JSON; those that are not finite as ``null``."""
        return json_text(self.means)

    def _rows(self) -> list[dict[str, Any]]:
        return [{"figure": name.replace("_", " "), "mean": value} for name, value in self.means.items()]


@torch.no_grad()
def predictive_distance(predictive: Predictive, reference: Predictive) -> Distance:
    r"""How far a predictive is from a reference, say that of long NUTS chains, for the same inputs.

    For classes, with probabilities :math:`p` and the reference's :math:`r`:

    .. math:: \mathrm{TV} = \tfrac12 \sum_c |p_c - r_c|, \qquad \mathrm{KL} = \sum_c r_c \log (r_c / p_c),

    and whether both hold the same class for the most probable. For real targets and counts, with distribution functions
    :math:`F` and :math:`R`, each dimension for itself:

    .. math:: W_1 = \int |F(y) - R(y)| \, dy, \qquad \mathrm{KL} = \int r(y) \log (r(y) / p(y)) \, dy,

    the Wasserstein distance in units of ``y``, and the same in standard deviations of the reference; by the trapezoid
    rule over some 800 points that follow the quantiles of both between the outermost 0.01 %, in double precision, the
    divergence over :math:`R(y)` between the reference's own. The error is about a thousandth of a standard deviation,
    and of a nat or of the divergence itself, where tails are like a normal's. The divergence is of one real target
    only, and infinite where the reference has targets that the predictive cannot have.

    Args:
        predictive: Predictions for N inputs.
        reference: The reference's, for the same inputs.

    Returns:
        For classes ``total_variation``, ``agreement`` (0 or 1) and ``kl`` (nats); for real targets and counts
        ``wasserstein`` (units of y), ``wasserstein_relative`` and, of one real target, ``kl``. Of both
        ``epistemic_ratio`` and ``total_ratio``: uncertainties over the reference's, of real targets as standard
        deviations.

    Raises:
        TypeError: If one of them is no `Predictive`.
        ValueError: If they are not of the same inputs and targets.

    References:
        Izmailov et al. (2021), What Are Bayesian Neural Network Posteriors Really Like?, arXiv:2104.14421, and Wilson
        et al. (2022), Evaluating Approximate Inference in Bayesian Deep Learning, for agreement and total variation.

    Example:
        >>> one = Predictive(torch.distributions.Categorical(torch.tensor([[[0.5, 0.5], [0.9, 0.1]]])))
        >>> two = Predictive(torch.distributions.Categorical(torch.tensor([[[0.7, 0.3], [0.9, 0.1]]])))
        >>> predictive_distance(one, two).per_input["total_variation"]
        tensor([0.2000, 0.0000])
    """
    expect_predictive(predictive, fewest=1)
    expect_predictive(reference, fewest=1)
    for_classes = reference.has_enumerate_support
    shapes = [(p.batch_shape + p.event_shape, p.has_enumerate_support, _counts(p)) for p in (predictive, reference)]
    if shapes[0] != shapes[1] or (for_classes and predictive.log_probs.shape != reference.log_probs.shape):
        raise ValueError(
            f"both must predict the same targets of the same inputs; got {predictive!r} and {reference!r}. Call both "
            "posteriors on one x."
        )
    # A streamed predictive makes its members anew for each question: of a few inputs it makes them once.
    starts = range(0, len(reference), _AT_ONCE)
    parts = [_figures(predictive[n : n + _AT_ONCE], reference[n : n + _AT_ONCE], for_classes) for n in starts]
    return Distance({name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def _figures(predictive: Predictive, reference: Predictive, for_classes: bool) -> dict[str, Tensor]:
    figures = _of_classes(predictive, reference) if for_classes else _of_reals(predictive, reference)
    here, there = decompose(predictive), decompose(reference)
    tiny = torch.finfo(there.total.dtype).tiny
    for name in ("epistemic", "total"):
        ratio = getattr(here, name).clamp_min(tiny) / getattr(there, name).clamp_min(tiny)
        figures[f"{name}_ratio"] = ratio if for_classes else ratio.sqrt()
    return figures


def _of_classes(predictive: Predictive, reference: Predictive) -> dict[str, Tensor]:
    log_p, log_r = predictive.log_probs, reference.log_probs
    figures = {"total_variation": (log_p.exp() - log_r.exp()).abs().sum(-1) / 2}
    figures["agreement"] = (log_p.argmax(-1) == log_r.argmax(-1)).to(log_r)
    parts = log_r.exp() * (log_r - log_p)
    figures["kl"] = torch.where(log_r > -torch.inf, parts, torch.zeros_like(parts)).sum(-1)
    if log_p.ndim == 3:  # several labels: of all of them together
        figures["total_variation"] = figures["total_variation"].mean(1)
        figures["agreement"] = figures["agreement"].amin(1)
        figures["kl"] = figures["kl"].sum(1)
    return figures


def _of_reals(predictive: Predictive, reference: Predictive) -> dict[str, Tensor]:
    kind = reference.mean.dtype
    predictive, reference = in_double(predictive), in_double(reference)
    grid = _whole(predictive, reference) if _counts(reference) else _grid(predictive, reference)
    gap = (_cdf(predictive, grid) - _cdf(reference, grid)).abs()
    distance = gap.sum(0) if _counts(reference) else torch.trapezoid(gap, grid, dim=0)
    figures = {"wasserstein": distance, "wasserstein_relative": distance / reference.variance.sqrt()}
    if not _counts(reference) and not reference.event_shape:
        grid = grid.clamp(reference.icdf(_TAIL), reference.icdf(1 - _TAIL))
        log_p, log_r = (torch.stack([_log_density(p, at) for at in grid]) for p in (predictive, reference))
        figures["kl"] = _divergence(log_p, log_r, _cdf(reference, grid))
    return {name: figure.to(kind) for name, figure in figures.items()}


def _counts(predictive: Predictive) -> bool:
    return predictive.support is not None and bool(predictive.support.is_discrete)


def _whole(predictive: Predictive, reference: Predictive) -> Tensor:
    """All counts between the outermost quantiles."""
    low = torch.minimum(predictive.icdf(_TAIL), reference.icdf(_TAIL))
    high = torch.maximum(predictive.icdf(1 - _TAIL), reference.icdf(1 - _TAIL))
    size = int((high - low).max()) + 2
    if size > _MOST_COUNTS:
        raise ValueError(
            f"counts must lie within {_MOST_COUNTS} of each other to be summed over; got a range of {size}. Take "
            "fewer inputs, or those that are alike."
        )
    return low + torch.arange(size, dtype=low.dtype, device=low.device).reshape(-1, *[1] * low.ndim)


def _grid(predictive: Predictive, reference: Predictive) -> Tensor:
    """Points that follow the quantiles of both, at levels that are even as a normal's: either may be much narrower."""
    end = torch.special.ndtri(torch.tensor(_TAIL, dtype=torch.float64))
    levels = torch.special.ndtr(torch.linspace(float(end), -float(end), _LEVELS, dtype=torch.float64)).tolist()
    ends = torch.stack([p.icdf(level) for level in levels for p in (predictive, reference)]).sort(0).values
    parts = torch.arange(_BETWEEN, dtype=ends.dtype, device=ends.device).reshape(-1, *[1] * (ends.ndim - 1)) / _BETWEEN
    return torch.cat([(ends[:-1, None] + ends.diff(dim=0)[:, None] * parts).flatten(0, 1), ends[-1:]])


def _log_density(predictive: Predictive, at: Tensor) -> Tensor:
    """Minus infinity outside the support; at its ends, where it may be infinite, what it is beside them."""
    low, high = quantiles.bounds(predictive, at)
    if low.ndim or high.ndim:  # each member has a support of its own, and says so
        return predictive.log_prob(at)
    return torch.where((low <= at) & (at <= high), predictive.log_prob(quantiles.inside(predictive, at)), -torch.inf)


def _divergence(log_p: Tensor, log_r: Tensor, chance: Tensor) -> Tensor:
    """The mean of the log-ratio under the reference, over steps of its distribution function."""
    known = log_r > -torch.inf
    ratio = torch.where(known, log_r - log_p, 0.0)
    ratio, known = (
        torch.cat([part[:1], part, part[-1:]]) for part in (ratio, known.double())
    )  # the tails' as at the ends
    chance = torch.cat([torch.zeros_like(chance[:1]), chance, torch.ones_like(chance[:1])])
    here, step = known[1:] + known[:-1], chance.diff(dim=0)
    parts = torch.where((here > 0) & (step > 0), step * (ratio[1:] + ratio[:-1]) / here, 0.0)
    return parts.sum(0).clamp_min(0)  # steps may leave it a rounding below


def _cdf(predictive: Predictive, grid: Tensor) -> Tensor:
    """A row of the grid at a time: all members at once would take much memory."""
    return torch.stack([predictive.cdf(at) for at in grid])
