"""What a variational fit still gains by going on: the plainest test of whether it has settled."""

from __future__ import annotations

import math
import warnings
from typing import Any

from torch import Tensor, nn

from bayesnn.methods.svi import fit_svi

__all__ = ["continued"]

_BATCH, _STEP_SIZE = 128, 0.01
"""Data in a minibatch, and Adam's step size at the start, unless the fit itself began with a smaller one."""


def continued(
    posterior: Any, x: Tensor, y: Tensor, num_steps: int, *, seed: int = 0, progress: bool = True
) -> dict[str, float]:
    """Let a copy of a fit go on, with the divergence at its full weight and a step size that falls to nothing.

    Args:
        posterior: What `fit_svi` gave.
        x: The inputs of the fit ``(N, ...)``.
        y: Their targets.
        num_steps: About how many steps.
        seed: Of the order of the data and the noise.
        progress: Whether to show a progress bar.

    Returns:
        ``elbo_gain``, by how much the ELBO rose, in nats per datum, and ``steps_more``; nothing for a fit by a Pyro
        objective, or at another temperature than 1, whose ELBO is not what it maximised, and nothing if it is stopped.
    """
    summary = posterior.summary
    if not isinstance(posterior.guide, nn.Module) or "elbo_per_datum" not in summary or "temperature" in summary:
        return {}
    model = getattr(posterior.model, "as_written", posterior.model)
    size = min(_BATCH, len(x)) if model is posterior.model else len(x)
    steps = math.ceil(len(x) / size)
    epochs = max(1, math.ceil(num_steps / steps))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of this part of a fit; the whole is what is judged
        more = fit_svi(
            model,
            x,
            y,
            guide=posterior.guide,
            warmup=0.0,
            num_epochs=epochs,
            batch_size=size,
            learning_rate=min(_STEP_SIZE, posterior.history.learning_rate or _STEP_SIZE),
            num_samples=1,
            rotate=False,
            device=posterior.device,
            seed=seed,
            progress=progress,
        )
    if more.history is None or more.history.interrupted:  # its step size had not fallen: what it gained says nothing
        return {}
    gain = more.summary["elbo_per_datum"] - summary["elbo_per_datum"]
    return {"elbo_gain": gain, "steps_more": float(steps * len(more.history.epochs))}
