"""Mixing: have the chains of a network converged, judged in function space, where weights need not be identified."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from bayesnn.convergence import effective_sample_size, rhat
from bayesnn.density import LogJoint, TracedJoint
from bayesnn.predictive import Predictive
from bayesnn.warned import warn

__all__ = ["FEWEST_DRAWS", "FEWEST_EFFECTIVE", "HIGHEST_RHAT", "mixing"]

HIGHEST_RHAT = 1.05
"""R-hat beyond which a fit says that its chains differ."""

FEWEST_EFFECTIVE = 100
"""Effective sample size below which a fit says that it has few draws."""

FEWEST_DRAWS = 4
"""Draws of a chain without which neither can be told."""

_MOST_INPUTS = 200


def mixing(joint: LogJoint | TracedJoint, weights: Mapping[str, Tensor], log_density: Tensor) -> dict[str, float]:
    """R-hat and effective sample size in function space: the worst of all quantities.

    The quantities are what each draw predicts at up to 200 training inputs, its log-likelihood there, a log density of
    the draw, and the likelihood's own unknowns. One that never changes counts as converged, as a probability of 1 in
    single precision must.

    Args:
        joint: Model and training data.
        weights: Draws by site ``(C * T, *shape)``, chain by chain.
        log_density: A log density of each draw ``(C, T)``, T = 4 or more.

    Returns:
        ``rhat``, the largest, and ``ess``, the smallest; nothing if it was stopped by hand, and a warning then says so:
        the draws took longer, and are not to be lost with it.

    References:
        Izmailov et al. (2021), What Are Bayesian Neural Network Posteriors Really Like?, arXiv:2104.14421, section 5.
    """
    try:
        return _worst(joint, weights, log_density)
    except KeyboardInterrupt:
        warn(
            "stopped by hand while the chains were compared; all draws are kept, but whether the chains have converged "
            "is not known."
        )
        return {}


@torch.no_grad()
def _worst(joint: LogJoint | TracedJoint, weights: Mapping[str, Tensor], log_density: Tensor) -> dict[str, float]:
    rows = torch.linspace(0, len(joint.x) - 1, min(len(joint.x), _MOST_INPUTS)).round().long().to(joint.x.device)
    members = joint.model.predict(weights, joint.x[rows])
    predictive = Predictive(members)
    said = predictive.member_log_probs.exp() if predictive.has_enumerate_support else members.mean
    parts = [said, members.log_prob(joint.y[rows]).sum(-1), *(weights[name] for name in joint.latents())]
    columns = [part.reshape(log_density.numel(), -1).double().cpu() for part in (*parts, log_density)]
    quantities = torch.cat(columns, dim=1)
    quantities = quantities[:, quantities.isfinite().all(0)].reshape(*log_density.shape, -1)
    return {
        "rhat": float(rhat(quantities).nan_to_num(nan=1.0, posinf=math.inf).max()),
        "ess": float(effective_sample_size(quantities).nan_to_num(nan=math.inf).min()),
    }
