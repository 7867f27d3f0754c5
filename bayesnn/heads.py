"""LastLayer: a model whose body is fixed and whose last layer is uncertain; one pass of the body serves all draws."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor

from bayesnn.conjugate import Posterior
from bayesnn.features import Body, body_of
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.predictive import Predictive

__all__ = ["LastLayer"]


@dataclass(frozen=True, eq=False)
class LastLayer:
    r"""What a `WeightPosterior` over a last layer asks of its model.

    Attributes:
        model: The whole model, knowing its data; its own network's weights are not used.
        body: The network up to its last layer, at fixed weights.
        posterior: Posterior of the coefficients of a Gaussian likelihood, one normal for each output, in units of
            standardised targets; ``None`` where draws are all there is.
        fixed_latents: Whether the likelihood's unknowns are the same in all draws.
    """

    model: BayesianNeuralNetwork
    body: Body
    posterior: Posterior | None = None
    fixed_latents: bool = True

    @staticmethod
    def of(model: BayesianNeuralNetwork, weights: Mapping[str, Tensor], x: Tensor) -> LastLayer:
        """Split a model's network at given weights.

        Args:
            model: A model that knows its data.
            weights: The network's parameters by name.
            x: A few inputs, in raw units.
        """
        return LastLayer(model, body_of(model.network, model.standardised(x), weights))

    @property
    def name(self) -> str:
        """What the model is, in a few words."""
        return f"last layer of a {self.model.name}"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the training inputs, where they were a frame."""
        return self.model.columns

    @property
    def input_words(self) -> str:
        """The shape of the training inputs, in words."""
        return self.model.input_words

    def features(self, x: Tensor) -> Tensor:
        """Features ``(N, H)`` of inputs in raw units."""
        return self.body(self.model.standardised(x))

    def predict(self, weights: Mapping[str, Tensor], x: Tensor) -> Distribution:
        """Members ``(S, N)`` at S draws of the last layer and of the latents."""
        return self.model.members(self.body.outputs(self.features(x), weights), weights)

    def predictive(self, weights: Mapping[str, Tensor], x: Tensor) -> Predictive:
        """Members, and their mixture in closed form where it is known."""
        features = self.features(x)
        members = self.model.members(self.body.outputs(features, weights), weights)
        return Predictive(members, None if self.posterior is None else self._mixture(self.posterior, weights, features))

    def log_priors(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log-prior density of the last layer's parameters ``(S,)`` by name, in nats; and of the latents, if drawn."""
        return {name: prior.to_event().log_prob(weights[name]) for name, prior in self._priors().items()}

    def prior_draws(self, number: int) -> dict[str, Tensor]:
        """Draws of the last layer from its prior ``(number, *shape)``, and of the latents."""
        priors = self._priors() | self.model.latents()
        return {name: prior.sample(torch.Size([number])) for name, prior in priors.items()}

    def design(self, features: Tensor) -> Tensor:
        """Features ``(N, P)`` as a regression takes them: with a column of ones behind them where there is a bias."""
        ones = [features.new_ones(len(features), 1)] * (len(self.body.names) - 1)
        return torch.cat([features, *ones], dim=1)

    def joined(self, values: Mapping[str, Tensor]) -> Tensor:
        """Coefficients ``(..., K, P)`` from weight ``(..., K, H)`` and bias ``(..., K)``, by their names."""
        weight, *bias = (values[name] for name in self.body.names)
        return torch.cat([weight, *(value.unsqueeze(-1) for value in bias)], dim=-1)

    def split(self, coefficients: Tensor) -> dict[str, Tensor]:
        """Weight and bias by name, in the network's type: the inverse of `joined`."""
        size = self.body.head.in_features
        parts: Sequence[Tensor] = (coefficients[..., :size], coefficients[..., size:].squeeze(-1))
        return {name: part.to(self.model.dtype) for name, part in zip(self.body.names, parts, strict=False)}

    def to(self, device: torch.device) -> LastLayer:
        """The same on another device."""
        posterior = None if self.posterior is None else Posterior(*(part.to(device) for part in self.posterior))
        model = copy.deepcopy(self.model).to(device)
        return replace(self, model=model, body=self.body.to(device), posterior=posterior)

    def _priors(self) -> dict[str, Distribution]:
        """Of what is uncertain."""
        own = {name: self.model.priors()[name] for name in self.body.names}
        return own if self.fixed_latents else own | self.model.latents()

    def _mixture(self, posterior: Posterior, weights: Mapping[str, Tensor], features: Tensor) -> Distribution:
        """The Gaussian with the coefficients integrated out; the noise is the same in all draws."""
        mean, variance = posterior.of_outputs(self.design(features))
        dtype, target = self.model.dtype, self.model.target()
        middle = self.model.members(mean.to(dtype), {name: weights[name][0] for name in self.model.latents()})
        spread = (variance if target.loc.ndim else variance.squeeze(-1)) * target.scale.double().square()
        scale = (middle.variance.double() + spread).sqrt().to(dtype)
        return dist.Normal(middle.mean, scale).to_event(target.loc.ndim)
