"""Recalibration: one temperature, found on held-out data, for how sure a fitted method is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Laplace, Normal, StudentT

from bayesnn.held_out import Posterior, predicted, within
from bayesnn.predictive import Predictive
from bayesnn.streamed import Streamed, in_double

__all__ = ["TemperatureScaled", "temperature_scaled", "tempered"]

_RANGE = 1000.0
"""Temperatures are looked for from its inverse up to it."""

_GRID = 49
"""Temperatures tried first, evenly in their logarithm and 1 among them: a mixture may have several minima."""

_FLAT = 1e-9
"""Differences of the negative log-likelihood that are rounding, as a share of it."""

_PRECISION = 1e-6
"""To which the logarithm of the temperature is found."""


@dataclass(frozen=True, eq=False)
class TemperatureScaled:
    """A fitted method whose predictions are tempered. Call it on inputs to get a `Predictive`, as the method itself.

    Attributes:
        posterior: The fitted method.
        temperature: T: above 1 where the method was too sure, below 1 where it was not sure enough.
        nll: Mean negative log-likelihood of the held-out targets, in nats, at T.
        nll_before: The same at T = 1.
        error: Standard error of the difference of both, of the rows' own differences. T was chosen by these rows: even
            where 1 is right, the fall is half a nat over their number in the mean, and others lose as much.
    """

    posterior: Posterior
    temperature: float
    nll: float
    nll_before: float
    error: float = math.nan

    def __repr__(self) -> str:
        return (
            f"TemperatureScaled(T={self.temperature:.4g}, held-out NLL {self.nll_before:.4g} -> {self.nll:.4g}, "
            f"lower by {self.nll_before - self.nll:.2g} ± {self.error:.2g}, {self.posterior!r})"
        )

    @torch.no_grad()
    def __call__(self, x: Any, *, memory: str | int | None = None) -> Predictive:
        """Predict, with every member tempered.

        Args:
            x: Inputs, as the fitted method takes them.
            memory: What the predictions of all draws may take, as the fitted method takes it.

        Returns:
            A predictive of as many members, in the units of ``y``.
        """
        return tempered(within(self.posterior, x, memory), self.temperature)

    def plan(self, x: Any, *, memory: str | int | None = None) -> Any:
        """How the fitted method would predict, see `WeightPosterior.plan`."""
        return self.posterior.plan(x, memory=memory)  # type: ignore[attr-defined]

    @property
    def num_samples(self) -> int:
        """Number of draws S of the fitted method."""
        return self.posterior.num_samples  # type: ignore[attr-defined]

    @property
    def history(self) -> Any:
        """What happened in the fit; ``None`` where the method does not tell."""
        return getattr(self.posterior, "history", None)

    @property
    def summary(self) -> Mapping[str, float]:
        """Figures of the fit by name, and the ``temperature``."""
        return {**getattr(self.posterior, "summary", {}), "temperature": self.temperature}

    def to(self, device: torch.device | str) -> TemperatureScaled:
        """The same on another device."""
        return replace(self, posterior=self.posterior.to(device))  # type: ignore[attr-defined]


@torch.no_grad()
def temperature_scaled(posterior: Posterior, x: Any, y: Any = None) -> TemperatureScaled:
    r"""Recalibrate a fitted method by one temperature, found on held-out data.

    .. math:: T = \arg\min_T -\frac{1}{N} \sum_n \log \frac{1}{S} \sum_s p_{s,T}(y_n \mid x_n),

    where :math:`p_{s,T}` is member :math:`s` tempered, see `tempered`. It is the members that are tempered, so that a
    decomposition still has its parts; but their temperature is the one that is best for the mixture. Members that
    are calibrated one by one make a mixture that is not sure enough.

    For one draw the most probable class is what it was, and so is accuracy; of several draws, tempered and then
    averaged, it may change. The mean of real targets is what it was. The temperature is one number, for all classes,
    labels, target dimensions and inputs.

    Args:
        posterior: A fitted method: any function of inputs that gives a `Predictive`.
        x: Held-out inputs ``(N, ...)`` in raw units, which the fit has not seen; or a ``Dataset`` or ``DataLoader`` of
            ``(x, y)``.
        y: Their true targets ``(N,)`` or ``(N, D)``.

    Returns:
        A posterior of as many draws. Its mean negative log-likelihood on these data is not above that of the fitted
        method.

    Raises:
        TypeError: If the posterior is no function of inputs that gives a `Predictive`, or something is not data.
        ValueError: If targets do not suit the predictive, or no temperature from 0.001 to 1000 is best: the likelihood
            is the same, or 0, at each, or best at an end.
        NotImplementedError: If the members are of another family than those that `tempered` knows.

    References:
        Guo et al. (2017), On Calibration of Modern Neural Networks, arXiv:1706.04599, section 4.2; Rahaman and Thiery
        (2021), Uncertainty Quantification and Deep Ensembles, arXiv:2007.08792, on members calibrated one by one;
        Laves et al. (2021), Recalibration of Aleatoric and Epistemic Regression Uncertainty in Medical Imaging,
        arXiv:2104.12376, for one factor of the scale of real targets.

    Example:
        >>> from torch.distributions import Normal
        >>> too_sure = lambda x: Predictive(Normal(x.mT, 0.5))
        >>> x, residuals = torch.zeros(4, 1), torch.tensor([-1.0, 1.0, -1.0, 1.0])
        >>> scaled = temperature_scaled(too_sure, x, residuals)
        >>> round(scaled.temperature, 4), scaled(x).stddev
        (2.0, tensor([1.0000, 1.0000, 1.0000, 1.0000]))
    """
    predictive, targets = predicted(posterior, x, y)
    exact = in_double(predictive)  # single precision would leave the fourth digit to rounding
    temperature, nll = _best(exact, targets)
    before, after = exact.log_prob(targets), tempered(exact, temperature).log_prob(targets)
    error = float((after - before).std()) / math.sqrt(len(targets))
    return TemperatureScaled(posterior, temperature, nll, -float(before.mean()), error)


def tempered(predictive: Predictive, temperature: float) -> Predictive:
    r"""A predictive made less sure by a temperature T above 1, more sure by one below 1.

    .. math:: p_{s,T}(y = c) \propto p_s(y = c)^{1/T}

    for classes; a real target is moved away from the predictive mean :math:`m`, :math:`y \mapsto m + T (y - m)`, so
    that the mean stays, and noise and disagreement both grow by :math:`T^2`. A mixture in closed form is moved alike.

    Args:
        predictive: Members that are categorical or Bernoulli, or normal, Student-t or Laplace of finite mean; one or
            several independent targets.
        temperature: T, positive.

    Raises:
        ValueError: If the temperature is not positive and finite.
        NotImplementedError: If the members are of another family, or have no finite mean.

    Example:
        >>> sure = Predictive(torch.distributions.Bernoulli(probs=torch.tensor([[0.8]])))
        >>> tempered(sure, 2.0).probs
        tensor([[0.3333, 0.6667]])
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"a temperature must be positive and finite; got {temperature}. For no change write 1.0.")
    if isinstance(predictive, Streamed):
        return predictive.mapped(partial(tempered, temperature=temperature))
    if predictive.has_enumerate_support:  # the mixture of tempered classes is exact, and is no tempered mixture
        return Predictive(_moved(predictive.members, temperature, torch.zeros(())))
    mixture, center = predictive.mixture, _finite_mean(predictive)
    return Predictive(
        _moved(predictive.members, temperature, center),
        None if mixture is None else _moved(mixture, temperature, center),
    )


def _moved(distribution: Distribution, temperature: float, center: Tensor) -> Distribution:
    """One distribution of any batch shape, tempered; numbers about a center that broadcasts against it."""
    family: Any = type(distribution)
    match distribution:
        case Independent():
            inner = _moved(distribution.base_dist, temperature, center)
            return dist.Independent(inner, distribution.reinterpreted_batch_ndims)
        case Categorical() | Bernoulli():
            return family(logits=distribution.logits / temperature, validate_args=False)
        case Normal() | Laplace():
            place = center + temperature * (distribution.loc - center)
            return family(place, temperature * distribution.scale, validate_args=False)
        case StudentT():
            place = center + temperature * (distribution.loc - center)
            return family(distribution.df, place, temperature * distribution.scale, validate_args=False)
    raise NotImplementedError(
        "a temperature is known for categorical and Bernoulli members, and for normal, Student-t and Laplace ones; got "
        f"{family.__name__}. Write conformal_intervals, which asks nothing of the family."
    )


def _finite_mean(predictive: Predictive) -> Tensor:
    center = predictive.mean
    if not bool(center.isfinite().all()):
        raise NotImplementedError(
            "members are scaled about the predictive mean, which must be finite; it is not. Use Student-t members of "
            "more than one degree of freedom."
        )
    return center


def _best(predictive: Predictive, y: Tensor) -> tuple[float, float]:
    """The best temperature, and the mean negative log-likelihood there."""
    from scipy.optimize import minimize_scalar

    def nll(log_temperature: float) -> float:
        value = -float(tempered(predictive, math.exp(log_temperature)).log_prob(y).mean())
        return math.inf if math.isnan(value) else value

    end = math.log(_RANGE)
    grid = [end * (2 * i / (_GRID - 1) - 1) for i in range(_GRID)]
    values = [nll(at) for at in grid]
    lowest = min(range(_GRID), key=values.__getitem__)
    wrong = _no_best(values, lowest)
    if wrong:
        raise ValueError(f"one temperature from {1 / _RANGE:g} to {_RANGE:g} must be best; these {len(y)} rows {wrong}")
    found = minimize_scalar(
        nll, bounds=(grid[lowest - 1], grid[lowest + 1]), method="bounded", options={"xatol": _PRECISION}
    )
    best = min((values[lowest], grid[lowest]), (float(found.fun), float(found.x)))
    return math.exp(best[1]), best[0]


def _no_best(values: list[float], lowest: int) -> str:
    """Why none of the temperatures tried, in rising order, is best; empty where one is."""
    least, most = values[lowest], max(values)
    if math.isinf(least):
        return (
            "have an infinite negative log-likelihood at each: one of them has no chance at all. Look which, by "
            "posterior(x).log_prob(y)."
        )
    if most - least <= _FLAT * max(1.0, abs(least)):
        return (
            "are as likely at each, as where every class is given the same chance: there is nothing to scale. Use the "
            "posterior as it is."
        )
    if lowest == 0:
        return (
            "want it lower still, as where each is predicted without a mistake. Pass more rows that the fit has not "
            "seen."
        )
    if lowest == len(values) - 1:
        return (
            "want it higher still, as where y is not the target of x, or in other units. Pass the y that belongs to x."
        )
    return ""
