"""The record of a detection task: how well each score finds what is looked for, over inputs and over fits."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesnn.metrics.detection import aupr, auroc, aurocs, fpr95
from bayesnn.rounding import beyond_rounding, wholes
from bayesnn.tables import html_table, json_text, text_table

__all__ = ["NUM_BOOTSTRAP", "Detection", "Found", "detection", "resampled"]

NUM_BOOTSTRAP = 200
"""Resamples behind an interval: their ends are then known to about a tenth of the interval's width."""

_LEVEL, _FEWEST = 0.95, 20

_FIGURES = {"auroc": "AUROC", "aupr": "AUPR", "aupr_rest": "AUPR of the rest", "fpr95": "FPR95"}
"""What is told of every score, and how a table heads it."""


@dataclass(frozen=True)
class Detection:
    """How well each uncertainty score detects a kind of input.

    Attributes:
        task: What was looked for.
        scores: For each score ``auroc``, the area under the ROC curve (0.5 is chance), with ``auroc_low`` and
            ``auroc_high``, the ends of its 95 % bootstrap interval over inputs; ``aupr``, the area under the
            precision-recall curve of what is looked for (chance is its share), and ``aupr_rest``, that of the rest;
            ``fpr95``, the share of the rest that is suspected when 95 % of what is looked for is found. NaN where
            there was nothing to find. Of several fits each but the ends is the mean over them, those left out that had
            nothing to find, with its sample standard deviation over the fits beside it, ``auroc_sd``; the ends are
            those of the mean of these very fits, over other inputs: how other fits would do, the deviation tells.
        num_positive: Inputs of that kind; of several fits the mean, rounded.
        num_negative: The others.
        num_fits: Fits that were asked.
    """

    task: str
    scores: dict[str, dict[str, float]]
    num_positive: int
    num_negative: int
    num_fits: int = 1

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
        found = f"{self.task}: {self.num_positive} to find among {self.num_positive + self.num_negative}"
        return found + f"; mean ± standard deviation of {self.num_fits} fits" * (self.num_fits > 1)

    @property
    def _worse(self) -> bool:
        return self.best < 0.5

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for name, found in self.scores.items():
            figures = {
                heading: {"mean": found[figure], "sd": found.get(f"{figure}_sd")}
                for figure, heading in _FIGURES.items()
            }
            row: dict[str, Any] = {"score": name.replace("_", " "), "AUROC": figures.pop("AUROC")}
            if not math.isnan(found.get("auroc_low", math.nan)):
                row["95 % interval"] = f"{found['auroc_low']:.3f} to {found['auroc_high']:.3f}"
            rows.append(row | figures)
        return rows


@dataclass(frozen=True)
class Found:
    """What one fit gives for a task.

    Attributes:
        by_score: Uncertainty of each input ``(N,)`` by name.
        positive: Whether each is what is looked for ``(N,)``.
        whole: What each score is what is left of; by its name, if left out.
    """

    by_score: Mapping[str, Tensor]
    positive: Tensor
    whole: Mapping[str, Tensor | float] | None = None


def detection(task: str, fits: Sequence[Found], num_bootstrap: int = 0) -> Detection:
    """The record of a task: each score's figures, with intervals where there are resamples.

    Args:
        task: Its name.
        fits: What each fit gives, for the same inputs.
        num_bootstrap: Resamples.
    """
    if not isinstance(num_bootstrap, int | np.integer) or not (num_bootstrap == 0 or num_bootstrap >= _FEWEST):
        raise ValueError(
            f"num_bootstrap must be {_FEWEST} or more, or an interval means nothing, or 0 for none; got "
            f"{num_bootstrap!r}. Write num_bootstrap={NUM_BOOTSTRAP}."
        )
    positives = [one.positive.cpu() for one in fits]
    counts = [int(positive.sum()) for positive in positives]
    weights = None
    if num_bootstrap and any(0 < count < len(positives[0]) for count in counts):
        alike = all(torch.equal(positive, positives[0]) for positive in positives)
        # Every fit sees the same resamples, of both kinds apart where these are the same inputs for all.
        weights = resampled(positives[0] if alike else torch.ones_like(positives[0], dtype=torch.bool), num_bootstrap)
    found = {}
    known = [one.whole if one.whole is not None else wholes(one.by_score) for one in fits]
    for name in fits[0].by_score:
        values = [
            beyond_rounding(one.by_score[name].detach(), whole[name]).cpu()
            for one, whole in zip(fits, known, strict=True)
        ]
        each = list(zip(values, positives, strict=True))
        figures = _over_fits([_figures(*one) for one in each])
        ends = dict(zip(("auroc_low", "auroc_high"), _ends(each, weights), strict=True)) if num_bootstrap else {}
        found[name] = {"auroc": figures.pop("auroc"), **ends, **figures}
    count = round(sum(counts) / len(counts))
    return Detection(task, found, count, len(positives[0]) - count, len(fits))


def _figures(score: Tensor, positive: Tensor) -> dict[str, float]:
    if bool(score.isnan().any()):  # as the variance of a Cauchy: no order, no figure
        return dict.fromkeys(_FIGURES, math.nan)
    figures = {"auroc": auroc(score, positive), "aupr": aupr(score, positive), "aupr_rest": aupr(-score, ~positive)}
    return {name: float(figure) for name, figure in (figures | {"fpr95": fpr95(score, positive)}).items()}


def _over_fits(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over the fits that have a figure, and their sample standard deviations."""
    if len(figures) == 1:
        return dict(figures[0])
    found = {}
    for name in _FIGURES:
        values = [one[name] for one in figures if not math.isnan(one[name])]
        found[name] = float(np.mean(values)) if values else math.nan
        found[f"{name}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return found


def _ends(fits: Sequence[tuple[Tensor, Tensor]], weights: Tensor | None) -> tuple[float, float]:
    """Ends of the interval of the mean area over the fits, by the resamples in which one of them has an area."""
    if weights is None:
        return math.nan, math.nan
    areas = [aurocs(score, positive, weights).double() for score, positive in fits if not bool(score.isnan().any())]
    mean = torch.stack(areas).nanmean(0) if areas else torch.full((1,), math.nan)
    mean = mean[~mean.isnan()]
    if not len(mean):
        return math.nan, math.nan
    ends = torch.tensor([(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], dtype=torch.float64)
    low, high = mean.quantile(ends).tolist()
    return low, high


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
