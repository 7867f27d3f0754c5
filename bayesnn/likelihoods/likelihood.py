"""Likelihood: what every likelihood answers, and how targets in raw units are standardised."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor

__all__ = [
    "SMALLEST_SCALE",
    "Affine",
    "Likelihood",
    "beta_weighted",
    "check_above_zero",
    "columns",
    "expect_likelihood",
    "multiple",
    "positive_mean",
    "standard",
    "standard_logarithm",
]

SMALLEST_SCALE = 1e-3
"""Floor of a predicted scale, as a fraction of the targets' own: a density must stay finite."""

_LARGEST_LOGARITHM = 30.0
"""Bound on the logarithm of a predicted mean over the targets' own: squares of it are finite in single precision."""


class Affine(NamedTuple):
    """The map from standardised outputs to the units of the target, ``loc + scale * output``; both of event shape."""

    loc: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Likelihood:
    """What all likelihoods answer. Concrete ones say how outputs become a distribution."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Of a likelihood with a distribution of its own, inherited short cuts of another's would be wrong."""
        super().__init_subclass__(**options)
        if "_distribution" in vars(cls):
            for name in ("seen", "log_likelihood", "log_likelihood_and_slopes"):
                if name not in vars(cls):
                    setattr(cls, name, getattr(Likelihood, name))

    @property
    def name(self) -> str:
        """The likelihood in a word."""
        return type(self).__name__

    def outputs_per_target(self) -> int:
        """How many network outputs one real target dimension takes."""
        return 1

    def latents(self, target: Affine) -> dict[str, Distribution]:
        """Priors of the likelihood's own unknowns by site name, in the units of the target."""
        return {}

    def outputs_for(self, y: Tensor) -> int:
        """How many network outputs targets ``y`` need."""
        return (1 if y.ndim == 1 else y.shape[1]) * self.outputs_per_target()

    def event_shape(self, num_outputs: int) -> torch.Size:
        """The event shape that ``num_outputs`` network outputs stand for when no targets have been seen."""
        targets = num_outputs // self.outputs_per_target()
        return torch.Size(()) if targets == 1 else torch.Size((targets,))

    def affine(self, y: Tensor) -> Affine:
        """The map that standardises targets ``y``; the identity where targets have no unit."""
        return Affine(y.new_zeros(y.shape[1:]), y.new_ones(y.shape[1:]))

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """``y`` in the distribution's shape, if it can come from this likelihood with that many outputs.

        Raises:
            ValueError: If it cannot.
        """
        raise NotImplementedError

    def look_at(
        self, outputs: Callable[[Mapping[str, Tensor], Tensor], Tensor], weights: Mapping[str, Tensor], x: Tensor
    ) -> None:
        """Warn where a network's outputs are not of the kind that this likelihood takes.

        Args:
            outputs: Of the network at one draw of its weights, ``(N, K)``.
            weights: That draw.
            x: Some inputs.
        """

    def constant_log_likelihood(self, y: Tensor) -> float:
        """Mean log-likelihood, in nats, of the best prediction that is the same for every input.

        What a fit that has learnt something exceeds. Minus infinity where a likelihood does not know.
        """
        return -math.inf

    def typed(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """``y`` in the distribution's type, beside a network of type ``dtype``: floating point, or int64 for labels."""
        return y.to(dtype)

    def weighted_log_prob(self, members: Distribution, y: Tensor, beta: float, target: Affine) -> Tensor:
        """Log-probability of each target, weighted as the beta-NLL does; as it is where the family has no such scale.

        Args:
            members: What this likelihood says of the targets, batch shape ``(N,)``.
            y: The targets.
            beta: 0 for no weights.
            target: Map to the target's units.

        Returns:
            ``(N,)``, in nats.
        """
        return members.log_prob(y)

    def seen(self, y: Tensor, target: Affine) -> Tensor:
        """Targets as `log_likelihood` takes them: prepared once for many calls."""
        return y

    def log_likelihood(self, outputs: Tensor, latents: Mapping[str, Tensor], seen: Tensor, target: Affine) -> Tensor:
        """Log-likelihood of all data together, a scalar in nats: the distribution's, in fewer operations.

        Args:
            outputs: Network outputs ``(..., N, K)``; several networks' add up.
            latents: Values of the sites named by `latents`, each with the outputs' leading axes in front.
            seen: Targets of these rows, from `seen`, with the same leading axes.
            target: Map to the target's units.
        """
        return self._distribution(outputs, latents, target).log_prob(seen).sum()

    def log_likelihood_and_slopes(
        self, outputs: Tensor, latents: Mapping[str, Tensor], seen: Tensor, target: Affine
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """`log_likelihood` and its gradients by the outputs and by each latent, all without a graph."""
        with torch.enable_grad():
            leaves = [
                outputs.detach().requires_grad_(),
                *(value.detach().requires_grad_() for value in latents.values()),
            ]
            total = self.log_likelihood(leaves[0], dict(zip(latents, leaves[1:], strict=True)), seen, target)
        by_outputs, *by_latents = torch.autograd.grad(total, leaves)
        return total.detach(), by_outputs, dict(zip(latents, by_latents, strict=True))

    def __call__(
        self,
        outputs: Tensor | None = None,
        latents: Mapping[str, Tensor] | None = None,
        target: Affine | None = None,
        **settings: Any,
    ) -> Distribution:
        """The distribution of the targets.

        Args:
            outputs: Network outputs ``(..., N, K)``.
            latents: Values of the sites named by `latents`, each with the outputs' leading axes in front.
            target: Map to the target's units; the identity if left out.
            **settings: None; those that a likelihood has are set by its methods, as `Gaussian.with_noise`.

        Returns:
            A distribution of batch shape ``(..., N)``.

        Raises:
            TypeError: If it is called as if that made a likelihood: `gaussian` is one, and so is what
                ``gaussian.with_noise(0.1)`` gives.
        """
        if not isinstance(outputs, Tensor):
            raise TypeError(self._how_to_write_it(outputs, settings))
        if settings:
            raise TypeError(f"a likelihood takes outputs, latents and target; got {', '.join(settings)} beside them.")
        if target is None:
            shape = self.event_shape(outputs.shape[-1])
            target = Affine(outputs.new_zeros(shape), outputs.new_ones(shape))
        return self._distribution(outputs, latents or {}, target)

    def _how_to_write_it(self, outputs: object, settings: Mapping[str, object]) -> str:
        words = [] if outputs is None else [repr(outputs) if isinstance(outputs, Real) else type(outputs).__name__]
        given = ", ".join([*words, *(f"{name}={value!r}" for name, value in settings.items())]) or "none"
        makers = "".join(f", or by .{name}(...)" for name in dir(self) if name.startswith("with_"))
        return (
            f"a likelihood must be called with network outputs, a tensor (N, K); got {given}. Give it to a model "
            f"uncalled{makers}: BayesianNeuralNetwork(network, likelihood=likelihoods.{_small(type(self))})."
        )

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        raise NotImplementedError


def _small(kind: type) -> str:
    """The name of the one that `bayesnn.likelihoods` has of a class."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def expect_likelihood(value: object) -> Likelihood:
    """A likelihood, or a sentence that says where one comes from.

    Raises:
        TypeError: If it is none.
    """
    if isinstance(value, type) and issubclass(value, Likelihood):
        ours = value.__module__.startswith("bayesnn.")
        written = f"likelihoods.{_small(value)}" if ours else f"{value.__name__}()"
        raise TypeError(f"likelihood must be an instance; got the class {value.__name__}. Write likelihood={written}.")
    if not isinstance(value, Likelihood):
        raise TypeError(
            f"likelihood must say what the outputs mean; got {value!r}. Write "
            "likelihood=likelihoods.categorical for classes or likelihood=likelihoods.gaussian for real targets."
        )
    return value


def beta_weighted(members: Distribution, y: Tensor, beta: float, target: Affine) -> Tensor:
    r"""Log-probabilities of a family with a predicted scale, each weighted by a power of that scale.

    .. math:: w_n \log p(y_n), \qquad w_n = \sigma_n^{2\beta} / \operatorname{mean}_m \sigma_m^{2\beta},

    the weights taken as constants in the gradient. Without them (:math:`\beta = 0`) a point's pull on the mean falls
    with its predicted variance, so that points which fit badly at first are explained as noise and never learnt; with
    :math:`\beta = 1` all pull alike, as in least squares. The published loss does not divide by the mean; here the
    weight of the data against the prior stays what it is, and a change of units changes nothing.

    Args:
        members: What the likelihood says of the targets, batch shape ``(..., N)``.
        y: The targets.
        beta: The power; 0 for no weights.
        target: Map to the target's units.

    Returns:
        ``(..., N)``, in nats.

    References:
        Seitzer et al. (2022), On the Pitfalls of Heteroscedastic Uncertainty Estimation with Probabilistic Neural
        Networks, arXiv:2203.09168, equation 5.
    """
    if beta == 0:
        return members.log_prob(y)
    marginal: Any = members.base_dist if target.loc.ndim else members
    rows = -1 - target.loc.ndim
    weight = (marginal.scale / target.scale).detach() ** (2 * beta)
    log_prob = weight / weight.mean(rows, keepdim=True) * marginal.log_prob(y)
    return log_prob.sum(-1) if target.loc.ndim else log_prob


def columns(outputs: Tensor, target: Affine) -> Tensor:
    """Outputs ``(..., N, D)`` with the event shape of the target: ``(..., N)`` where that is ``()``."""
    return outputs if target.loc.ndim else outputs.squeeze(-1)


def standard(y: Tensor) -> Affine:
    """The map that gives each target column mean 0 and standard deviation 1."""
    scale, loc = torch.std_mean(y, dim=0, correction=0)
    return Affine(loc, torch.where(scale > 0, scale, torch.ones_like(scale)))


def standard_logarithm(y: Tensor) -> Affine:
    r"""The map from outputs to the logarithm of a mean, for targets that are not negative.

    At 0 it is the logarithm of the targets' own mean :math:`m`. Its unit is the spread of the logarithm that a
    log-normal has whose mean and variance are the targets', :math:`\sqrt{\log(1 + v / m^2)}`: where targets vary by one
    part in a hundred, so does the mean.
    """
    scale, loc = torch.std_mean(y, dim=0, correction=0)
    loc = torch.where(loc > 0, loc, torch.ones_like(loc))
    spread = (scale / loc).square().log1p().sqrt()
    return Affine(loc.log(), torch.where(spread > 0, spread, torch.ones_like(spread)))


def positive_mean(output: Tensor, target: Affine) -> Tensor:
    """The mean whose logarithm an output stands for, within a factor of 1e13 of the targets' own."""
    moved = target.scale * columns(output, target)
    return (target.loc + moved.clamp(-_LARGEST_LOGARITHM, _LARGEST_LOGARITHM)).exp()


def multiple(output: Tensor, target: Affine) -> Tensor:
    """The positive factor that an output stands for, by a softplus: about 1 where the output is 0."""
    return F.softplus(columns(output, target)) / math.log(2) + SMALLEST_SCALE


def check_above_zero(y: Tensor, what: str) -> Tensor:
    """``y`` if all of it is positive."""
    if not bool((y > 0).all()):
        raise ValueError(
            f"{what} targets must be positive; got values from {float(y.min()):.4g}. For real targets of any sign use "
            "likelihoods.heteroscedastic_gaussian."
        )
    return y
