"""Did a variational fit settle? Its ELBO at the end, how much that still rose, and a warning where it did not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bayesnn.elbo import MeanFieldELBO
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.pyro_model import PyroModel
from bayesnn.training import History
from bayesnn.warned import warn

__all__ = ["ALL_ALIKE", "WINDOW_STARTS", "final_figures", "rise", "warn_of_a_bad_fit"]

_FINAL_DRAWS = (4, 32)
"""The fewest and the most draws that estimate the ELBO of the finished fit."""

_FINAL_ROWS = 200_000
"""Rows, over all those draws, that are enough: many data need few draws, each an average over all of them."""

_ROWS_AT_ONCE = 4096

_COLLAPSED = 1.0
"""A posterior within this many nats of its prior, over all sites, has learnt nothing."""

WINDOW_STARTS = 0.6
"""Fraction of the epochs where what `rise` compares begins: a divergence still warming up there would fool it."""

_STILL_RISING = 0.2
"""Nats per datum by which the ELBO may rise from the seventh to the ninth tenth of the epochs in a fit that is done.

The last tenth says little: there the step size is nearly nothing, and every fit looks done. Good fits of default length
rise by 0.02 to 0.15 there, as the falling step size lets the noise out of them."""


ALL_ALIKE = (
    "all targets are of one class (or one count), which a prediction that ignores the inputs is sure of: there is "
    "nothing to learn. Pass data of every class."
)
"""Said where the best constant prediction has a log-likelihood of 0 nats, as no other targets have."""


@torch.no_grad()
def final_figures(
    model: BayesianNeuralNetwork | PyroModel, guide: Callable, x: Tensor, y: Tensor, num_epochs: int = 10**9
) -> dict[str, float]:
    """ELBO and divergence per datum of the finished fit, at temperature 1 and with shared noise.

    Args:
        model: The model.
        guide: Its guide.
        x: Training inputs.
        y: Their targets.
        num_epochs: Passes over the data that the fit took: these here are few beside them.
    """
    objective, fits, divergences = MeanFieldELBO(), [], []
    fewest, most = _FINAL_DRAWS
    num_draws = max(fewest, min(most, _FINAL_ROWS // len(x), num_epochs // 5))
    for _ in range(num_draws):
        for part in zip(x.split(_ROWS_AT_ONCE), y.split(_ROWS_AT_ONCE), strict=True):
            fit, divergence = objective.terms(model, guide, *part)
            rows = len(part[0])
            fits.append(float(fit) * model.likelihood_factor(rows) * rows / len(x))
            divergences.append(float(divergence) * rows / len(x))
    per_datum = 1 / (num_draws * len(x))
    return {"elbo_per_datum": (sum(fits) - sum(divergences)) * per_datum, "kl_per_datum": sum(divergences) * per_datum}


def warn_of_a_bad_fit(
    history: History, summary: Mapping[str, float], num_data: int, constant: float, warmup: float
) -> None:
    """Say in words that a fit had nothing to learn, collapsed to its prior, ended below a constant, or had not settled.

    Args:
        history: Its terms by epoch.
        summary: Its figures at the end.
        num_data: Number of data N.
        constant: Log-likelihood per datum of the best prediction that ignores the inputs, in nats.
        warmup: Fraction of the steps over which the divergence's weight rose.
    """
    if history.interrupted:
        return
    advice = f'raise num_epochs or warmup (now {warmup:g}), write start="map", or use a smaller network'
    if "kl_per_datum" not in summary:
        return
    if constant == 0:
        warn(ALL_ALIKE)
    elif summary["kl_per_datum"] * num_data < _COLLAPSED:
        warn(
            "the posterior has collapsed to the prior: it is within 1 nat of it, and predictions ignore the inputs. "
            f"Either x says nothing about y, or the fit failed: {advice}."
        )
    elif summary["elbo_per_datum"] < constant < math.inf:
        warn(
            f"the ELBO, {summary['elbo_per_datum']:.3g} nats per datum, is below {constant:.3g}, what the best "
            "prediction that ignores the inputs reaches, as when a posterior collapses to its prior. Either x says "
            f"little about y for the size of the network, or the fit failed: {advice}."
        )
    rose = summary.get("elbo_rise", 0.0)
    if rose > _STILL_RISING and "temperature" not in summary:
        warn(
            f"the ELBO was still rising, by {rose:.2g} nats per datum from 65 % to 85 % of the "
            f"{len(history.epochs)} epochs: raise num_epochs."
        )


def rise(history: History) -> float:
    """Rise of the ELBO per datum from the seventh to the ninth tenth of the epochs, less two standard errors."""
    tenth = len(history.epochs) // 10
    if tenth < 2 or "kl" not in history.epochs[0]:
        return 0.0
    elbo = -torch.tensor(history["misfit"]) - torch.tensor(history["kl"])
    before, after = elbo[-4 * tenth : -3 * tenth], elbo[-2 * tenth : -tenth]
    noise = ((before.var() + after.var()) / tenth).sqrt()
    return float(after.mean() - before.mean() - 2 * noise)
