"""fit_laplace: a Gaussian about the maximum, of the last layer's weights or of all, with linearised predictions."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor
from torch.distributions import Independent, Normal
from torch.func import jvp, vmap

from bayesnn.checks import check_count
from bayesnn.conjugate import Posterior
from bayesnn.curvature import diagonal_information, linear_information, prior_precision
from bayesnn.data import as_training_data
from bayesnn.fitting import isolated, prepared
from bayesnn.heads import LastLayer
from bayesnn.likelihoods import Gaussian
from bayesnn.methods.mode import Mode, Start, mode_of
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.posterior import WeightPosterior
from bayesnn.priors import bounds, describe
from bayesnn.training import Callback, History

__all__ = ["fit_laplace"]

_MOST_COEFFICIENTS = 10_000
"""Of a full last layer: the matrix then takes 800 MB."""

_NUMBERS_AT_ONCE = 2**22
_ROWS_AT_ONCE = 1000


def fit_laplace(
    model: BayesianNeuralNetwork,
    x: Any,
    y: Any = None,
    *,
    num_samples: int = 100,
    num_epochs: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callback | None = None,
    structure: Literal["last_layer", "diagonal"] = "last_layer",
    start: Start = None,
) -> WeightPosterior:
    r"""Fit a plain network, and put a Gaussian about its weights: the Laplace approximation, linearised.

    .. math:: q(\theta) = N\Bigl(\hat\theta, \bigl(\textstyle\sum_n J_n^T F_n J_n + P\bigr)^{-1}\Bigr), \qquad
              f(x) \approx f_{\hat\theta}(x) + J(x) (\theta - \hat\theta),

    with the Jacobian J of the outputs, their Fisher information F (the generalised Gauss-Newton matrix of the
    likelihood), and the precision P of the model's own prior as it stands. Draws go through the linearised network,
    for which the Gaussian was made, and not through the network itself (Immer et al. show what that costs). The
    likelihood's unknowns stay at their maximum.

    ``"last_layer"`` takes all correlations of the last layer's weights, of which the network is linear as it is.
    ``"diagonal"`` takes all weights, each independent of the others. ``bayesnn compare digits --methods map laplace``
    sets the scores of the first beside the plain network's.

    Args:
        model: Network, prior and likelihood.
        x: Inputs ``(N, ...)`` in raw units; or a ``Dataset`` or ``DataLoader`` of ``(x, y)``.
        y: Targets ``(N,)`` or ``(N, D)``.
        num_samples: Draws S.
        num_epochs: Passes over the data; if left out, as many as make 2000 steps, 20 at least.
        batch_size: Data in a minibatch.
        learning_rate: Adam's step size at the start.
        device: Where to fit; where the network is, if left out.
        seed: Seed of the fit and of its draws.
        progress: Whether to show a progress bar of the plain network's fit.
        callback: Called after each epoch with its number and the mean of each term.
        structure: ``"last_layer"`` or ``"diagonal"``.
        start: The maximum: ``None`` to find it by `fit_map`; a posterior that `fit_map` gave; or ``"network"`` for the
            network's own weights as they stand. With a start there is no fit, and its settings are of no effect.

    Returns:
        A posterior of S draws. ``summary`` has ``log_evidence_per_datum``, Laplace's estimate for the weights that are
        uncertain, in nats.

    Raises:
        TypeError: If model, data or start are of the wrong kind.
        ValueError: If the data do not suit the model, or the network the structure; the message says how.

    References:
        MacKay (1992), A Practical Bayesian Framework for Backpropagation Networks, Neural Computation 4(3); Immer et
        al. (2021), Improving predictions of Bayesian neural nets via local linearization, AISTATS, section 3,
        for the linearised predictive; Daxberger et al. (2021), Laplace Redux, arXiv:2106.14806, for both structures.

    Example:
        >>> from bayesnn import BayesianNeuralNetwork, likelihoods, networks
        >>> x, y = torch.randn(50, 2), torch.randint(3, (50,))
        >>> model = BayesianNeuralNetwork(networks.mlp(2, 3), likelihood=likelihoods.categorical)
        >>> fit_laplace(model, x, y, num_samples=10, num_epochs=2, progress=False)(x).probs.shape
        torch.Size([50, 3])
    """
    check_count("num_samples", num_samples)
    if structure not in ("last_layer", "diagonal"):
        raise ValueError(f'structure must be "last_layer" or "diagonal"; got {structure!r}.')
    ours = isinstance(model, BayesianNeuralNetwork)
    if start is None and ours and any(map(_unlike_a_normal, model.priors().values())):
        x, y = as_training_data(x, y)  # once, as a loader may have no more
        _refuse_bounded(model, x, y, device, structure)  # before a fit that would be for nothing
    given = {"num_epochs": num_epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    mode = mode_of(model, x, y, start, "start", device, **given, seed=seed, progress=progress, callback=callback)
    begun = time.perf_counter()
    with isolated(seed, mode.inputs.device), torch.no_grad():
        fitted = (_of_last_layer if structure == "last_layer" else _of_all)(mode, num_samples, seed)
    seconds = time.perf_counter() - begun
    first = mode.history or History([], 0.0, False)
    return replace(fitted, history=replace(first, seconds=first.seconds + seconds))


def _unlike_a_normal(prior: Distribution) -> bool:
    """Whether no normal of independent values can stand for a prior."""
    return bounds(prior) is not None or _depend(prior)


def _depend(prior: Distribution) -> bool:
    return bool(prior.event_shape) and not isinstance(prior, Independent)


def _refuse_bounded(model: BayesianNeuralNetwork, x: Tensor, y: Tensor, device: Any, structure: str) -> None:
    known, inputs, _ = prepared(model, x, y, device)
    weights = known.start()
    own = LastLayer.of(known, weights, inputs[:64]).body.names if structure == "last_layer" else weights
    _prior_precisions(known, {name: weights[name] for name in own})


def _prior_precisions(model: BayesianNeuralNetwork, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Precisions of the normals that stand for the priors; refused where a normal would leave what a prior allows."""
    priors = model.priors()
    for name in weights:
        if _depend(priors[name]):
            raise ValueError(
                f"values of a weight must be independent under its prior, or their precisions are no diagonal; that of "
                f"{name!r} is {type(priors[name]).__name__}. Use fit_svi or fit_nuts, or a prior of independent values."
            )
        if bounds(priors[name]) is not None:
            raise ValueError(
                f"a normal about the weights must not leave what their prior allows, but that of {name!r} is bounded: "
                f"{describe(priors[name])}. Use fit_svi or fit_nuts, or a prior over all real numbers."
            )
    return {name: prior_precision(priors[name], value) for name, value in weights.items()}


def _of_last_layer(mode: Mode, num_samples: int, seed: int) -> WeightPosterior:
    known = mode.model
    head = LastLayer.of(known, mode.weights, mode.inputs[:64])
    features = head.features(mode.inputs)
    own = {name: mode.weights[name] for name in head.body.names}
    outputs = head.body.outputs(features, {name: value[None] for name, value in own.items()})[0]
    k, p = outputs.shape[1], features.shape[1] + len(own) - 1
    if k * p > _MOST_COEFFICIENTS:
        raise ValueError(
            f"a full last layer must have {_MOST_COEFFICIENTS} parameters at most; this one has {k * p}. Write "
            'structure="diagonal", or use fit_last_layer.'
        )
    precision = linear_information(known, head.design(features), outputs, mode.latents).reshape(k * p, k * p)
    precision.diagonal().add_(head.joined(_prior_precisions(known, own)).flatten())
    factor = torch.linalg.cholesky(precision)
    mean = head.joined(own).double()
    if isinstance(known.likelihood, Gaussian):
        blocks = torch.cholesky_inverse(factor).reshape(k, p, k, p).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        head = replace(head, posterior=Posterior(mean, torch.linalg.cholesky(blocks)))
    evidence = _log_evidence(mode, own, 2 * factor.diagonal().log().sum())
    draws = partial(_draws_of_last_layer, head, mean, factor, mode.latents)
    density = partial(_density_of_last_layer, head, mean, factor)
    return WeightPosterior(head, draws(num_samples, seed), "laplace", None, evidence, draws, density=density)


def _draws_of_last_layer(
    head: LastLayer, mean: Tensor, factor: Tensor, latents: Mapping[str, Tensor], number: int, seed: int
) -> dict[str, Tensor]:
    noise = _noise(torch.Generator().manual_seed(seed), len(factor), number, like=mean)
    steps = torch.linalg.solve_triangular(factor.mT, noise, upper=True)
    values = head.split(mean + steps.mT.reshape(number, *mean.shape))
    return values | {name: value.expand(number, *value.shape) for name, value in latents.items()}


def _density_of_last_layer(head: LastLayer, mean: Tensor, factor: Tensor, drawn: Mapping[str, Tensor]) -> Tensor:
    steps = (head.joined(drawn).double() - mean).flatten(1) @ factor
    return factor.diagonal().log().sum() - 0.5 * (steps.square().sum(1) + len(factor) * math.log(2 * math.pi))


def _of_all(mode: Mode, num_samples: int, seed: int) -> WeightPosterior:
    known, weights = mode.model, mode.weights
    linear = Linearised(known, weights)
    try:
        linear.predict({name: value[None] for name, value in mode.values.items()}, mode.inputs[:2])
        information = diagonal_information(known, weights, mode.latents, mode.inputs)
    except RuntimeError as error:
        raise ValueError(
            "the network must be one that torch can differentiate forward and for each datum; it said: "
            f'{str(error).splitlines()[0]} Write structure="last_layer", which asks for neither.'
        ) from error
    scales = {name: (information[name] + own).rsqrt() for name, own in _prior_precisions(known, weights).items()}
    log_determinant = -2 * torch.stack([scale.log().sum() for scale in scales.values()]).sum()
    evidence = _log_evidence(mode, weights, log_determinant)
    draws, density = partial(_draws_of_all, weights, scales, mode.latents), partial(_density_of_all, weights, scales)
    return WeightPosterior(linear, draws(num_samples, seed), "laplace", None, evidence, draws, density=density)


def _draws_of_all(
    weights: Mapping[str, Tensor], scales: Mapping[str, Tensor], latents: Mapping[str, Tensor], number: int, seed: int
) -> dict[str, Tensor]:
    generator, drawn = torch.Generator().manual_seed(seed), {}
    for name, scale in scales.items():
        noise = _noise(generator, number, *scale.shape, like=scale)
        drawn[name] = (weights[name] + scale * noise).to(weights[name].dtype)
    return drawn | {name: value.expand(number, *value.shape) for name, value in latents.items()}


def _density_of_all(weights: Mapping[str, Tensor], scales: Mapping[str, Tensor], drawn: Mapping[str, Tensor]) -> Tensor:
    parts = [Normal(weights[n], scale).log_prob(drawn[n].double()).flatten(1).sum(1) for n, scale in scales.items()]
    return torch.stack(parts).sum(0)


@dataclass(frozen=True, eq=False)
class Linearised:
    r"""A model whose network is replaced by its tangent, :math:`f_{\hat\theta}(x) + J(x) (\theta - \hat\theta)`.

    Attributes:
        model: The model, knowing its data.
        point: The parameters at which the tangent touches, by name.
    """

    model: BayesianNeuralNetwork
    point: dict[str, Tensor]

    @property
    def name(self) -> str:
        """What the model is, in a few words."""
        return f"linearised {self.model.name}"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the training inputs, where they were a frame."""
        return self.model.columns

    @property
    def input_words(self) -> str:
        """The shape of the training inputs, in words."""
        return self.model.input_words

    def predict(self, weights: Mapping[str, Tensor], x: Tensor) -> Distribution:
        """Members ``(S, N)`` at S draws of weights and latents."""

        def tangent(steps: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            return jvp(lambda at: self.model.outputs(at, x), (self.point,), (steps,))  # type: ignore[return-value]

        steps = {name: weights[name] - value for name, value in self.point.items()}
        widest = max(sum(value.numel() for value in self.point.values()), x.numel())
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            outputs, moves = vmap(tangent, chunk_size=max(1, _NUMBERS_AT_ONCE // widest))(steps)
        return self.model.members(outputs + moves, weights)

    def log_priors(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log-prior density of the network's parameters ``(S,)`` by name, in nats; latents do not vary."""
        return {name: prior.to_event().log_prob(weights[name]) for name, prior in self.model.priors().items()}

    def prior_draws(self, number: int) -> dict[str, Tensor]:
        """Draws of parameters and latents from their priors ``(number, *shape)``."""
        return self.model.prior_draws(number)

    def to(self, device: torch.device) -> Linearised:
        """The same on another device."""
        point = {name: value.to(device) for name, value in self.point.items()}
        return Linearised(copy.deepcopy(self.model).to(device), point)


def _noise(generator: torch.Generator, *shape: int, like: Tensor) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator).to(like.device)


def _log_evidence(mode: Mode, uncertain: Mapping[str, Tensor], log_determinant: Tensor) -> dict[str, float]:
    r"""Laplace's log-evidence :math:`\log p(y, \hat\theta) + \frac d2 \log 2\pi - \frac12 \log |H|`, per datum."""
    known, parts = mode.model, zip(mode.inputs.split(_ROWS_AT_ONCE), mode.targets.split(_ROWS_AT_ONCE), strict=True)
    log_joint = sum(float(known.log_likelihood(mode.values, x, y).double().sum()) for x, y in parts)
    log_joint += sum(float(known.priors()[name].log_prob(value).sum()) for name, value in uncertain.items())
    size = sum(value.numel() for value in uncertain.values())
    found = log_joint + 0.5 * (size * math.log(2 * math.pi) - float(log_determinant))
    return {"log_evidence_per_datum": found / len(mode.inputs)}
