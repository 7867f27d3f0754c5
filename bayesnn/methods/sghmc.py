"""fit_sghmc: Markov chains on minibatches, for networks and data that the No-U-Turn Sampler is too slow for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from bayesnn.chains import BEFORE_THE_CHAINS, chain_lengths
from bayesnn.checks import check_count, check_positive
from bayesnn.density import LogJoint, slope_of
from bayesnn.fitting import isolated, prepared
from bayesnn.langevin import Walk, steepness, walk
from bayesnn.methods.ensemble import fit_ensemble
from bayesnn.methods.mode import draws_of
from bayesnn.mixing import FEWEST_DRAWS, FEWEST_EFFECTIVE, HIGHEST_RHAT, mixing
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.points import is_real, pays_together
from bayesnn.posterior import WeightPosterior
from bayesnn.starts import restarts
from bayesnn.training import Callback, History, Minibatches
from bayesnn.warned import warn

__all__ = ["fit_sghmc"]

_ROWS = 256
"""Data that the mass is estimated from."""

_MOST_HEAT = 0.2
"""How far a temperature may be from the one wanted before a fit says so: a tenth in the spread of draws."""

_ERRORS = 4
"""Standard errors of a temperature that chance is granted besides."""


def fit_sghmc(
    model: BayesianNeuralNetwork,
    x: Any,
    y: Any = None,
    *,
    num_samples: int = 100,
    num_epochs: int | None = None,
    batch_size: int = 512,
    learning_rate: float = 0.01,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callback | None = None,
    num_chains: int = 4,
    num_warmup: int = 10,
    cycle_steps: int = 100,
    step: float = 0.3,
    momentum: float = 0.98,
    temperature: float = 1.0,
    start: WeightPosterior | None = None,
    vectorised: bool | None = None,
) -> WeightPosterior:
    r"""Draw from the posterior by stochastic-gradient Hamiltonian Monte Carlo: chains on minibatches.

    Each chain begins at a member of an ensemble, and walks in cycles of a falling step size, with friction and noise
    (see `bayesnn.langevin.walk` for the formulas); the draw is taken at the end of each cycle. The step size follows
    from the sharpest direction of the density at the starts, so that ``step`` means the same on every network, and each
    site has a mass of its own, the mean squared gradient of its numbers.

    There is no accept or reject step: draws are of the posterior as far as steps are small and gradients have little
    noise. Too much noise heats the chains, and their kinetic temperature tells: a warning says so where it is off by
    more than a fifth. Convergence is judged in function space, as in `fit_nuts`. Several maxima that
    do not mix show in R-hat, and each chain then tells of one of them.

    Args:
        model: Network, prior and likelihood. Scales of `priors.fan_in_normal` are taken as they stand.
        x: Inputs ``(N, ...)`` in raw units; or a ``Dataset`` or ``DataLoader`` of ``(x, y)``.
        y: Targets ``(N,)`` or ``(N, D)``.
        num_samples: Draws S that are kept, of all chains together. Chains are of equal length: the last draws of the
            last one are left out where S is no multiple of their number.
        num_epochs: Passes over the data before the walk, to find its starts; `fit_ensemble`'s default if left out. Not
            to be given with ``start``, which takes that fit's place.
        batch_size: Data in a minibatch of the walk, and of the fit before it 128 of them at most.
        learning_rate: Adam's step size at the start, before the walk; of no effect with ``start``.
        device: Where to fit; where the network is, if left out.
        seed: Seed of starts and chains.
        progress: Whether to show a progress bar.
        callback: Called after each epoch of the fit before the walk, then after each cycle, counted on, with the mean
            of each term.
        num_chains: Chains; R-hat compares them.
        num_warmup: Cycles of each chain before its draws are kept.
        cycle_steps: Steps in a cycle.
        step: The step size at the start of a cycle, as a multiple of the inverse of the fastest frequency of the
            density; at 2 it would be unstable, and the error grows with its square.
        momentum: What is left of the momentum after a step of full size. More of it goes further between draws, and
            takes longer to lose the heat of noisy gradients.
        temperature: T: draws are from :math:`p(\theta, y)^{1/T}`, the posterior for 1, a "cold" one for less.
        start: Where the chains begin: a fit of this model, as `fit_ensemble` gives it, whose first draws are taken.
        vectorised: Whether chains take their steps side by side; if left out, those of small networks of layers that
            torch can vectorise do, and others take theirs one after another.

    Returns:
        A posterior of S draws, chain by chain. Its ``summary`` tells ``rhat``, the largest of all quantities, ``ess``,
        the smallest effective sample size, ``temperature``, the kinetic temperature of the site where it is furthest
        from T, and ``step_size``. Its ``history`` has an entry for each epoch of the fit before and for each cycle. On
        Ctrl-C the draws reached are kept; before there is one, the chains' places are, which are no draws of the
        posterior: a warning says so, and the temperature is NaN.

    Raises:
        TypeError: If model, data or start are of the wrong kind.
        ValueError: If the data do not suit the model, a setting is out of range, or the walk left all bounds.

    References:
        Chen et al. (2014), Stochastic Gradient Hamiltonian Monte Carlo, arXiv:1402.4102; Zhang et al. (2020), Cyclical
        Stochastic Gradient MCMC for Bayesian Deep Learning, arXiv:1902.03932; Wenzel et al. (2020), How Good is the
        Bayes Posterior in Deep Neural Networks Really?, arXiv:2002.02405, section 2 and appendix I.

    Example:
        >>> import warnings
        >>> from bayesnn import likelihoods, networks
        >>> x = torch.linspace(-1, 1, 20)[:, None]
        >>> model = BayesianNeuralNetwork(networks.mlp(1, 1, hidden=()), likelihood=likelihoods.gaussian)
        >>> with warnings.catch_warnings(action="ignore"):  # which say that so few draws are too few
        ...     posterior = fit_sghmc(model, x, x[:, 0].sin(), num_samples=20, num_epochs=20, progress=False)
        >>> posterior(x).mean.shape
        torch.Size([20])
    """
    counts = {"num_samples": num_samples, "num_chains": num_chains, "num_warmup": num_warmup}
    for name, value in {**counts, "cycle_steps": cycle_steps, "batch_size": batch_size}.items():
        check_count(name, value)
    _check_settings(step, momentum, temperature)
    if start is None:
        known, _, _ = prepared(model, x, y, device)  # before a long fit, so that what is wrong is said at once
        small = {"batch_size": min(batch_size, 128), "learning_rate": learning_rate, "num_epochs": num_epochs}
        common = {"device": device, "seed": seed, "progress": progress, "callback": callback}
        advice = "start=fit_ensemble(model, x, y, num_members=num_chains, starts=[network, ...])"
        starts = [one.network for one in restarts(model, num_chains, seed, advice)]
        settings = {**small, **common, "num_members": num_chains, "vectorised": vectorised, "starts": starts}
        fitted = fit_ensemble(model, x, y, beta=0.0, **settings)  # type: ignore[arg-type]
    else:
        if num_epochs is not None:
            raise ValueError(
                f"num_epochs is of the fit before the walk, and start takes its place; got num_epochs={num_epochs} and "
                "a start. Leave one of them out; how long the walk is num_warmup, num_samples and cycle_steps say."
            )
        fitted = start
    known, inputs, targets = prepared(model, x, y, device)
    with torch.inference_mode(False):
        known, draws = draws_of(known, fitted, "start", "of this model, as fit_ensemble gives it,")
    if fitted.num_samples < num_chains and not (start is None and fitted.history is not None):
        raise ValueError(
            f"start must have a draw for each of the {num_chains} chains; got {fitted.num_samples}. Write "
            f"num_chains={fitted.num_samples}."
        )
    before = fitted.history if start is None else None
    done, stopped = (0, False) if before is None else (len(before.epochs), before.interrupted)
    with isolated(seed, inputs.device):
        joint = LogJoint(known, inputs, targets)
        z = joint.vector({name: value[:num_chains].clone() for name, value in draws.items()})
        even = math.ceil(len(inputs) / math.ceil(len(inputs) / batch_size))
        batches = Minibatches([inputs, targets], even, range(seed, seed + len(z)))
        walked, size = Walk(z[:, None][:, :0], z, torch.zeros_like(z), 0, History([], 0.0, True), True), math.nan
        try:
            if stopped:  # in the fit before, which took Ctrl-C for itself
                raise KeyboardInterrupt
            mass = _mass(joint, z)
            first = next(iter(batches))
            slope = slope_of(joint, z, first, pays_together(known.network), vectorised)
            steep = steepness(slope, z, first, mass)
        except KeyboardInterrupt:
            warn(f"stopped by hand; {BEFORE_THE_CHAINS}.")
        else:
            size = step / math.sqrt(max(steep, 1e-12))
            walked = walk(
                slope,
                z,
                batches,
                mass,
                size,
                num_cycles=num_warmup + math.ceil(num_samples / num_chains),
                num_warmup=num_warmup,
                steps_per_cycle=cycle_steps,
                momentum=momentum,
                temperature=temperature,
                progress=progress,
                callback=None if callback is None else partial(_counted_on, callback, done),
                label="sghmc",
            )
        if not walked.finite and not walked.draws.shape[1]:
            raise ValueError(f"the walk must stay finite; it did not. Lower step (now {step:g}).")
        kept = walked.draws if walked.draws.shape[1] else walked.last[:, None]
        weights = {name: value.detach() for name, value in joint.values(kept.flatten(0, 1)).items()}
        summary = {"temperature": _temperature(joint, walked, momentum, temperature)[0], "step_size": size}
        if kept.shape[1] >= FEWEST_DRAWS:
            found = mixing(joint, weights, vmap(vmap(joint.log_prior))(kept).cpu())
            stopped, summary = not found, found | summary
    history = replace(walked.history, interrupted=walked.history.interrupted or stopped)
    if before is not None:
        interrupted = history.interrupted or before.interrupted
        history = replace(
            history,
            epochs=[*before.epochs, *history.epochs],
            seconds=before.seconds + history.seconds,
            interrupted=interrupted,
        )
    if not history.interrupted:
        _warn(joint, walked, summary, step, momentum, temperature, even, len(inputs))
    weights = {name: value[:num_samples].clone() for name, value in weights.items()}  # no views of all sites together
    lengths = chain_lengths(num_samples, *kept.shape[:2])
    return WeightPosterior(known, weights, "sghmc", history, summary, chains=lengths)


def _counted_on(callback: Callback, done: int, cycle: int, terms: dict[str, float]) -> None:
    callback(done + cycle, terms)


def _mass(joint: LogJoint, z: Tensor) -> Tensor:
    """For each number the mean over its site of the data's Fisher information, empirical, and the prior's, which is 1.

    One mass for a site, as Wenzel et al. have it: a mass for each number would be as noisy as its estimate.
    """

    def of_one(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return joint.log_likelihood(at, x[None], y[None]).sum()

    gradient = grad(of_one)
    rows = torch.randperm(len(joint.x))[:_ROWS].to(z.device)
    total = torch.zeros_like(z[0])
    for at in z:
        for some in rows.split(max(1, min(_ROWS, 10_000_000 // len(at)))):
            x, y = joint.x[some], joint.y[some]
            try:
                with sdpa_kernel(SDPBackend.MATH):  # fused attention has no vectorised form
                    each = vmap(gradient, in_dims=(None, 0, 0))(at, x, y)
            except RuntimeError:  # what torch cannot vectorise
                each = torch.stack([gradient(at, *one) for one in zip(x, y, strict=True)])
            total += each.square().sum(0)
    information = total * (len(joint.x) / len(rows) / len(z)) + 1
    parts = {name: part.mean().expand_as(part) for name, part in joint.layout.split(information).items()}
    return joint.layout.join(parts)


def _temperature(joint: LogJoint, walked: Walk, momentum: float, wanted: float) -> tuple[float, str, float]:
    """The temperature of the site where it is furthest from the one wanted, its name, and its standard error.

    The squared momentum has the autocorrelation ``momentum ** (2 t)``, and twice the square of its mean as variance.
    """
    if not walked.num_steps:
        return math.nan, "", math.nan
    parts = joint.layout.split(walked.temperatures)
    means = {name: float(part.mean()) for name, part in parts.items()}
    farthest = max(means, key=lambda name: abs(means[name] - wanted))
    fresh = (1 - momentum**2) / (1 + momentum**2) * walked.num_steps * parts[farthest].numel()
    return means[farthest], farthest, wanted * math.sqrt(2 / max(1.0, fresh))


def _warn(
    joint: LogJoint,
    walked: Walk,
    summary: Mapping[str, float],
    step: float,
    momentum: float,
    temperature: float,
    batch_size: int,
    num_data: int,
) -> None:
    complaints, cures = [], []
    if not walked.finite:
        complaints.append("the walk stopped being finite, and the draws before it did are kept")
        cures.append(f"lower step (now {step:g})")
    found, name, error = _temperature(joint, walked, momentum, temperature)
    if abs(found - temperature) > _MOST_HEAT * temperature + _ERRORS * error:
        complaints.append(f"the kinetic temperature of {name!r} is {found:.3g} where {temperature:g} is wanted")
        larger = f", raise batch_size (now {batch_size})" if batch_size < num_data else ""
        cures.append(f"lower step (now {step:g}){larger} or lower momentum (now {momentum:g})")
    if "rhat" not in summary:
        complaints.append(f"chains of fewer than {FEWEST_DRAWS} draws cannot be compared")
        cures.append("raise num_samples")
    elif summary["rhat"] > HIGHEST_RHAT or summary["ess"] < FEWEST_EFFECTIVE:
        complaints.append(
            f"R-hat is {summary['rhat']:.3g} (wanted: {HIGHEST_RHAT} or less) and the effective sample size "
            f"{summary['ess']:.0f} (wanted: {FEWEST_EFFECTIVE} or more)"
        )
        cures.append("raise num_samples, num_warmup or cycle_steps")
    if complaints:
        warn(
            f"the chains may not show the posterior as it is: {'; '.join(complaints)}. To mend it, "
            f"{', '.join(dict.fromkeys(cures))}."
        )


def _check_settings(step: float, momentum: float, temperature: float) -> None:
    if not (is_real(step) and 0 < step < 2):
        raise ValueError(f"step must lie between 0 and 2, where steps become unstable; got {step!r}. Write step=0.3.")
    if not (is_real(momentum) and 0 <= momentum < 1):
        raise ValueError(f"momentum must be 0 or more and below 1; got {momentum!r}. Write momentum=0.98.")
    check_positive("temperature", temperature, "Write temperature=1.0 for the posterior.")
