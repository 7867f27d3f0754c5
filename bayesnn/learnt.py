"""Has a fit learnt anything? What it says of its own data, beside the best prediction that ignores the inputs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bayesnn.diagnosis import Finding
from bayesnn.settled import ALL_ALIKE

__all__ = ["against_a_constant", "all_alike"]

_MOST_ROWS = 2000


def all_alike() -> Finding:
    """That all targets are of one class."""
    words, advice = ALL_ALIKE.split(" Pass ")
    return Finding("one class", words, f"pass {advice.rstrip('.')}")


@torch.no_grad()
def against_a_constant(posterior: Any, x: Tensor, y: Tensor) -> tuple[dict[str, float], list[Finding]]:
    """The score of a fit on its own data, of 2000 rows at most, against that of a constant prediction of these rows.

    Args:
        posterior: A fit.
        x: The inputs of the fit.
        y: Their targets.

    Returns:
        ``train_nll`` and ``constant``, the log-likelihood of that prediction, in nats per datum; no figures where the
        likelihood does not know the latter; and findings.
    """
    model = getattr(posterior, "model", posterior)  # a process has a likelihood and no model
    likelihood = getattr(getattr(model, "model", model), "likelihood", None)  # of a last layer that of the whole one
    if likelihood is None:
        return {}, []
    rows = torch.linspace(0, len(x) - 1, min(len(x), _MOST_ROWS)).round().long()
    predictive = posterior(x[rows])
    targets = predictive.checked(y[rows])
    constant = likelihood.constant_log_likelihood(targets)
    if not math.isfinite(constant):
        return {}, []
    score = float(predictive.log_prob(targets).double().mean())
    figures = {"train_nll": -score, "constant": constant + 0.0}
    if constant == 0:
        return figures, [all_alike()]
    if not score < constant:
        return figures, []
    words = (
        f"of its own data the log-likelihood, {score:.3g} nats per datum, is below {constant:.3g}, what the best "
        "prediction that ignores the inputs reaches. Either x says little about y, or the fit failed."
    )
    advice = "fit for longer (num_epochs, or num_warmup of chains), or take another learning_rate, prior or network"
    return figures, [Finding("below a constant", words, advice)]
