"""The inputs a classifier is most uncertain of, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bayesnn.data import as_inputs
from bayesnn.plots.canvas import COLOURS, Picture
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.uncertainty import decompose

__all__ = ["uncertain_pictures"]

_ROOM = 1.12
"""Width of the place for a bar over that of the longest, so that a gap stays between it and its neighbour's."""


def uncertain_pictures(
    pictures: Any,
    predictive: Predictive,
    *,
    num_pictures: int = 12,
    truth: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> Figure:
    """The inputs a classifier is most uncertain of, as pictures, each with its two parts as bars beneath.

    Args:
        pictures: Inputs ``(N, H, W)`` or ``(N, C, H, W)``.
        predictive: Predictions for them.
        num_pictures: How many to show.
        truth: What each picture is, in words: ``"7"`` makes "said 1, is 7".
        classes: Names of the classes, one for each that is predicted at least; their numbers if left out or empty.

    Returns:
        A figure of its own.

    Raises:
        TypeError: If the pictures are not numbers, or there is no predictive.
        ValueError: If they are not those that were predicted, or have several labels each, none is to be shown, or
            there are too few words.
    """
    expect_predictive(predictive)
    if predictive.event_shape:
        raise ValueError(
            f"uncertain_pictures shows one label, of shape (N,); the predictive has {predictive.event_shape[0]} of "
            "them for each picture. Write predictive.target(0) for the first of them."
        )
    pictures = as_inputs(pictures)
    if pictures.ndim not in (3, 4) or len(pictures) != len(predictive):
        raise ValueError(
            f"pictures must be those that were predicted, (N, H, W) or (N, C, H, W) with N = {len(predictive)}; got "
            f"{tuple(pictures.shape)}."
        )
    if num_pictures < 1 or (truth is not None and len(truth) != len(pictures)):
        raise ValueError("num_pictures must be 1 or more, and truth, where given, have a word for each picture.")
    words, names = (None if given is None else list(given) for given in (truth, classes))
    if names and len(names) < (number := len(predictive.enumerate_support(expand=False))):
        raise ValueError(
            f"classes must name each of the {number} classes that are predicted; got {len(names)}. Leave them out for "
            "numbers."
        )
    parts = decompose(predictive)
    chosen = parts.total.argsort(descending=True)[:num_pictures].tolist()
    columns = min(6, len(chosen))
    rows = 2 * -(-len(chosen) // columns)
    figure = Picture(figsize=(max(1.5 * columns, 3.0), 1.15 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=[3, 1] * (rows // 2))
    largest = max(float(parts.total[chosen].max()), 1e-9)
    for ax in axes.flat:
        ax.set_axis_off()
    for place, index in enumerate(chosen):
        row, column = 2 * (place // columns), place % columns
        picture = pictures[index].detach().cpu().double()
        picture = picture.movedim(0, -1).squeeze(-1) if picture.ndim == 3 else picture
        lowest, highest = picture.min(), picture.max()
        picture = (picture - lowest) / (highest - lowest).clamp_min(1e-9)
        axes[row, column].imshow(picture.numpy(), cmap="gray_r")
        guess = int(predictive.mode[index])
        said = names[guess] if names else str(guess)
        title = f"said {said}" + (f", is {words[index]}" if words is not None else "")
        axes[row, column].set_title(title, fontsize=8)
        aleatoric, epistemic = float(parts.aleatoric[index]), float(parts.epistemic[index])
        bar = axes[row + 1, column]
        bar.barh([0], [aleatoric], color=COLOURS["aleatoric"])
        bar.barh([0], [epistemic], left=[aleatoric], color=COLOURS["epistemic"])
        bar.set(xlim=(0, _ROOM * largest), ylim=(-0.9, 0.5))
        bar.text(0, -0.8, f"{aleatoric:.2f} + {epistemic:.2f} nats", fontsize=7, va="center")
    handles = [Patch(color=COLOURS[part], label=part) for part in ("aleatoric", "epistemic")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure
