"""BayesianNeuralNetwork: a torch network, a prior on its weights and a likelihood, as one Pyro model.

The same density also stands here as plain functions of a dictionary of weights: `log_likelihood` and `log_prior`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import pyro
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor, nn

from bayesnn.at_draws import Plan, at_draws, plan
from bayesnn.calls import call
from bayesnn.checks import check_names, check_network, check_precision, check_prior, check_prior_function, num_outputs
from bayesnn.likelihoods import Affine, Likelihood
from bayesnn.likelihoods.likelihood import expect_likelihood
from bayesnn.priors import FittedNormal, Prior, allowed, fan_in_normal, for_network, listing
from bayesnn.scaling import input_scaling

__all__ = ["BayesianNeuralNetwork"]

OBSERVED = "y"
"""Name of the observed site."""


class BayesianNeuralNetwork(nn.Module):
    r"""A Pyro model: weights from their priors, targets from a likelihood of the network's outputs.

    .. math:: \theta_i \sim p_i, \qquad y_n \sim p(y \mid f_\theta(x_n)).

    Every parameter of the network is a sample site of that name, the likelihood's unknowns (``noise_scale``) are sites
    too, the data are the plate ``data`` of the data set's size, and the targets are the observed site ``y``. So
    ``pyro.poutine.trace``, ``pyro.render_model``, any Pyro guide, ``pyro.infer.SVI`` and ``MCMC`` work on it. The
    network is copied, never changed; a draw of weights is put in with ``torch.func.functional_call``, in ``eval`` mode.

    Data in raw units are standardised inside: `for_data` gives the model that knows a data set's size and units.
    Features are centred and scaled column by column; pictures (inputs of three axes or more) are divided by one scale
    for all pixels, their root mean square; indices into an embedding are left as they are.

    Args:
        network: Maps ``(N, ...)`` to ``(N, K)``, with at least one parameter.
        prior: Prior on the network's parameters, see `bayesnn.priors`.
        likelihood: What the K outputs say of a target, see `bayesnn.likelihoods`.
        standardise: Whether `for_data` scales ``x`` and real ``y``.

    Raises:
        TypeError: If ``network`` is not a module, or ``prior`` and ``likelihood`` are not what they should be.
        ValueError: If the network cannot have a posterior: no parameters, lazy ones, or batch normalisation without
            running statistics (with them it is a fixed affine map; methods that fit weights refuse it).

    Example:
        >>> from bayesnn import likelihoods, networks
        >>> model = BayesianNeuralNetwork(networks.mlp(3, 1, hidden=(4,)), likelihood=likelihoods.gaussian)
        >>> pyro.poutine.trace(model).get_trace(torch.zeros(5, 3)).nodes["y"]["value"].shape
        torch.Size([5])
    """

    def __init__(
        self,
        network: nn.Module,
        prior: Prior | None = None,
        likelihood: Likelihood | None = None,
        *,
        standardise: bool = True,
    ) -> None:
        super().__init__()
        check_network(network)
        if isinstance(prior, Likelihood):
            raise TypeError("the second argument is the prior; write likelihood=... for the likelihood.")
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.likelihood = expect_likelihood(likelihood)
        check_prior_function(prior)
        self.prior = for_network(prior if prior is not None else fan_in_normal(), self.network)
        self.num_data, self.columns = cast("int | None", None), cast("tuple[str, ...]", ())
        self._input_shape: tuple[int, ...] = ()
        zero = next(self.network.parameters()).new_zeros(())
        for name in ("x_loc", "x_scale", "y_loc", "y_scale"):
            self.register_buffer(name, zero + float(name.endswith("scale")))
        self.standardise, self._num_outputs, self.is_joined = standardise, 1, False
        self._prior_scales: dict[str, Tensor] = {}
        self._priors: dict[str, Distribution] | None = None
        check_names([name for name, _ in self.network.named_parameters()], [OBSERVED, "data", *self.latents()])
        for name, value in self.network.named_parameters():
            check_prior(name, value, self.priors()[name])

    x_loc: Tensor
    x_scale: Tensor
    y_loc: Tensor
    y_scale: Tensor

    def __repr__(self) -> str:
        priors = {name: prior.to_event() for name, prior in self.priors().items()} | self.latents()
        size = "" if self.num_data is None else f", {self.num_data} data"
        total = sum(value.numel() for value in self.network.parameters())
        return f"BayesianNeuralNetwork({self.likelihood.name}, {total} weights{size})\n{listing(priors)}"

    # What the model is

    @property
    def parameter_names(self) -> list[str]:
        """Names of the network's parameters, each a sample site."""
        return list(self.priors())

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the network."""
        return next(self.network.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return next(self.network.parameters()).device

    def priors(self) -> dict[str, Distribution]:
        """Prior of every parameter by name, its values independent, shaped like the parameter."""
        if self._priors is None:
            self._priors = {name: self.prior(name, value) for name, value in self.network.named_parameters()}
            for name, scale in self._prior_scales.items():
                self._priors[name] = self._priors[name].with_scale(scale)
        return self._priors

    def latents(self) -> dict[str, Distribution]:
        """Priors of the likelihood's own unknowns by site name."""
        return self.likelihood.latents(self.target())

    def start(self) -> dict[str, Tensor]:
        """The network's own parameters by name, where their priors allow: where a fit begins unless told otherwise."""
        return {name: allowed(self.priors()[name], value.clone()) for name, value in self.network.named_parameters()}

    @property
    def name(self) -> str:
        """What the model is, in a word or two."""
        return f"{self.likelihood.name} network"

    @property
    def input_words(self) -> str:
        """The shape of the training inputs, in words."""
        return f"(N, {', '.join(map(str, self._input_shape))})"

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Run as a Pyro model: sample the weights and latents, observe ``y`` (or sample it).

        Args:
            x: Inputs ``(B, ...)``: the whole data set or a minibatch of it.
            y: Targets ``(B,)`` or ``(B, D)``, or nothing to sample them.

        Returns:
            The targets.
        """
        weights = {name: pyro.sample(name, prior.to_event()) for name, prior in self.priors().items()}
        outputs = self.outputs(weights, x)
        latents = {name: pyro.sample(name, prior) for name, prior in self.latents().items()}
        size = self.num_data if self.num_data is not None and y is not None else len(x)
        with pyro.plate("data", max(size, len(x)), subsample=torch.arange(len(x), device=outputs.device)):
            seen = None if y is None else self.targets(y)
            return pyro.sample(OBSERVED, self.members(outputs, latents), obs=seen)

    # The same density, as functions of the weights

    def outputs(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Network outputs ``(N, K)`` at one draw of the weights (buffers too, where given), on standardised inputs."""
        outputs = call(self.network, self._own(weights), self.standardised(x))
        self._num_outputs = outputs.shape[-1]  # what the targets' shape is taken from before `for_data`
        return outputs

    def predict(self, weights: Mapping[str, Tensor], x: Tensor) -> Distribution:
        """Members ``(S, N)`` at S draws of weights and latents, each ``(S, *shape)``; chunks of draws at once."""
        return self.members(self.outputs_at(weights, x), weights)

    def outputs_at(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Network outputs ``(S, N, K)`` at S draws; within ``torch.autocast`` the network alone is of low precision."""
        outputs = at_draws(self.network, self._own(weights), x, self.standardised).to(self.dtype)
        self._num_outputs = outputs.shape[-1]
        return outputs

    def plan(self, weights: Mapping[str, Tensor], x: Tensor) -> Plan:
        """How `outputs_at` goes about it."""
        return plan(self.network, self._own(weights), x)

    def _own(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        given = [name for name, _ in self.network.named_buffers() if name in weights]
        return {name: weights[name] for name in (*self.priors(), *given)}

    def members(self, outputs: Tensor, weights: Mapping[str, Tensor]) -> Distribution:
        """The likelihood at given outputs; ``weights`` holds the latents, with the outputs' leading axes in front."""
        return self.likelihood(outputs, weights, self.target())

    def run(self, weights: Mapping[str, Tensor], x: Tensor, y: Tensor) -> None:
        """Run the network at one draw."""
        self.outputs(weights, x)

    def likelihood_factor(self, batch: int) -> float:
        """By what a minibatch's log-likelihood must still be multiplied: nothing, the plate scales it."""
        return 1.0

    def constant_log_likelihood(self, y: Tensor) -> float:
        """Mean log-likelihood of the best prediction that ignores the inputs, in nats."""
        return self.likelihood.constant_log_likelihood(y)

    def trainable(self) -> list[nn.Module]:
        """Modules whose own parameters are fitted along: none, all of the network's are sample sites."""
        return []

    def log_likelihood(self, weights: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Log-likelihood of each datum ``(N,)`` at one draw of weights and latents, in nats."""
        return self.members(self.outputs(weights, x), weights).log_prob(self.targets(y))

    def log_prior(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Log-prior density of weights and latents in nats, of each draw where they have an axis of draws in front."""
        return torch.stack(list(self.log_priors(weights).values())).sum(0)

    def log_priors(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same of each site by name; of none where fits with prior scales of their own were joined."""
        found = {} if self.is_joined else self.priors() | self.latents()
        return {name: prior.to_event().log_prob(weights[name]) for name, prior in found.items()}

    def prior_draws(self, number: int) -> dict[str, Tensor]:
        """Draws of weights and latents from their priors ``(number, *shape)``, by the global random state."""
        return {name: prior.sample(torch.Size([number])) for name, prior in (self.priors() | self.latents()).items()}

    def targets(self, y: Tensor) -> Tensor:
        """Targets in the type and shape of the likelihood: ``(N, 1)`` becomes ``(N,)`` where it wants one number."""
        y, wanted = self.likelihood.typed(y, self.dtype), self.target().loc.ndim
        if y.ndim == 2 and y.shape[1] == 1 and wanted == 0:
            return y[:, 0]
        return y[:, None] if y.ndim == 1 and wanted == 1 else y

    def standardised(self, x: Tensor) -> Tensor:
        """Inputs as the network sees them, its own to overwrite; indices into an embedding stay as they are."""
        if self._are_indices(x):
            return x.clone()
        if self.x_loc.ndim and x.shape[1:] != self.x_loc.shape:  # one column would broadcast to many
            raise RuntimeError(f"the network was fitted to inputs {self.input_words}")
        # In the data's own precision: a time stamp less its mean has few digits left in single precision.
        return ((x - self.x_loc) / self.x_scale).to(self.dtype)

    # Knowing a data set

    @torch.no_grad()
    def for_data(self, x: Tensor, y: Tensor) -> BayesianNeuralNetwork:
        """A copy that knows the size and the units of a data set: its plate has N data, it takes and gives raw units.

        Args:
            x: Training inputs ``(N, ...)``.
            y: Training targets ``(N,)`` or ``(N, D)``.

        Raises:
            ValueError: If the network or the likelihood cannot take these data.
        """
        model = copy.deepcopy(self)
        model.num_data, model._input_shape = len(x), tuple(x.shape[1:])
        if self.standardise and not self._are_indices(x):
            model.x_loc, model.x_scale = input_scaling(x)
        look_at, by_column = self.likelihood.look_at, bool(model.x_loc.ndim)
        y = self.likelihood.checked(y, num_outputs(model.outputs, model.start(), x[:64], look_at, by_column))
        check_precision(y, self.dtype)
        y, unscaled = y.to(self.dtype), Affine(self.y_loc.expand(y.shape[1:]), self.y_scale.expand(y.shape[1:]))
        model.y_loc, model.y_scale = self.likelihood.affine(y) if self.standardise else unscaled
        return model

    def with_fitted_priors(self, guide_moments: Mapping[str, tuple[Tensor, Tensor]]) -> BayesianNeuralNetwork:
        """A copy with every `FittedNormal` prior at the scales that suit a guide best, given its moments by site.

        Args:
            guide_moments: Mean and standard deviation of each parameter.
        """
        model = copy.deepcopy(self)
        model._priors = None
        model._prior_scales = {
            name: prior.fitted(*guide_moments[name]).scale.detach()
            for name, prior in self.priors().items()
            if isinstance(prior, FittedNormal) and name in guide_moments
        }
        return model

    def _apply(self, fn: Any, recurse: bool = True) -> BayesianNeuralNetwork:
        self._prior_scales = {name: fn(scale) for name, scale in self._prior_scales.items()}
        self._priors = None  # built anew from the moved parameters
        return super()._apply(fn, recurse)

    def _are_indices(self, x: Tensor) -> bool:
        layers = [] if x.is_floating_point() else self.network.modules()
        return any(isinstance(layer, nn.Embedding | nn.EmbeddingBag) for layer in layers)

    def train(self, mode: bool = True) -> BayesianNeuralNetwork:
        """Set the mode of all but the network, which stays in ``eval`` mode: dropout is no part of the model."""
        super().train(mode).network.eval()
        return self

    def target(self) -> Affine:
        """The map from standardised outputs to the units of the targets."""
        if self.num_data is not None:
            return Affine(self.y_loc, self.y_scale)
        shape = self.likelihood.event_shape(self._num_outputs)
        return Affine(self.y_loc.expand(shape), self.y_scale.expand(shape))
