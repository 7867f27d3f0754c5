"""GaussianProcess: a fitted Gaussian process as a function from inputs to a `Predictive`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution

from bayesnn.checks import check_count
from bayesnn.columns import named
from bayesnn.data import as_inputs, on_device, unlike
from bayesnn.inspected import Inspection
from bayesnn.likelihoods import Affine, Likelihood
from bayesnn.members import mapped
from bayesnn.methods.gp_inputs import kernel_words, length_scaled
from bayesnn.predictive import Predictive
from bayesnn.streamed import PredictionPlan, planned, predicted
from bayesnn.training import History

__all__ = ["GaussianProcess"]

_INPUTS_AT_ONCE = 500
_MOST_JOINT = 5000


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """A fitted Gaussian process. Call it on inputs to get a `Predictive`.

    The function's posterior at an input is normal, with a mean and a variance: the epistemic part. Its S members stand
    at equally weighted quantiles of it, with exactly that mean and variance; where the noise is Gaussian the mixture
    is known in closed form, and densities and intervals are exact.

    Attributes:
        process: Posterior of the function, for standardised targets.
        likelihood: What a value of the function says of a target.
        target: Map to the target's units.
        latents: The likelihood's unknowns, ``noise_scale`` in the units of ``y``.
        num_samples: Members S of a prediction.
        seed: Of the order of the quantiles, where there are several functions.
        dtype: Type of predictions.
        input_words: The shape of the training inputs, in words.
        noise: Name of the Gaussian noise among ``latents``, or its known value; ``None`` if the noise is not Gaussian.
        method: ``"gp"``.
        history: What happened in the fit.
        summary: Figures of the fit by name.
        columns: Names of the columns of the fit's frame; none of other data.
    """

    process: Any
    likelihood: Likelihood
    target: Affine
    latents: dict[str, Tensor]
    num_samples: int
    seed: int
    dtype: torch.dtype
    input_words: str
    noise: str | float | None = None
    method: str = "gp"
    history: History | None = None
    summary: Mapping[str, float] = field(default_factory=dict)
    columns: tuple[str, ...] = ()

    def __repr__(self) -> str:
        figures = "".join(f", {name}={value:.4g}" for name, value in self.summary.items())
        kernels = ", ".join(dict.fromkeys(kernel_words(kernel) for kernel in self.kernels))
        what = f"{self.process.words}, {kernels}, {self.likelihood.name}"
        return f"GaussianProcess({what}, S={self.num_samples}, device={self.device}{figures})"

    @property
    def kernels(self) -> list[Any]:
        """The fitted gpytorch kernels, of standardised inputs and targets: one for each target of an exact process."""
        return list(self.process.kernels) if hasattr(self.process, "kernels") else [self.process.latents.covar_module]

    @property
    def lengthscales(self) -> list[Tensor]:
        """Length-scales of each kernel that has any, in standard deviations of the inputs; of a sum's parts in turn."""
        return [part.lengthscale.detach().flatten() for kernel in self.kernels for part in length_scaled(kernel)]

    @property
    def device(self) -> torch.device:
        """Where it lives."""
        return self.target.loc.device

    @torch.no_grad()
    def __call__(self, x: Any, *, memory: str | int | None = None) -> Predictive:
        """Predict, in chunks.

        Args:
            x: Inputs ``(N, ...)`` as tensor, array or frame, in raw units; or a ``Dataset``, ``DataLoader`` or other
                iterable of such batches, none that shuffles (pairs ``(x, y)`` are taken by their first part).
            memory: Memory that the members may take, see `WeightPosterior`.

        Returns:
            A predictive over S members and N inputs, in the units of ``y``.
        """
        return predicted(self._predict, self._all(x), memory, in_blocks=True)

    @torch.no_grad()
    def plan(self, x: Any, *, memory: str | int | None = None) -> PredictionPlan:
        """How the same call would go about it, see `WeightPosterior.plan`."""
        return planned(self._predict, self._all(x), memory, None)

    def _all(self, x: Any) -> Tensor:
        parts = [self._inputs(batch) for batch in named(x, self.columns)]
        if not parts:
            raise ValueError("x must hold one batch of inputs at least; got no batch.")
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @torch.no_grad()
    def functions(self, x: Any, num_samples: int = 100, *, seed: int = 0) -> Tensor:
        """Joint draws of the function's values, without noise: of the mean of a real target, of logits for classes.

        Args:
            x: Inputs ``(N, ...)``, a few thousand at most.
            num_samples: Number of draws S.
            seed: Their seed.

        Returns:
            ``(S, N)`` for one output, else ``(S, N, K)``; for a Gaussian likelihood in the units of ``y``.
        """
        check_count("num_samples", num_samples)
        inputs = self._inputs(x)
        if len(inputs) > _MOST_JOINT:
            raise ValueError(f"joint draws need a covariance of all inputs, {_MOST_JOINT} at most; got {len(inputs)}.")
        drawn = self._drawn(self.process.joint(inputs), num_samples, seed)
        if self.noise is not None:
            drawn = self.target.loc + self.target.scale * drawn
        return (drawn[..., 0] if drawn.shape[-1] == 1 else drawn).to(self.dtype)

    @torch.no_grad()
    def inspection(self, x: Any, *, memory: str | int | None = None) -> Inspection:
        """Joint draws of the function at inputs, a few thousand at most, and what each of them predicts."""
        return self._inspection(x, self.process.joint, self.num_samples, self.seed)

    @torch.no_grad()
    def prior_inspection(
        self, x: Any, num_samples: int, *, seed: int = 0, memory: str | int | None = None
    ) -> Inspection:
        """The same of draws from the prior, with the kernel as it was fitted."""
        return self._inspection(x, self.process.prior, num_samples, seed)

    def _inspection(self, x: Any, joint: Any, num_samples: int, seed: int) -> Inspection:
        inputs = torch.cat([self._inputs(batch) for batch in named(x, self.columns)])
        if len(inputs) > _MOST_JOINT:
            raise ValueError(f"joint draws need a covariance of all inputs, {_MOST_JOINT} at most; got {len(inputs)}.")
        drawn = self._drawn(joint(inputs), num_samples, seed)
        latents = {name: value.expand(num_samples, *value.shape) for name, value in self.latents.items()}
        predictive = Predictive(self._typed(self.likelihood(drawn, latents, self.target)))
        values = (drawn[..., 0] if drawn.shape[-1] == 1 else drawn).to(self.dtype)
        return Inspection({"function": values} | latents, predictive, ("function",))

    def _drawn(self, joint: tuple[Tensor, Tensor], num_samples: int, seed: int) -> Tensor:
        """Joint draws ``(S, N, K)`` of the standardised function, of its mean ``(K, N)`` and covariance."""
        mean, covariance = joint
        values, vectors = torch.linalg.eigh(covariance)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(num_samples, *mean.shape, 1, generator=generator, dtype=mean.dtype).to(mean.device)
        root = vectors * values.clamp_min(0).sqrt().unsqueeze(-2)  # rounding may leave an eigenvalue just below 0
        return (mean + (root @ noise)[..., 0]).movedim(1, 2)

    def resample(self, num_samples: int, *, seed: int = 0) -> GaussianProcess:
        """The same fit with another number of members."""
        check_count("num_samples", num_samples)
        return replace(self, num_samples=num_samples, seed=seed)

    def to(self, device: torch.device | str) -> GaussianProcess:
        """The same on another device."""
        there = on_device(device, self.device)
        return replace(
            self,
            process=copy.deepcopy(self.process).to(there),
            target=Affine(self.target.loc.to(there), self.target.scale.to(there)),
            latents={name: value.to(there) for name, value in self.latents.items()},
        )

    def _inputs(self, x: Any) -> Tensor:
        inputs = as_inputs(x).to(self.device)
        if len(inputs) == 0:
            raise ValueError(f"x must have one row at least; got shape {tuple(inputs.shape)}.")
        return inputs

    @torch.no_grad()
    def _predict(self, x: Tensor) -> Predictive:
        try:
            moments = [self.process.latent(part) for part in x.split(_INPUTS_AT_ONCE)]
            mean, variance = (torch.cat(parts, 1) for parts in zip(*moments, strict=True))
        except (RuntimeError, IndexError) as error:
            raise ValueError(unlike(x, self.input_words, error)) from error
        outputs = mean.T + variance.T.sqrt() * self._quantiles(len(mean)).unsqueeze(1)
        repeated = {name: value.expand(self.num_samples, *value.shape) for name, value in self.latents.items()}
        members = self.likelihood(outputs, repeated, self.target)
        return Predictive(self._typed(members), self._mixture(mean, variance))

    def _mixture(self, mean: Tensor, variance: Tensor) -> Distribution | None:
        """The predictive in closed form, where the noise is Gaussian and the members stand for a whole function."""
        if self.noise is None or self.num_samples == 1:
            return None
        loc, spread = mean.T, variance.T
        loc, spread = (loc, spread) if self.target.loc.ndim else (loc[:, 0], spread[:, 0])
        noise = self.latents[self.noise] if isinstance(self.noise, str) else self.noise
        scale = (self.target.scale**2 * spread + noise**2).sqrt()
        mixture = dist.Normal(self.target.loc + self.target.scale * loc, scale).to_event(self.target.loc.ndim)
        return self._typed(mixture)

    def _quantiles(self, number: int) -> Tensor:
        """Standard normal values ``(S, K)`` of mean 0 and variance 1, in an order of its own for each function."""
        levels = (torch.arange(self.num_samples, dtype=torch.float64) + 0.5) / self.num_samples
        z = torch.special.ndtri(levels)
        z = z / z.std(correction=0) if self.num_samples > 1 else torch.zeros_like(z)
        generator = torch.Generator().manual_seed(self.seed)
        orders = [torch.randperm(self.num_samples, generator=generator) for _ in range(number)]
        return torch.stack([z[order] for order in orders], 1).to(self.device)

    def _typed(self, distribution: Distribution) -> Distribution:
        return mapped(lambda t: t.to(self.dtype) if t.is_floating_point() else t, distribution)
