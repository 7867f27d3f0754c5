"""Simulation-based calibration: does a way of fitting find what the data were made of, no more and no less often?"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from torch import Tensor
from tqdm.auto import tqdm

from bayesnn.checks import check_count, check_seed
from bayesnn.data import as_inputs
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.priors import FittedNormal
from bayesnn.rank_statistics import RankStatistics
from bayesnn.seeding import seeded
from bayesnn.warned import warn

__all__ = ["simulation_based_calibration"]

_MOST_NUMBERS = 10
_FEWEST = 20


Quantities = Mapping[str, Callable[[Mapping[str, Tensor]], Tensor]]


def simulation_based_calibration(
    model: Callable,
    x: Any,
    *,
    fit: Callable[..., Any],
    quantities: Quantities | None = None,
    num_simulations: int = 200,
    num_samples: int = 99,
    seed: int = 0,
    progress: bool = True,
) -> RankStatistics:
    r"""Draw unknowns from the prior and data from them, fit, and see where the truth lies among the posterior's draws.

    .. math:: \theta^* \sim p(\theta), \quad y \sim p(y \mid x, \theta^*), \quad \theta_s \sim q(\theta \mid y), \qquad
              r = \#\{s : f(\theta_s) < f(\theta^*)\}.

    If :math:`q` is the posterior, the rank of every quantity :math:`f` is uniform from 0 to S. Ranks at the ends tell
    of a posterior that is too narrow, ranks in the middle of one too wide, a slope of one that is off.

    Args:
        model: A `BayesianNeuralNetwork` that does not standardise, so that prior and data are in the same units; or a
            Pyro model ``model(x, y=None)``, whose observed site is ``y``.
        x: Inputs ``(N, ...)`` that data are drawn for.
        fit: ``fit(model, x, y, num_samples=, seed=, progress=)``, as ``partial(fit_svi, num_epochs=500)``: anything
            whose result has ``weights``, draws ``(S, *shape)`` by site.
        quantities: Functions of draws by site that give ``(S,)`` or ``(S, Q)``, by name. If left out, of a network its
            outputs at the first, middle and last input and the likelihood's unknowns; of a Pyro model all sites of 10
            numbers or fewer.
        num_simulations: Number L of simulations.
        num_samples: Draws S of each posterior; S + 1 should have many divisors.
        seed: Of all.
        progress: Whether to show a progress bar.

    Returns:
        The ranks, with a verdict in words. What was done until Ctrl-C is kept.

    Raises:
        TypeError: If the model is none, or ``fit`` gives no draws.
        ValueError: If the model standardises, a setting is out of range, or ``fit`` gives another number of draws.

    Warns:
        UserWarning: If the prior's scales are such as `fit_svi` fits.

    References:
        Talts et al. (2018), Validating Bayesian Inference Algorithms with Simulation-Based Calibration,
        arXiv:1804.06788, section 4; Yao et al. (2018), Yes, but Did It Work?: Evaluating Variational Inference,
        arXiv:1802.02538, section 3, for variational fits and the test of symmetry.

    Example:
        >>> from functools import partial
        >>> from bayesnn import fit_last_layer, likelihoods, priors
        >>> network, noise = torch.nn.Linear(1, 1), likelihoods.gaussian.with_noise(0.5)
        >>> model = BayesianNeuralNetwork(network, priors.normal(1.0), noise, standardise=False)
        >>> fit = partial(fit_last_layer, body="network")  # a linear model's exact posterior
        >>> x = torch.linspace(-1, 1, 20)[:, None]
        >>> found = simulation_based_calibration(model, x, fit=fit, num_simulations=100, progress=False)
        >>> found.verdict[:7]
        'no sign'
    """
    inputs = as_inputs(x)
    check_count("num_samples", num_samples)
    check_count("num_simulations", num_simulations)
    if num_simulations < _FEWEST:
        raise ValueError(f"num_simulations must be {_FEWEST} or more to tell anything; got {num_simulations}.")
    if not callable(model):
        raise TypeError(f"model must be a BayesianNeuralNetwork or a Pyro model(x, y=None); got {model!r}.")
    if isinstance(model, BayesianNeuralNetwork) and model.standardise:
        raise ValueError(
            "prior and data must be in the same units: a model that standardises takes its units from each data set. "
            "Write BayesianNeuralNetwork(..., standardise=False)."
        )
    check_seed(seed)
    if isinstance(model, BayesianNeuralNetwork) and any(isinstance(p, FittedNormal) for p in model.priors().values()):
        warn(
            "the prior's scales are fitted by fit_svi, to each data set anew: its posterior is then of another prior "
            "than data were drawn from. Write priors.fan_in_normal(scale, fit=None), unless another method fits."
        )
    asked: Quantities = quantities or {}
    names: list[str] = []
    ranks: list[Tensor] = []
    num_warnings = 0
    bar = tqdm(range(num_simulations), desc="simulations", disable=not progress, leave=False)
    try:
        for number in bar:
            with seeded(seed + number, inputs.device), torch.no_grad():
                truth, y = _simulated(model, inputs)
            if not asked:
                asked = _default(model, inputs, truth)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                posterior = fit(model, inputs, y, num_samples=num_samples, seed=seed + number, progress=False)
            history = getattr(posterior, "history", None)
            if history is not None and history.interrupted:  # the fit took Ctrl-C for itself
                raise KeyboardInterrupt
            num_warnings += bool(said)
            draws = _draws(posterior, num_samples)
            with seeded(seed + number, inputs.device), torch.no_grad():
                found = {name: _rank(function, truth, draws) for name, function in asked.items()}
            ranks.append(torch.cat(list(found.values())))
            names = names or [
                name if len(part) == 1 else f"{name}[{q}]" for name, part in found.items() for q in range(len(part))
            ]
    except KeyboardInterrupt:
        if not ranks:
            raise
        warn(f"stopped by hand after {len(ranks)} of {num_simulations} simulations.")
    finally:
        bar.close()
    return RankStatistics(torch.stack(ranks), tuple(names), num_samples, num_warnings)


def _draws(posterior: Any, num_samples: int) -> Mapping[str, Tensor]:
    """Draws by site, as many as were asked for."""
    draws = getattr(posterior, "weights", None)
    if not isinstance(draws, Mapping):
        raise TypeError(f"fit must give draws by site, as .weights; got {type(posterior).__name__}.")
    found = {len(value) for value in draws.values()}
    if found != {num_samples}:
        raise ValueError(
            f"fit must give the {num_samples} draws it is asked for; got {', '.join(map(str, sorted(found)))}. Hand "
            "num_samples on, or choose another num_samples."
        )
    return draws


def _simulated(model: Callable, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """One draw of all unknowns ``(1, *shape)``, and data drawn from it."""
    if isinstance(model, BayesianNeuralNetwork):
        truth = model.prior_draws(1)
        return truth, model.predict(truth, x).sample()[0]
    with pyro.settings.context(module_local_params=True):
        trace = poutine.trace(model).get_trace(x)
    sites = [name for name in trace.stochastic_nodes if type(trace.nodes[name]["fn"]).__name__ != "_Subsample"]
    if "y" not in sites:
        raise ValueError(f"a Pyro model must sample its data at the site 'y'; this one samples {', '.join(sites)}.")
    return {n: trace.nodes[n]["value"][None] for n in sites if n != "y"}, trace.nodes["y"]["value"]


def _default(model: Callable, x: Tensor, truth: Mapping[str, Tensor]) -> Quantities:
    if isinstance(model, BayesianNeuralNetwork):
        rows = x[[0, len(x) // 2, -1]]
        known: BayesianNeuralNetwork = model
        latents = {name: partial(_numbers, name) for name in model.latents()}
        return {"output": lambda draws: known.outputs_at(draws, rows).flatten(1)} | latents
    few = [name for name, value in truth.items() if value.numel() <= _MOST_NUMBERS]
    return {name: partial(_numbers, name) for name in few}


def _numbers(name: str, draws: Mapping[str, Tensor]) -> Tensor:
    """A site's numbers ``(S, Q)``."""
    return draws[name].reshape(len(draws[name]), -1)


def _rank(function: Callable, truth: Mapping[str, Tensor], draws: Mapping[str, Tensor]) -> Tensor:
    """How many draws lie below the truth ``(Q,)``; of those that equal it, as many as chance has it."""
    own, others = function(truth), function(draws)
    own, others = (part[:, None] if part.ndim == 1 else part for part in (own, others))
    equal = (others == own).sum(0)
    return ((others < own).sum(0) + (torch.rand(equal.shape) * (equal + 1)).long()).cpu()
