"""FlatELBO: the ELBO of our model and our guide in few operations, all parameters in one vector.

`bayesnn.elbo.MeanFieldELBO` is the reference, and works for every model and guide; this is the same objective for the
combination that `fit_svi` meets most often. Its time goes into the network and not into the machinery:

- Means and log-scales are one vector, the guide's own parameters views of it: one optimiser, one exponential.
- The divergence from normal priors and its gradient are written down, not traced; its value, which only the history
  reads, is worked out every few steps.
- Weights drawn once for a minibatch take every second draw from the one before, mirrored.
- Scales of `FittedNormal` priors follow the guide every few steps; in between they stand still.
- A multilayer perceptron's passes are written out (`bayesnn.written_out`); every other network is a copy whose
  parameters are views of the draw: it runs as a plain network does.
- Several draws a step are one pass over so many copies of the batch, where noise is drawn for each datum anyway.
- Inputs are standardised, and turned to their principal axes, once and not in every step.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from pyro.distributions import Independent, LogNormal, Normal
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor
from torch.distributions.transforms import ExpTransform, identity_transform

from bayesnn.axes import same_along_all_axes, turned_inputs
from bayesnn.guides import AutoNormal, elementwise, leaf
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.priors import FittedNormal
from bayesnn.reparameterisation import Noise, PerDatumNoise, draw_in_layers, draws_at_once
from bayesnn.written_out import Variances, WrittenOut

__all__ = ["FlatELBO"]

_REFRESH = 10
"""Steps for which a fitted prior's scales stand still. They move as slowly as the guide does; the gradient takes them
for constants anyway."""

_FEW = 16
"""Inputs of a run that tells how the network is made."""


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
        # Noise that is drawn for each datum is drawn anew for a copy of it; the likelihood takes unknowns by draw.
        together = self._latents >= set(self._shared)
        self._copies = draws_at_once(model.network, num_particles) if together else 1
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
        self._variance = self._scale.square()
        self._loc_slope, self._scale_slope = self._slopes[:size], self._slopes[size:]
        self._center, self._precision = torch.zeros_like(self._loc), torch.ones_like(self._loc)
        self._work = torch.empty_like(self._loc)
        shared, by_datum = slice(self._num_shared), slice(self._num_shared, None)
        self._shared_loc, self._shared_scale = self._loc[shared], self._scale[shared]
        self._shared_loc_slope, self._shared_scale_slope = self._loc_slope[shared], self._scale_slope[shared]
        self._scale_by_datum, self._by_variance = self._scale[by_datum], self._scale_slope[by_datum]
        self._step = 0
        self._axes = dict(guide.axes)
        self.inputs = model.standardised(x)
        if self._axes and (turned := turned_inputs(model, self.inputs, self._axes)) is not None:
            self.inputs, self._axes = turned, {}
        self._target = model.target()
        self.targets = model.likelihood.seen(model.targets(y), self._target)
        self._network = copy.deepcopy(model.network).requires_grad_()
        self._connect()
        self._place_priors()

    def _connect(self) -> None:
        """Make the network's parameters views of the draw, their gradients views of the slopes."""
        leading = (self._copies,) if self._copies > 1 else ()
        # Of weights drawn once for a minibatch every second draw is the mirror image of the one before.
        self._mirrors, self._mirrored = not self._latents >= set(self._shared), False
        # A gradient by the scales that comes from one draw alone is written where it belongs, not added to zeros.
        self._overwrites = self._num_particles == 1 and not self._per_datum
        self._noise = self._loc.new_empty(*leading, self._num_shared)
        self._draw = torch.empty_like(self._noise)
        # The gradient of one draw is that of the means; of several, each is met with its own noise first.
        alone = self._num_particles == 1
        self._draw_slope = self._shared_loc_slope if alone else torch.zeros_like(self._draw)
        drawn, slopes = self._views(self._draw, self._shared), self._views(self._draw_slope, self._shared)
        locs, loc_slopes = self._views(self._loc, self._shapes), self._views(self._loc_slope, self._shapes)
        self._free, self._free_slopes = ({n: v for n, v in of.items() if n in self._latents} for of in (drawn, slopes))
        parameters = dict(self._network.named_parameters())
        self._turned = {}  # weights of shared noise along axes: their place, their gradient's, and their axes
        for name in self._model.priors():
            weight = parameters[name]
            if name in self._per_datum:
                weight.data, weight.grad = locs[name], loc_slopes[name]
            elif name in self._axes:
                weight.grad = slope = torch.zeros_like(weight)
                self._turned[name] = (weight.data, slope, drawn[name], slopes[name], self._axes[name])
            else:
                weight.data, weight.grad = drawn[name], slopes[name]
        scales, scale_slopes = self._views(self._scale, self._shapes), self._views(self._scale_slope, self._shapes)
        own = self._model.priors().keys()
        self._passes, self._mode, few = None, None, self.inputs[:_FEW]
        if own == set(self._per_datum) and not self._axes:
            variances = Variances(self._views(self._variance, self._shapes), scale_slopes)
            self._passes = WrittenOut.of(self._network, few, {n: locs[n] for n in own}, loc_slopes, variances)
        elif not (self._per_datum or self._axes):
            self._passes = WrittenOut.of(self._network, few, {n: drawn[n] for n in own}, slopes)
        if self._passes is not None:
            return
        noise = {
            name: Noise(parameters[name], _leaf(scales[name], scale_slopes[name]), self._axes.get(name))
            for name in self._per_datum
        }
        left = draw_in_layers(self._network, noise, few)
        self._mode = PerDatumNoise({n: parameters[n] for n in left}, {n: noise[n] for n in left}) if left else None

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
                fits = fits and (name not in guide.axes or same_along_all_axes(base))
            if not fits:
                return False
        return True

    @torch.no_grad()
    def __call__(self, batch: Sequence[Tensor], weight: float = 1.0, *, fresh: bool = False) -> dict[str, Tensor]:
        """Loss, misfit and divergence per datum, in nats, and the loss's gradient in ``parameters.grad``.

        Args:
            batch: Rows ``(B, ...)`` of `inputs`, and the same of `targets`.
            weight: Weight of the divergence.
            fresh: Whether what is worked out every few steps is worked out now: after the parameters were put back.
        """
        fresh = fresh or self._step % _REFRESH == 0
        torch.exp(self._log_scale, out=self._scale)
        torch.mul(self._scale, self._scale, out=self._variance)
        if fresh:
            self._fit_priors()
        (self._loc_slope if self._overwrites else self._slopes).zero_()
        misfit = self._misfit(*batch)
        for _ in range(self._num_particles // self._copies - 1):
            misfit = misfit + self._misfit(*batch)
        share, work = weight / self._num_data, self._work
        if self._passes is not None:  # so far twice the gradient by the variance
            self._by_variance.mul_(self._scale_by_datum)
        self._scale_slope.mul_(self._scale)  # by the log-scale
        off = self._loc if self._is_centered else torch.sub(self._loc, self._center, out=work)
        self._loc_slope.addcmul_(off, self._precision, value=share)
        self._scale_slope.addcmul_(self._variance, self._precision, value=share).sub_(share)
        if fresh:
            torch.addcmul(self._variance, off, off, out=work)
            twice = torch.dot(work, self._precision).sub_(self._log_scale.sum(), alpha=2).sub_(self._constant)
            self._kl = twice.div_(2 * self._num_data)
        self._step += 1
        self.parameters.grad = self._slopes
        return {"loss": torch.add(misfit, self._kl, alpha=weight), "misfit": misfit, "kl": self._kl}

    def release(self) -> None:
        """Give the guide parameters of its own again."""
        for owner in self._owners:
            owner.data = owner.data.clone()

    def _misfit(self, x: Tensor, y: Tensor) -> Tensor:
        """Share of one draw, or of all at once, in the negative log-likelihood; its gradient is added to the slopes."""
        share = -1 / (len(x) * self._num_particles)
        if self._copies > 1:
            x, y = x.repeat(self._copies, *[1] * (x.ndim - 1)), y.expand(self._copies, *y.shape)
        if self._mirrored:
            self._noise.neg_()
        else:
            self._noise.normal_()
        self._mirrored = self._mirrors and not self._mirrored
        torch.addcmul(self._shared_loc, self._shared_scale, self._noise, out=self._draw)
        for weight, _, drawn, _, axes in self._turned.values():
            torch.matmul(drawn, axes.T, out=weight)
        latents = {name: free.exp() for name, free in self._free.items()}
        outputs = self._outputs(x)
        drawn = outputs.detach() if self._copies == 1 else outputs.detach().unflatten(0, (self._copies, -1))
        found, slope, slopes = self._model.likelihood.log_likelihood_and_slopes(drawn, latents, y, self._target)
        back = outputs.backward if self._passes is None else self._passes.backward
        back(slope.mul_(share).view(outputs.shape))
        for name, by_latent in slopes.items():
            self._free_slopes[name].addcmul_(by_latent, latents[name], value=share)
        for _, weight_slope, _, slope, axes in self._turned.values():
            torch.matmul(weight_slope, axes, out=slope)
            weight_slope.zero_()
        if self._copies > 1:
            self._shared_scale_slope.add_((self._draw_slope * self._noise).sum(0))
        else:
            if self._overwrites:
                torch.mul(self._draw_slope, self._noise, out=self._scale_slope)
            else:
                self._shared_scale_slope.addcmul_(self._draw_slope, self._noise)
        if self._num_particles > 1:
            self._shared_loc_slope.add_(self._draw_slope.sum(0) if self._copies > 1 else self._draw_slope)
            self._draw_slope.zero_()
        return found * share

    def _outputs(self, x: Tensor) -> Tensor:
        """The network's outputs at a draw."""
        if self._passes is not None:
            return self._passes(x)
        with torch.enable_grad(), self._mode or nullcontext():
            return self._network(x)

    def _views(self, values: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Parts of a vector, or of one for each draw, by site, for the first sites in order."""
        names, leading = list(names), values.shape[:-1]
        parts = values.split(self._sizes[: len(names)], -1)
        return {name: part.view((*leading, *self._shapes[name])) for name, part in zip(names, parts, strict=True)}

    def _place_priors(self) -> None:
        """Put mean and precision of every prior into their places."""
        centers, precisions = self._views(self._center, self._shapes), self._views(self._precision, self._shapes)
        for name, base in self._priors.items():
            base = base.base_dist if isinstance(base, LogNormal) else base
            centers[name].copy_(base.loc)
            precisions[name].copy_(base.scale**-2)
        self._is_centered = bool((self._center == 0).all())
        self._fitted = [
            (
                base,
                self._views(self._loc, self._shapes)[name],
                self._views(self._scale, self._shapes)[name],
                precisions[name],
            )
            for name, base in self._priors.items()
            if isinstance(base, FittedNormal)
        ]

    def _fit_priors(self) -> None:
        """The precisions of priors whose scales are fitted, as they suit the guide best now."""
        for base, loc, scale, precision in self._fitted:
            precision.copy_(base.fitted_variance(loc, scale).reciprocal_())
        self._constant = self._precision.log().sum() + len(self._precision)


def _leaf(values: Tensor, slopes: Tensor) -> Tensor:
    """Values as a leaf whose gradient adds up in its place."""
    found = values.requires_grad_()
    found.grad = slopes
    return found


def _base(prior: Distribution) -> Any:
    """The prior of single numbers."""
    return prior.base_dist if isinstance(prior, Independent) else prior
