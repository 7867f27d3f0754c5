"""fit_svi: the Bayesian neural network by stochastic variational inference, set up to fit well and to say when not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from pyro.distributions import Normal
from pyro.infer import ELBO
from torch import Tensor
from torch.nn.modules.conv import _ConvNd

from bayesnn.axes import principal_axes
from bayesnn.checks import check_count
from bayesnn.elbo import MeanFieldELBO
from bayesnn.fitting import epochs_for, isolated, prepared, prepared_pyro_model
from bayesnn.flat_elbo import FlatELBO
from bayesnn.guide_density import density_of
from bayesnn.guides import AutoNormal, built, guide_draws
from bayesnn.methods.map import fit_map
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.posterior import WeightPosterior
from bayesnn.pyro_model import PyroModel
from bayesnn.reparameterisation import local_sites
from bayesnn.settled import WINDOW_STARTS, final_figures, rise, warn_of_a_bad_fit
from bayesnn.training import Callback, Minibatches, optimise
from bayesnn.warned import warn

__all__ = ["fit_svi"]

_STEPS = 5000
_STEP_SIZE, _LARGER, _WITH_CONVOLUTIONS, _OF_ONE_INPUT = 0.015, 0.03, 0.01, 0.3
"""Adam's step size at the start; that of models of one's own, whose unknowns are in raw units, and of other guides,
which have correlations to find; with convolutions; and what a perceptron's falls from with its layers' inputs."""

_FEW_WEIGHTS = 40_000
"""Weights up to which noise is drawn for each datum."""

Start = Literal["network", "map"] | Mapping[str, Tensor]


def fit_svi(
    model: BayesianNeuralNetwork | Callable,
    x: Any,
    y: Any = None,
    *,
    num_samples: int = 100,
    num_epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callback | None = None,
    guide: Callable = AutoNormal,
    start: Start = "network",
    init_scale: float | Mapping[str, float] = 0.05,
    warmup: float = 0.5,
    num_particles: int = 1,
    rotate: bool = True,
    per_datum_noise: bool | None = None,
    temperature: float = 1.0,
    elbo: ELBO | None = None,
) -> WeightPosterior:
    r"""Fit a posterior by stochastic variational inference: maximise the ELBO over a guide :math:`q`.

    .. math:: \mathrm{ELBO}(q) = \mathbb{E}_q[\log p(y \mid x, \theta)] - T\,\mathrm{KL}(q \,\|\, p), \qquad T = 1.

    The defaults are those that reached the best fits in docs/variational-fit.md: the divergence in closed form, its
    weight rising from 0 to T over the first half of the steps; prior scales fitted as part of the ELBO (where the prior
    says so, as the default one does); a guide along the principal axes of the inputs; noise drawn for each datum of
    small networks; a small initial scale, and a step size that suits the width and falls. A warning says so when the
    ELBO was still rising at the end, or when the posterior has collapsed to the prior.

    Args:
        model: A `BayesianNeuralNetwork`, or any Pyro model ``model(x, y=None)`` with one observed site.
        x: Inputs ``(N, ...)`` in raw units; or a ``Dataset`` or ``DataLoader`` of ``(x, y)``.
        y: Targets ``(N,)`` or ``(N, D)``.
        num_samples: Draws S of the posterior.
        num_epochs: Passes over the data; if left out, as many as make 5000 steps, 20 at least.
        batch_size: Data in a minibatch: 128, and all of them for a Pyro model of your own, if left out.
        learning_rate: Adam's step size at the start. If left out 0.015, and less where more than 400 inputs meet in a
            unit, 0.3 by the root of their number: they all move its output at once. 0.01 of a network with
            convolutions, each of whose weights moves the outputs of many places; 0.03 of a Pyro model of your own, and
            in place of 0.015 with another guide.
        device: Where to fit; where the network is, if left out.
        seed: Seed of the fit and of its draws.
        progress: Whether to show a progress bar.
        callback: Called after each epoch with its number and the mean of each term.
        guide: A class or function that makes a guide of the model (`AutoNormal`, ``AutoMultivariateNormal``), or a
            guide module. Prior scales are fitted with `AutoNormal` only; with another guide the prior is as it stands,
            so give it the scales of an `AutoNormal` fit:
            ``prior=lambda name, value: posterior.model.priors()[name]``.
        start: Where the guide's means begin: at the ``"network"``'s own weights, at the ``"map"``, or at given values.
        init_scale: `AutoNormal`'s initial standard deviation, one or by site name.
        warmup: Fraction of the steps over which the divergence's weight rises to ``temperature``.
        num_particles: Draws averaged in each gradient.
        rotate: Whether `AutoNormal` is independent along the principal axes of the inputs, for the weights that read
            them, instead of along their columns (see `bayesnn.axes`).
        per_datum_noise: Whether `AutoNormal`'s noise is drawn for each datum where a layer allows it (see
            `bayesnn.reparameterisation`), or once for a minibatch. If left out, of networks of up to 40 000 weights,
            which fit better so; larger ones fit no better, and are quicker without (docs/variational-fit.md).
        temperature: Weight T of the divergence. Anything but 1 is not the Bayesian posterior, and is reported.
        elbo: A Pyro objective in place of `MeanFieldELBO`; it brings its own settings, so ``warmup``, ``num_particles``
            and fitted prior scales are not used.

    Returns:
        A posterior of S draws. Its ``summary`` tells ``elbo_per_datum``, ``kl_per_datum`` and
        ``elbo_rise`` (how much it still rose from 65 % to 85 % of the epochs) in nats per datum; its
        ``model`` has the priors as fitted; its ``guide`` is the fitted guide.

    Raises:
        TypeError: If model or data are of the wrong kind.
        ValueError: If the data do not suit the model, or a setting is out of range; the message says how.

    References:
        Graves (2011), Practical Variational Inference for Neural Networks, NIPS; Blundell et al. (2015),
        arXiv:1505.05424; Sønderby et al. (2016), arXiv:1602.02282, section 2.3, for the warm-up.

    Example:
        >>> from bayesnn import BayesianNeuralNetwork, likelihoods, networks
        >>> x = torch.randn(2000, 2)
        >>> y = x.sum(1) + 0.3 * torch.randn(2000)
        >>> model = BayesianNeuralNetwork(networks.mlp(2, 1), likelihood=likelihoods.gaussian)
        >>> posterior = fit_svi(model, x, y, num_samples=10, num_epochs=15, progress=False)
        >>> posterior(x).mean.shape
        torch.Size([2000])
    """
    _check_settings(num_samples, warmup, num_particles, temperature, start)
    if not (per_datum_noise is None or isinstance(per_datum_noise, bool)):
        raise TypeError(f"per_datum_noise must be True, False or None; got {per_datum_noise!r}.")
    known: BayesianNeuralNetwork | PyroModel
    if isinstance(model, BayesianNeuralNetwork):
        known, inputs, targets = prepared(model, x, y, device)
    else:
        known, inputs, targets = prepared_pyro_model(model, x, y, device, batch_size)
    if batch_size is None:
        batch_size = 128 if isinstance(model, BayesianNeuralNetwork) else len(inputs)
    epochs = epochs_for(num_epochs, _STEPS, len(inputs), batch_size)
    if start == "map":
        start = _map_start(known, inputs, targets, seed, progress)
    few = (inputs[:batch_size].clone(), targets[:batch_size].clone())  # views would hold, and save, all data
    if elbo is not None and (temperature != 1 or known.likelihood_factor(min(batch_size, len(inputs))) != 1):
        raise ValueError(
            "elbo= brings its own settings: it goes with temperature=1, and with minibatches only of a model whose "
            "plate has the data set's size, pyro.plate('data', N, subsample=...)."
        )

    with isolated(seed, inputs.device):
        values = start if isinstance(start, Mapping) else None
        if values and isinstance(known, BayesianNeuralNetwork):
            values = _of_sites(known, values)
        rotated = _axes(known, inputs, few) if rotate and isinstance(known, BayesianNeuralNetwork) else None
        fitted = built(guide, known, few, start=values, init_scale=init_scale, axes=rotated)
        objective = MeanFieldELBO(num_particles)
        if isinstance(fitted, AutoNormal):
            is_small = sum(loc.numel() for loc, _ in fitted.real_moments().values()) <= _FEW_WEIGHTS
            if is_small if per_datum_noise is None else per_datum_noise:
                objective.per_datum_noise = _per_datum_sites(known, fitted, few)
        total_steps = epochs * math.ceil(len(inputs) / batch_size)

        few_operations: FlatELBO | None = None
        if elbo is None and FlatELBO.serves(known, fitted):
            assert isinstance(known, BayesianNeuralNetwork)
            assert isinstance(fitted, AutoNormal)
            few_operations = FlatELBO(
                known, fitted, inputs, targets, per_datum=objective.per_datum_noise, num_particles=num_particles
            )

        def loss(step: int, batch: Sequence[Tensor]) -> dict[str, Tensor]:
            if elbo is not None:
                return {"loss": elbo.differentiable_loss(known, fitted, *batch) / len(inputs)}
            weight = temperature * (min(1.0, (step + 1) / (warmup * total_steps)) if warmup else 1.0)
            if few_operations is not None:
                return few_operations(batch, weight, fresh=step == total_steps - 1)  # as a state put back is tried
            fit, divergence = objective.terms(known, fitted, *batch)
            fit = fit * known.likelihood_factor(len(batch[0]))
            misfit, kl = -fit / len(inputs), divergence / len(inputs)
            return {"loss": misfit + weight * kl, "misfit": misfit, "kl": kl}

        if few_operations is not None:
            leaves, data = [few_operations.parameters], [few_operations.inputs, few_operations.targets]
        else:
            modules, data = (fitted, *known.trainable()), [inputs, targets]
            leaves = [leaf for module in modules for leaf in module.parameters() if leaf.requires_grad]
        history = optimise(
            loss,
            leaves,
            Minibatches(data, batch_size),
            num_epochs=epochs,
            learning_rate=_step_size(model, fitted) if learning_rate is None else learning_rate,
            progress=progress,
            callback=callback,
            label="svi",
        )
        if few_operations is not None:
            few_operations.release()
        summary = final_figures(known, fitted, inputs, targets, len(history.epochs)) if elbo is None else {}
    if summary and warmup <= WINDOW_STARTS:
        summary["elbo_rise"] = rise(history)
    if temperature != 1:
        summary["temperature"] = temperature
    reached = len(history.epochs) / (warmup * epochs) if warmup and elbo is None else 1.0
    if reached < 1:
        summary["kl_weight"] = reached * temperature
        warn(
            f"the fit ended while the weight of the divergence was still {reached * temperature:.2g}: this is no "
            "Bayesian posterior yet, its uncertainty is too small."
        )
    warn_of_a_bad_fit(history, summary, len(inputs), known.constant_log_likelihood(targets), warmup)
    if isinstance(fitted, AutoNormal) and elbo is None:
        known = known.with_fitted_priors({n: (m.detach(), s.detach()) for n, (m, s) in fitted.real_moments().items()})
    draws, density = partial(guide_draws, fitted, few), density_of(fitted, few)
    return WeightPosterior(known, draws(num_samples, seed), "svi", history, summary, draws, fitted, density)


def _check_settings(num_samples: int, warmup: float, num_particles: int, temperature: float, start: Start) -> None:
    check_count("num_samples", num_samples)
    check_count("num_particles", num_particles)
    if not 0 <= warmup <= 1:
        raise ValueError(
            f"warmup must be a fraction of the steps between 0 and 1; got {warmup}. Write warmup=0.5, say."
        )
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature must be positive; got {temperature}. The Bayesian posterior has temperature 1.")
    if isinstance(start, str) and start not in ("network", "map"):
        raise ValueError(f'start must be "network", "map" or values by site name; got {start!r}.')


def _of_sites(model: BayesianNeuralNetwork, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A start in the shapes of the model's sites; a single draw may have its axis in front."""
    sites = model.priors() | model.latents()
    if unknown := start.keys() - sites:
        raise ValueError(
            f"start must name sites of the model ({', '.join(model.priors())}, ...); got {', '.join(sorted(unknown))}."
        )
    for name, value in start.items():
        shape = sites[name].batch_shape + sites[name].event_shape
        if not isinstance(value, Tensor) or value.shape not in (shape, (1, *shape)):
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"start must give {name!r} as a tensor of shape {tuple(shape)}; got {found}. Of several draws write "
                "{name: value.mean(0) for name, value in posterior.weights.items()}."
            )
    return {name: value.reshape(sites[name].batch_shape + sites[name].event_shape) for name, value in start.items()}


def _step_size(model: BayesianNeuralNetwork | Callable, guide: Callable) -> float:
    """Adam's step size at the start, as docs/variational-fit.md found it."""
    if not isinstance(model, BayesianNeuralNetwork):
        return _LARGER
    if any(isinstance(layer, _ConvNd) for layer in model.network.modules()):
        return _WITH_CONVOLUTIONS
    layers, fitted = model.network.named_modules(), model.priors().keys()
    linear = {name: layer for name, layer in layers if isinstance(layer, torch.nn.Linear)}
    most = max(
        (layer.in_features for name, layer in linear.items() if f"{name}.weight".lstrip(".") in fitted), default=1
    )
    return min(_STEP_SIZE if isinstance(guide, AutoNormal) else _LARGER, _OF_ONE_INPUT / math.sqrt(most))


def _map_start(
    model: BayesianNeuralNetwork | PyroModel, x: Tensor, y: Tensor, seed: int, progress: bool
) -> dict[str, Tensor]:
    if not isinstance(model, BayesianNeuralNetwork):
        raise TypeError(
            'start="map" needs a BayesianNeuralNetwork; pass the values of your own model\'s sites instead.'
        )
    return {name: value[0] for name, value in fit_map(model, x, y, seed=seed, progress=progress).weights.items()}


def _axes(model: BayesianNeuralNetwork, x: Tensor, few: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Principal axes for the weights that read the inputs, used by their layer alone and of a normal prior."""
    normal = [name for name, prior in model.priors().items() if isinstance(prior, Normal)]
    return principal_axes(model, x, set(normal) & set(local_sites(model.run, model.start(), *few)))


def _per_datum_sites(
    model: BayesianNeuralNetwork | PyroModel, guide: AutoNormal, few: tuple[Tensor, Tensor]
) -> list[str]:
    values = {name: site.sample() for name, site in guide.sites().items()}
    found = local_sites(model.run, values, *few)
    return [name for name in found if name in guide.real_moments()]
