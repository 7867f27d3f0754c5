"""Simulation-based calibration: does a way of fitting find what the data were made of, no more and no less often?"""

from __future__ import annotations

import html
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyro
import pyro.poutine as poutine
import torch
from torch import Tensor
from tqdm.auto import tqdm

from bayesnn.checks import check_count
from bayesnn.data import as_inputs
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.seeding import seeded
from bayesnn.tables import html_table, text_table

__all__ = ["RankStatistics", "simulation_based_calibration"]

_MOST_BINS = 20
_PER_BIN = 10
_ALPHA = 0.01
_ERRORS = 3.0
_MOST_NUMBERS = 10
_FEWEST = 20


@dataclass(frozen=True)
class RankStatistics:
    """Ranks of true values among posterior draws; uniform from 0 to S if the posterior is right.

    Attributes:
        ranks: ``(L, Q)``, of L simulations and Q quantities, each from 0 to ``num_samples``.
        names: Names of the quantities.
        num_samples: Draws S of each posterior.
        num_warnings: Fits of which a warning was given.
    """

    ranks: Tensor
    names: tuple[str, ...]
    num_samples: int
    num_warnings: int = 0

    def __repr__(self) -> str:
        told = f", {self.num_warnings} fits gave a warning" if self.num_warnings else ""
        heading = f"{len(self.ranks)} simulations, {self.num_samples} draws each{told}: {self.verdict}"
        return f"{heading}\n{text_table(self._rows())}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self).splitlines()[0])}</p>{html_table(self._rows())}"

    @property
    def num_bins(self) -> int:
        """Bins of equally many ranks that the chi-square test counts in: 20 at most, 10 simulations each at least."""
        most = max(2, min(_MOST_BINS, len(self.ranks) // _PER_BIN))
        fitting = [bins for bins in range(2, most + 1) if (self.num_samples + 1) % bins == 0]
        return max(fitting, default=2)

    def counts(self, num_bins: int | None = None) -> Tensor:
        """Simulations in each bin of ranks ``(bins, Q)``.

        Args:
            num_bins: Number of bins, of as equally many ranks as can be; ``self.num_bins`` if left out.
        """
        bins = self.num_bins if num_bins is None else num_bins
        which = self.ranks * bins // (self.num_samples + 1)
        return torch.stack([(which == number).sum(0) for number in range(bins)])

    @property
    def p_values(self) -> dict[str, float]:
        """Of each quantity, by the chi-square test of uniform ranks."""
        from scipy import stats

        edges = np.arange(self.num_bins + 1)
        ranks_below = np.ceil(edges * (self.num_samples + 1) / self.num_bins)
        expected = np.diff(ranks_below) / (self.num_samples + 1) * len(self.ranks)
        found = [stats.chisquare(column, expected).pvalue for column in self.counts().T.numpy()]
        return {name: float(value) for name, value in zip(self.names, found, strict=True)}

    @property
    def bias_p_values(self) -> dict[str, float]:
        """Of each quantity, by Yao et al.'s test that its ranks lie symmetrically: small where the guide is off."""
        from scipy import stats

        u = ((self.ranks.double() + 0.5) / (self.num_samples + 1)).numpy()
        return {
            name: float(stats.ks_2samp(column, 1 - column).pvalue) for name, column in zip(self.names, u.T, strict=True)
        }

    @property
    def p_value(self) -> float:
        """The smallest p-value times the number of quantities (Bonferroni): of all of them being uniform."""
        return min(1.0, min(self.p_values.values()) * len(self.names))

    @property
    def verdict(self) -> str:
        """What the ranks say, in words."""
        if self.p_value >= _ALPHA:
            return f"no sign against a calibrated posterior (p = {self.p_value:.2g})"
        said = {word for word in self._shapes().values() if word}
        return f"not calibrated (p = {self.p_value:.2g}): {', '.join(sorted(said)) or 'ranks are not uniform'}"

    def to_pandas(self) -> Any:
        """The ranks as a ``pandas.DataFrame``, a row for each simulation; needs pandas."""
        import pandas as pd

        return pd.DataFrame(self.ranks.numpy(), columns=list(self.names)).rename_axis("simulation")

    def to_json(self) -> str:
        """Ranks and p-values as JSON."""
        record = {"names": list(self.names), "num_samples": self.num_samples, "ranks": self.ranks.tolist()}
        return json.dumps(record | {"p_values": self.p_values, "bias_p_values": self.bias_p_values})

    def _shapes(self) -> dict[str, str]:
        """Of each quantity: is the posterior too narrow (true values lie at the ends), too wide, or off?"""
        u = (self.ranks.double() + 0.5) / (self.num_samples + 1) - 0.5
        number = len(u)
        off = u.mean(0) / (1 / 12 / number) ** 0.5
        spread = (u.square().mean(0) - 1 / 12) / (1 / 180 / number) ** 0.5
        words = {}
        for name, z_off, z_spread in zip(self.names, off.tolist(), spread.tolist(), strict=True):
            found = ["too narrow"] if z_spread > _ERRORS else ["too wide"] if z_spread < -_ERRORS else []
            found += [f"too {'low' if z_off > 0 else 'high'}"] if abs(z_off) > _ERRORS else []
            words[name] = " and ".join(found)
        return words

    def _rows(self) -> list[dict[str, Any]]:
        p, bias, shapes = self.p_values, self.bias_p_values, self._shapes()
        return [
            {"quantity": name, "p": p[name], "p of symmetry": bias[name], "posterior is": shapes[name] or "–"}
            for name in self.names
        ]


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
        ValueError: If the model standardises, or a setting is out of range.

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
            num_warnings += bool(said)
            draws = getattr(posterior, "weights", None)
            if draws is None:
                raise TypeError(f"fit must give draws by site, as .weights; got {type(posterior).__name__}.")
            with seeded(seed + number, inputs.device), torch.no_grad():
                found = {name: _rank(function, truth, draws) for name, function in asked.items()}
            ranks.append(torch.cat(list(found.values())))
            names = names or [
                name if len(part) == 1 else f"{name}[{q}]" for name, part in found.items() for q in range(len(part))
            ]
    except KeyboardInterrupt:
        if not ranks:
            raise
        warnings.warn(f"stopped by hand after {len(ranks)} of {num_simulations} simulations.", stacklevel=2)
    finally:
        bar.close()
    return RankStatistics(torch.stack(ranks), tuple(names), num_samples, num_warnings)


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
