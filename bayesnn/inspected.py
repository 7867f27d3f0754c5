"""Inspection: what a fitted method lays open of itself, draw by draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from bayesnn.predictive import Predictive

__all__ = ["Inspection"]


@dataclass(frozen=True, eq=False)
class Inspection:
    """Draws with their densities and what each of them predicts.

    Attributes:
        sites: Draws of every uncertain quantity by name, ``(S, *shape)`` each.
        predictive: What these draws predict for the inputs asked about, S members in the same order; ``None`` if none
            were.
        of_inputs: Names of sites that have a value for each of those inputs, ``(S, N, ...)``, as a process has.
        log_priors: Log-prior density of each site ``(S,)``, in nats; of no site where a method has no prior.
        log_density: Log density of each draw under the distribution it comes from ``(S,)``, in nats; ``None`` where
            that is not known.
        chains: Lengths of the chains that the draws come from, one behind the other; empty if of one.
        statistics: Further figures of each draw by name ``(S,)``.
    """

    sites: dict[str, Tensor]
    predictive: Predictive | None = None
    of_inputs: tuple[str, ...] = ()
    log_priors: Mapping[str, Tensor] = field(default_factory=dict)
    log_density: Tensor | None = None
    chains: tuple[int, ...] = ()
    statistics: Mapping[str, Tensor] = field(default_factory=dict)
