"""Predictive: the mixture of what every draw of the weights predicts. The waist of the package."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from bayesnn import log_densities, quantiles, rows
from bayesnn import members as parts
from bayesnn.data import as_values, on_device
from bayesnn.log_densities import log_mean_exp
from bayesnn.members import marginal

__all__ = ["Predictive", "expect_predictive"]


class Predictive(Distribution):
    r"""The equally weighted mixture of S member distributions over N inputs.

    .. math:: p(y \mid x, D) \approx \frac{1}{S} \sum_s p(y \mid x, \theta_s), \qquad \theta_s \sim q(\theta).

    It is a torch ``Distribution`` of batch shape ``(N,)``; every score, decomposition and plot begins with one.

    Args:
        members: A distribution of batch shape ``(S, N)`` and event shape ``()`` or ``(D,)``.
        mixture: The mixture in closed form, of batch shape ``(N,)``, where a method knows it (a Gaussian process does).
            The members then stand for it in what asks for single draws, and their moments must agree with it.

    Raises:
        TypeError: If the members are no distribution.
        ValueError: If the members have no draw and input axes or are one-hot, or the mixture is not of their shape.

    Example:
        >>> members = torch.distributions.Normal(torch.tensor([[0.0], [10.0]]), torch.tensor([[1.0], [3.0]]))
        >>> predictive = Predictive(members)
        >>> predictive.mean, predictive.stddev
        (tensor([5.]), tensor([5.4772]))
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 - torch's own way

    def __init__(self, members: Distribution, mixture: Distribution | None = None) -> None:
        parts.check(members, mixture)
        self._members = self._example = parts.unvalidated(members)  # the latter tells the family
        self._over_classes = parts.over_classes(members)
        self.mixture = None if mixture is None else parts.unvalidated(mixture)
        super().__init__(torch.Size(members.batch_shape[1:]), members.event_shape, validate_args=False)

    def __repr__(self) -> str:
        family = type(marginal(self._example)).__name__
        return f"Predictive({family}, S={self.num_samples}, N={len(self)}, event={tuple(self.event_shape)})"

    def __len__(self) -> int:
        return self.batch_shape[0]

    def __getitem__(self, index: Any) -> Predictive:
        """The predictive of some of the inputs; one input keeps its axis."""
        index = rows.chosen(index, len(self))
        return self._each(lambda d: parts.mapped(lambda t: t[index] if d is self.mixture else t[:, index], d))

    def target(self, number: int) -> Predictive:
        """The predictive ``(N,)`` of one of D targets, counted from 0: its scores, tasks and plots, in its own units.

        Raises:
            IndexError: If there is no such target.
        """
        return self._each(functools.partial(parts.one_target, number=number))

    def of(self, members: Distribution, mixture: Distribution | None) -> Predictive:
        """The predictive of other members for targets like these: of one count among many it is no class."""
        other = Predictive(members, mixture)
        other._over_classes = self._over_classes
        return other

    def _each(self, function: Callable[[Distribution], Distribution]) -> Predictive:
        """The predictive of what a function makes of the members, and of the closed form if there is one."""
        return self.of(function(self.members), None if self.mixture is None else function(self.mixture))

    @property
    def members(self) -> Distribution:
        """The members, of batch shape ``(S, N)``."""
        return self._members

    @property
    def num_samples(self) -> int:
        """Number of draws S."""
        return self.members.batch_shape[0]

    @property
    def device(self) -> torch.device:
        """Where the members live."""
        return parts.unpack(self.members)[0][0].device

    def to(self, device: torch.device | str) -> Predictive:
        """The same predictive on another device."""
        place = on_device(device, self.device)
        return self._each(functools.partial(parts.mapped, lambda t: t.to(place)))

    @staticmethod
    def concatenate(predictives: Sequence[Predictive]) -> Predictive:
        """One predictive over the inputs of several, one at least, which must have the same draws."""
        closed = [p.mixture for p in predictives if p.mixture is not None]
        mixture = parts.concatenate(closed, axis=0) if len(closed) == len(predictives) else None
        return Predictive(parts.concatenate([p.members for p in predictives], axis=1), mixture)

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """Whether a target is one of finitely many values, the same for all inputs."""
        return self._over_classes

    @property
    def support(self) -> constraints.Constraint | None:
        """Where the targets lie."""
        return self._example.support

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values a target (each label for itself) can take, ``(C, N)`` or ``(C, N, D)``; with ones unexpanded."""
        values = marginal(self._example).enumerate_support(expand=False)[:, 0]
        return values.expand((len(values), *self.batch_shape, *self.event_shape)) if expand else values

    @property
    def log_probs(self) -> Tensor:
        """Log-probability of each class ``(N, C)``; in nats. Finite support only."""
        return log_mean_exp(self.member_log_probs)

    @property
    def probs(self) -> Tensor:
        """Probability of each class ``(N, C)``. Finite support only."""
        return self.log_probs.exp()

    @property
    def member_log_probs(self) -> Tensor:
        """Log-probability of each class under each draw ``(S, N, C)``. Finite support only.

        With an event shape ``(D,)`` (D independent labels) it is ``(S, N, D, C)``: of each label for itself.
        """
        if not self.has_enumerate_support:
            raise NotImplementedError(
                "class probabilities need a finite support; this predictive is over real targets or counts."
            )
        each = marginal(self.members)
        values = each.enumerate_support(expand=False)
        return torch.stack([log_densities.log_prob(each, value) for value in values], dim=-1)

    @property
    def mode(self) -> Tensor:
        """The most probable value ``(N,)``. Finite support only."""
        best = self.log_probs.argmax(-1)  # which says so where there are no classes
        return marginal(self._example).enumerate_support(expand=False).flatten()[best]

    @property
    def mean(self) -> Tensor:
        """Mean ``(N,)`` or ``(N, D)``, in the units of ``y``."""
        if self.mixture is not None:
            return self.mixture.mean
        return parts.moment(self.members, "mean").mean(0)

    @property
    def variance(self) -> Tensor:
        r"""Variance by the law of total variance, :math:`E_s[\sigma_s^2] + Var_s[\mu_s]`, in squared units of ``y``."""
        if self.mixture is not None:
            return self.mixture.variance
        noise, place = (parts.moment(self.members, name) for name in ("variance", "mean"))
        return noise.mean(0) + place.var(0, correction=0)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density or log-probability of a target for each input ``(N,)``, in nats.

        Raises:
            ValueError: If ``value`` does not have one target for each input, or one lies where none can.
        """
        quantiles.check_inside(marginal(self.members), self.checked(value))
        if self.mixture is not None:
            return log_densities.log_prob(self.mixture, self.checked(value))
        return log_mean_exp(
            log_densities.log_prob(self.members, rows.beside_draws(self.checked(value), len(self.event_shape))),
            axis=-2,
        )

    def cdf(self, value: Tensor) -> Tensor:
        """Distribution function of each target dimension for itself, shape of ``value``."""
        if self.mixture is not None:
            return quantiles.cdf(marginal(self.mixture), self.checked(value))
        return quantiles.cdf(
            marginal(self.members), rows.beside_draws(self.checked(value), len(self.event_shape))
        ).mean(-2 - len(self.event_shape))

    def icdf(self, value: Tensor | float) -> Tensor:
        """Quantiles of each target dimension for itself.

        Of counts it is the smallest count that ``value`` does not exceed.

        Args:
            value: A probability in (0, 1), or several that broadcast against ``(N,)`` or ``(N, D)``.

        Returns:
            ``(N,)`` or ``(N, D)``, or what that broadcasts to.
        """
        if self.has_enumerate_support:
            raise NotImplementedError("quantiles and intervals need real targets; for classes use .probs or .mode.")
        level = torch.as_tensor(value, dtype=self.mean.dtype, device=self.mean.device)
        if not bool(((level > 0) & (level < 1)).all()):
            raise ValueError("a quantile's level must lie between 0 and 1; for the 90 % quantile write 0.9.")
        level = level.expand(torch.broadcast_shapes(level.shape, self.batch_shape + self.event_shape))
        if self.mixture is not None:
            return quantiles.icdf(marginal(self.mixture), level)
        if level.ndim > len(self.batch_shape + self.event_shape):
            return torch.stack([self.icdf(part) for part in level])
        return quantiles.mixture_icdf(marginal(self.members), level)

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """The central interval that holds ``level`` of the probability, of each target dimension for itself.

        Returns:
            Lower and upper end, each ``(N,)`` or ``(N, D)``, in the units of ``y``.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1; got {level}. For 90 % write 0.9.")
        return self.icdf((1 - level) / 2), self.icdf((1 + level) / 2)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Targets ``(*sample_shape, N)`` or ``(*sample_shape, N, D)``: a member at random, then a draw from it."""
        shape = torch.Size(sample_shape)
        if self.mixture is not None:
            return self.mixture.sample(shape)
        tensors, pack = parts.unpack(self.members)
        chosen = torch.randint(self.num_samples, (shape.numel(), len(self)), device=self.device)
        inputs = torch.arange(len(self), device=self.device)
        drawn = pack([t[chosen, inputs] for t in tensors]).sample()
        return drawn.reshape(shape + self.batch_shape + self.event_shape)

    def entropy(self) -> Tensor:
        r"""Entropy of the mixture in nats ``(N,)``: exact for classes, by quadrature for one real target.

        With :math:`H_s` the entropy of member :math:`s`, :math:`F_s` its distribution function and :math:`p` the
        mixture's density, :math:`\frac1S \sum_s H_s + \frac1S \sum_s \int_0^1 \log (p_s / p)(F_s^{-1}(u)) du`, by 100
        Gauss-Legendre nodes in double precision. The error is about 1e-4 nats, none where all members are the same, and
        up to two hundredths where some are a hundred times narrower than others, between whose nodes they may lie.
        """
        if self.event_shape:
            raise NotImplementedError("the joint entropy of several targets has no closed form; use bayesnn.decompose.")
        if self.has_enumerate_support:
            return torch.special.entr(self.probs).sum(-1)
        if self.mixture is not None:
            return self.mixture.entropy()
        if self.support is not None and self.support.is_discrete:
            raise NotImplementedError("the entropy of a mixture of counts has no closed form; use bayesnn.decompose.")
        return log_densities.mixture_entropy(self.members)

    def checked(self, y: Tensor) -> Tensor:
        """Targets for these inputs, on their device and in their type; ``(N, 1)`` and ``(N,)`` are one for one target.

        Raises:
            ValueError: If there is not one target for each input, one is NaN, or a class is no whole number.
        """
        y = as_values(y, "targets").to(self.device)
        if y.is_floating_point() and bool(y.isnan().any()):
            raise ValueError(f"targets must be numbers; got {int(y.isnan().sum())} NaN. Leave their rows out.")
        y = rows.as_rows(y, self.batch_shape, self.event_shape)
        if not self.has_enumerate_support:
            return y.to(self._example.mean.dtype)
        classes = marginal(self._example).enumerate_support(expand=False).flatten()
        quantiles.check_labels(y, classes)
        return y.to(classes.dtype)


def expect_predictive(value: object, fewest: int = 0) -> None:
    """Refuse what is no predictive, and say where one comes from.

    Args:
        value: What was passed.
        fewest: Inputs that it must have.

    Raises:
        TypeError: If it is none.
        ValueError: If it has fewer inputs.
    """
    if not isinstance(value, Predictive):
        advice = "Ask for its coverage(y)" if hasattr(value, "coverage") else "Call the posterior first: posterior(x)"
        raise TypeError(f"this needs a Predictive; got {type(value).__name__}. {advice}.")
    if len(value) < fewest:
        raise ValueError(f"a predictive must have {fewest} input at least for this; got {value!r}. Predict some.")
