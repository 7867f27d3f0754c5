"""The density of a guide at given draws: what importance weights are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pyro
import pyro.poutine as poutine
import torch
from pyro.infer.autoguide import AutoContinuous, AutoDelta
from pyro.infer.autoguide import AutoNormal as PyroAutoNormal
from torch import Tensor
from torch.distributions import biject_to

from bayesnn.guides import AutoNormal
from bayesnn.posterior import Density
from bayesnn.seeding import seeded

__all__ = ["density_of"]


def density_of(guide: Callable, args: Sequence[Tensor]) -> Density | None:
    r"""A function of draws ``(S, *shape)`` by site that gives the guide's log density :math:`\log q(\theta_s)`.

    In nats, over all sites together, of the values themselves: those of constrained support bring the logarithm of
    their Jacobian.

    Args:
        guide: `AutoNormal`; Pyro's own, its other automatic guides of a continuous latent vector, or a guide written by
            hand that samples each site once, by name.
        args: What the guide is called with.

    Returns:
        The function, or ``None`` where a guide has no such density: a point (``AutoDelta``), or helper sites that
        cannot be told from the values.
    """
    if isinstance(guide, AutoNormal):
        return partial(_of_sites, guide)
    if isinstance(guide, AutoDelta):
        return None
    if isinstance(guide, PyroAutoNormal):
        return partial(_of_pyros_normal, guide)
    if isinstance(guide, AutoContinuous):
        return partial(_of_vector, guide)
    with torch.no_grad(), seeded(None, args[0].device), pyro.settings.context(module_local_params=True):
        trace = poutine.trace(guide).get_trace(*args)
    if any(site["infer"].get("is_auxiliary") or _is_delta(site["fn"]) for _, site in trace.iter_stochastic_nodes()):
        return None
    return partial(_by_conditioning, guide, args)


def _total(parts: list[Tensor]) -> Tensor:
    return torch.stack([part.double().flatten(1).sum(1) if part.ndim > 1 else part.double() for part in parts]).sum(0)


def _is_delta(fn: object) -> bool:
    return type(getattr(fn, "base_dist", fn)).__name__ == "Delta"


def _of_sites(guide: AutoNormal, weights: Mapping[str, Tensor]) -> Tensor:
    return _total([site.log_prob(weights[name]) for name, site in guide.sites().items()])


@torch.no_grad()
def _of_pyros_normal(guide: PyroAutoNormal, weights: Mapping[str, Tensor]) -> Tensor:
    parts: list[Tensor] = []
    for name, site in guide.prototype_trace.iter_stochastic_nodes():
        transform = biject_to(site["fn"].support)
        free = transform.inv(weights[name])
        parts.append(torch.distributions.Normal(*guide._get_loc_and_scale(name)).log_prob(free))
        parts.append(-transform.log_abs_det_jacobian(free, weights[name]))
    return _total(parts)


@torch.no_grad()
def _of_vector(guide: AutoContinuous, weights: Mapping[str, Tensor]) -> Tensor:
    """Of Pyro's guides over one vector of all sites, one behind the other."""
    free, jacobians = [], []
    for name, site in guide.prototype_trace.iter_stochastic_nodes():
        transform = biject_to(site["fn"].support)
        value = transform.inv(weights[name])
        free.append(value.reshape(len(value), -1))
        jacobians.append(-transform.log_abs_det_jacobian(value, weights[name]))
    return _total([guide.get_posterior().log_prob(torch.cat(free, 1)), *jacobians])


@torch.no_grad()
def _by_conditioning(guide: Callable, args: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    found = []
    with seeded(None, args[0].device), pyro.settings.context(module_local_params=True):
        for number in range(len(next(iter(weights.values())))):
            draw = {name: value[number] for name, value in weights.items()}
            trace = poutine.trace(poutine.condition(guide, data=draw)).get_trace(*args)
            trace.compute_log_prob()
            found.append(torch.stack([trace.nodes[name]["log_prob_sum"].double() for name in draw]).sum())
    return torch.stack(found)
