"""Evaluation: every score of a predictive, in one row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bayesnn.kinds import unknown_from_ambiguous
from bayesnn.metrics.calibration import calibration_error, coverage, ece, sharpness
from bayesnn.metrics.crps import crps_of_each, has_closed_form
from bayesnn.metrics.scoring import accuracy, brier_of_each, rmse
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.tasks import misclassification, out_of_distribution, truth
from bayesnn.uncertainty import expected_entropy, mutual_information, scores

__all__ = ["evaluate", "figures", "figures_and_losses"]


@torch.no_grad()
def evaluate(predictive: Predictive, y: Any) -> dict[str, float]:
    """Score a predictive against the truth.

    Args:
        predictive: Predictions for N inputs.
        y: Their true targets ``(N,)`` or ``(N, D)``, in raw units.

    Returns:
        For classes ``nll`` (nats), ``accuracy``, ``brier`` and ``ece``. For real targets and counts ``nll`` (nats, a
        density in the units of ``y``), ``rmse`` (units of ``y``), ``coverage_90``, the fraction within the central
        90 % interval, ``sharpness_90``, the interval's mean width (units of ``y``), ``calibration_error``, how far the
        frequencies of all quantiles are from their levels, and, of normal members, ``crps`` (units of ``y``), whose
        time goes with the square of the draws: seconds for 1000 inputs at 1000 draws. Of other families
        `bayesnn.metrics.crps.crps` takes its time, so ask for it. Of several targets, figures in units of ``y`` are
        means over them, or roots of such, in which the one of the largest unit decides: pass them in units alike, or
        ask for each, ``evaluate(predictive.target(k), y[:, k])``.

    Raises:
        ValueError: If ``y`` does not have one target for each input, or there is no input.

    Example:
        >>> import torch
        >>> sure = torch.distributions.Categorical(probs=torch.tensor([[[0.9, 0.1]]]))
        >>> evaluate(Predictive(sure), torch.tensor([0]))["accuracy"]
        1.0
    """
    return {name: float(values.mean()) for name, values in _scored(predictive, y).items()}


def figures(
    inside: Predictive, y: Any, outside: Predictive | None = None, ambiguous: Predictive | None = None
) -> dict[str, float]:
    """Every score of one predictive in one row: `evaluate`, `misclassification` and `out_of_distribution`.

    With ``ambiguous``, predictions for inputs that are two things at once, also `unknown_from_ambiguous` by the
    difference of the parts, and the mean of each part (nats) over both kinds of input.
    """
    return figures_and_losses(inside, y, outside, ambiguous)[0]


@torch.no_grad()
def figures_and_losses(
    inside: Predictive, y: Any, outside: Predictive | None = None, ambiguous: Predictive | None = None
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """The `figures`, and for those of them that are means over the inputs what each input has ``(N,)``."""
    scored = _scored(inside, y)
    row = {name: float(values.mean()) for name, values in scored.items()}
    found = misclassification(inside, y, num_bootstrap=0).auroc
    if inside.has_enumerate_support:
        row["misclassification_auroc"] = found["max_probability"]
    else:
        row["large_error_auroc"] = found["total"]
    if outside is not None:
        found = out_of_distribution(inside, outside, num_bootstrap=0).auroc
        row |= {f"ood_auroc_{name}": found[name] for name in scores(outside)}
    if outside is not None and ambiguous is not None:
        told = unknown_from_ambiguous(outside, ambiguous, num_bootstrap=0).auroc
        row["unknown_from_ambiguous_auroc"] = told["epistemic_less_aleatoric"]
        for kind, predictive in (("unknown", outside), ("ambiguous", ambiguous)):
            row[f"{kind}_aleatoric"] = float(expected_entropy(predictive).mean())
            row[f"{kind}_epistemic"] = float(mutual_information(predictive).mean())
    return row, {name: values.reshape(len(inside), -1).mean(1) for name, values in scored.items() if values.ndim}


def _scored(predictive: Predictive, y: Any) -> dict[str, Tensor]:
    """Scores by name: what each input has, ``(N,)`` or ``(N, D)``, where the score is a mean of that."""
    expect_predictive(predictive, fewest=1)
    target = truth(predictive, y)
    found: dict[str, Callable[[Predictive, Tensor], Tensor]]
    if predictive.has_enumerate_support:
        found = {"nll": _nll_of_each, "accuracy": accuracy, "brier": brier_of_each, "ece": ece}
    else:
        found = {
            "nll": _nll_of_each,
            "rmse": rmse,
            "coverage_90": coverage,
            "sharpness_90": lambda predictive, y: sharpness(predictive),
            "calibration_error": calibration_error,
        }
        found |= {"crps": crps_of_each} if has_closed_form(predictive) else {}
    return {name: score(predictive, target) for name, score in found.items()}


def _nll_of_each(predictive: Predictive, y: Tensor) -> Tensor:
    return -predictive.log_prob(y)
