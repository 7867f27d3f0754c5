"""Likelihoods: what a network's outputs say about the distribution of one target.

A likelihood is a pure function ``outputs -> Distribution``; leading axes (draws) pass through. Outputs of shape
``(..., N, K)`` give a distribution of batch shape ``(..., N)`` and event shape ``()`` or ``(D,)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor

from bayesnn.checks import check_columns, check_integers
from bayesnn.members import mapped

__all__ = [
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "HeteroscedasticGaussian",
    "Likelihood",
    "bernoulli",
    "categorical",
    "gaussian",
    "heteroscedastic_gaussian",
]

_SMALLEST_NOISE = 1e-3
"""Floor of a predicted noise scale, as a fraction of the targets' standard deviation: a density must stay finite."""


class Affine(NamedTuple):
    """The map from standardised outputs to the units of the target, ``loc + scale * output``; both of event shape."""

    loc: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Likelihood:
    """What all likelihoods answer. Concrete ones say how outputs become a distribution."""

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

    def constant_log_likelihood(self, y: Tensor) -> float:
        """Mean log-likelihood, in nats, of the best prediction that is the same for every input.

        What a fit that has learnt something exceeds. Minus infinity where a likelihood does not know.
        """
        return -math.inf

    def typed(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """``y`` in the distribution's type, beside a network of type ``dtype``: floating point, or int64 for labels."""
        return y.to(dtype)

    def weighted_log_prob(self, members: Distribution, y: Tensor, beta: float, target: Affine) -> Tensor:
        """Log-probability of each target, weighted as the beta-NLL does; where no scale is predicted, as it is.

        Args:
            members: What this likelihood says of the targets, batch shape ``(N,)``.
            y: The targets.
            beta: 0 for no weights.
            target: Map to the target's units.

        Returns:
            ``(N,)``, in nats.
        """
        return members.log_prob(y)

    def __call__(
        self, outputs: Tensor, latents: Mapping[str, Tensor] | None = None, target: Affine | None = None
    ) -> Distribution:
        """The distribution of the targets.

        Args:
            outputs: Network outputs ``(..., N, K)``.
            latents: Values of the sites named by `latents`, each with the outputs' leading axes in front.
            target: Map to the target's units; the identity if left out.

        Returns:
            A distribution of batch shape ``(..., N)``.
        """
        if target is None:
            shape = self.event_shape(outputs.shape[-1])
            target = Affine(outputs.new_zeros(shape), outputs.new_ones(shape))
        return self._distribution(outputs, latents or {}, target)

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        raise NotImplementedError


@dataclass(frozen=True)
class Categorical(Likelihood):
    """Classes: outputs are logits, ``p(y = c) = softmax(outputs)_c``."""

    def event_shape(self, num_outputs: int) -> torch.Size:
        """Always ``()``: one label."""
        return torch.Size(())

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Labels ``(N,)``."""
        if num_outputs < 2:
            raise ValueError(
                f"a categorical likelihood needs one network output per class, two at least; the network has "
                f"{num_outputs}. For two classes from one output write likelihood=likelihoods.bernoulli."
            )
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1:
            raise ValueError(
                f"class labels must have shape (N,); got {tuple(y.shape)}. One-hot rows? Pass y.argmax(1)."
            )
        return check_integers(y, 0, num_outputs - 1, "class labels", f"the network has {num_outputs} outputs")

    def constant_log_likelihood(self, y: Tensor) -> float:
        """Minus the entropy of the class frequencies."""
        return -_entropy(torch.bincount(y.long()) / len(y))

    def typed(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Labels as int64."""
        return y.long()

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        return dist.Categorical(logits=outputs)


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Yes or no: an output is a logit, ``p(y = 1) = sigmoid(output)``. Several outputs are independent labels."""

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Zeros and ones, ``(N,)`` or ``(N, D)``."""
        return check_integers(check_columns(y, num_outputs, 1), 0, 1, "Bernoulli targets", "they say no or yes")

    def constant_log_likelihood(self, y: Tensor) -> float:
        """Minus the entropy of the frequencies of yes, summed over labels."""
        yes = y.double().mean(0)
        return -_entropy(torch.stack([yes, 1 - yes]))

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        return dist.Bernoulli(logits=_columns(outputs, target)).to_event(target.loc.ndim)


@dataclass(frozen=True)
class Gaussian(Likelihood):
    r"""A normal around the output with one noise scale: :math:`y \sim N(f(x), \sigma^2)`.

    The noise scale is a latent site ``noise_scale`` in the units of ``y``, one for each target dimension. Its default
    prior is log-normal with median 0.3 standard deviations of ``y`` and log-scale 1 (95 % of its mass between 0.04 and
    2.1 standard deviations). `with_noise` replaces the prior, or fixes the noise.
    """

    noise: Any = None

    def with_noise(self, noise: Distribution | float) -> Gaussian:
        """The same likelihood with a known noise scale (a number) or another prior, both in the units of ``y``.

        Example:
            >>> gaussian.with_noise(0.1)
            Gaussian(noise=0.1)
        """
        if isinstance(noise, Real) and not isinstance(noise, bool):
            if not (float(noise) > 0 and math.isfinite(noise)):
                raise ValueError(f"a noise scale must be positive and finite; got {noise}.")
            return Gaussian(float(noise))
        if not isinstance(noise, Distribution) or not _positive(noise):
            raise TypeError(
                f"noise must be a positive number, or a pyro distribution of positive numbers as its prior; got "
                f"{noise!r}. Write with_noise(0.1) or with_noise(dist.HalfNormal(1.0))."
            )
        return Gaussian(noise)

    def latents(self, target: Affine) -> dict[str, Distribution]:
        """The prior of ``noise_scale``, unless the noise is known."""
        if isinstance(self.noise, int | float):
            return {}
        if self.noise is not None:
            prior: Any = mapped(lambda tensor: tensor.to(target.loc), self.noise)
            missing = target.loc.ndim - len(prior.batch_shape) - len(prior.event_shape)
            prior = prior.expand(target.loc.shape[:missing] + prior.batch_shape) if missing > 0 else prior
            return {"noise_scale": prior.to_event(len(prior.batch_shape))}
        prior = dist.LogNormal(target.scale.log() + math.log(0.3), torch.ones_like(target.scale))
        return {"noise_scale": prior.to_event(target.scale.ndim)}

    def constant_log_likelihood(self, y: Tensor) -> float:
        """That of a normal with the targets' own mean and variance."""
        return _constant_normal(y)

    def affine(self, y: Tensor) -> Affine:
        """Mean and standard deviation of each target column."""
        return _standard(y)

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Real targets ``(N,)`` or ``(N, D)``."""
        return check_columns(y, num_outputs, 1)

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        loc = target.loc + target.scale * _columns(outputs, target)
        if isinstance(self.noise, int | float):
            scale = torch.full_like(loc, self.noise)
        else:
            noise = latents["noise_scale"]
            scale = noise.unsqueeze(noise.ndim - target.loc.ndim).expand_as(loc)
        return dist.Normal(loc, scale).to_event(target.loc.ndim)


@dataclass(frozen=True)
class HeteroscedasticGaussian(Likelihood):
    r"""A normal whose mean and scale the network predicts: :math:`y \sim N(\mu(x), \sigma(x)^2)`.

    The first half of the outputs is the mean, the second half the noise scale before a softplus.

    References:
        Nix and Weigend (1994), Estimating the mean and variance of the target probability distribution, ICNN.
        Softplus on the scale as in Lakshminarayanan et al. (2017), arXiv:1612.01474, section 2.2.1.
    """

    def outputs_per_target(self) -> int:
        """Two: a mean and a scale."""
        return 2

    def constant_log_likelihood(self, y: Tensor) -> float:
        """That of a normal with the targets' own mean and variance."""
        return _constant_normal(y)

    def affine(self, y: Tensor) -> Affine:
        """Mean and standard deviation of each target column."""
        return _standard(y)

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Real targets ``(N,)`` or ``(N, D)``."""
        return check_columns(y, num_outputs, 2)

    def weighted_log_prob(self, members: Distribution, y: Tensor, beta: float, target: Affine) -> Tensor:
        r"""Log-probability weighted by :math:`\sigma^{2\beta}`, see `beta_weighted`."""
        return beta_weighted(members, y, beta, target)

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        mean, raw = outputs.chunk(2, dim=-1)
        loc = target.loc + target.scale * _columns(mean, target)
        scale = target.scale * (F.softplus(_columns(raw, target)) + _SMALLEST_NOISE)
        return dist.Normal(loc, scale).to_event(target.loc.ndim)


def beta_weighted(members: Distribution, y: Tensor, beta: float, target: Affine) -> Tensor:
    r"""Log-probabilities of a family with a predicted scale, each weighted by a power of that scale.

    .. math:: w_n \log p(y_n), \qquad w_n = \sigma_n^{2\beta} / \operatorname{mean}_m \sigma_m^{2\beta},

    the weights taken as constants in the gradient. Without them (:math:`\beta = 0`) a point's pull on the mean falls
    with its predicted variance, so that points which fit badly at first are explained as noise and never learnt; with
    :math:`\beta = 1` all pull alike, as in least squares. The published loss does not divide by the mean; here the
    weight of the data against the prior stays what it is, and a change of units changes nothing.

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


categorical = Categorical()
bernoulli = Bernoulli()
gaussian = Gaussian()
heteroscedastic_gaussian = HeteroscedasticGaussian()


def _positive(prior: Distribution) -> bool:
    """Whether a distribution is of numbers that are not negative."""
    negative = torch.full(prior.batch_shape + prior.event_shape, -1e-3)
    return not bool(prior.support.check(negative).any())


def _entropy(probabilities: Tensor) -> float:
    return float(torch.special.entr(probabilities.double()).sum())


def _constant_normal(y: Tensor) -> float:
    """Mean log-likelihood of a normal with the targets' own mean and variance."""
    return float(-0.5 * (2 * math.pi * math.e * y.double().var(0, correction=0)).log().sum())


def _columns(outputs: Tensor, target: Affine) -> Tensor:
    """Outputs ``(..., N, D)`` with the event shape of the target: ``(..., N)`` where that is ``()``."""
    return outputs if target.loc.ndim else outputs.squeeze(-1)


def _standard(y: Tensor) -> Affine:
    scale, loc = torch.std_mean(y, dim=0, correction=0)
    return Affine(loc, torch.where(scale > 0, scale, torch.ones_like(scale)))
