"""Does the uncertainty tell mistakes and strangers? Histograms, ROC curves, and the risk of what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from bayesnn.metrics.detection import as_scores, aurc, auroc, risk_coverage, roc_curve
from bayesnn.plots.canvas import COLOURS, new_axes
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.rounding import beyond_rounding, wholes
from bayesnn.tasks import mistakes, squared_errors, truth
from bayesnn.uncertainty import all_scores, scores, spreads

__all__ = ["detection_histogram", "risk_coverage_curve", "roc"]

_STYLES = ("-", "--", ":", "-.")
"""Lines of scores, several of which may measure one part and have its colour."""

_BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.02), "frameon": False, "fontsize": 8}
"""Legends that are off the curves, wherever those run."""


_KNOWN_OR_NOT = ("known classes", "never seen"), ("like the training data", "from elsewhere")
"""What inputs are called where targets are classes, and where they are real."""


def detection_histogram(
    inside: Any,
    outside: Any,
    *,
    score: str,
    unit: str | None = None,
    labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Histograms of an uncertainty score on inputs like the training data and on inputs from elsewhere.

    Args:
        inside: Score of the inputs from the training data's world ``(N,)``: tensor, array, list or series.
        outside: Score of the others ``(M,)``.
        score: Its name.
        unit: Its unit. If left out, that of the name: nats of entropies, information and divergences, units of ``y`` of
            the standard deviations ``total``, ``aleatoric`` and ``epistemic``, none of others, as of probabilities.
            Write it of scores that have a ``scale``.
        labels: What the two kinds of input are called. If left out, "known classes" and "never seen", or of standard
            deviations "like the training data" and "from elsewhere": write them for the entropy of a real target.
        ax: Where to draw.

    Returns:
        The axes.

    Raises:
        TypeError: If the scores are not numbers.
        ValueError: If there is no score of a kind, one is not finite, or there are not two labels.

    Example:
        >>> detection_histogram([1.0, 1.5], [2.0, 4.0], score="epistemic").get_xlabel()
        'epistemic (units of y)'
    """
    if labels is not None and (isinstance(labels, str) or len(labels) != 2):
        raise ValueError(
            f'labels must be two, of inside and of outside; got {labels!r}. Write labels=("digits", "letters").'
        )
    kinds = {
        name: as_scores(values, name).cpu().double().numpy()
        for name, values in (("inside", inside), ("outside", outside))
    }
    if not all(len(values) for values in kinds.values()):
        raise ValueError("a histogram needs one score of each kind at least.")
    for name, values in kinds.items():
        if not np.isfinite(values).all():
            raise ValueError(
                f"{name} must be finite to be drawn; got infinity in {int(np.isinf(values).sum())} of {len(values)} "
                "scores. Drop those first."
            )
    ax = new_axes(ax)
    smallest, largest = (float(end([end(values) for values in kinds.values()])) for end in (np.min, np.max))
    of_reals = score in ("total", "aleatoric", "epistemic")
    unit = unit if unit is not None else "units of y" if of_reals else _unit(score)
    ax.set(xlabel=f"{score} ({unit})" if unit else score, ylabel="fraction of inputs")
    if largest - smallest <= 1e-6 * max(abs(smallest), abs(largest)) or max(abs(smallest), abs(largest)) < 1e-7:
        # Mutual information of one draw is 0 but for rounding.
        ax.text(
            0.5, 0.5, f"{0.0 if abs(smallest) < 1e-7 else smallest:.3g} everywhere", ha="center", transform=ax.transAxes
        )
        return ax
    bins = np.linspace(min(smallest, 0.0), largest, 31).tolist()
    for name, label in zip(kinds, labels if labels is not None else _KNOWN_OR_NOT[of_reals], strict=True):
        share = np.full(len(kinds[name]), 1 / len(kinds[name]))
        ax.hist(kinds[name], bins, weights=share, color=COLOURS[name], alpha=0.35)
        ax.hist(kinds[name], bins, weights=share, color=COLOURS[name], histtype="step", lw=1.5, label=label)
    ax.set(xlim=(bins[0], bins[-1]))
    ax.legend(frameon=False)
    return ax


def roc(by_score: Mapping[str, Any], positive: Any, *, ax: Axes | None = None) -> Axes:
    """Receiver operating characteristic of one or several scores: what is found over what is suspected in vain.

    Args:
        by_score: Uncertainty ``(N,)`` by name, as `scores` and `all_scores` give it; tensors, arrays, lists or series.
        positive: Whether each input is of the kind looked for ``(N,)``, boolean or 0 and 1: a mistake, or from another
            world.
        ax: Where to draw.

    Returns:
        The axes; the legend has the area under each curve.

    Raises:
        TypeError: If the scores have no names, or something is not numbers.
        ValueError: If there is no score, their lengths differ, a score is NaN, the kinds are no yes or no, or all
            inputs are of one kind.

    Example:
        >>> from bayesnn.uncertainty import scores
        >>> known, strange = (Predictive(torch.distributions.Categorical(torch.rand(5, 20, 3))) for _ in range(2))
        >>> both = Predictive.concatenate([known, strange])
        >>> roc(scores(both), torch.arange(40) >= 20).get_xlabel()
        'share of the others suspected'
    """
    if not isinstance(by_score, Mapping):
        raise TypeError(f'scores must have names; got {type(by_score).__name__}. Write {{"entropy": score}}.')
    if not by_score:
        raise ValueError("there must be one score at least; got none.")
    kinds = as_scores(positive, "positive").cpu()
    named = {name: as_scores(score, repr(name)).cpu() for name, score in by_score.items()}
    for name, score in named.items():
        if score.shape != kinds.shape:
            raise ValueError(
                f"every input needs a score and a kind; {name!r} has shape {tuple(score.shape)}, the kinds "
                f"{tuple(kinds.shape)}."
            )
    of = wholes(named)
    named = {name: beyond_rounding(score, of[name]) for name, score in named.items()}
    curves = {name: (*roc_curve(score, kinds), auroc(score, kinds)) for name, score in named.items()}
    if not 0 < int(kinds.sum()) < len(kinds):
        raise ValueError("a ROC curve needs inputs of both kinds; all are of one.")
    ax = new_axes(ax, (6.2, 4.0))
    for number, (name, (suspected, found, area)) in enumerate(curves.items()):
        label = f"{name.replace('_', ' ')}: {float(area):.3f}"
        ax.plot(suspected, found, _STYLES[number % len(_STYLES)], lw=1.5, color=_colour(name, number), label=label)
    ax.plot([0, 1], [0, 1], color="0.7", lw=1, zorder=0)
    ax.set(xlabel="share of the others suspected", ylabel="share found", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    ax.legend(title="AUROC", **_BESIDE)
    return ax


@torch.no_grad()
def risk_coverage_curve(
    predictive: Predictive, y: Any, *, names: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Mean loss of the predictions that are kept, over the share that is kept, the most certain first.

    The loss is whether the class is wrong, or the squared error of real targets. Of several targets errors are in units
    of each target's standard deviation, and scores in its `spreads`, as in `misclassification`: else the target of the
    largest unit decided.
    Beside the scores stand the best order there is, by the loss itself, and keeping at random.

    Args:
        predictive: Predictions for N inputs.
        y: Their true targets.
        names: Which of `all_scores` to draw; those of `scores` if left out.
        ax: Where to draw.

    Returns:
        The axes; the legend has the area under each curve (AURC, in units of the loss).

    Raises:
        ValueError: If ``y`` does not have one target for each input, or a name is no score.

    Example:
        >>> predictive = Predictive(torch.distributions.Categorical(torch.rand(5, 20, 3)))
        >>> risk_coverage_curve(predictive, torch.zeros(20, dtype=torch.long)).get_ylabel()
        'error rate of what is kept'
    """
    expect_predictive(predictive, fewest=1)
    classes, target = predictive.has_enumerate_support, truth(predictive, y)
    known = all_scores(predictive, scale=spreads(predictive))
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"names must be among {', '.join(known)}; got {unknown[0]!r}.")
    loss = (mistakes if classes else squared_errors)(predictive, target).double().cpu()
    ax = new_axes(ax, (6.4, 3.4))
    of = wholes(known)
    for number, name in enumerate(names if names is not None else scores(predictive)):
        score = beyond_rounding(known[name], of[name]).cpu()
        coverage, risk = risk_coverage(score, loss)
        label = f"{name.replace('_', ' ')}: {float(aurc(score, loss)):.3g}"
        ax.plot(coverage, risk, _STYLES[number % len(_STYLES)], lw=1.5, color=_colour(name, number), label=label)
    kept = torch.arange(1, len(loss) + 1).double()
    risk = loss.sort().values.cumsum(0) / kept  # mistakes are all alike, but need not be left out together
    ax.plot(kept / len(loss), risk, color="0.7", lw=1, label=f"best order there is: {float(risk.mean()):.3g}")
    mean = float(loss.mean())
    ax.axhline(mean, color="0.7", lw=1, ls=(0, (1, 3)), label=f"at random: {mean:.3g}")
    unit = "each target's variance" if predictive.event_shape.numel() > 1 else "squared units of y"
    risk_of = "error rate of what is kept" if classes else f"mean squared error ({unit})"
    ax.set(xlabel="share of the inputs that is kept", ylabel=risk_of, xlim=(0, 1))
    ax.set_ylim(bottom=0)
    ax.legend(title="AURC", **_BESIDE)
    return ax


def _unit(score: str) -> str:
    """The unit of a score of classes, by its name: probabilities have none."""
    return "nats" if any(word in score.lower() for word in ("entropy", "information", "kl")) else ""


def _colour(name: str, number: int) -> str:
    """A part's own colour for the scores that measure it, whichever the loss they come from; greys for the others."""
    own = {"max_probability": "total", "entropy": "total", "expected_entropy": "aleatoric"}
    own |= {"mutual_information": "epistemic", "expected_pairwise_kl": "epistemic"}
    part = own.get(name, name.rpartition("_")[-1])  # brier_aleatoric, zero_one_epistemic
    known = part in ("total", "aleatoric", "epistemic")
    return COLOURS[part] if known else ("black", "#7f7f7f", "#a6a6a6")[number // len(_STYLES) % 3]
