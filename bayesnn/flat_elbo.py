"""FlatELBO: the ELBO of our model and our guide in few operations, all parameters in one vector.

`bayesnn.elbo.MeanFieldELBO` is the reference, and works for every model and guide; this is the same objective for the
combination that `fit_svi` meets most often. Its time goes into the network and not into the machinery:

- Means and log-scales are one vector, the guide's own parameters views of it: one optimiser, one exponential.
- The divergence from normal priors and its gradient are written down, not traced.
- Scales of `FittedNormal` priors follow the guide every few steps; in between they stand still.
- Inputs are standardised, and turned to their principal axes, once and not in every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import Independent, LogNormal, Normal
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor
from torch.distributions.transforms import ExpTransform, identity_transform
from torch.func import functional_call

from bayesnn.guides import AutoNormal, elementwise, leaf
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.priors import FittedNormal
from bayesnn.reparameterisation import Noise, PerDatumNoise

__all__ = ["FlatELBO"]

_REFRESH = 10
"""Steps for which a fitted prior's scales stand still. They move as slowly as the guide does; the gradient takes them
for constants anyway."""

_FEW = 16
"""Inputs on which two ways to the same outputs are compared."""


class FlatELBO:
    r"""The negative ELBO per datum, holding a guide's parameters in one vector.

    .. math:: -\frac1B \sum_{n \in B} \log p(y_n \mid x_n, \theta) + \frac{\beta}{N} \sum_i \left[
              \log \frac{s_i}{\sigma_i} + \frac{\sigma_i^2 + (\mu_i - m_i)^2}{2 s_i^2} - \frac12 \right]

    with the draw :math:`\theta = \mu + \sigma \epsilon` and priors :math:`N(m_i, s_i^2)`.

    Args:
        model: A model that knows its data.
        guide: Its guide. Until `release`, the guide's parameters are views of `parameters`.
        x: All training inputs in raw units.
        y: Their targets.
        per_datum: Sites whose noise is drawn for each datum, see `bayesnn.reparameterisation`.
        num_particles: Draws averaged in each estimate.

    Attributes:
        parameters: The vector that an optimiser moves: means, then logarithms of scales.
        inputs: The inputs as the network is to see them.
        targets: The targets as the likelihood is to see them.
    """

    def __init__(
        self,
        model: BayesianNeuralNetwork,
        guide: AutoNormal,
        x: Tensor,
        y: Tensor,
        *,
        per_datum: Sequence[str] = (),
        num_particles: int = 1,
    ) -> None:
        self._model, self._guide, self._num_particles = model, guide, num_particles
        self._priors = {name: _base(prior) for name, prior in (model.priors() | model.latents()).items()}
        self._latents, self._num_data = model.latents().keys(), max(model.num_data or 0, len(x))
        self._per_datum = [name for name in guide.supports if name in per_datum]
        self._shared = [name for name in guide.supports if name not in per_datum]
        names = [*self._shared, *self._per_datum]
        self._owners = [leaf(holder, name) for holder in (guide.locs, guide.scales) for name in names]
        self._shapes = {name: owner.shape for name, owner in zip(names, self._owners, strict=False)}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        size, self._num_shared = sum(self._sizes), sum(self._sizes[: len(self._shared)])
        self.parameters = torch.cat([owner.detach().flatten() for owner in self._owners]).requires_grad_()
        values = self.parameters.detach()
        for owner, part in zip(self._owners, values.split(2 * self._sizes), strict=True):
            owner.data = part.view(owner.shape)
        self._loc, self._log_scale = values[:size], values[size:]
        self._scale, self._slopes = self._log_scale.exp(), torch.zeros_like(values)
        self._loc_slope, self._scale_slope = self._slopes[:size], self._slopes[size:]
        self._locs = self._leaves(self._loc, self._loc_slope)
        self._scales = self._leaves(self._scale, self._scale_slope)
        self._center, self._precision = torch.zeros_like(self._loc), torch.ones_like(self._loc)
        self._log_precision = torch.zeros(())
        self._step = 0
        self._axes = dict(guide.axes)
        self.inputs, self.targets = self._prepared(x), model.targets(y)

    @staticmethod
    def serves(model: Any, guide: Any) -> bool:
        """Whether model and guide are such that this objective is theirs."""
        if not (isinstance(model, BayesianNeuralNetwork) and type(guide) is AutoNormal):
            return False
        latents = model.latents()
        for name, support in guide.supports.items():
            base, transform = _base((model.priors() | latents)[name]), elementwise(support)
            if name in latents:
                fits = isinstance(base, LogNormal) and isinstance(transform, ExpTransform)
            else:
                fits = type(base) in (Normal, FittedNormal) and transform == identity_transform
                fits = fits and (name not in guide.axes or _same_along_all_axes(base))
            if not fits:
                return False
        return True

    @torch.no_grad()
    def __call__(self, batch: Sequence[Tensor], weight: float = 1.0) -> dict[str, Tensor]:
        """Loss, misfit and divergence per datum, in nats, and the loss's gradient in ``parameters.grad``.

        Args:
            batch: Rows ``(B, ...)`` of `inputs`, and the same of `targets`.
            weight: Weight of the divergence.
        """
        torch.exp(self._log_scale, out=self._scale)
        if self._step % _REFRESH == 0:
            self._fit_priors()
        self._step += 1
        self._slopes.zero_()
        misfits = [self._misfit(*batch) for _ in range(self._num_particles)]
        misfit = misfits[0] if len(misfits) == 1 else torch.stack(misfits).sum()
        off, variance = self._loc - self._center, self._scale * self._scale
        share = weight / self._num_data
        self._loc_slope.add_(off * self._precision, alpha=share)
        # By the log-scale: the chain rule for the data's part, s^2 / s0^2 - 1 for the divergence.
        ratio = variance.mul_(self._precision)
        self._scale_slope.mul_(self._scale).add_(ratio, alpha=share).sub_(share)
        squares = torch.dot(off.square_(), self._precision) + ratio.sum()
        kl = (squares - self._log_precision - len(off)) / 2 - self._log_scale.sum()
        kl = kl / self._num_data
        self.parameters.grad = self._slopes
        return {"loss": misfit + weight * kl, "misfit": misfit, "kl": kl}

    def release(self) -> None:
        """Give the guide parameters of its own again."""
        for owner in self._owners:
            owner.data = owner.data.clone()

    def _misfit(self, x: Tensor, y: Tensor) -> Tensor:
        """Negative log-likelihood per datum of one draw; its gradient is added to the slopes."""
        with torch.enable_grad():
            values = self._drawn()
            noise = {n: Noise(self._locs[n], self._scales[n], self._axes.get(n)) for n in self._per_datum}
            with PerDatumNoise(values, noise):
                outputs = functional_call(self._model.network, {n: values[n] for n in self._model.priors()}, (x,))
            log_prob = self._model.members(outputs, values).log_prob(y).sum()
            misfit = log_prob / (-len(x) * self._num_particles)
        misfit.backward()
        return misfit.detach()

    def _drawn(self) -> dict[str, Tensor]:
        """A draw of each site that has one for all data; the mean of any other stands in its place."""
        values: dict[str, Tensor] = {name: self._locs[name] for name in self._per_datum}
        noise = torch.randn_like(self._loc[: self._num_shared])
        for name, part in zip(self._shared, noise.split(self._sizes[: len(self._shared)]), strict=True):
            value = torch.addcmul(self._locs[name], self._scales[name], part.view(self._shapes[name]))
            value = value @ self._axes[name].T if name in self._axes else value
            values[name] = value.exp() if name in self._latents else value
        return values

    def _fit_priors(self) -> None:
        """Put mean and precision of every prior, fitted where it is fitted, into their places."""
        centers, precisions = self._center.split(self._sizes), self._precision.split(self._sizes)
        for name, center, precision in zip(self._shapes, centers, precisions, strict=True):
            base = self._priors[name]
            if isinstance(base, FittedNormal):
                base = base.fitted(self._locs[name].detach(), self._scales[name].detach())
            base = base.base_dist if isinstance(base, LogNormal) else base
            center.copy_(base.loc.expand(self._shapes[name]).flatten())
            precision.copy_(base.scale.expand(self._shapes[name]).flatten() ** -2)
        self._log_precision = self._precision.log().sum()

    def _leaves(self, values: Tensor, slopes: Tensor) -> dict[str, Tensor]:
        """Views of a vector by site, whose gradients add up in another."""
        found = {}
        parts = zip(self._shapes.items(), values.split(self._sizes), slopes.split(self._sizes), strict=True)
        for (name, shape), value, slope in parts:
            found[name] = value.view(shape).requires_grad_()
            found[name].grad = slope.view(shape)
        return found

    @torch.no_grad()
    def _prepared(self, x: Tensor) -> Tensor:
        """Inputs standardised, and along the guide's axes where nothing but the weights along them reads the inputs."""
        model, seen = self._model, self._model.standardised(x)
        if not self._axes:
            return seen
        axes = next(iter(self._axes.values()))
        turned = (seen.flatten(1) @ axes).view(seen.shape)
        # Random weights: a reader that starts at zero, as the gain of a skip connection does, would not be seen.
        draws = torch.Generator().manual_seed(0)
        shapes = {name: self._shapes[name] for name in model.priors()}
        weights = {n: torch.randn(s, generator=draws).to(seen) / s[1:].numel() ** 0.5 for n, s in shapes.items()}
        plain = weights | {name: weights[name] @ axes.T for name in self._axes}
        few, turned_few = seen[:_FEW], turned[:_FEW]
        outputs = functional_call(model.network, plain, (few,))
        same = torch.allclose(functional_call(model.network, weights, (turned_few,)), outputs, rtol=1e-3, atol=1e-4)
        if not same:
            return seen
        self._axes = {}
        return turned


def _base(prior: Distribution) -> Any:
    """The prior of single numbers."""
    return prior.base_dist if isinstance(prior, Independent) else prior


def _same_along_all_axes(prior: Any) -> bool:
    """Whether a normal prior of rows looks the same along all axes: mean zero and one scale along each row."""
    if isinstance(prior, FittedNormal):
        return -1 in prior.shared
    return bool((prior.loc == 0).all()) and bool((prior.scale == prior.scale[..., :1]).all())
