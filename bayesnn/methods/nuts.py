"""fit_nuts: the reference. Long Markov chains by the No-U-Turn Sampler, for small networks, with their convergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import pyro.poutine as poutine
import torch
from torch import Tensor

from bayesnn.chains import BEFORE_THE_CHAINS, Chain, chain_lengths, run_chains
from bayesnn.checks import check_count
from bayesnn.density import LogJoint, TracedJoint
from bayesnn.fitting import isolated, prepared, prepared_pyro_model
from bayesnn.mixing import FEWEST_DRAWS, FEWEST_EFFECTIVE, HIGHEST_RHAT, mixing
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.points import is_real
from bayesnn.posterior import WeightPosterior
from bayesnn.pyro_model import PyroModel
from bayesnn.training import Callback, Minibatches, optimise
from bayesnn.warned import warn

__all__ = ["fit_nuts"]

_CLIMB, _CLIMB_RATE = 2000, 0.02
"""Steps of Adam, and their size at the start, from near the prior's middle to where a chain begins."""

_CLOSE = 0.1
"""Starts are draws from the prior, this much of their way from its middle: full draws end in poor maxima."""

_OFTEN = 0.1
"""Fraction of draws cut off from which on it is worth telling."""

Start = Literal["map", "prior", "network"] | Mapping[str, Tensor]


def fit_nuts(
    model: BayesianNeuralNetwork | Callable,
    x: Any,
    y: Any = None,
    *,
    num_samples: int = 400,
    num_warmup: int = 200,
    num_chains: int = 4,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callback | None = None,
    start: Start = "map",
    thinning: int = 1,
    max_tree_depth: int = 10,
    target_accept: float = 0.8,
    adapt_mass: bool = True,
    full_mass: bool = False,
) -> WeightPosterior:
    r"""Draw from the exact posterior by Hamiltonian Monte Carlo: the reference that other methods are held against.

    Pyro's ``NUTS`` kernel walks on :math:`\log p(\theta) + \log p(y \mid x, \theta)`, with all data in every step. That
    is affordable for some thousands of weights and data. Chains take their steps in turn, within one process (Pyro's
    kernel cannot be vectorised over chains), so that stopping by hand leaves chains of equal length.

    Weights of a network are not identified (hidden units may swap places), so convergence is judged in function space:
    by R-hat and effective sample size of what each draw predicts at up to 200 training inputs, of its log-likelihood
    there, of the log joint density, and of the likelihood's own unknowns. A warning says what to do when they are bad.

    Args:
        model: A `BayesianNeuralNetwork`, or any Pyro model ``model(x, y=None)`` with one observed site and continuous
            latent ones. Scales of `priors.fan_in_normal` are taken as they stand.
        x: Inputs ``(N, ...)`` in raw units; or a ``Dataset`` or ``DataLoader`` of ``(x, y)``.
        y: Targets ``(N,)`` or ``(N, D)``.
        num_samples: Draws S that are kept, of all chains together. Chains are of equal length: the last draws of the
            last ones are left out where S is no multiple of their number.
        num_warmup: Iterations of each chain before its draws are kept; step size and mass are adapted in them.
        num_chains: Chains; R-hat compares them.
        device: Where to fit; where the network is, if left out.
        seed: Seed of starts and chains.
        progress: Whether to show a progress bar.
        callback: Called after each iteration of all chains with its number and the mean of each term over chains.
        start: Where chains begin: each at a ``"map"`` of its own (the maximum that Adam finds from small random
            weights), at a draw from the ``"prior"``, all at the ``"network"``'s weights, or at values by site name,
            ``(*shape)`` for all chains or ``(num_chains, *shape)`` for each its own, as the weights of an ensemble are.
            Chains from one point cannot tell of maxima that all of them miss.
        thinning: Keep every n-th draw of a chain.
        max_tree_depth: Each draw takes at most ``2 ** max_tree_depth - 1`` gradients.
        target_accept: Mean acceptance probability that the step size is adapted to; more for smaller steps.
        adapt_mass: Whether the mass matrix is adapted. It starts at the prior's variances.
        full_mass: Whether it is a full matrix, not a diagonal one.

    Returns:
        A posterior of S draws, chain by chain. Its ``summary`` tells ``rhat``, the largest of all quantities, ``ess``,
        the smallest effective sample size, ``num_divergences``, ``acceptance``, the mean acceptance probability, and
        ``deepest``, the fraction of draws that were cut off by ``max_tree_depth``. Its ``history`` has an entry for
        each iteration: ``loss``, minus the log joint density per datum, and ``gradients``, how many were taken. On
        Ctrl-C the draws reached are kept; before there is one, the chains' places are, which are no draws of the
        posterior: a warning says so, and the figures are NaN.

    Raises:
        TypeError: If model or data are of the wrong kind.
        ValueError: If the data do not suit the model, or a setting is out of range; the message says how.
        NotImplementedError: If a Pyro model has a discrete latent site, or chooses a part of its data itself.

    References:
        Hoffman and Gelman (2014), The No-U-Turn Sampler, arXiv:1111.4246; Izmailov et al. (2021), What Are Bayesian
        Neural Network Posteriors Really Like?, arXiv:2104.14421, section 5, for R-hat in function space.

    Example:
        >>> from bayesnn import likelihoods, networks
        >>> x = torch.linspace(-1, 1, 20)[:, None]
        >>> model = BayesianNeuralNetwork(networks.mlp(1, 1, hidden=()), likelihood=likelihoods.gaussian)
        >>> posterior = fit_nuts(model, x, x[:, 0].sin(), num_samples=400, num_warmup=100, progress=False)
        >>> posterior(x).mean.shape
        torch.Size([20])
    """
    counts = {"num_samples": num_samples, "num_warmup": num_warmup, "num_chains": num_chains}
    _check_settings({**counts, "thinning": thinning, "max_tree_depth": max_tree_depth}, target_accept, start)
    known: BayesianNeuralNetwork | PyroModel
    joint: LogJoint | TracedJoint
    if isinstance(model, BayesianNeuralNetwork):
        known, inputs, targets = prepared(model, x, y, device)
    else:
        known, inputs, targets = prepared_pyro_model(model, x, y, device, None)
    with isolated(seed, inputs.device), poutine.block():
        if isinstance(known, BayesianNeuralNetwork):
            joint = LogJoint(known, inputs, targets)
        else:
            joint = TracedJoint(known, inputs, targets)
        starts, interrupted = _starts(joint, start, num_chains, progress)
        chains = [
            Chain(
                joint.potential,
                z,
                num_warmup=num_warmup,
                max_tree_depth=max_tree_depth,
                target_accept_prob=target_accept,
                adapt_mass_matrix=adapt_mass,
                full_mass=full_mass,
            )
            for z in starts
        ]
        num_steps = num_warmup + math.ceil(num_samples / num_chains) * thinning
        history = run_chains(
            chains, 0 if interrupted else num_steps, num_data=len(inputs), progress=progress, callback=callback
        )
        walked, statistics = _kept(chains, thinning)
        weights = {name: value.detach() for name, value in joint.values(walked.flatten(0, 1)).items()}
        summary = _figures(chains)
        if len(walked[0]) >= FEWEST_DRAWS:
            found = mixing(joint, weights, statistics["log_density"])
            interrupted, summary = interrupted or not found, found | summary
    history = replace(history, interrupted=history.interrupted or interrupted)
    if not history.interrupted:
        _warn_of_bad_chains(summary, num_warmup, max_tree_depth, target_accept)
    weights = {name: value[:num_samples].clone() for name, value in weights.items()}  # no views of all sites together
    each = {name: value.flatten()[:num_samples] for name, value in statistics.items() if name != "log_density"}
    lengths = chain_lengths(num_samples, *walked.shape[:2])
    return WeightPosterior(known, weights, "nuts", history, summary, chains=lengths, statistics=each)


def _starts(joint: LogJoint | TracedJoint, start: Start, num_chains: int, progress: bool) -> tuple[Tensor, bool]:
    """Where each chain begins ``(C, P)``, and whether finding it was stopped by hand."""
    draws, interrupted = joint.prior_draws(num_chains), False
    if start == "map":
        leaves = [(_CLOSE * z).requires_grad_() for z in draws]
        history = optimise(
            lambda step, batch: {"loss": torch.stack([joint.potential(z) for z in leaves]).mean() / len(joint.x)},
            leaves,
            Minibatches([draws[:1]], 1),  # of nothing: all data are in every step
            num_epochs=_CLIMB,
            learning_rate=_CLIMB_RATE,
            progress=progress,
            label="nuts, start",
            reached=BEFORE_THE_CHAINS,
        )
        draws, interrupted = torch.stack([z.detach() for z in leaves]), history.interrupted
    elif start != "prior":
        given = start if isinstance(start, Mapping) else joint.start()
        sites = joint.values(torch.zeros_like(draws))
        for name, value in given.items():
            shapes = (sites[name].shape, sites[name].shape[1:]) if name in sites else ()
            if not isinstance(value, Tensor) or value.shape not in shapes:
                wanted = ", ".join(f"{site} {tuple(middle.shape[1:])}" for site, middle in sites.items())
                found = tuple(value.shape) if isinstance(value, Tensor) else f"of type {type(value).__name__}"
                raise ValueError(
                    f"start must give sites of the model as tensors in their shapes, {wanted}, or with an axis of "
                    f"{num_chains} chains in front; got {name} {found}."
                )
        draws = joint.vector(sites | {name: value.to(draws).expand_as(sites[name]) for name, value in given.items()})
    with torch.no_grad():
        if not all(bool(joint.potential(z).isfinite()) for z in draws):
            raise ValueError('the density must be finite where each chain starts; it is not. Write start="map".')
    return draws, interrupted


def _kept(chains: Sequence[Chain], thinning: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Draws ``(C, T, P)`` and figures of each ``(C, T)``; where the chains are, if they have no draw yet."""
    length = min(len(chain.draws) for chain in chains)
    chosen = slice(min(thinning, length) - 1, length, thinning)
    walked = [torch.stack(chain.draws[chosen] if length else [chain.z]) for chain in chains]
    figures = {"log_density": [chain.log_densities[chosen] if length else [math.nan] for chain in chains]}
    found = {name: torch.tensor(values, dtype=torch.double) for name, values in figures.items()}
    if length:
        found["n_steps"] = torch.tensor([chain.num_gradients[chosen] for chain in chains])
        found["diverging"] = torch.tensor([chain.diverging[chosen] for chain in chains])
    return torch.stack(walked), found


def _figures(chains: Sequence[Chain]) -> dict[str, float]:
    number = sum(len(chain.draws) for chain in chains)
    if not all(len(chain.draws) for chain in chains):  # as many of each are kept
        return dict.fromkeys(("num_divergences", "acceptance", "deepest"), math.nan)
    return {
        "num_divergences": float(sum(chain.num_divergences for chain in chains)),
        "acceptance": sum(chain.acceptance for chain in chains) / len(chains),
        "deepest": sum(chain.num_deepest for chain in chains) / number,
    }


def _warn_of_bad_chains(
    summary: Mapping[str, float], num_warmup: int, max_tree_depth: int, target_accept: float
) -> None:
    complaints, cures = [], []
    if "rhat" not in summary:
        complaints.append(f"chains of fewer than {FEWEST_DRAWS} draws cannot be compared")
        cures.append("raise num_samples")
    elif summary["rhat"] > HIGHEST_RHAT or summary["ess"] < FEWEST_EFFECTIVE:
        complaints.append(
            f"R-hat is {summary['rhat']:.3g} (wanted: {HIGHEST_RHAT} or less) and the effective sample size "
            f"{summary['ess']:.0f} (wanted: {FEWEST_EFFECTIVE} or more)"
        )
        cures.append(f"raise num_warmup (now {num_warmup}) and num_samples")
    if complaints and summary["deepest"] > _OFTEN:
        complaints.append(f"{summary['deepest']:.0%} of the draws were cut off before the chain turned back")
        cures.append(f"raise max_tree_depth (now {max_tree_depth})")
    if summary["num_divergences"]:
        complaints.append(f"{summary['num_divergences']:.0f} steps diverged, where the density is too steep for them")
        cures.append(f"raise target_accept (now {target_accept:g})")
    if complaints:
        warn(
            f"the chains may not show the posterior as it is: {'; '.join(complaints)}. To mend it, "
            f"{', '.join(cures)}, or use a smaller network."
        )


def _check_settings(counts: Mapping[str, int], target_accept: float, start: Start) -> None:
    for name, value in counts.items():
        check_count(name, value)
    if not (is_real(target_accept) and 0 < target_accept < 1):
        raise ValueError(
            f"target_accept must be a probability between 0 and 1; got {target_accept!r}. Write target_accept=0.8, say."
        )
    if not isinstance(start, Mapping) and start not in ("map", "prior", "network"):
        raise ValueError(
            f'start must be "map", "prior", "network" or values by site name; got {start!r}. Of a posterior with a '
            "draw for each chain write start=posterior.weights, of a network start=dict(network.named_parameters())."
        )
