"""Comparison: fitted methods beside each other on the same scores, and where a difference is no more than chance."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesnn.data import as_training_data, brings_targets
from bayesnn.detected import resampled
from bayesnn.evaluation import figures_and_losses
from bayesnn.frames import refuse_other_order
from bayesnn.metrics.detection import aurocs
from bayesnn.predictive import Predictive
from bayesnn.rounding import beyond_rounding, wholes
from bayesnn.tables import html_table, json_text, text_table
from bayesnn.tasks import mistakes, truth
from bayesnn.uncertainty import scores, spreads

__all__ = ["Comparison", "compare"]

_BOOTSTRAP = 400
_ERRORS = 2.0
"""Standard errors of a difference within which two methods count as no different."""

_FEWEST = 20
"""Inputs below which no standard error is worth its name, and no difference is called one."""

_FOOTNOTE = (
    "* the best of its column, or within two standard errors of it (ECE and calibration error, which are no means over "
    "inputs, have no mark); rank: mean over the columns with a best"
)
_WITHIN, _WITHIN_OF_FITS = "two standard errors of it", "two standard errors of it, more where few fits tell them"
_SMALL_IS_GOOD = ("nll", "brier", "ece", "rmse", "crps", "calibration_error")
_LARGE_IS_GOOD = ("accuracy", "misclassification_auroc", "large_error_auroc", "ood_auroc_")


@dataclass(frozen=True)
class Comparison:
    """A table, one row per method.

    Attributes:
        rows: Figures by name; ``"method"`` names the row, and ``"rank"``, where there are several methods, is its mean
            rank over the columns that have a best, 1 the best. Of a method fitted from several seeds each figure is
            ``{"mean": m, "sd": s, "values": [...]}`` over its fits.
        no_different: For each column that has a best and whose noise is known, the methods that cannot be told from the
            best: their difference is within two standard errors, taken over the inputs, the same for both methods, and
            over the fits where there are several.
    """

    rows: list[dict[str, Any]]
    no_different: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __repr__(self) -> str:
        table = text_table(self.rows, marks=self.no_different)
        return f"{table}\n{self._footnote}" if self.no_different else table

    def _repr_html_(self) -> str:
        table = html_table(self.rows, marks=self.no_different)
        return f"{table}<p>{self._footnote}</p>" if self.no_different else table

    @property
    def _footnote(self) -> str:
        several = any(isinstance(value, dict) for row in self.rows for value in row.values())
        return _FOOTNOTE.replace(_WITHIN, _WITHIN_OF_FITS) if several else _FOOTNOTE

    def to_pandas(self) -> Any:
        """The table as a ``pandas.DataFrame`` indexed by method; needs pandas.

        Of methods fitted from several seeds the means, and beside each column their standard deviations, ``nll_sd``.
        """
        import pandas as pd

        rows = []
        for row in self.rows:
            flat: dict[str, Any] = {}
            for name, value in row.items():
                flat |= {name: value["mean"], f"{name}_sd": value["sd"]} if isinstance(value, dict) else {name: value}
            rows.append(flat)
        return pd.DataFrame(rows).set_index("method")

    def to_json(self) -> str:
        """The record as JSON; figures that are not finite as ``null``."""
        return json_text({"rows": self.rows, "no_different": self.no_different})


def compare(
    posteriors: Mapping[str, Callable[[Any], Predictive] | Iterable[Callable[[Any], Predictive]]],
    x_test: Any,
    y_test: Any = None,
    x_ood: Any = None,
) -> Comparison:
    r"""Put fitted methods beside each other on the same scores, and say where a difference is no more than chance.

    Two methods are no different in a column where the mean of their paired differences :math:`d_n` over the inputs is
    within two standard errors, :math:`|\bar d| \le 2 \operatorname{sd}(d) / \sqrt N`; of areas under the ROC curve the
    standard error is that over paired bootstrap resamples. ``ece`` and ``calibration_error`` are no means over inputs:
    they have no such error, and no mark. Of one fit of each method it is the noise of the test inputs alone: another
    start or another training set may well turn the order round. Pass several fits of a method, from other seeds, as a
    list: then :math:`d_n` is that of the means over the fits, and the variance of each method's mean over its K fits,
    :math:`\operatorname{sd}_k^2 / K`, is added to that over the inputs; as few fits tell it badly, two standard errors
    become as many of Student's t with Welch and Satterthwaite's degrees of freedom as are exceeded as seldom. Beside
    several fits of another method, one fit is taken to vary as those do. What varies from fit to fit by the input is
    counted in both, so that differences are called chance rather too often.

    Args:
        posteriors: Fitted methods by name; of each one fit, or a list of those from several seeds.
        x_test: Test inputs ``(N, ...)``; or a ``Dataset`` or ``DataLoader`` of ``(x, y)``.
        y_test: Their targets; left out when ``x_test`` brings them.
        x_ood: Inputs from another world, if there are any.

    Returns:
        For each method the scores of `evaluate`, ``misclassification_auroc`` (classes; by the largest probability) or
        ``large_error_auroc`` (real targets; the largest tenth of its own errors, by the total standard deviation),
        ``ood_auroc_<score>`` for each score, its mean rank, what its fit tells (``elbo_per_datum``), and seconds to fit
        and predict; of several fits their mean and sample standard deviation.

    Raises:
        TypeError: If the methods are not fitted ones by name, or targets are missing or come twice.
        ValueError: If the data do not suit them, or x and y of pandas have the same row labels in another order.

    References:
        Welch (1947), The generalization of Student's problem when several different population variances are involved,
        Biometrika 34, for several fits.

    Example:
        >>> standard = lambda x: Predictive(torch.distributions.Normal(x.mT, 1.0))
        >>> compare({"standard": standard}, torch.zeros(3, 1), torch.ones(3)).rows[0]["rmse"]
        1.0
    """
    methods = _by_name(posteriors)
    if not methods:
        raise ValueError('compare needs one fitted method at least: compare({"svi": posterior}, x_test, y_test).')
    if y_test is None or brings_targets(x_test):
        x_test, y_test = as_training_data(x_test, y_test)
    refuse_other_order(x_test, y_test)  # and leave them as they are: a fitted method asks for a frame's columns
    rows, noise = [], {}
    for name, each in methods.items():
        fits = [_asked(posterior, x_test, y_test, x_ood, with_noise=len(methods) > 1) for posterior in each]
        rows.append({"method": name, **_over_fits([figures for figures, _ in fits])})
        known = [column for column in fits[0][1] if all(column in own for _, own in fits)]
        noise[name] = {column: torch.stack([own[column] for _, own in fits]) for column in known}
    if len(rows) < 2:
        return Comparison(rows)
    for row, rank in zip(rows, _ranks(rows), strict=True):
        row["rank"] = rank
    return Comparison(rows, _no_different(rows, noise))


def _by_name(posteriors: Any) -> dict[str, list[Callable[[Any], Predictive]]]:
    """The fits of each method."""
    wanted = 'compare needs fitted methods by name: compare({"svi": posterior}, x_test, y_test)'
    if not isinstance(posteriors, Mapping):
        raise TypeError(f"{wanted}; got {type(posteriors).__name__}.")
    methods = {}
    for name, given in posteriors.items():
        several = not callable(given) and isinstance(given, Iterable)
        methods[name] = list(given) if several else [given]
        wrong = [type(posterior).__name__ for posterior in methods[name] if not callable(posterior)]
        if wrong or not methods[name]:
            raise TypeError(
                f"{wanted}, and several fits of one in a list; got {wrong[0] if wrong else 'no fit'} for {name!r}."
            )
    return methods


def _asked(
    posterior: Callable[[Any], Predictive], x: Any, y: Any, x_ood: Any, with_noise: bool
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """The figures of one fit, and what their noise is told from."""
    started = time.perf_counter()
    predictive = posterior(x)
    seconds = time.perf_counter() - started
    outside = None if x_ood is None else posterior(x_ood)
    found, losses = figures_and_losses(predictive, y, outside)
    history = getattr(posterior, "history", None)
    figures = {
        **found,
        "elbo_per_datum": getattr(posterior, "summary", {}).get("elbo_per_datum", math.nan),
        "fit_seconds": history.seconds if history is not None else math.nan,
        "predict_seconds": seconds,
    }
    return figures, _noise(predictive, y, outside, losses) if with_noise else {}


def _over_fits(figures: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The figures of one fit, or mean and sample standard deviation over those of several that have the figure."""
    if len(figures) == 1:
        return dict(figures[0])
    found = {}
    for name in (name for name in figures[0] if all(name in one for one in figures)):
        values = [one[name] for one in figures]
        known = [value for value in values if not math.isnan(value)]
        found[name] = {
            "mean": float(np.mean(known)) if known else math.nan,
            "sd": float(np.std(known, ddof=1)) if len(known) > 1 else math.nan,
            "values": values,
        }
    return found


def _noise(
    predictive: Predictive, y: Any, outside: Predictive | None, losses: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What the noise of each figure is told from: losses of the inputs, or areas of the resamples."""
    target = truth(predictive, y)
    if len(target) < _FEWEST:
        return {}
    found = dict(losses)
    scale = spreads(predictive)
    here, wrong = scores(predictive, scale=scale), mistakes(predictive, target).cpu()
    weights = resampled(torch.ones(len(target), dtype=torch.bool), _BOOTSTRAP)
    if predictive.has_enumerate_support:
        right = (predictive.mode == target).double()
        found["accuracy"] = right if right.ndim == 1 else right.mean(1)
        score = beyond_rounding(here["max_probability"], 1.0).cpu()
        found["misclassification_auroc"] = aurocs(score, wrong, weights)
    else:
        squared = (predictive.mean - target).double().square()
        found["rmse"] = squared if squared.ndim == 1 else squared.mean(1)
        score = beyond_rounding(here["total"], wholes(here)["total"]).cpu()
        if not bool(score.isnan().any()):
            found["large_error_auroc"] = aurocs(score, wrong, weights)
    if outside is not None and len(outside) >= _FEWEST:
        is_outside = torch.arange(len(predictive) + len(outside)) >= len(predictive)
        weights = resampled(is_outside, _BOOTSTRAP)
        there = scores(outside, scale=scale)
        joined = {name: torch.cat([score, there[name].to(score)]) for name, score in here.items()}
        for name, whole in wholes(joined).items():
            score = beyond_rounding(joined[name], whole).cpu()
            if not bool(score.isnan().any()):
                found[f"ood_auroc_{name}"] = aurocs(score, is_outside, weights)
    return {name: value.detach().cpu().double() for name, value in found.items()}


def _no_different(rows: list[dict[str, Any]], noise: Mapping[str, dict[str, Tensor]]) -> dict[str, tuple[str, ...]]:
    marks = {}
    for column in rows[0]:
        values = {row["method"]: _cost(column, row[column]) for row in rows if column in noise[row["method"]]}
        values = {name: value for name, value in values.items() if not math.isnan(value)}
        if len(values) == len(rows):
            best = min(values, key=lambda name: values[name])
            marks[column] = tuple(n for n in values if _within_noise(column, noise[n][column], noise[best][column]))
    return marks


def _within_noise(column: str, one: Tensor, other: Tensor) -> bool:
    """Whether losses of the inputs, or areas of the resamples, ``(fits, N)`` each, differ no more than chance."""
    one, other = (each[~each.isnan().all(1)] for each in (one, other))  # of fits without a mistake
    difference = one.nanmean(0) - other.nanmean(0)
    difference = difference[~difference.isnan()]  # of resamples without one
    if len(difference) < _FEWEST:
        return True
    spread = float(difference.std())
    error = spread if "auroc" in column else spread / math.sqrt(len(difference))
    fits = [(float(each.nanmean(1).var()) / len(each), len(each) - 1) for each in (one, other) if len(each) > 1]
    if len(fits) == 1:  # the method of one fit is taken to vary as the other's fits do
        ((variance, freedom),) = fits
        fits = [(variance * (freedom + 2), freedom)]
    square = error**2 + sum(variance for variance, _ in fits)
    # Student's t with the degrees of freedom of Welch and Satterthwaite: few fits tell their variance badly.
    known_from = sum(variance**2 / freedom for variance, freedom in fits)
    errors = _errors(square**2 / known_from) if known_from > 0 else _ERRORS
    return abs(float(difference.mean())) <= errors * math.sqrt(square) or bool((difference == 0).all())


def _errors(freedom: float) -> float:
    """Standard errors that a difference of no more than chance exceeds as seldom as a normal one exceeds two."""
    from scipy.stats import norm, t

    return float(t.ppf(norm.cdf(_ERRORS), freedom))


def _ranks(rows: list[dict[str, Any]]) -> list[float]:
    """Mean rank of each row over the columns that have a best; equal figures share the mean of their ranks."""
    from scipy.stats import rankdata

    costs = [[_cost(column, row.get(column, math.nan)) for row in rows] for column in rows[0] if _has_best(column)]
    ranks = [rankdata(values) for values in costs if not any(map(math.isnan, values))]
    return [float(sum(places) / len(places)) for places in zip(*ranks, strict=True)] if ranks else [1.0] * len(rows)


def _has_best(column: str) -> bool:
    return column in _SMALL_IS_GOOD or column.startswith(_LARGE_IS_GOOD)


def _cost(column: str, value: Any) -> float:
    """A figure as a loss, smaller is better."""
    value = value["mean"] if isinstance(value, dict) else value
    return -value if column.startswith(_LARGE_IS_GOOD) else value
