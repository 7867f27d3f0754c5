"""PyroModel: a Pyro model of your own, ``model(x, y=None)``, as a model that can be fitted and can predict."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import pyro
import pyro.poutine as poutine
import torch
from pyro import settings
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.func import vmap

from bayesnn.guides import give_local_parameters
from bayesnn.members import stack, unpack
from bayesnn.seeding import seeded

__all__ = ["PyroModel"]

_DRAWS_AT_ONCE = 100
"""Draws in one vectorised run of a model: it bounds memory."""


class PyroModel:
    """A user's Pyro model with one observed site.

    Predictions put each draw of the latent sites into the model and take the distribution at the observed site,
    vectorised over draws where the model allows it and one after another where it does not.

    Args:
        model: Any Pyro model ``model(x, y=None)`` that observes ``y`` at one sample site, within a plate over the data
            or with one batch axis of N.

    Raises:
        TypeError: If it cannot be called.
    """

    def __init__(self, model: Callable) -> None:
        if not callable(model):
            raise TypeError(f"model must be a BayesianNeuralNetwork or a Pyro model(x, y=None); got {model!r}.")
        self._model = model
        self.observed = ""
        self.num_data, self.columns = 0, cast("tuple[str, ...]", ())
        self.scales_itself = False
        self._seen = (torch.empty(0), torch.empty(0))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model as it was written."""
        return self._model(*args, **kwargs)

    @property
    def as_written(self) -> Callable:
        """The model as its author wrote it."""
        return self._model

    @property
    def name(self) -> str:
        """Name of the function or class."""
        return getattr(self._model, "__name__", type(self._model).__name__)

    @property
    def input_words(self) -> str:
        """The shape of the training inputs, in words."""
        return f"(N, {', '.join(map(str, self._seen[0].shape[1:]))})"

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of its parameters, if it has any."""
        found = next(iter(self._tensors()), None)
        return found.dtype if found is not None else torch.get_default_dtype()

    def typed(self, tensor: Tensor, given: Any) -> Tensor:
        """Data in the type of the parameters; without any, a tensor as given, others in torch's default."""
        if not tensor.is_floating_point() or (isinstance(given, Tensor) and not self._tensors()):
            return tensor
        return tensor.to(self.dtype)

    @property
    def device(self) -> torch.device:
        """Device of its parameters, if it has any."""
        found = next(iter(self._tensors()), None)
        return found.device if found is not None else torch.device("cpu")

    def to(self, device: torch.device) -> PyroModel:
        """A copy on a device; a module is copied, so that a fit leaves the caller's as it was."""
        moved = copy.copy(self)
        if isinstance(self._model, nn.Module):
            moved._model = copy.deepcopy(self._model).to(device)
            give_local_parameters(moved._model)
        return moved

    def constant_log_likelihood(self, y: Tensor) -> float:
        """Not known of a user's own model."""
        return -math.inf

    def trainable(self) -> list[nn.Module]:
        """Modules whose own parameters (no sample sites) are fitted along."""
        return [self._model] if isinstance(self._model, nn.Module) else []

    def with_fitted_priors(self, guide_moments: Mapping[str, tuple[Tensor, Tensor]]) -> PyroModel:
        """This model: its priors are its own."""
        return self

    def run(self, weights: Mapping[str, Tensor], x: Tensor, y: Tensor) -> None:
        """Run the model at one draw of its latent sites."""
        poutine.condition(self._model, data=dict(weights))(x, y)

    @torch.no_grad()
    def for_data(self, x: Tensor, y: Tensor, batch_size: int) -> PyroModel:
        """This model knowing its observed site and the size of its data: a copy.

        Raises:
            TypeError: If it cannot be called so, or the observed site does not take targets of their type.
            ValueError: If the model does not observe ``y`` at exactly one site, or a latent site lies within the plate
                over the data.
        """
        size = min(batch_size, len(x))
        before = set(pyro.get_param_store().keys())
        try:
            trace = poutine.trace(self._model).get_trace(x[:size], y[:size])
        except TypeError as error:
            raise TypeError(
                f"a Pyro model must be called as model(x, y=None); {self.name} said: {error}. A plain network? Wrap "
                "it: BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian)."
            ) from error
        stray = set(pyro.get_param_store().keys()) - before
        for name in stray:
            del pyro.get_param_store()[name]
        if not isinstance(self._model, nn.Module):
            stray |= {name for name, site in trace.nodes.items() if site["type"] == "param"}
        if stray:
            raise NotImplementedError(
                f"pyro.param({min(stray)!r}) keeps its value in Pyro's global store, where two models would share it. "
                "Write the model as a PyroModule with a PyroParam."
            )
        observed = [name for name in trace.observation_nodes if type(trace.nodes[name]["fn"]).__name__ != "_Subsample"]
        if len(observed) != 1:
            raise ValueError(
                f"the model must observe y at exactly one sample site; found {len(observed)} "
                f"({', '.join(observed) or 'none'}). Write pyro.sample('y', ..., obs=y) once."
            )
        _check_type(trace.nodes[observed[0]], y)
        frames = {frame.name for frame in trace.nodes[observed[0]]["cond_indep_stack"]}
        for name in trace.stochastic_nodes:
            local = [f.name for f in trace.nodes[name]["cond_indep_stack"] if f.name in frames and f.size == size]
            if local:
                raise ValueError(
                    f"latent site {name!r} must not lie within the plate over the data, {local[0]!r}: each datum would "
                    "have its own, and a new input none. Sample it outside of the plate."
                )
        known = copy.copy(self)
        known.observed, known.num_data = observed[0], len(x)
        known._seen = x[:1].clone(), y[:1].clone()  # views would hold, and save, all data
        part = max(1, min(size, len(x) // 2))  # a part tells a plate of the data's size from one of the batch's
        scale = float(poutine.trace(self._model).get_trace(x[:part], y[:part]).nodes[observed[0]]["scale"])
        known.scales_itself = abs(scale * part - len(x)) < 1e-6 * len(x)
        return known

    def likelihood_factor(self, batch: int) -> float:
        """What the log-likelihood of a minibatch must be multiplied by to stand for the whole data set."""
        return 1.0 if self.scales_itself else self.num_data / batch

    @torch.no_grad()
    def predict(self, weights: Mapping[str, Tensor], x: Tensor) -> Distribution:
        """Members ``(S, N)`` at S draws of the latent sites, each ``(S, *shape)``."""
        kinds = [value.dtype for value in weights.values() if value.is_floating_point()]
        x = x.to(kinds[0]) if x.is_floating_point() and kinds else x
        quiet = settings.context(
            module_local_params=True, validate_distributions_pyro=False, validate_distributions_torch=False
        )
        # A model may draw numbers on the way; the caller's random state is left alone.
        with seeded(None, x.device), quiet:
            try:
                return self._vectorised(weights, x)
            except (RuntimeError, NotImplementedError, ValueError):
                # A model with Python branches on its values, in-place writes or a shape of its own: draw by draw.
                draws = [{n: v[s] for n, v in weights.items()} for s in range(len(next(iter(weights.values()))))]
                return stack([self._at(draw, x) for draw in draws])

    def log_priors(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log-prior density of each latent site at S draws ``(S,)``, in nats."""
        found: dict[str, list[Tensor]] = {name: [] for name in weights}
        for number in range(len(next(iter(weights.values())))):
            trace = self._trace({name: value[number] for name, value in weights.items()})
            trace.compute_log_prob()
            for name, parts in found.items():
                parts.append(trace.nodes[name]["log_prob_sum"])
        return {name: torch.stack(parts) for name, parts in found.items()}

    def prior_draws(self, number: int) -> dict[str, Tensor]:
        """Draws of all latent sites from the prior ``(number, *shape)``, by the global random state."""
        traces = [self._trace({}) for _ in range(number)]
        names = [n for n in traces[0].stochastic_nodes if type(traces[0].nodes[n]["fn"]).__name__ != "_Subsample"]
        return {name: torch.stack([trace.nodes[name]["value"] for trace in traces]) for name in names}

    @torch.no_grad()
    def _trace(self, draw: Mapping[str, Tensor]) -> Any:
        with settings.context(module_local_params=True):
            return poutine.trace(poutine.condition(self._model, data=dict(draw))).get_trace(*self._seen)

    def _at(self, draw: Mapping[str, Tensor], x: Tensor) -> Distribution:
        # Any targets will do: only the distribution is wanted, and sampling them would not vectorise.
        targets = self._seen[1].to(x.device).expand(len(x), *self._seen[1].shape[1:])
        data = dict(draw) | {self.observed: targets}
        trace = poutine.trace(poutine.condition(self._model, data=data)).get_trace(x)
        members = trace.nodes[self.observed]["fn"]
        if members.batch_shape != (len(x),):
            raise ValueError(
                f"the observed site must have batch shape (N,) = ({len(x)},); got {tuple(members.batch_shape)}. Put it "
                "in a plate over the data, and target dimensions in the event: .to_event(1)."
            )
        return members

    def _vectorised(self, weights: Mapping[str, Tensor], x: Tensor) -> Distribution:
        packs = []

        def tensors_at(draw: dict[str, Tensor]) -> list[Tensor]:
            tensors, pack = unpack(self._at(draw, x))
            packs.append(pack)
            return tensors

        stacked = vmap(tensors_at, randomness="different", chunk_size=_DRAWS_AT_ONCE)(dict(weights))
        return packs[0](stacked)

    def _tensors(self) -> list[Tensor]:
        return list(self._model.parameters()) if isinstance(self._model, nn.Module) else []


def _check_type(site: Mapping[str, Any], y: Tensor) -> None:
    """Refuse whole numbers where a distribution computes with its value, as torch's Bernoulli does."""
    if y.is_floating_point():
        return
    try:
        site["fn"].log_prob(site["value"])
    except ValueError:  # out of the support: a mask may leave them out
        return
    except RuntimeError as error:
        if "can't be cast" not in str(error):
            raise
        raise TypeError(
            f"targets of {type(site['fn']).__name__} must be floating point; got {y.dtype}, of which torch said: "
            f"{error}. Pass y.float(), or y.astype(float) of an array."
        ) from error
