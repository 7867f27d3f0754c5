"""WeightPosterior: draws of a model's unknowns, as a function from inputs to a `Predictive`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Integral
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from bayesnn.checks import check_count
from bayesnn.columns import named
from bayesnn.data import as_inputs, on_device, unlike
from bayesnn.inspected import Inspection
from bayesnn.predictive import Predictive
from bayesnn.seeding import seeded
from bayesnn.stacked import same
from bayesnn.streamed import PredictionPlan, planned, predicted
from bayesnn.training import History

__all__ = ["Density", "Draws", "Model", "WeightPosterior"]

Draws = Callable[[int, int], dict[str, Tensor]]
"""``(num_samples, seed) -> weights``: other draws of the same fit, each ``(S, *shape)``."""


Density = Callable[[Mapping[str, Tensor]], Tensor]
"""``weights -> (S,)``: log density, in nats, of draws ``(S, *shape)`` under the distribution they come from."""


class Model(Protocol):
    """What a posterior asks of a model: `BayesianNeuralNetwork`, or `bayesnn.pyro_model.PyroModel` around your own."""

    @property
    def name(self) -> str:
        """What the model is, in a word or two."""

    @property
    def input_words(self) -> str:
        """The shape of the training inputs, in words."""

    def predict(self, weights: Mapping[str, Tensor], x: Tensor) -> Distribution:
        """Members ``(S, N)`` at S draws."""

    def log_priors(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log-prior density of each uncertain site at S draws ``(S,)``, in nats."""

    def prior_draws(self, number: int) -> dict[str, Tensor]:
        """Draws of all sites from their priors ``(number, *shape)``, by the global random state."""

    def to(self, device: torch.device) -> Any:
        """Move to a device."""


@dataclass(frozen=True, eq=False)
class WeightPosterior:
    """A fitted method: S draws of a network's weights. Call it on inputs to get a `Predictive`.

    Draws are fixed: two calls agree. It lives where it was fitted; `to` moves it. ``torch.save(posterior, file)`` keeps
    it whole, if network, prior, likelihood and guide can be pickled; ``torch.load(file, weights_only=False)`` reads it.

    Attributes:
        model: The model that was fitted, knowing its data's size and units, its priors as fitted.
        weights: Draws by site name, ``(S, *shape)`` each, the likelihood's unknowns among them.
        method: Name of the method, ``"svi"``.
        history: What happened in the fit.
        summary: Figures of the fit by name: ``elbo_per_datum``, ``kl_per_datum`` and such.
        draws: Makes other draws of the same fit; ``None`` where there are none to make.
        guide: The fitted guide, where there is one.
        density: Log density of draws under the distribution they come from; ``None`` where there is none.
        chains: Lengths of the chains or single fits that the draws come from, one behind the other; empty if of one.
        statistics: Figures of each draw by name ``(S,)``, as of a chain's step.
    """

    model: Model
    weights: dict[str, Tensor]
    method: str
    history: History | None = None
    summary: Mapping[str, float] = field(default_factory=dict)
    draws: Draws | None = None
    guide: Any = None
    density: Density | None = None
    chains: tuple[int, ...] = ()
    statistics: Mapping[str, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        figures = "".join(f", {name}={value:.4g}" for name, value in self.summary.items())
        return f"WeightPosterior({self.method}, {self.model.name}, S={self.num_samples}, device={self.device}{figures})"

    @property
    def num_samples(self) -> int:
        """Number of draws S."""
        return len(next(iter(self.weights.values())))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the fit's frame; none of other data. A frame to predict must have the same."""
        return getattr(self.model, "columns", ())

    @property
    def device(self) -> torch.device:
        """Where the draws live."""
        return next(iter(self.weights.values())).device

    @torch.no_grad()
    def __call__(self, x: Any, *, memory: str | int | None = None) -> Predictive:
        """Predict.

        Within ``torch.autocast(device_type, torch.bfloat16)`` the network runs at that precision, and what follows it
        at its own; docs/speed.md tells the error. What is computed block by block asks for it again at each question.

        Args:
            x: Inputs ``(N, ...)`` as tensor, array or frame, in raw units; or a ``Dataset``, ``DataLoader`` or other
                iterable of such batches, none that shuffles (pairs ``(x, y)`` are taken by their first part).
            memory: Memory that the predictions of all draws may take, ``"200MB"`` or a number of bytes; 1 GB, or a
                quarter of what is free if that is less, if left out. Where they would take more they are not held: the
                predictive computes them block by block, for each question anew, and ``plan`` says so beforehand.

        Returns:
            A predictive over S draws and N inputs, in the units of ``y``.
        """
        return predicted(self._predictive, self._inputs(x), memory, in_blocks=hasattr(self.model, "plan"))

    @torch.no_grad()
    def plan(self, x: Any, *, memory: str | int | None = None) -> PredictionPlan:
        """How the same call would go about it, told from a few of the inputs.

        Args:
            x: Inputs, as for the call.
            memory: As for the call.
        """
        inputs = self._inputs(x)
        known = getattr(self.model, "plan", None)
        return planned(self._predictive, inputs, memory, known(self.weights, inputs) if known else None)

    def resample(self, num_samples: int, *, seed: int = 0) -> WeightPosterior:
        """Other draws of the same fit.

        Those of an ensemble are shared out evenly among its members. The seed chooses which members have one more where
        S is no multiple of their number, and which have any where S is less: each draw is one of the equally weighted
        mixture.

        Args:
            num_samples: Number of draws S.
            seed: Their seed.

        Raises:
            NotImplementedError: If there are no others, as of `fit_map`.
            ValueError: If the number of draws is none.
            TypeError: If the seed is none.
        """
        if self.draws is None:
            raise NotImplementedError(f"{self.method} has no other draws than the {self.num_samples} it was made of.")
        check_count("num_samples", num_samples)
        if not isinstance(seed, Integral):
            raise TypeError(f"seed must be a whole number; got {seed!r}. Write seed=0.")
        return replace(self, weights=self.draws(int(num_samples), int(seed)), chains=(), statistics={})

    @torch.no_grad()
    def log_prior(self) -> Tensor:
        """Log-prior density of each draw's uncertain sites ``(S,)``, in nats; with prior scales as they were fitted.

        Raises:
            NotImplementedError: Of several fits, if each has prior scales of its own.
        """
        found = self.model.log_priors(self.weights)
        if not found:
            raise NotImplementedError(
                f"the fits of this {self.method} have fitted prior scales of their own, so that its draws have no "
                "common prior. Fit with priors.fan_in_normal(fit=None) for one."
            )
        return torch.stack(list(found.values())).sum(0)

    @torch.no_grad()
    def log_density(self) -> Tensor:
        r"""Log density :math:`\log q(\theta_s)` of each draw under the distribution it comes from ``(S,)``, in nats.

        Raises:
            NotImplementedError: If that has no density that is known.
        """
        if self.density is None:
            raise NotImplementedError(
                f"{self.method} has draws but no density log q to weigh them by. Fit with fit_svi, fit_laplace, "
                "fit_last_layer or fit_swag for one that is known."
            )
        return self.density(self.weights)

    @torch.no_grad()
    def inspection(self, x: Any, *, memory: str | int | None = None) -> Inspection:
        """Draws, their densities, and what each of them predicts for inputs; arguments as for the call."""
        return Inspection(
            self.weights,
            self(x, memory=memory),
            (),
            self.model.log_priors(self.weights),
            None if self.density is None else self.density(self.weights),
            self.chains,
            self.statistics,
        )

    @torch.no_grad()
    def prior_inspection(
        self, x: Any, num_samples: int, *, seed: int = 0, memory: str | int | None = None
    ) -> Inspection:
        """The same of draws from the prior: of what is uncertain; the rest is as in the posterior."""
        with seeded(seed, self.device):
            drawn = self.model.prior_draws(num_samples)
        rows = torch.arange(num_samples) % self.num_samples
        rest = {name: value[rows] for name, value in self.weights.items() if name not in drawn}  # masks of dropout
        at = rest | {name: value.to(self.device) for name, value in drawn.items()}
        predictive = predicted(lambda part: Predictive(self.model.predict(at, part)), self._inputs(x), memory)
        return Inspection(at, predictive, (), self.model.log_priors(at))

    def to(self, device: torch.device | str) -> WeightPosterior:
        """The same posterior on another device."""
        target, source = on_device(device, self.device), self.device
        made, density = self.draws, self.density
        return replace(
            self,
            model=copy.deepcopy(self.model).to(target),
            weights=_moved(self.weights, target),
            # What makes draws, and their density, stay with the fit.
            draws=None if made is None else partial(_draws_on, target, made),
            density=None if density is None else partial(_density_on, target, density, source),
        )

    def _inputs(self, x: Any) -> Tensor:
        inputs = [as_inputs(batch) for batch in named(x, self.columns)]
        if not inputs:
            raise ValueError("x must hold one batch of inputs at least; got no batch.")
        if any(len(batch) == 0 for batch in inputs):
            raise ValueError(f"x must have one row at least; got shape {tuple(inputs[0].shape)}.")
        return (inputs[0] if len(inputs) == 1 else torch.cat(inputs)).to(self.device)

    def _predictive(self, x: Tensor) -> Predictive:
        closed = getattr(self.model, "predictive", None)  # a model may know the mixture of all draws in closed form
        try:
            return closed(self.weights, x) if closed else Predictive(self.model.predict(self.weights, x))
        except (RuntimeError, IndexError) as error:
            raise ValueError(unlike(x, self.model.input_words, error)) from error


def _draws_on(device: torch.device, made: Draws, number: int, seed: int) -> dict[str, Tensor]:
    return _moved(made(number, seed), device)


def _density_on(device: torch.device, density: Density, there: torch.device, weights: Mapping[str, Tensor]) -> Tensor:
    return density(_moved(weights, there)).to(device)


def _moved(values: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Draws on a device; what is the same at all of them stays one."""
    return {n: v[:1].to(device).expand_as(v) if len(v) and same(v) else v.to(device) for n, v in values.items()}
