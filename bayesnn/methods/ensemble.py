"""fit_ensemble: deep ensembles, of plain networks trained side by side or of any other fitted method."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bayesnn.checks import check_count
from bayesnn.fitting import check_seed, epochs_for, isolated, prepared
from bayesnn.methods.map import STEPS, final_loss, fit_map
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.points import Objective, maximise_together, pays_together
from bayesnn.posterior import WeightPosterior
from bayesnn.seeding import seeded
from bayesnn.training import Callback, History

__all__ = ["fit_ensemble"]


def fit_ensemble(
    model: BayesianNeuralNetwork,
    x: Any,
    y: Any = None,
    *,
    num_members: int = 5,
    num_samples: int | None = None,
    num_epochs: int | None = None,
    batch_size: int = 128,
    learning_rate: float | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callback | None = None,
    beta: float = 0.5,
    adversarial: float = 0.0,
    member: Callable[..., WeightPosterior] = fit_map,
    starts: Sequence[Mapping[str, Tensor] | nn.Module] | None = None,
    vectorised: bool | None = None,
    **options: Any,
) -> WeightPosterior:
    r"""Fit a deep ensemble: M networks from different starts, each seeing the data in another order.

    The predictive is the equally weighted mixture of what the members say,

    .. math:: p(y \mid x) = \frac1M \sum_m p(y \mid x, \theta_m), \qquad
              \mu_* = \frac1M \sum_m \mu_m, \qquad
              \sigma_*^2 = \frac1M \sum_m (\sigma_m^2 + \mu_m^2) - \mu_*^2.

    The first member starts from the network's own weights with seed ``seed``, the m-th from weights drawn anew by every
    layer's ``reset_parameters`` under seed ``seed + m``: an ensemble of one is the network that `fit_map` gives. Small
    networks of linear layers are trained side by side as one program, others one after another, with the same result up
    to rounding.

    Args:
        model: Network, prior and likelihood.
        x: Inputs ``(N, ...)`` in raw units; or a ``Dataset`` or ``DataLoader`` of ``(x, y)``.
        y: Targets ``(N,)`` or ``(N, D)``.
        num_members: Number of members M.
        num_samples: Draws in all, shared out among the members, where ``member`` has draws (``fit_svi``): M times
            20 if left out. Plain networks are one draw each.
        num_epochs: Passes over the data; the member's own default if left out.
        batch_size: Data in a minibatch.
        learning_rate: Adam's step size at the start; the member's own default if left out.
        device: Where to fit; where the network is, if left out.
        seed: Seed of the first member; the m-th has ``seed + m``.
        progress: Whether to show a progress bar.
        callback: Called after each epoch with its number and the mean of each term (over members trained together).
        beta: See `fit_map`.
        adversarial: Adversarial training, see `fit_map`; 0.01 in the paper, 0 for none.
        member: What fits a member. With ``fit_svi`` the ensemble is a mixture of variational posteriors. Its draws
            must be weights of the whole network, so ``fit_last_layer`` and ``fit_laplace`` are none.
        starts: Weights by name, or networks, for each member to start from instead.
        vectorised: Whether plain networks are trained side by side; decided by their size if left out.
        **options: Handed on to ``member``.

    Returns:
        A posterior of M draws, or of ``num_samples`` where the members have draws of their own.

    Raises:
        TypeError: If model or data are of the wrong kind.
        ValueError: If the data do not suit the model, or a setting is out of range; the message says how.

    References:
        Lakshminarayanan et al. (2017), Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles,
        arXiv:1612.01474, algorithm 1 and section 2.4.

    Example:
        >>> from bayesnn import BayesianNeuralNetwork, likelihoods, networks
        >>> x, y = torch.randn(50, 2), torch.randn(50)
        >>> model = BayesianNeuralNetwork(networks.mlp(2, 2), likelihood=likelihoods.heteroscedastic_gaussian)
        >>> fit_ensemble(model, x, y, num_epochs=2, progress=False)(x).num_samples
        5
    """
    check_count("num_members", num_members)
    if starts is not None and len(starts) != num_members:
        raise ValueError(f"starts must hold one start for each of the {num_members} members; got {len(starts)}.")
    if not isinstance(model, BayesianNeuralNetwork):
        prepared(model, x, y, device)  # which says what is wrong
    check_seed(seed)
    members = _members(model, num_members, seed, starts)
    given: dict[str, Any] = {"num_epochs": num_epochs, "batch_size": batch_size, "device": device, "seed": seed}
    given |= {"progress": progress, "callback": callback}
    given |= {"learning_rate": learning_rate} if learning_rate is not None else {}
    if member is not fit_map:
        unused = {"beta": beta != _DEFAULT_BETA, "adversarial": adversarial != 0, "vectorised": bool(vectorised)}
        if any(unused.values()):
            names = ", ".join(name for name, is_given in unused.items() if is_given)
            raise TypeError(
                f"{names} belong to plain networks, which fit_map trains; this ensemble's members are fitted by "
                f"{getattr(member, '__name__', member)}. Leave them out."
            )
        return _of_posteriors(member, members, x, y, num_samples, {**given, **options})
    if options or num_samples is not None:
        unknown = ", ".join([*options, *(["num_samples"] if num_samples is not None else [])])
        raise TypeError(
            f"plain networks have no {unknown}; each is one draw. Write member=fit_svi for members with draws."
        )
    given |= {"beta": beta, "adversarial": adversarial}
    together = num_members > 1 and pays_together(model.network) if vectorised is None else vectorised
    if not together:
        return _of_posteriors(fit_map, members, x, y, None, given)
    try:
        return _together(members, model, x, y, given)
    except RuntimeError:  # what torch cannot vectorise: attention, branches on values
        if vectorised:
            raise
        return _of_posteriors(fit_map, members, x, y, None, given)


def _together(
    members: Sequence[BayesianNeuralNetwork], model: BayesianNeuralNetwork, x: Any, y: Any, given: Mapping[str, Any]
) -> WeightPosterior:
    """Plain networks trained side by side."""
    seed, batch_size = given["seed"], given["batch_size"]
    known, inputs, targets = prepared(model, x, y, given["device"])
    with isolated(seed, inputs.device):
        weights, history = maximise_together(
            Objective(known, inputs, given["beta"], given["adversarial"]),
            targets,
            [{name: value.to(inputs.device) for name, value in one.start().items()} for one in members],
            seeds=[seed + number for number in range(len(members))],
            num_epochs=epochs_for(given["num_epochs"], STEPS, len(inputs), batch_size),
            batch_size=batch_size,
            learning_rate=given.get("learning_rate", _DEFAULT_RATE),
            progress=given["progress"],
            callback=given["callback"],
            label="ensemble",
        )
    return WeightPosterior(known, weights, "ensemble", history, {"final_loss": final_loss(history)})


_DEFAULT_RATE: float = inspect.signature(fit_map).parameters["learning_rate"].default
_DEFAULT_BETA: float = inspect.signature(fit_map).parameters["beta"].default


def _members(
    model: BayesianNeuralNetwork, number: int, seed: int, starts: Sequence[Mapping[str, Tensor] | nn.Module] | None
) -> list[BayesianNeuralNetwork]:
    """The model at each member's start."""
    if starts is None:
        return [model] + [_restarted(model, seed + m) for m in range(1, number)]
    members = []
    for m, start in enumerate(starts):
        values = dict(start.named_parameters()) if isinstance(start, nn.Module) else start
        own = model.start()
        if values.keys() != own.keys() or any(values[name].shape != own[name].shape for name in own):
            raise ValueError(
                f"starts must name the network's parameters, with their shapes; start {m} does not: "
                f"{', '.join(sorted(values.keys() ^ own.keys())) or 'a shape differs'}."
            )
        one = copy.deepcopy(model)
        with torch.no_grad():
            for name, parameter in one.network.named_parameters():
                parameter.copy_(values[name])
        members.append(one)
    return members


@torch.no_grad()
def _restarted(model: BayesianNeuralNetwork, seed: int) -> BayesianNeuralNetwork:
    """The model with its network's weights drawn anew."""
    fresh = copy.deepcopy(model)
    with seeded(seed, model.device):
        for name, module in fresh.network.named_modules():
            if not list(module.parameters(recurse=False)):
                continue
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if reset is None:
                raise ValueError(
                    f"every layer with weights must have reset_parameters() to start anew; {name or 'the network'!r}, "
                    f"{type(module).__name__}, has none. Give it one, or pass starts=[network, ...]."
                )
            reset()
    return fresh


def _of_posteriors(
    fit: Callable[..., WeightPosterior],
    members: Sequence[BayesianNeuralNetwork],
    x: Any,
    y: Any,
    num_samples: int | None,
    options: dict[str, Any],
) -> WeightPosterior:
    """Members one after another, their draws joined."""
    shares: list[int | None] = [None] * len(members)
    if fit is not fit_map:
        total = 20 * len(members) if num_samples is None else num_samples
        if total < len(members):
            raise ValueError(f"num_samples must be {len(members)} or more, one for each member; got {num_samples}.")
        shares = [total // len(members) + (m < total % len(members)) for m in range(len(members))]
    fits: list[WeightPosterior] = []
    for number, (one, share) in enumerate(zip(members, shares, strict=True)):
        own = {"num_samples": share} if share is not None else {}
        fits.append(fit(one, x, y, **{**options, **own, "seed": options["seed"] + number}))
        if not isinstance(fits[-1].model, BayesianNeuralNetwork):
            raise TypeError(
                f"members must be draws of the whole network's weights, to be joined; those of {fits[-1].method} are "
                "not. Write member=fit_svi, fit_dropout or fit_swag."
            )
        if (last := fits[-1].history) is not None and last.interrupted:
            break
    histories = [one.history for one in fits if one.history is not None]
    history = History(
        [epoch for one in histories for epoch in one.epochs],
        sum(one.seconds for one in histories),
        any(one.interrupted for one in histories),
    )
    common = [name for name in fits[0].summary if all(name in one.summary for one in fits)]
    summary = {name: sum(one.summary[name] for one in fits) / len(fits) for name in common}
    name = "ensemble" if fit is fit_map else f"ensemble of {fits[0].method}"
    makers = [one.draws for one in fits]

    def draws(number: int, seed: int) -> dict[str, Tensor]:
        parts = [number // len(fits) + (m < number % len(fits)) for m in range(len(fits))]
        return _joined([make(n, seed + m) for m, (make, n) in enumerate(zip(makers, parts, strict=True)) if make and n])

    joined = _joined([one.weights for one in fits])
    return WeightPosterior(fits[0].model, joined, name, history, summary, draws if all(makers) else None)


def _joined(weights: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([one[name] for one in weights]) for name in weights[0]}
