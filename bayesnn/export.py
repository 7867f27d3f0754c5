"""to_arviz: every group that ArviZ knows, from any fitted method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bayesnn.arviz_data import Variables, inference_data
from bayesnn.catalogue import VERSION
from bayesnn.checks import check_count, check_seed
from bayesnn.data import as_inputs, as_training_data, batches, brings_targets
from bayesnn.diagnosis import Diagnosis
from bayesnn.inspected import Inspection, expect_inspectable, member_log_likelihood
from bayesnn.predictive import Predictive
from bayesnn.seeding import seeded
from bayesnn.site_names import labels_of_sites, site_axes
from bayesnn.streamed import blockwise

__all__ = ["to_arviz"]

_IN_FULL = 1000
"""Numbers that a site may have to be there number by number unless it is asked for: ``az.summary`` takes about a
millisecond for each."""

_ALIKE = 0.5
"""Chains are told apart if the shortest has this fraction of the longest's draws."""


@torch.no_grad()
def to_arviz(
    posterior: Any,
    x: Any,
    y: Any = None,
    *,
    new_x: Any = None,
    sites: Literal["auto", "all", "none"] | Sequence[str] = "auto",
    thin: int = 1,
    num_prior: int = 100,
    coords: Mapping[str, Sequence] | None = None,
    seed: int = 0,
    memory: str | int | None = None,
    diagnosis: Diagnosis | None = None,
) -> Any:
    """Everything about a fitted method in the form that ArviZ reads: ``az.summary``, ``az.loo``, ``az.plot_ppc``.

    The groups: ``posterior``, draws of the sites; ``posterior_predictive``, a target for each draw and input;
    ``log_likelihood`` of each datum and ``log_prior`` of each site, in nats; ``sample_stats``, of each draw the log
    joint density ``lp`` and, where it is known, the density ``log_q`` of the distribution it comes from, with what
    chains tell of their steps; ``prior`` and ``prior_predictive``; ``observed_data``; ``constant_data``, the inputs,
    and sites that are the same in all draws; ``predictions`` and ``predictions_constant_data`` for new inputs. Beside
    ArviZ's own stand ``fit_history``, every term of the fit by epoch, and ``weight_summary``, mean and standard
    deviation of the weights that are not there number by number.

    Chains and the fits of an ensemble of posteriors are ``chain``; all other draws, one. Axes of weights are named
    ``<layer>_out`` and ``<layer>_in``.

    Args:
        posterior: What a ``fit_*`` gave.
        x: Inputs ``(N, ...)`` in raw units, mostly those of the fit; or a ``Dataset`` or ``DataLoader`` of ``(x, y)``.
        y: Their targets ``(N,)`` or ``(N, D)``; without them there is no log-likelihood and no observed data.
        new_x: Other inputs ``(M, ...)``, for ``predictions``.
        sites: Which sites are there number by number: ``"auto"``, those of 1000 numbers at most; ``"all"``; ``"none"``
            of the network's; or names. The others stand in ``posterior`` as the root mean square of each draw,
            ``<site>_rms``.
        thin: Keep every n-th draw.
        num_prior: Draws from the prior, for its two groups; 0 for none.
        coords: Labels: of ``"feature"``, for columns of x and the weights that read them (a frame brings its own);
            ``"class"``, for the network's outputs; ``"target"``; ``"datum"``; ``"new_datum"``; or of any axis by name.
        seed: Of targets and of draws from the prior.
        memory: Memory that predictions may take, see `WeightPosterior`.
        diagnosis: What `bayesnn.diagnose` found, to be kept with it as the group ``diagnosis``.

    Returns:
        ``arviz.InferenceData`` with ArviZ 0.x (Python 3.11), ``xarray.DataTree`` with 1.x.

    Raises:
        TypeError: If the posterior is none of this package, or labels or a diagnosis are not what they should be.
        ValueError: If data do not match, sites are not the posterior's, or labels are of no axis or not as many as it
            is long.

    References:
        The schema: https://python.arviz.org/en/stable/schema/schema.html

    Example:
        >>> from bayesnn import BayesianNeuralNetwork, fit_svi, likelihoods, networks
        >>> x = torch.randn(50, 2)
        >>> y = x.sum(1) + 0.1 * torch.randn(50)
        >>> model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=(3,)), likelihood=likelihoods.gaussian)
        >>> posterior = fit_svi(model, x, y, num_epochs=1000, num_samples=20, progress=False)
        >>> data = to_arviz(posterior, x, y)
        >>> data.posterior["0.weight"].dims
        ('chain', 'draw', '0_out', '0_in')
        >>> data.log_likelihood["y"].shape
        (1, 20, 50)
    """
    expect_inspectable(posterior, "to_arviz")
    check_count("thin", thin)
    check_seed(seed)
    if diagnosis is not None and not isinstance(diagnosis, Diagnosis):
        raise TypeError(f"diagnosis must be what bayesnn.diagnose gave; got {type(diagnosis).__name__}.")
    if coords is not None and not isinstance(coords, Mapping):
        raise TypeError(
            f'coords must be labels by axis; got {type(coords).__name__}. Write coords={{"class": ["cat", "dog"]}}.'
        )
    inputs, targets = (_inputs(x), None) if y is None and not brings_targets(x) else as_training_data(x, y)
    found: Inspection = posterior.inspection(inputs, memory=memory)
    keep, num_chains = _draws_kept(found, thin)
    in_full = _in_full(sites, found)
    axes = _Axes(num_chains, keep)
    groups: dict[str, Variables] = {}
    groups["posterior"], constant, groups["weight_summary"] = _sites(found, in_full, axes)
    predictive = _expect(found.predictive)
    groups["posterior_predictive"] = {"y": axes.of_inputs(_targets(predictive, seed))}
    likelihood = None
    if targets is not None:
        target = predictive.checked(targets)
        likelihood = member_log_likelihood(predictive, target)
        groups["log_likelihood"] = {"y": axes.of_inputs(likelihood)}
        groups["observed_data"] = {"y": (_data_axes(target, "datum", ["target"]), _array(target))}
    groups["log_prior"] = {name: axes(value) for name, value in found.log_priors.items()}
    groups["sample_stats"] = {name: axes(value) for name, value in _statistics(found, likelihood).items()}
    groups["constant_data"] = constant | {"x": (_data_axes(inputs, "datum", ["feature"]), _array(inputs))}
    if num_prior:
        check_count("num_prior", num_prior)
        before: Inspection = posterior.prior_inspection(inputs, num_prior, seed=seed, memory=memory)
        every = _Axes(1, torch.arange(num_prior))
        shown = _sites(before, in_full, every)[0]
        groups["prior"] = {name: shown[name] for name in groups["posterior"] if name in shown}
        groups["prior_predictive"] = {"y": every.of_inputs(_targets(_expect(before.predictive), seed))}
    if new_x is not None:
        there = _inputs(new_x)
        groups["predictions"] = {"y": axes.of_inputs(_targets(posterior(there, memory=memory), seed), "new_datum")}
        groups["predictions_constant_data"] = {"x": (_data_axes(there, "new_datum", ["feature"]), _array(there))}
    groups["fit_history"] = _history(posterior)
    if diagnosis is not None:
        groups["diagnosis"] = diagnosis.variables()
    attrs = {"inference_library": "bayesnn", "inference_library_version": VERSION, "method": posterior.method}
    attrs |= {name: float(value) for name, value in posterior.summary.items()}
    _check_coords(coords or {}, groups)
    labels = _frame_labels(x, y) | dict(coords or {})
    return inference_data(groups, labels_of_sites(labels, found.sites), attrs)


def _check_coords(coords: Mapping[str, Sequence], groups: Mapping[str, Variables]) -> None:
    """Refuse labels of an axis that there is not; ``class`` and ``target`` may be those of a layer's outputs."""
    known = {axis for variables in groups.values() for axes, _ in variables.values() for axis in axes}
    known |= {"feature", "class", "target", "datum", "new_datum"}
    if unknown := [str(axis) for axis in coords if axis not in known]:
        near = [found[0] for axis in unknown if (found := get_close_matches(axis, known, 1))]
        write = f" Write {', '.join(map(repr, near))}." if near else ""
        raise ValueError(
            f"coords must label axes that there are, {', '.join(sorted(known))}; got {', '.join(unknown)}.{write}"
        )


class _Axes:
    """From draws ``(S, ...)`` to arrays ``(chain, draw, ...)`` with the names of their axes."""

    def __init__(self, num_chains: int, keep: Tensor) -> None:
        self.num_chains, self.keep = num_chains, keep

    def __call__(self, values: Tensor, axes: Sequence[str] = ()) -> tuple[list[str], np.ndarray]:
        kept = _array(values[self.keep.to(values.device)])
        return ["chain", "draw", *axes], kept.reshape(self.num_chains, -1, *kept.shape[1:])

    def of_inputs(self, values: Tensor, name: str = "datum") -> tuple[list[str], np.ndarray]:
        """Of ``(N, S, ...)``."""
        return self(values.movedim(1, 0), _data_axes(values[:, 0], name, ["target"]))


def _expect(predictive: Predictive | None) -> Predictive:
    assert predictive is not None
    return predictive


def _inputs(x: Any) -> Tensor:
    parts = [as_inputs(batch) for batch in batches(x)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().contiguous().numpy()


def _frame_labels(x: Any, y: Any) -> dict[str, Sequence]:
    """A frame's own labels of columns and rows."""
    found: dict[str, Sequence] = {}
    if hasattr(x, "columns"):
        numbers = np.asarray(x.index).dtype.kind in "iuf"
        found["feature"] = [str(name) for name in x.columns]
        found["datum"] = [label if numbers else str(label) for label in x.index]
    if hasattr(y, "columns"):
        found["target"] = [str(name) for name in y.columns]
    return found


def _data_axes(values: Tensor, rows: str, names: Sequence[str]) -> list[str]:
    """Names of the axes of data ``(N, ...)``."""
    rest = list(names) if values.ndim == 2 else [f"{names[0]}_axis_{number}" for number in range(1, values.ndim)]
    return [rows, *(rest if values.ndim > 1 else [])]


def _draws_kept(found: Inspection, thin: int) -> tuple[Tensor, int]:
    """Which draws are kept, chain by chain, and how many chains they make."""
    lengths = found.chains
    number = len(next(iter(found.sites.values())))
    if len(lengths) < 2 or min(lengths) < _ALIKE * max(lengths):
        return torch.arange(0, number, thin), 1
    begins = np.cumsum([0, *lengths[:-1]])
    return torch.cat([torch.arange(0, min(lengths), thin) + int(begin) for begin in begins]), len(lengths)


def _in_full(sites: Any, found: Inspection) -> set[str]:
    """Names of the sites that are there number by number."""
    sizes = {name: value[0].numel() for name, value in found.sites.items() if name not in found.of_inputs}
    weights = {name for name in sizes if "." in name or name in ("weight", "bias")}
    match sites:
        case "auto":
            chosen = {name for name, size in sizes.items() if size <= _IN_FULL}
        case "all":
            chosen = set(sizes)
        case "none":
            chosen = set(sizes) - weights
        case str():
            raise ValueError(
                f'sites must be "auto", "all", "none" or a list of names; got {sites!r}. Write [{sites!r}].'
            )
        case _:
            chosen = set(sites)
            if unknown := chosen - set(found.sites):
                raise ValueError(
                    f"sites must name sites of the posterior, {', '.join(found.sites)}; got {', '.join(unknown)}."
                )
            chosen |= set(sizes) - weights
    return chosen | set(found.of_inputs)


def _sites(found: Inspection, in_full: set[str], axes: _Axes) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Draws of sites; those that are the same in all draws; and mean and spread of those that are too large."""
    shown: dict[str, Any] = {}
    constant: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in found.sites.items():
        own = site_axes(name, value.shape[1:], name in found.of_inputs)
        if len(value) > 1 and bool((value == value[:1]).all()):
            constant[name] = (own, _array(value[0]))
        elif name in in_full:
            shown[name] = axes(value, own)
        else:
            shown[f"{name}_rms"] = axes(value.flatten(1).double().square().mean(1).sqrt())
            rest[f"{name}_mean"] = (own, _array(value.mean(0)))
            rest[f"{name}_sd"] = (own, _array(value.std(0, correction=0)))
    if not shown:  # nothing differs: the draws are what there is
        shown, constant = {name: axes(found.sites[name], own) for name, (own, _) in constant.items()}, {}
    return shown, constant, rest


@blockwise
def _targets_of(predictive: Predictive) -> Tensor:
    return predictive.members.sample().movedim(1, 0)


def _targets(predictive: Predictive, seed: int) -> Tensor:
    """A target from each member, ``(N, S)`` or ``(N, S, D)``."""
    with seeded(seed, predictive.device):
        return _targets_of(predictive)


def _statistics(found: Inspection, log_likelihood: Tensor | None) -> dict[str, Tensor]:
    stats = dict(found.statistics)
    if found.log_priors and log_likelihood is not None:
        prior = torch.stack([value.double() for value in found.log_priors.values()]).sum(0)
        stats["lp"] = prior + log_likelihood.sum(0)
    if found.log_density is not None:
        stats["log_q"] = found.log_density
    return stats


def _history(posterior: Any) -> Variables:
    history = posterior.history
    if history is None or not history.epochs:
        return {}
    names = dict.fromkeys(name for epoch in history.epochs for name in epoch)
    terms = {name: np.array([epoch.get(name, np.nan) for epoch in history.epochs]) for name in names}
    if "kl" in terms:
        terms["elbo"] = -terms["misfit"] - terms["kl"]
    return {name: (["epoch"], values) for name, values in terms.items()}
