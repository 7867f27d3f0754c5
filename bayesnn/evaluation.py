"""Evaluation: is a predictive right, does it know when it is wrong, and does it know what it has never seen?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bayesnn.data import as_targets
from bayesnn.metrics.calibration import coverage, ece
from bayesnn.metrics.detection import auroc
from bayesnn.metrics.scoring import accuracy, brier, nll, rmse
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.tables import text_table
from bayesnn.uncertainty import scores

__all__ = ["Comparison", "Detection", "compare", "evaluate", "figures", "misclassification", "out_of_distribution"]


def evaluate(predictive: Predictive, y: Any) -> dict[str, float]:
    """Score a predictive against the truth.

    Args:
        predictive: Predictions for N inputs.
        y: Their true targets ``(N,)`` or ``(N, D)``, in raw units.

    Returns:
        For classes ``nll`` (nats), ``accuracy``, ``brier`` and ``ece``; for real targets ``nll`` (nats, a density in
        the units of ``y``), ``rmse`` (units of ``y``) and ``coverage_90``, the fraction within the central 90 %
        interval.

    Raises:
        ValueError: If ``y`` does not have one target for each input.

    Example:
        >>> sure = torch.distributions.Categorical(probs=torch.tensor([[[0.9, 0.1]]]))
        >>> evaluate(Predictive(sure), torch.tensor([0]))["accuracy"]
        1.0
    """
    expect_predictive(predictive)
    truth = _truth(predictive, y)
    if predictive.has_enumerate_support:
        found = {"nll": nll, "accuracy": accuracy, "brier": brier, "ece": ece}
    else:
        found = {"nll": nll, "rmse": rmse, "coverage_90": coverage}
    return {name: float(score(predictive, truth)) for name, score in found.items()}


@dataclass(frozen=True)
class Detection:
    """How well each uncertainty score detects a kind of input.

    Attributes:
        task: What was looked for.
        auroc: Area under the ROC curve by score; 0.5 is chance, NaN where there was nothing to find.
        num_positive: Inputs of that kind.
        num_negative: The others.
    """

    task: str
    auroc: dict[str, float]
    num_positive: int
    num_negative: int

    def __repr__(self) -> str:
        lines = [f"{self.task}: {self.num_positive} to find among {self.num_positive + self.num_negative}"]
        width = max(map(len, self.auroc))
        lines += [f"  {name:{width}}  AUROC {area:.3f}" for name, area in self.auroc.items()]
        if self.best < 0.5:
            lines.append("  below 0.5: what is looked for looks more certain than the rest")
        return "\n".join(lines)

    @property
    def best(self) -> float:
        """The largest area."""
        return max(self.auroc.values())


def misclassification(predictive: Predictive, y: Any) -> Detection:
    """Does the uncertainty find the predictive's own mistakes? Classes only.

    Args:
        predictive: Predictions for N inputs.
        y: Their true labels ``(N,)``.

    References:
        Hendrycks and Gimpel (2017), A Baseline for Detecting Misclassified and Out-of-Distribution Examples,
        arXiv:1610.02136.
    """
    expect_predictive(predictive)
    if not predictive.has_enumerate_support:
        raise NotImplementedError("misclassification needs classes; this predictive is over real targets.")
    truth = _truth(predictive, y)
    wrong = predictive.mode != truth
    wrong = wrong if wrong.ndim == 1 else wrong.any(1)
    return _detection("misclassification", scores(predictive), wrong)


def out_of_distribution(inside: Predictive, outside: Predictive) -> Detection:
    """Does the uncertainty tell inputs from another world?

    Args:
        inside: Predictions for inputs like the training data.
        outside: Predictions of the same posterior for inputs from elsewhere.
    """
    expect_predictive(inside)
    expect_predictive(outside)
    if _kind(inside) != _kind(outside):
        raise ValueError(f"inside and outside must be of one posterior; got {inside!r} and {outside!r}.")
    here, there = scores(inside), scores(outside)
    joined = {name: torch.cat([here[name], there[name].to(here[name])]) for name in here}
    return _detection("out-of-distribution", joined, torch.arange(len(inside) + len(outside)) >= len(inside))


@dataclass(frozen=True)
class Comparison:
    """A table, one row per method.

    Attributes:
        rows: Figures by name; ``"method"`` names the row.
    """

    rows: list[dict[str, Any]]

    def __repr__(self) -> str:
        return text_table(self.rows)

    def to_pandas(self) -> Any:
        """The table as a ``pandas.DataFrame`` indexed by method; needs pandas."""
        import pandas as pd

        return pd.DataFrame(self.rows).set_index("method")


def compare(
    posteriors: Mapping[str, Callable[[Any], Predictive]], x_test: Any, y_test: Any, x_ood: Any = None
) -> Comparison:
    """Put fitted methods beside each other on the same scores.

    Args:
        posteriors: Fitted methods by name.
        x_test: Test inputs ``(N, ...)``.
        y_test: Their targets.
        x_ood: Inputs from another world, if there are any.

    Returns:
        For each method the scores of `evaluate`, ``misclassification_auroc`` (classes; by the largest probability),
        ``ood_auroc_<score>`` for each score, what its fit tells (``elbo_per_datum``), and seconds to fit and predict.
    """
    if not isinstance(posteriors, Mapping) or not all(callable(posterior) for posterior in posteriors.values()):
        raise TypeError('compare needs fitted methods by name: compare({"svi": posterior}, x_test, y_test).')
    rows = []
    for name, posterior in posteriors.items():
        started = time.perf_counter()
        predictive = posterior(x_test)
        seconds = time.perf_counter() - started
        row: dict[str, Any] = {
            "method": name,
            **figures(predictive, y_test, None if x_ood is None else posterior(x_ood)),
        }
        summary = getattr(posterior, "summary", {})
        row["elbo_per_datum"] = summary.get("elbo_per_datum", float("nan"))
        history = getattr(posterior, "history", None)
        row["fit_seconds"] = history.seconds if history is not None else float("nan")
        row["predict_seconds"] = seconds
        rows.append(row)
    return Comparison(rows)


def figures(inside: Predictive, y: Any, outside: Predictive | None = None) -> dict[str, float]:
    """Every score of one predictive in one row: `evaluate`, `misclassification` and `out_of_distribution`."""
    row = evaluate(inside, y)
    if inside.has_enumerate_support:
        row["misclassification_auroc"] = misclassification(inside, y).auroc["max_probability"]
    if outside is not None:
        row |= {f"ood_auroc_{name}": area for name, area in out_of_distribution(inside, outside).auroc.items()}
    return row


def _truth(predictive: Predictive, y: Any) -> Tensor:
    truth = predictive.checked(as_targets(y))
    if truth.shape != predictive.batch_shape + predictive.event_shape:
        raise ValueError(
            f"targets must have one row per input, shape {tuple(predictive.batch_shape + predictive.event_shape)}; got "
            f"{tuple(truth.shape)}."
        )
    return truth


def _kind(predictive: Predictive) -> tuple[Any, ...]:
    """What two predictives must have in common to be compared: their targets, and how many classes there are."""
    classes = len(predictive.enumerate_support(expand=False)) if predictive.has_enumerate_support else 0
    return predictive.event_shape, classes


def _detection(task: str, by_score: dict[str, Tensor], positive: Tensor) -> Detection:
    count = int(positive.sum())
    areas = {name: float(auroc(score, positive)) for name, score in by_score.items()}
    return Detection(task, areas, count, len(positive) - count)
