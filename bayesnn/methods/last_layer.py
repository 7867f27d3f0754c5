"""fit_last_layer: a Bayesian last layer on a network that is otherwise fixed, in closed form or by SVI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor

from bayesnn.checks import check_count, check_seed
from bayesnn.conjugate import LinearRegression, Posterior
from bayesnn.fitting import epochs_for
from bayesnn.heads import LastLayer
from bayesnn.likelihoods import Gaussian
from bayesnn.methods.map import STEPS
from bayesnn.methods.mode import Mode, Start, as_it_stands, mode_of
from bayesnn.methods.svi import fit_svi
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.posterior import Density, Draws, WeightPosterior
from bayesnn.training import Callback, History

__all__ = ["fit_last_layer"]

_NOISE_RANGE = (1e-4, 10.0)
"""Where the evidence's noise scale is looked for, in standard deviations of the targets."""

_GRID, _ZOOMS, _SWEEPS = 101, 6, 3


def fit_last_layer(
    model: BayesianNeuralNetwork,
    x: Any,
    y: Any = None,
    *,
    num_samples: int = 100,
    num_epochs: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callback | None = None,
    body: Start = None,
    noise: Literal["body", "evidence"] = "body",
) -> WeightPosterior:
    r"""Fit a Bayesian last layer on a network that is otherwise fixed: an epistemic part for one forward pass.

    .. math:: f(x) = W \phi(x) + b, \qquad p(W, b \mid \phi(x), y) \propto p(y \mid f(x)) \, p(W) \, p(b),

    with features :math:`\phi` of a plain network, and the model's own prior and likelihood. Features enter as they are:
    a scaling would change what the prior means.

    With a Gaussian likelihood and a normal prior this is Bayesian linear regression, in closed form: the draws are
    exact, predictions are the exact mixture over them, and several targets are independent. Otherwise the last layer is
    fitted by `fit_svi`, from the body's own last layer, with prior scales fitted where the prior says so.

    The features were trained on the same data. So the last layer leaves open less than the data do, the more so far
    from them; and the noise scale of largest evidence is too small, for the evidence pays for the last layer's weights
    alone: on UCI yacht it made predictions worse than the plain network's. The noise scale of the body's fit is too
    small too, but less so. Where data can be spared, find it on them, and write
    ``likelihoods.gaussian.with_noise(...)``.

    Args:
        model: Network whose outputs are those of its last ``nn.Linear``, prior and likelihood.
        x: Inputs ``(N, ...)`` in raw units; or a ``Dataset`` or ``DataLoader`` of ``(x, y)``.
        y: Targets ``(N,)`` or ``(N, D)``.
        num_samples: Draws S of the last layer.
        num_epochs: Passes over the data for the body, and again for a last layer fitted by SVI; if left out, as many as
            make 2000 steps each, 20 at least.
        batch_size: Data in a minibatch.
        learning_rate: Adam's step size at the start, for the body.
        device: Where to fit; where the network is, if left out.
        seed: Seed of the fit and of its draws.
        progress: Whether to show a progress bar.
        callback: Called after each epoch with its number and the mean of each term; of the body, then of the last
            layer, counted on. Ctrl-C ends the part that runs.
        body: The network to take: ``None`` to fit it by `fit_map`; a posterior that `fit_map` gave; or ``"network"``
            for the network's own weights as they stand. A pretrained network that reads raw inputs goes into a model
            with ``standardise=False``; it may have batch normalisation, whose running statistics stay as they are.
        noise: For a Gaussian likelihood of unknown noise: ``"body"`` takes the noise scale of the body's fit;
            ``"evidence"``, and any ``body="network"``, the one that maximises evidence times prior density,
            :math:`p(y \mid \phi(x), \sigma) \, p(\sigma)`. It is one number, not uncertain.

    Returns:
        A posterior of S draws of the last layer's parameters (and of the likelihood's unknowns). ``summary`` has
        ``log_evidence_per_datum``, or ``elbo_per_datum`` and what else `fit_svi` tells, in nats.

    Raises:
        TypeError: If model, data or body are of the wrong kind.
        ValueError: If the data do not suit the model, or the network does not end with a linear layer; the message says
            how.

    References:
        Bishop (2006), Pattern Recognition and Machine Learning, sections 3.3 and 3.5; Snoek et al. (2015), Scalable
        Bayesian Optimization Using Deep Neural Networks, arXiv:1502.05700, section 3.1, for a trained body.

    Example:
        >>> from bayesnn import BayesianNeuralNetwork, likelihoods, networks
        >>> x, y = torch.randn(50, 2), torch.randn(50)
        >>> model = BayesianNeuralNetwork(networks.mlp(2, 1), likelihood=likelihoods.gaussian)
        >>> posterior = fit_last_layer(model, x, y, num_samples=10, num_epochs=2, progress=False)
        >>> posterior.weights["2.weight"].shape
        torch.Size([10, 1, 50])
    """
    check_count("num_samples", num_samples)
    check_seed(seed)
    if noise not in ("body", "evidence"):
        raise ValueError(f'noise must be "body" or "evidence"; got {noise!r}. A known scale goes into the likelihood.')
    settings: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "progress": progress}
    given = {**settings, "num_epochs": num_epochs, "learning_rate": learning_rate, "callback": callback}
    if isinstance(body, str) and body == "network":
        mode = as_it_stands(model, x, y, device, trains=False)
    else:
        mode = mode_of(model, x, y, body, "body", device, **given)
    head = LastLayer.of(mode.model, mode.weights, mode.inputs[:64])
    if isinstance(mode.model.likelihood, Gaussian) and all(isinstance(p, dist.Normal) for p in _priors(head).values()):
        return _in_closed_form(mode, head, num_samples, seed, "evidence" if body == "network" else noise)
    epochs = epochs_for(num_epochs, STEPS, len(mode.inputs), batch_size)
    return _by_svi(mode, head, num_samples=num_samples, num_epochs=epochs, callback=callback, **settings)


def _priors(head: LastLayer) -> dict[str, Distribution]:
    """The model's own priors of the last layer's parameters."""
    return {name: head.model.priors()[name] for name in head.body.names}


def _in_closed_form(mode: Mode, head: LastLayer, num_samples: int, seed: int, which: str) -> WeightPosterior:
    target, latents = mode.model.target(), mode.model.latents()
    features = head.features(mode.inputs)
    standard = (mode.targets - target.loc) / target.scale
    priors = _priors(head)
    loc, scale = (head.joined({name: getattr(p, part) for name, p in priors.items()}) for part in ("loc", "scale"))
    regression = LinearRegression.of(head.design(features), standard.reshape(len(features), -1), loc, scale)
    unit = target.scale.double().reshape(-1)
    if not latents:
        sigma = torch.full_like(unit, mode.model.likelihood.noise)  # type: ignore[attr-defined]
    elif which == "body":
        sigma = mode.latents["noise_scale"].double().reshape(-1)
    else:
        sigma = _best_noise(regression, latents["noise_scale"], unit, target.loc.shape)
    found = regression.posterior(sigma / unit)
    evidence = regression.log_evidence(sigma / unit).sum() / len(features) - unit.log().sum()
    fixed = {name: sigma.reshape(target.loc.shape).to(mode.model.dtype) for name in latents}
    draws, density = partial(_exact_draws, head, found, fixed), partial(_exact_density, head, found)
    history = mode.history or History([], 0.0, False)
    summary = {"log_evidence_per_datum": float(evidence)}
    known = replace(head, posterior=found)
    return WeightPosterior(known, draws(num_samples, seed), "last_layer", history, summary, draws, density=density)


def _exact_draws(
    head: LastLayer, found: Posterior, fixed: Mapping[str, Tensor], number: int, seed: int
) -> dict[str, Tensor]:
    return head.split(found.draws(number, seed)) | {n: v.expand(number, *v.shape) for n, v in fixed.items()}


def _exact_density(head: LastLayer, found: Posterior, drawn: Mapping[str, Tensor]) -> Tensor:
    return found.log_prob(head.joined(drawn))


def _best_noise(regression: LinearRegression, prior: Distribution, unit: Tensor, shape: torch.Size) -> Tensor:
    """The noise scales ``(K,)`` that maximise evidence times prior density, by a search on ever finer grids.

    The evidence has more than one maximum at times, so the whole range is searched, for one target after another.
    """
    best = torch.full_like(unit, 0.3)
    for _ in range(_SWEEPS if len(unit) > 1 else 1):  # a user's prior may couple the targets
        for column in range(len(unit)):
            low, high = (torch.as_tensor(end).log().item() for end in _NOISE_RANGE)
            for _ in range(_ZOOMS):
                logs = torch.linspace(low, high, _GRID, dtype=torch.float64, device=unit.device)
                tried = best.repeat(_GRID, 1)
                tried[:, column] = logs.exp()
                value = regression.log_evidence(tried)[:, column] + prior.log_prob((tried * unit).reshape(-1, *shape))
                top = int(value.argmax())
                best[column] = tried[top, column]
                low, high = float(logs[max(0, top - 1)]), float(logs[min(_GRID - 1, top + 1)])
    return best * unit


def _by_svi(mode: Mode, head: LastLayer, *, callback: Callback | None, **settings: Any) -> WeightPosterior:
    known = mode.model
    name_of = dict(zip(("weight", "bias"), head.body.names, strict=False))
    # Features stay as they are, for the prior's sake, and targets are scaled as in the whole model.
    alone = BayesianNeuralNetwork(
        head.body.head,
        partial(_named, {name: known.priors()[full] for name, full in name_of.items()}),
        known.likelihood,
        standardise=False,
    )
    alone.y_loc, alone.y_scale = known.y_loc, known.y_scale
    # The guide's means begin in the tensors they are given, and would move the body's own.
    start = {name: mode.values[full].clone() for name, full in name_of.items()}
    start |= {name: value.clone() for name, value in mode.latents.items()}
    before = 0 if mode.history is None else len(mode.history.epochs)
    fitted = fit_svi(
        alone,
        head.features(mode.inputs),
        mode.targets,
        start=start,
        callback=None if callback is None else lambda epoch, terms: callback(before + epoch, terms),
        **settings,
    )
    history = fitted.history if mode.history is None else _joined(mode.history, fitted.history)  # type: ignore[arg-type]
    full_names = {name: name_of.get(name, name) for name in fitted.weights}
    moments = {name_of[name]: pair for name, pair in fitted.guide.real_moments().items() if name in name_of}
    fitted_model = known.with_fitted_priors({n: (m.detach(), s.detach()) for n, (m, s) in moments.items()})
    return WeightPosterior(
        replace(head, model=fitted_model, fixed_latents=False),
        _renamed(full_names, fitted.weights),
        "last_layer",
        history,
        fitted.summary,
        partial(_renamed_draws, full_names, fitted.draws),  # type: ignore[arg-type]
        fitted.guide,
        partial(_density_of_renamed, full_names, fitted.density),  # type: ignore[arg-type]
    )


def _named(priors: Mapping[str, Distribution], name: str, value: Tensor) -> Distribution:
    return priors[name]


def _renamed(full_names: Mapping[str, str], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {full_names[name]: value for name, value in values.items()}


def _renamed_draws(full_names: Mapping[str, str], made: Draws, number: int, seed: int) -> dict[str, Tensor]:
    return _renamed(full_names, made(number, seed))


def _density_of_renamed(full_names: Mapping[str, str], density: Density, drawn: Mapping[str, Tensor]) -> Tensor:
    return density({name: drawn[full] for name, full in full_names.items()})


def _joined(first: History, second: History) -> History:
    """What happened in both parts of a fit, one after the other."""
    interrupted = first.interrupted or second.interrupted
    return History([*first.epochs, *second.epochs], first.seconds + second.seconds, interrupted)
