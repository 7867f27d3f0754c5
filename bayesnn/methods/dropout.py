"""fit_dropout: MC dropout, masks held still as draws of the weights; with fixed or with learnt (concrete) rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from bayesnn import priors
from bayesnn.checks import check_count, check_positive
from bayesnn.fitting import epochs_for, isolated, prepared
from bayesnn.flat_points import FlatPoints
from bayesnn.likelihoods import Gaussian
from bayesnn.masks import Mask, masks_of, trace_masks, with_masks
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.points import Objective
from bayesnn.posterior import WeightPosterior
from bayesnn.seeding import seeded
from bayesnn.training import Callback, History, Minibatches, optimise

__all__ = ["fit_dropout"]

_STEPS = 5000
_CONCRETE_START = 0.1


def fit_dropout(
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
    rate: float | None = None,
    concrete: bool = False,
    length_scale: float | None = None,
    precision: float | None = None,
    beta: float = 0.5,
) -> WeightPosterior:
    r"""Fit by dropout, and predict with dropout: MC dropout as an approximate posterior.

    Each draw of the posterior is one draw of masks, held still for all inputs; a mask on the inputs of a layer is a
    mask on the columns of its weight matrix. With masks :math:`z`, the network's own weights :math:`M`, and
    :math:`1 - p` the chance of keeping an input,

    .. math:: \max_M \; \sum_n \mathbb{E}_z[\log p(y_n \mid x_n, M z)]
              + \sum_{\text{masked } M_l} \bigl((1 - p_l) \log p(M_l) + p_l \log p(0)\bigr)
              + \sum_{\text{other } m} \log p(m),

    with the model's own priors. A mask that a linear or convolutional layer reads is on its weight; one that a
    normalisation or another kind of layer reads is on none, and the weights behind it count among the others. For a
    Gaussian likelihood of precision :math:`\tau` and the prior :math:`N(0, l^{-2})` this is the least-squares loss with
    the paper's weight decay :math:`\lambda = (1 - p) l^2 / (2 N \tau)`.

    A noise scale that is not given is fitted along. It then takes in what the masks spread, which the predictive adds
    once more: predictions are somewhat too wide, the more the larger the rate. Where data can be spared, choose
    ``precision`` on some held out, as the paper does.

    Args:
        model: Network with ``nn.Dropout`` layers (1d, 2d, 3d too), prior and likelihood. Masks are drawn in these
            layers; in every other method they do nothing.
        x: Inputs ``(N, ...)`` in raw units; or a ``Dataset`` or ``DataLoader`` of ``(x, y)``.
        y: Targets ``(N,)`` or ``(N, D)``.
        num_samples: Draws S of masks.
        num_epochs: Passes over the data; if left out, as many as make 5000 steps, 20 at least.
        batch_size: Data in a minibatch.
        learning_rate: Adam's step size at the start.
        device: Where to fit; where the network is, if left out.
        seed: Seed of the fit and of its draws.
        progress: Whether to show a progress bar.
        callback: Called after each epoch with its number and the mean of each term.
        rate: Dropout rate p of all layers; each layer's own if left out.
        concrete: Learn each layer's rate, through relaxed masks and with the masks' entropy in the objective; the rates
            start at 0.1, or at ``rate``.
        length_scale: Prior length-scale l: every weight gets the prior :math:`N(0, l^{-2})`. The model's own prior if
            left out.
        precision: Noise precision :math:`\tau` of a Gaussian likelihood, in one over squared units of ``y``: the noise
            scale is then known. The model's own noise if left out.
        beta: See `fit_map`.

    Returns:
        A posterior of S draws; `resample` draws other masks. ``summary`` has the rates as ``rate[<layer>]``.

    Raises:
        TypeError: If model or data are of the wrong kind.
        ValueError: If there is no dropout layer, dropout is hidden where masks cannot be held still, or a setting is
            out of range; the message says how.

    References:
        Gal and Ghahramani (2016), Dropout as a Bayesian Approximation, arXiv:1506.02142, equations 3 to 7, and its
        appendix, arXiv:1506.02157, section 4 (there p is the chance of keeping).
        Gal, Hron and Kendall (2017), Concrete Dropout, arXiv:1705.07832, equations 1 to 5.

    Example:
        >>> from bayesnn import BayesianNeuralNetwork, likelihoods, networks
        >>> x, y = torch.randn(50, 2), torch.randn(50)
        >>> model = BayesianNeuralNetwork(networks.mlp(2, 1, dropout=0.1), likelihood=likelihoods.gaussian)
        >>> fit_dropout(model, x, y, num_samples=10, num_epochs=2, progress=False)(x).num_samples
        10
    """
    check_count("num_samples", num_samples)
    if not isinstance(beta, Real):
        raise ValueError(f"beta must lie between 0 (the likelihood itself) and 1; got {beta!r}. Write beta=0.5.")
    model, inputs, targets = prepared(_with_settings(model, rate, concrete, length_scale, precision), x, y, device)
    few = inputs[:8]
    read_by = trace_masks(model.network, lambda: model.outputs(model.start(), few), inputs.device)
    masks = masks_of(model.network)
    keep_of = {w: [m for m in read_by if w in read_by[m]] for names in read_by.values() for w in names}
    objective = Objective(model, inputs, beta)
    settings: dict[str, Any] = {"num_epochs": epochs_for(num_epochs, _STEPS, len(inputs), batch_size)}
    settings |= {"learning_rate": learning_rate, "progress": progress, "callback": callback, "label": "dropout"}
    with isolated(seed, inputs.device):
        for mask in masks.values():
            mask.train()
        if not concrete and FlatPoints.serves(model, 1):
            keep = {name: math.prod(1 - masks[mask].rate for mask in before) for name, before in keep_of.items()}
            flat = FlatPoints(model, inputs, targets, [objective.free(model.start())], beta, keep)
            data = Minibatches([flat.inputs, flat.targets], batch_size)
            history = optimise(lambda step, batch: flat(batch), [flat.parameters], data, **settings)
            found = flat.values()
        else:
            data = Minibatches([inputs, targets], batch_size)
            found, history = _by_reference(objective, data, masks, keep_of, concrete, settings)
        for mask in masks.values():
            mask.eval()

    draws = partial(_draws, masks, found)
    summary = {f"rate[{name}]": mask.rate for name, mask in masks.items()}
    summary["final_loss"] = history.epochs[-1]["loss"] if history.epochs else float("nan")
    method = "concrete_dropout" if concrete else "dropout"
    return WeightPosterior(model, draws(num_samples, seed), method, history, summary, draws)


def _draws(masks: Mapping[str, Mask], found: Mapping[str, Tensor], number: int, seed: int) -> dict[str, Tensor]:
    like = next(iter(found.values()))
    with seeded(seed, like.device):
        drawn = {f"{name}.mask".lstrip("."): mask.draws(number, like=like) for name, mask in masks.items()}
    return {name: value.expand(number, *value.shape) for name, value in found.items()} | drawn


def _by_reference(
    objective: Objective,
    data: Minibatches,
    masks: Mapping[str, Mask],
    keep_of: Mapping[str, Sequence[str]],
    concrete: bool,
    settings: Mapping[str, Any],
) -> tuple[dict[str, Tensor], History]:
    """The fit for any prior, and for rates that are learnt."""
    model, inputs = objective.model, objective.inputs
    free = objective.free(model.start())
    logits = {n: inputs.new_tensor(mask.rate, dtype=model.dtype).logit() for n, mask in masks.items()}
    logits = logits if concrete else {}
    leaves = [value.requires_grad_() for value in (*free.values(), *logits.values())]
    at_zero = {name: model.priors()[name].log_prob(torch.zeros_like(free[name])).sum() for name in keep_of}
    for name, density in at_zero.items():
        prior = model.priors()[name]
        if not bool(density.isfinite()) or getattr(priors.bounds(prior), "upper_bound", None) is not None:
            raise ValueError(
                "a weight behind dropout is zero in some draws and larger in the others, so that its prior must have a "
                f"density at 0 and no upper end; that of {name!r} is {priors.describe(prior)}. Write priors.normal()."
            )

    def loss(step: int, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        at = objective.weights(free)
        misfit = objective.misfit(at, *batch)
        keep = {n: math.prod(_keep(masks[mask], logits.get(mask)) for mask in before) for n, before in keep_of.items()}
        penalty = -_log_prior(model, at, keep, at_zero)
        penalty = penalty - sum(_entropy(masks[name], logit) for name, logit in logits.items())
        return {"loss": misfit + penalty / len(inputs), "misfit": misfit}

    for name, mask in masks.items():
        mask.logit = logits.get(name)
    history = optimise(loss, leaves, data, **settings)
    for name, mask in masks.items():
        mask.rate = float(logits[name].detach().sigmoid()) if concrete else mask.rate
        mask.logit = None
    return {name: value.detach() for name, value in objective.weights(free).items()}, history


def _with_settings(
    model: BayesianNeuralNetwork,
    rate: float | None,
    concrete: bool,
    length_scale: float | None,
    precision: float | None,
) -> BayesianNeuralNetwork:
    """The model with masks in the place of dropout layers, and with the prior and noise asked for."""
    if not isinstance(model, BayesianNeuralNetwork):
        return model  # `prepared` says what is wrong
    for name, value in (("rate", rate), ("length_scale", length_scale), ("precision", precision)):
        if value is not None:
            check_positive(name, value, "Leave it out for the model's own.")
    if rate is not None and rate >= 1:
        raise ValueError(f"a dropout rate must lie between 0 and 1; got rate={rate}. Write rate=0.1, say.")
    prior, likelihood = model.prior, model.likelihood
    if length_scale is not None:
        prior = priors.normal(1 / length_scale)
    if precision is not None:
        if not isinstance(likelihood, Gaussian):
            raise ValueError(f"precision is of a Gaussian likelihood; this model's is {likelihood.name}. Leave it out.")
        likelihood = likelihood.with_noise(precision**-0.5)
    network = with_masks(model.network, _CONCRETE_START if concrete and rate is None else rate)
    return BayesianNeuralNetwork(network, prior, likelihood, standardise=model.standardise)


def _log_prior(
    model: BayesianNeuralNetwork,
    at: Mapping[str, Tensor],
    keep: Mapping[str, float | Tensor],
    at_zero: Mapping[str, Tensor],
) -> Tensor:
    """Expected log-prior density: a draw's masked weight is scaled by 1 / keep with the chance keep, and else 0.

    Under a normal prior its penalty is keep (w / keep)^2 = w^2 / keep, as in the code of concrete dropout's authors.
    """
    drawn = {name: at[name] / keep[name] if name in keep else at[name] for name in at}
    each = {name: p.log_prob(drawn[name]).sum() for name, p in (model.priors() | model.latents()).items()}
    each |= {name: keep[name] * each[name] + (1 - keep[name]) * at_zero[name] for name in keep}
    return torch.stack(list(each.values())).sum()


def _keep(mask: Mask, logit: Tensor | None) -> float | Tensor:
    return 1 - mask.rate if logit is None else torch.sigmoid(-logit)


def _entropy(mask: Mask, logit: Tensor) -> Tensor:
    """Entropy of all the zeros and ones of a mask, in nats."""
    p = logit.sigmoid()
    return math.prod(mask.shape) * (torch.special.entr(p) + torch.special.entr(1 - p))
