"""Two tasks that show if uncertainty is any good: does it find the own mistakes, and inputs from another world?"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesnn.data import as_targets
from bayesnn.metrics.detection import aupr, auroc, aurocs, fpr95
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.rounding import beyond_rounding, wholes
from bayesnn.rows import one_each
from bayesnn.tables import html_table, json_text, text_table
from bayesnn.uncertainty import all_scores, spreads

__all__ = [
    "Detection",
    "detection",
    "misclassification",
    "mistakes",
    "out_of_distribution",
    "resampled",
    "squared_errors",
    "told",
    "truth",
]

NUM_BOOTSTRAP = 200
"""Resamples behind an interval: their ends are then known to about a tenth of the interval's width."""

_LEVEL, _FEWEST = 0.95, 20

_FIGURES = ("auroc", "auroc_low", "auroc_high", "aupr", "aupr_rest", "fpr95")


@dataclass(frozen=True)
class Detection:
    """How well each uncertainty score detects a kind of input.

    Attributes:
        task: What was looked for.
        scores: For each score ``auroc``, the area under the ROC curve (0.5 is chance), with ``auroc_low`` and
            ``auroc_high``, the ends of its 95 % bootstrap interval over inputs; ``aupr``, the area under the
            precision-recall curve of what is looked for (chance is its share), and ``aupr_rest``, that of the rest;
            ``fpr95``, the share of the rest that is suspected when 95 % of what is looked for is found. NaN where
            there was nothing to find.
        num_positive: Inputs of that kind.
        num_negative: The others.
    """

    task: str
    scores: dict[str, dict[str, float]]
    num_positive: int
    num_negative: int

    def __repr__(self) -> str:
        lines = [self._heading, text_table(self._rows())]
        return "\n".join([*lines, *(["below 0.5: what is looked for looks more certain than the rest"] * self._worse)])

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self._heading)}</p>{html_table(self._rows())}"

    @property
    def auroc(self) -> dict[str, float]:
        """Area under the ROC curve by score."""
        return {name: figures["auroc"] for name, figures in self.scores.items()}

    @property
    def best(self) -> float:
        """The largest area."""
        return max(self.auroc.values())

    def to_pandas(self) -> Any:
        """The figures as a ``pandas.DataFrame``, a row for each score; needs pandas."""
        import pandas as pd

        return pd.DataFrame.from_dict(self.scores, orient="index").rename_axis("score")

    def to_json(self) -> str:
        """The record as JSON; figures that are not finite as ``null``."""
        return json_text(asdict(self))

    @property
    def _heading(self) -> str:
        return f"{self.task}: {self.num_positive} to find among {self.num_positive + self.num_negative}"

    @property
    def _worse(self) -> bool:
        return self.best < 0.5

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for name, found in self.scores.items():
            row: dict[str, Any] = {"score": name.replace("_", " "), "AUROC": found["auroc"]}
            if not math.isnan(found.get("auroc_low", math.nan)):
                row["95 % interval"] = f"{found['auroc_low']:.3f} to {found['auroc_high']:.3f}"
            rows.append(row | {"AUPR": found["aupr"], "AUPR of the rest": found["aupr_rest"], "FPR95": found["fpr95"]})
        return rows


def misclassification(
    predictive: Predictive, y: Any, *, largest: float = 0.1, num_bootstrap: int = NUM_BOOTSTRAP
) -> Detection:
    """Does the uncertainty find the predictive's own mistakes?

    Of classes a mistake is a wrong most probable class (of several labels, one wrong at least); of real targets one of
    the largest errors, by default the largest tenth: with several target dimensions, by the root of the mean squared
    error, each in units of its targets' standard deviation.

    Args:
        predictive: Predictions for N inputs.
        y: Their true targets ``(N,)`` or ``(N, D)``.
        largest: Which share of the errors of real targets is large.
        num_bootstrap: Resamples of the inputs behind the intervals, drawn of both kinds apart, 20 or more; 0 for none.

    Returns:
        For each score of uncertainty how well it detects the mistakes.

    Raises:
        ValueError: If ``y`` does not have one target for each input, there is no input, or a setting is out of range.

    References:
        Hendrycks and Gimpel (2017), A Baseline for Detecting Misclassified and Out-of-Distribution Examples,
        arXiv:1610.02136.

    Example:
        >>> probs = torch.tensor([[[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]])
        >>> found = misclassification(Predictive(torch.distributions.Categorical(probs)), [0, 1, 1])
        >>> found.auroc["entropy"]
        1.0
    """
    expect_predictive(predictive, fewest=1)
    name = "misclassification" if predictive.has_enumerate_support else f"the largest {100 * largest:g} % of errors"
    by_score = all_scores(predictive, scale=spreads(predictive))
    return detection(name, by_score, mistakes(predictive, y, largest), num_bootstrap)


def mistakes(predictive: Predictive, y: Any, largest: float = 0.1) -> Tensor:
    """Whether each prediction is a mistake ``(N,)``, as `misclassification` has it."""
    target = truth(predictive, y)
    if predictive.has_enumerate_support:
        wrong = predictive.mode != target
        return wrong if wrong.ndim == 1 else wrong.any(1)
    if not 0 < largest < 1:
        raise ValueError(f"largest must be a share of the errors between 0 and 1; got {largest}. Write largest=0.1.")
    error = squared_errors(predictive, target)
    count = max(1, round(largest * len(error)))
    found = torch.zeros(len(error), dtype=torch.bool, device=error.device)
    return found.index_fill(0, error.topk(count).indices, True)


def squared_errors(predictive: Predictive, target: Tensor) -> Tensor:
    """Squared error of each prediction of one real target ``(N,)``, in squared units of ``y``.

    Of several targets it is the mean over them, each in units of its standard deviation over the inputs.
    """
    error = (predictive.mean - target).double()
    if predictive.event_shape.numel() == 1:
        return error.flatten().square()
    spread = target.double().std(0)
    return (error / torch.where(spread > 0, spread, 1.0)).square().mean(1)


def out_of_distribution(inside: Predictive, outside: Predictive, *, num_bootstrap: int = NUM_BOOTSTRAP) -> Detection:
    """Does the uncertainty tell inputs from another world?

    Args:
        inside: Predictions for inputs like the training data.
        outside: Predictions of the same posterior for inputs from elsewhere.
        num_bootstrap: Resamples of the inputs behind the intervals, drawn of both kinds apart, 20 or more; 0 for none.

    Returns:
        For each score of uncertainty how well it detects inputs from elsewhere.

    Raises:
        ValueError: If the two cannot be of one posterior, as they have other targets or another number of classes, or
            one of them has no input.

    Example:
        >>> sure, unsure = torch.tensor([[[0.9, 0.1]]]), torch.tensor([[[0.5, 0.5]]])
        >>> inside, outside = (Predictive(torch.distributions.Categorical(probs)) for probs in (sure, unsure))
        >>> out_of_distribution(inside, outside).auroc["entropy"]
        1.0
    """
    expect_predictive(inside, fewest=1)
    expect_predictive(outside, fewest=1)
    if _kind(inside) != _kind(outside):
        raise ValueError(f"inside and outside must be of one posterior; got {told(inside)} and {told(outside)}.")
    scale = spreads(inside)
    here, there = all_scores(inside, scale=scale), all_scores(outside, scale=scale)
    joined = {name: torch.cat([here[name], there[name].to(here[name])]) for name in here}
    is_outside = torch.arange(len(inside) + len(outside)) >= len(inside)
    return detection("out-of-distribution", joined, is_outside, num_bootstrap)


def detection(
    task: str,
    by_score: Mapping[str, Tensor],
    positive: Tensor,
    num_bootstrap: int = 0,
    whole: Mapping[str, Tensor | float] | None = None,
) -> Detection:
    """The record of a task: each score's figures, with intervals where there are resamples.

    Args:
        task: Its name.
        by_score: Uncertainty of each input ``(N,)`` by name.
        positive: Whether each is what is looked for ``(N,)``.
        num_bootstrap: Resamples.
        whole: What each score is what is left of; by its name, if left out.
    """
    if not isinstance(num_bootstrap, int | np.integer) or not (num_bootstrap == 0 or num_bootstrap >= _FEWEST):
        raise ValueError(
            f"num_bootstrap must be {_FEWEST} or more, or an interval means nothing, or 0 for none; got "
            f"{num_bootstrap!r}. Write num_bootstrap={NUM_BOOTSTRAP}."
        )
    positive = positive.cpu()
    count = int(positive.sum())
    weights = resampled(positive, num_bootstrap) if num_bootstrap and 0 < count < len(positive) else None
    found: dict[str, dict[str, float]] = {}
    whole = wholes(by_score) if whole is None else whole
    for name, score in by_score.items():
        at = beyond_rounding(score.detach(), whole[name]).cpu()
        if bool(at.isnan().any()):  # as the variance of a Cauchy: no order, no figure
            found[name] = dict.fromkeys(_FIGURES if num_bootstrap else _FIGURES[:1] + _FIGURES[3:], math.nan)
            continue
        figures = {"auroc": float(auroc(at, positive))}
        if num_bootstrap:
            figures["auroc_low"] = figures["auroc_high"] = math.nan
        if weights is not None:
            ends = torch.tensor([(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], dtype=torch.float64)
            low, high = aurocs(at, positive, weights).double().quantile(ends).tolist()
            figures["auroc_low"], figures["auroc_high"] = low, high
        figures |= {"aupr": float(aupr(at, positive)), "aupr_rest": float(aupr(-at, ~positive))}
        found[name] = figures | {"fpr95": float(fpr95(at, positive))}
    return Detection(task, found, count, len(positive) - count)


def resampled(positive: Tensor, number: int, seed: int = 0) -> Tensor:
    """How often each input is drawn in resamples of both kinds apart ``(number, N)``; the same for the same kinds."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.zeros(number, len(positive), dtype=torch.float64)
    for kind in (positive, ~positive):
        rows = kind.nonzero()[:, 0]
        if not len(rows):
            continue
        chosen = rows[torch.randint(len(rows), (number, len(rows)), generator=generator)]
        weights.scatter_add_(1, chosen, torch.ones_like(chosen, dtype=torch.float64))
    return weights


def truth(predictive: Predictive, y: Any) -> Tensor:
    """Targets for the predictive's inputs, one for each.

    Raises:
        ValueError: If there is not one for each.
    """
    return one_each(predictive.checked(as_targets(y)), predictive.batch_shape + predictive.event_shape)


def told(predictive: Predictive) -> str:
    """The predictive in words, with its number of classes, which its ``repr`` leaves out."""
    classes = _kind(predictive)[1]
    return f"{predictive!r} of {classes} classes" if classes else repr(predictive)


def _kind(predictive: Predictive) -> tuple[torch.Size, int]:
    """What two predictives must have in common to be compared: their targets, and how many classes there are."""
    classes = len(predictive.enumerate_support(expand=False)) if predictive.has_enumerate_support else 0
    return predictive.event_shape, classes
