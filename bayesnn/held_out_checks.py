"""What held-out data say of a fit: is it calibrated, and is it as good as the plain network?"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from bayesnn.columns import named
from bayesnn.data import as_training_data, brings_targets
from bayesnn.diagnosis import Finding
from bayesnn.evaluation import evaluate
from bayesnn.held_out import predicted
from bayesnn.methods.map import fit_map
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.predictive import Predictive

__all__ = ["held_out_findings", "held_out_pair"]

_ERRORS = 3.0
"""Standard errors beyond which chance is ruled out."""

_SMALL = 0.03
"""Differences of a probability that do not matter, however sure they are."""

_CAUTIOUS = 0.09
"""Probability by which a fit may be too cautious before it is warned of: that errs on the safe side."""

_NATS = 0.02
_LEVEL = 0.9


def held_out_pair(posterior: Any, held_out: Any) -> tuple[Any, Any]:
    """Held-out data as a pair of inputs and targets.

    Args:
        posterior: The fit that they are to be predicted by, whose columns they must have.
        held_out: Such a pair, or a ``Dataset`` or ``DataLoader`` of pairs.

    Raises:
        TypeError: If it is neither, or something is not data.
        ValueError: If rows do not match.
    """
    if brings_targets(held_out):
        return as_training_data(held_out)
    if not isinstance(held_out, tuple | list) or len(held_out) != 2:
        raise TypeError(
            f"held_out must be a pair of inputs and targets, or a Dataset or DataLoader of them; got "
            f"{type(held_out).__name__}. Write held_out=(x, y)."
        )
    x, y = held_out
    next(named(x, getattr(posterior, "columns", ())), None)
    return as_training_data(x, y)


def held_out_findings(
    posterior: Any, x: Tensor, y: Tensor, held_out: tuple[Any, Any], *, seed: int = 0, progress: bool = True
) -> tuple[dict[str, float], list[Finding]]:
    """Scores on held-out data, and what is wrong with them.

    Args:
        posterior: A fit.
        x: The inputs of the fit.
        y: Their targets.
        held_out: Other data, as `held_out_pair` gives them.
        seed: Of the plain network's fit.
        progress: Whether that shows a progress bar.

    Returns:
        Every score of `evaluate` as ``held_out_...``, and ``held_out_nll_map`` of the plain network; and findings.
    """
    predictive, truth = predicted(posterior, *held_out)
    figures = {f"held_out_{name}": value for name, value in evaluate(predictive, truth).items()}
    findings = (_of_classes if predictive.has_enumerate_support else _of_reals)(predictive, truth)
    model = getattr(posterior, "model", None)
    drawn = getattr(posterior, "weights", {}).keys()
    if isinstance(model, BayesianNeuralNetwork) and drawn == model.log_priors(posterior.weights).keys():
        plain = fit_map(model, x, y, seed=seed, progress=progress)
        if plain.history is not None and plain.history.interrupted:  # no fit to compare with
            return figures, findings
        there = plain(held_out[0])
        difference = (there.log_prob(truth) - predictive.log_prob(truth)).double()
        figures["held_out_nll_map"] = float(-there.log_prob(truth).double().mean())
        mean, error = float(difference.mean()), float(difference.std()) / math.sqrt(len(difference))
        if mean > max(_NATS, _ERRORS * error):
            words = (
                f"on held-out data it scores {mean:.2g} nats a datum worse than the plain network with the same prior "
                f"(standard error {error:.2g}): it underfits."
            )
            advice = 'raise num_epochs, write start="map", or take a prior that suits'
            findings.append(Finding("underfit", words, advice))
    return figures, findings


def _of_classes(predictive: Predictive, y: Tensor) -> list[Finding]:
    """Accuracy against confidence: the mean of the largest probability, with the noise of so many Bernoulli draws."""
    if predictive.event_shape:
        return []
    confidence = predictive.probs.max(-1).values.double()
    gap = float((confidence - (predictive.mode == y).double()).mean())
    error = math.sqrt(float((confidence * (1 - confidence)).sum())) / len(confidence)
    if abs(gap) <= max(_SMALL, _ERRORS * error):
        return []
    sure = "too sure" if gap > 0 else "not sure enough"
    words = (
        f"on held-out data it is right in {float((predictive.mode == y).double().mean()):.1%} of the cases, and says "
        f"{float(confidence.mean()):.1%}: it is {sure}."
    )
    advice = "recalibrate it by temperature_scaled, on data of their own"
    return [Finding("miscalibrated", words, advice, is_warning=gap > 0 or -gap > _CAUTIOUS)]


def _of_reals(predictive: Predictive, y: Tensor) -> list[Finding]:
    """The share of targets within their central interval, with the noise of so many."""
    low, high = predictive.interval(_LEVEL)
    inside = float(((y >= low) & (y <= high)).double().mean())
    error = math.sqrt(_LEVEL * (1 - _LEVEL) / len(y))
    if abs(inside - _LEVEL) <= max(_SMALL, _ERRORS * error):
        return []
    width = "too narrow" if inside < _LEVEL else "too wide"
    words = f"90 % intervals hold {inside:.1%} of the held-out targets: they are {width}."
    if predictive.support is not None and predictive.support.is_discrete and inside > _LEVEL:
        return []  # intervals of counts end at counts, and hold more
    advice = "fit intervals that cover by conformal_intervals, on data of their own"
    return [Finding("miscalibrated", words, advice, is_warning=inside < _LEVEL or inside > _LEVEL + _CAUTIOUS)]
