"""Several fits of one model as one posterior: the mixture of their draws."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from bayesnn.posterior import Density, Draws, Model, WeightPosterior
from bayesnn.training import History

__all__ = ["even_shares", "joined"]


def joined(fits: Sequence[WeightPosterior], method: str) -> WeightPosterior:
    """The equally weighted mixture of several fits.

    Args:
        fits: Posteriors of one model over the whole network's weights.
        method: Name of the method that they are together.

    Returns:
        Their draws, fit by fit; figures of the fits are their means, histories stand one behind the other.
    """
    histories = [one.history for one in fits if one.history is not None]
    history = History(
        [epoch for one in histories for epoch in one.epochs],
        sum(one.seconds for one in histories),
        any(one.interrupted for one in histories),
        histories[0].learning_rate if histories else None,
    )
    common = [name for name in fits[0].summary if all(name in one.summary for one in fits)]
    summary = {name: sum(one.summary[name] for one in fits) / len(fits) for name in common}
    makers = [one.draws for one in fits if one.draws]
    densities = [one.density for one in fits if one.density]
    lengths = tuple(one.num_samples for one in fits)
    return WeightPosterior(
        _model_of(fits),
        _cat([one.weights for one in fits]),
        method,
        history,
        summary,
        partial(_draws, makers) if len(makers) == len(fits) else None,
        density=partial(_density, densities) if len(densities) == len(fits) else None,
        chains=lengths if max(lengths) > 1 else (),
    )


def _model_of(fits: Sequence[WeightPosterior]) -> Model:
    """The first one's; where they fitted prior scales of their own, it gives no prior density."""
    model = fits[0].model
    scales: list[dict[str, Tensor]] = [getattr(one.model, "_prior_scales", {}) for one in fits]
    if all(
        one.keys() == scales[0].keys() and all(map(torch.equal, one.values(), scales[0].values())) for one in scales
    ):
        return model
    model = copy.deepcopy(model)
    model.is_joined = True  # type: ignore[attr-defined]
    return model


def _draws(makers: Sequence[Draws], number: int, seed: int) -> dict[str, Tensor]:
    parts = even_shares(number, len(makers), seed)
    return _cat([make(n, seed + m) for m, (make, n) in enumerate(zip(makers, parts, strict=True)) if n])


def _density(densities: Sequence[Density], weights: Mapping[str, Tensor]) -> Tensor:
    each = torch.stack([of_one(weights) for of_one in densities])
    return each.logsumexp(0) - math.log(len(each))


def even_shares(total: int, num_members: int, seed: int) -> list[int]:
    """Equal shares of draws; the members that have one more are chosen by the seed."""
    order = torch.randperm(num_members, generator=torch.Generator().manual_seed(int(seed)))
    chosen = order[: total % num_members].tolist()
    return [total // num_members + (m in chosen) for m in range(num_members)]


def _cat(weights: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([one[name] for one in weights]) for name in weights[0]}
