"""FlatPoints: the objective of point estimates in few operations, of one network or of several side by side.

`bayesnn.points.Objective` is the reference, and works for every model; this is the same objective for normal priors.
All parameters are one vector, which one optimiser moves; the prior and its gradient are written down, not traced; and
inputs are standardised once. Several networks run as batched matrix products (`bayesnn.stacked`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro.distributions import Independent, LogNormal, Normal
from torch import Tensor

from bayesnn.likelihoods import Likelihood
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.priors import FittedNormal
from bayesnn.stacked import Stacked
from bayesnn.written_out import WrittenOut

__all__ = ["FlatPoints"]


class FlatPoints:
    r"""The negative log joint density per datum, of M networks that hold their parameters in one vector.

    .. math:: -\frac1B \sum_{n \in B} \log p(y_n \mid x_n, \theta) - \frac1N \log p(\theta)

    Args:
        model: A model that knows its data.
        x: All training inputs in raw units.
        y: Their targets.
        starts: Unconstrained values of all sites, for each network.
        beta: Weight of the predicted scale, see `bayesnn.likelihoods.beta_weighted`.
        keep: Weights that are masked in training, by name, with the chance of keeping one: what counts is then the mean
            log-prior density of the masked weight over that chance, see `bayesnn.fit_dropout`.

    Attributes:
        parameters: The vector that an optimiser moves.
        inputs: The inputs as the networks are to see them.
        targets: The targets as the likelihood is to see them.
    """

    def __init__(
        self,
        model: BayesianNeuralNetwork,
        x: Tensor,
        y: Tensor,
        starts: Sequence[Mapping[str, Tensor]],
        beta: float = 0.0,
        keep: Mapping[str, float] | None = None,
    ) -> None:
        self._model, self._beta, self._number = model, beta, len(starts)
        self._target, self._num_data = model.target(), len(x)
        self._latents = list(model.latents())
        names = [*model.priors(), *self._latents]
        lead = (self._number,) if self._number > 1 else ()
        stacked = {n: torch.stack([start[n] for start in starts]).view((*lead, *starts[0][n].shape)) for n in names}
        self._shapes = {name: value.shape for name, value in stacked.items()}
        self.parameters = torch.cat([value.flatten() for value in stacked.values()]).detach().requires_grad_()
        self._values, self._slopes = self.parameters.detach(), torch.zeros_like(self.parameters.detach())
        self._free, self._free_slopes = self._views(self._values), self._views(self._slopes)
        self._work = torch.empty_like(self._values)
        self._place_priors(keep or {})
        own = type(model.likelihood).weighted_log_prob is not Likelihood.weighted_log_prob
        self._weighted = beta > 0 and own
        with torch.no_grad():
            self.inputs = model.standardised(x)
            self.targets = model.targets(y)
            self.targets = self.targets if self._weighted else model.likelihood.seen(self.targets, self._target)
        sites = list(model.priors())
        weights, slopes = ({name: of[name] for name in sites} for of in (self._free, self._free_slopes))
        self._passes = WrittenOut.of(model.network, self.inputs[:1], weights, slopes)
        self._together = Stacked.of(model.network) if self._number > 1 else None
        self._network = copy.deepcopy(model.network).requires_grad_()
        self._leaves = dict(self._network.named_parameters())
        for name, leaf in self._leaves.items():
            leaf.data, leaf.grad = self._free[name], self._free_slopes[name]

    def _place_priors(self, keep: Mapping[str, float]) -> None:
        """Mean and precision of every number's prior, and the sum of what does not depend on the numbers."""
        self._center, self._precision = torch.empty_like(self._values), torch.empty_like(self._values)
        centers, precisions = self._views(self._center), self._views(self._precision)
        self._constant = -len(self._values) * math.log(2 * math.pi) / 2
        for name, prior in (self._model.priors() | self._model.latents()).items():
            loc, scale = (part.expand(self._shapes[name]) for part in _normal(prior))
            kept = keep.get(name, 1.0)
            # kept (w / kept - m)^2 / s^2 is (w - kept m)^2 / (kept s^2), and a weight that is masked is 0.
            centers[name].copy_(kept * loc)
            precisions[name].copy_(1 / (kept * scale**2))
            self._constant -= float(scale.double().log().sum() + (1 - kept) / 2 * (loc / scale).double().square().sum())

    @staticmethod
    def serves(model: BayesianNeuralNetwork, number: int) -> bool:
        """Whether a model, and so many networks of it, are such that this objective is theirs."""
        normal = all(type(_base(prior)) in (Normal, FittedNormal) for prior in model.priors().values())
        latent = all(isinstance(_base(prior), LogNormal) for prior in model.latents().values())
        return normal and latent and (number == 1 or Stacked.of(model.network) is not None)

    @torch.no_grad()
    def __call__(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        """Loss and misfit per datum, means over networks, in nats; each network's own gradient in ``parameters.grad``.

        Args:
            batch: Rows ``(B, ...)`` of `inputs`, and the same of `targets`; with an axis for the networks in front of
                each if there are several.
        """
        x, y = batch
        self._slopes.zero_()
        latents = {name: self._free[name].exp() for name in self._latents}
        outputs = self._outputs(x)
        share = -1 / x.shape[1 if self._number > 1 else 0]
        found, slope, slopes = self._likelihood(outputs.detach(), latents, y)
        (outputs.backward if self._passes is None else self._passes.backward)(slope.mul_(share))
        for name, by_latent in slopes.items():
            self._free_slopes[name].addcmul_(by_latent, latents[name], value=share)
        torch.sub(self._values, self._center, out=self._work)
        self._slopes.addcmul_(self._work, self._precision, value=1 / self._num_data)
        penalty = torch.dot(self._work.square_(), self._precision) / 2 - self._constant
        for name in self._latents:  # the density of a log-normal at the value, not at its logarithm
            self._free_slopes[name].add_(1 / self._num_data)
            penalty = penalty + self._free[name].sum()
        self.parameters.grad = self._slopes
        misfit = found * (share / self._number)
        return {"loss": misfit + penalty / (self._num_data * self._number), "misfit": misfit}

    def _outputs(self, x: Tensor) -> Tensor:
        if self._passes is not None:
            return self._passes(x)
        with torch.enable_grad():
            return self._network(x) if self._together is None else self._together(self._leaves, x, each_its_own=True)

    def values(self) -> dict[str, Tensor]:
        """Values of all sites, with an axis for the networks in front if there are several."""
        found = {name: value.detach().clone() for name, value in self._free.items()}
        return found | {name: found[name].exp() for name in self._latents}

    def _likelihood(
        self, outputs: Tensor, latents: dict[str, Tensor], y: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        likelihood = self._model.likelihood
        if not self._weighted:
            return likelihood.log_likelihood_and_slopes(outputs, latents, y, self._target)
        with torch.enable_grad():
            leaves = [outputs.requires_grad_(), *(value.requires_grad_() for value in latents.values())]
            members = self._model.members(outputs, latents)
            total = likelihood.weighted_log_prob(members, y, self._beta, self._target).sum()
        slope, *slopes = torch.autograd.grad(total, leaves)
        return total.detach(), slope, dict(zip(latents, slopes, strict=True))

    def _views(self, vector: Tensor) -> dict[str, Tensor]:
        sizes = [shape.numel() for shape in self._shapes.values()]
        return {n: part.view(self._shapes[n]) for n, part in zip(self._shapes, vector.split(sizes), strict=True)}


def _base(prior: Any) -> Any:
    return prior.base_dist if isinstance(prior, Independent) else prior


def _normal(prior: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the unconstrained value."""
    base = _base(prior)
    base = base.base_dist if isinstance(base, LogNormal) else base
    return base.loc, base.scale
