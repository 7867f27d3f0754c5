"""FlatELBO: the ELBO of our model and our guide in few operations, all parameters in one vector.

`bayesnn.elbo.MeanFieldELBO` is the reference, and works for every model and guide; this is the same objective for the
combination that `fit_svi` meets most often. Its time goes into the network and not into the machinery:

- Means and log-scales are one vector, the guide's own parameters views of it: one optimiser, one exponential.
- The divergence from normal priors and its gradient are written down (`bayesnn.flat_divergence`), not traced; its
  value, which only the history reads, is worked out every few steps.
- Scales of `FittedNormal` priors follow the guide every few steps; in between they stand still.
- Noise is read from tables (`bayesnn.noise_table`); weights drawn once for a minibatch take every second draw from the
  one before, mirrored.
- A multilayer perceptron's passes are written out (`bayesnn.written_out`); every other network is a copy whose
  parameters are views of the draw: it runs as a plain network does.
- Several draws a step are one pass over so many copies of the batch, where noise is drawn for each datum anyway.
- Inputs are standardised, and turned to their principal axes, once and not in every step.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bayesnn.axes import same_along_all_axes, turned_inputs
from bayesnn.flat_divergence import FlatDivergence, base_of, is_between_normals
from bayesnn.guides import AutoNormal, elementwise, leaf
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.noise_table import NoiseTable
from bayesnn.reparameterisation import SMALLEST_VARIANCE, Noise, PerDatumNoise, draw_in_layers, draws_at_once
from bayesnn.written_out import Variances, WrittenOut

__all__ = ["FlatELBO"]

_REFRESH = 10
"""Steps for which a fitted prior's scales stand still. They move as slowly as the guide does; the gradient takes them
for constants anyway."""

_SMALLEST_LOG_SCALE = math.log(SMALLEST_VARIANCE) / 2
"""Scales go no lower (standardised, 1e-8): the variance of a unit's output stays above zero."""

_FEW = 16
"""Inputs of a run that tells how the network is made."""


class FlatELBO:
    r"""The negative ELBO per datum, holding a guide's parameters in one vector.

    .. math:: -\frac1B \sum_{n \in B} \log p(y_n \mid x_n, \theta) + \frac{\beta}{N} \sum_i \left[
              \log \frac{s_i}{\sigma_i} + \frac{\sigma_i^2 + (\mu_i - m_i)^2}{2 s_i^2} - \frac12 \right]

    with the draw :math:`\theta = \mu + \sigma \epsilon` and priors :math:`N(m_i, s_i^2)`. Scales go no lower than 1e-8.

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
        # What multiplies a gradient by the scales: the scales; for weights whose passes take variances, these.
        self._spread, self._powers = torch.empty_like(self._loc), torch.ones_like(self._loc)
        self._slopes = torch.zeros_like(values)
        self._loc_slope, self._scale_slope = self._slopes[:size], self._slopes[size:]
        views = partial(self._views, names=self._shapes)
        self._divergence = FlatDivergence(model.priors() | model.latents(), views, self._loc, self._log_scale)
        self._shared_part = self._part(slice(self._num_shared))
        self._zero, self._more, self._less = (self._loc.new_zeros(()) for _ in range(3))
        self._share, self._shares = 0.0, dict[int, Tensor]()
        self._table, self._sign, self._step = NoiseTable(self._loc), 1, 0
        self._axes = dict(guide.axes)
        self.inputs = model.standardised(x)
        if self._axes and (turned := turned_inputs(model, self.inputs, self._axes)) is not None:
            self.inputs, self._axes = turned, {}
        self._target = model.target()
        self.targets = model.likelihood.seen(model.targets(y), self._target)
        self._network = copy.deepcopy(model.network).requires_grad_()
        self._connect()

    def _connect(self) -> None:
        """Make the network's parameters views of the draw, their gradients views of the slopes."""
        leading = (self._copies,) if self._copies > 1 else ()
        # Of weights drawn once for a minibatch every second draw is the mirror image of the one before.
        self._mirrors = not self._latents >= set(self._shared)
        self._overwrites = self._num_particles == 1 and not self._per_datum
        self._draw = self._loc.new_empty(*leading, self._num_shared)
        # The gradient of one draw is that of the means; of several, each is met with its own noise first.
        alone = self._num_particles == 1
        self._draw_slope = self._shared_part.loc_slope if alone else torch.zeros_like(self._draw)
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
        spread, scale_slopes = self._views(self._spread, self._shapes), self._views(self._scale_slope, self._shapes)
        own = self._model.priors().keys()
        self._passes, self._mode, few = None, None, self.inputs[:_FEW].clone()  # a network may overwrite its inputs
        # What starts with the divergence's gradient, and what gets it at the end as its draw's gradient comes first.
        self._early: _Part | None = None
        self._late: _Part | None = self._part(slice(None))
        if own == set(self._per_datum) and not self._axes:
            variances = Variances(spread, scale_slopes)
            self._passes = WrittenOut.of(self._network, few, {n: locs[n] for n in own}, loc_slopes, variances)
            if self._passes is not None:
                self._powers[self._num_shared :] = 2
                self._early = self._part(slice(self._num_shared, None))
                self._late = self._shared_part if self._num_shared else None
        elif not (self._per_datum or self._axes):
            self._passes = WrittenOut.of(self._network, few, {n: drawn[n] for n in own}, slopes)
        if self._passes is not None:
            return
        scales = {name: _leaf(spread[name], scale_slopes[name]) for name in self._per_datum}
        noise = {n: Noise(parameters[n], scale, self._axes.get(n)) for n, scale in scales.items()}
        left = draw_in_layers(self._network, noise, few)
        self._mode = PerDatumNoise({n: parameters[n] for n in left}, {n: noise[n] for n in left}) if left else None

    @staticmethod
    def serves(model: Any, guide: Any) -> bool:
        """Whether model and guide are such that this objective is theirs."""
        if not (isinstance(model, BayesianNeuralNetwork) and type(guide) is AutoNormal):
            return False
        latents = model.latents()
        priors = model.priors() | latents
        return all(
            is_between_normals(priors[name], elementwise(support), of_logarithm=name in latents)
            and (name not in guide.axes or same_along_all_axes(base_of(priors[name])))
            for name, support in guide.supports.items()
        )

    @torch.no_grad()
    def __call__(self, batch: Sequence[Tensor], weight: float = 1.0, *, fresh: bool = False) -> dict[str, Tensor]:
        """Loss, misfit and divergence per datum, in nats, and the loss's gradient in ``parameters.grad``.

        Args:
            batch: Rows ``(B, ...)`` of `inputs`, and the same of `targets`.
            weight: Weight of the divergence.
            fresh: Whether what is worked out every few steps is worked out now: after the parameters were put back.
        """
        fresh = fresh or self._step % _REFRESH == 0
        if fresh:
            self._log_scale.clamp_min_(_SMALLEST_LOG_SCALE)
        if self._early is None:
            torch.exp(self._log_scale, out=self._spread)
        else:
            torch.mul(self._log_scale, self._powers, out=self._spread).exp_()
        if fresh:
            self._divergence.follow()
        self._divergence.off()
        share, early, late = weight / self._num_data, self._early, self._late
        if share != self._share:  # tensors, as torch makes one of every number that it multiplies by
            self._share, self._more, self._less = share, self._more.fill_(share), self._less.fill_(-share)
        if early is not None:
            torch.addcmul(self._zero, early.off, early.precision, value=share, out=early.loc_slope)
            torch.mul(early.precision, self._more, out=early.scale_slope)
        if late is not None:
            late.loc_slope.zero_()
            if not self._overwrites:
                late.scale_slope.zero_()
        x, y = batch
        others = range(self._num_particles // self._copies - 1)
        again = [x.clone() if self._passes is None else x for _ in others]  # a network may overwrite its inputs
        misfit = sum((self._misfit(same, y) for same in again), self._misfit(x, y))
        if late is not None:
            late.loc_slope.addcmul_(late.off, late.precision, value=share)
            late.scale_slope.addcmul_(late.spread, late.precision, value=share)
        torch.addcmul(self._less, self._scale_slope, self._spread, out=self._scale_slope)
        if fresh:
            self._kl = self._divergence.value().div_(self._num_data)
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
        factor = self._shares.get(len(x))
        if factor is None:
            factor = self._shares[len(x)] = self._loc.new_tensor(share)
        if self._copies > 1:
            x, y = x.repeat(self._copies, *[1] * (x.ndim - 1)), y.expand(self._copies, *y.shape)
        shared = self._shared_part
        if self._num_shared:
            if self._sign > 0:
                self._noise = self._table(self._draw.shape)
            torch.addcmul(shared.loc, shared.spread, self._noise, value=self._sign, out=self._draw)
        for weight, _, drawn, _, axes in self._turned.values():
            torch.matmul(drawn, axes.T, out=weight)
        latents = {name: free.exp() for name, free in self._free.items()}
        with torch.set_grad_enabled(self._passes is None), self._mode or nullcontext():
            outputs = (self._passes or self._network)(x)
        drawn = outputs if self._passes is not None else outputs.detach()
        drawn = drawn if self._copies == 1 else drawn.unflatten(0, (self._copies, -1))
        found, slope, slopes = self._model.likelihood.log_likelihood_and_slopes(drawn, latents, y, self._target)
        back = outputs.backward if self._passes is None else self._passes.backward
        back(slope.mul_(factor).view(outputs.shape))
        for name, by_latent in slopes.items():
            self._free_slopes[name].addcmul_(by_latent, latents[name], value=share)
        for _, weight_slope, _, slope, axes in self._turned.values():
            torch.matmul(weight_slope, axes, out=slope)
            weight_slope.zero_()
        if self._num_shared:
            self._shared_slopes()
        self._sign = -self._sign if self._mirrors else 1
        return found * factor

    def _shared_slopes(self) -> None:
        """Add the gradient by a draw to those by means and scales."""
        shared, slope = self._shared_part, self._draw_slope
        if self._copies > 1:
            shared.scale_slope.add_((slope * self._noise).sum(0))
        elif self._overwrites:  # nothing else is added to it
            torch.addcmul(self._zero, slope, self._noise, value=self._sign, out=shared.scale_slope)
        else:
            shared.scale_slope.addcmul_(slope, self._noise, value=self._sign)
        if self._num_particles > 1:
            shared.loc_slope.add_(slope.sum(0) if self._copies > 1 else slope)
            slope.zero_()

    def _views(self, values: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Parts of a vector, or of one for each draw, by site, for the first sites in order."""
        names, leading = list(names), values.shape[:-1]
        parts = values.split(self._sizes[: len(names)], -1)
        return {name: part.view((*leading, *self._shapes[name])) for name, part in zip(names, parts, strict=True)}

    def _part(self, where: slice) -> _Part:
        """Some of all numbers."""
        off, precision = self._divergence.off(), self._divergence.precision
        of_all = (self._loc, off, precision, self._spread, self._loc_slope, self._scale_slope)
        return _Part(*(vector[where] for vector in of_all))


class _Part(NamedTuple):
    """Some of all numbers, as views."""

    loc: Tensor
    off: Tensor
    precision: Tensor
    spread: Tensor
    loc_slope: Tensor
    scale_slope: Tensor


def _leaf(values: Tensor, slopes: Tensor) -> Tensor:
    """Values as a leaf whose gradient adds up in its place."""
    found = values.requires_grad_()
    found.grad = slopes
    return found
