"""The two parts of the uncertainty against each other."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes

from bayesnn.plots.canvas import COLOURS, new_axes
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.uncertainty import decompose

__all__ = ["aleatoric_epistemic"]

_MARKERS = ("o", "^", "s", "D", "v", "P")
_GROUPS = (COLOURS["inside"], COLOURS["outside"], "#cc79a7", "#56b4e9", "black", "#f0e442")


def aleatoric_epistemic(groups: Predictive | Mapping[str, Predictive], *, ax: Axes | None = None) -> Axes:
    """Each input's aleatoric part against its epistemic one; groups of inputs have colours and marks of their own.

    Of classes in nats, of a real target standard deviations in its units.

    Args:
        groups: Predictions, or several by name: ``{"known": posterior(x), "never seen": posterior(x_ood)}``.
        ax: Where to draw.

    Returns:
        The axes.

    Raises:
        TypeError: If there are no predictions.
        ValueError: If they are of different kinds of target, or of several targets.

    Example:
        >>> import torch
        >>> predictive = Predictive(torch.distributions.Categorical(torch.rand(5, 20, 3)))
        >>> aleatoric_epistemic({"known": predictive}).get_xlabel()
        'aleatoric (nats)'
    """
    by_name = groups if isinstance(groups, Mapping) else {"": groups}
    if not by_name:
        raise ValueError("there must be one group at least; got none.")
    for name, predictive in by_name.items():
        expect_predictive(predictive)
        if predictive.event_shape not in ((), (1,)):
            raise ValueError(
                f"groups must be of one target; {repr(name) if name else 'the predictive'} has "
                f"{predictive.event_shape[0]}. Write predictive.target(0) for the first of them."
            )
    kinds = {predictive.has_enumerate_support for predictive in by_name.values()}
    if len(kinds) > 1:
        raise ValueError("all groups must be of classes, or all of real numbers; got both. Draw them apart.")
    classes = kinds.pop()
    ax = new_axes(ax, (4.6, 3.8))
    for number, (name, predictive) in enumerate(by_name.items()):
        parts = decompose(predictive)
        aleatoric, epistemic = (value.detach().cpu().flatten() for value in (parts.aleatoric, parts.epistemic))
        if not classes:
            aleatoric, epistemic = aleatoric.sqrt(), epistemic.sqrt()
        ax.scatter(aleatoric, epistemic, s=14, alpha=0.5, lw=0, marker=_MARKERS[number % len(_MARKERS)],
                   color=_GROUPS[number % len(_GROUPS)], label=name or None)  # fmt: skip
    unit = "nats" if classes else "units of y"
    ax.set(xlabel=f"aleatoric ({unit})", ylabel=f"epistemic ({unit})")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    if any(by_name):
        ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)  # off the points
    return ax
