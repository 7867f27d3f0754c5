"""fit_ensemble: deep ensembles, of plain networks trained side by side or of any other fitted method."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence, Sized
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bayesnn.checks import check_count, check_seed
from bayesnn.fitting import epochs_for, isolated, prepared
from bayesnn.methods.joined import even_shares, joined
from bayesnn.methods.map import STEPS, final_loss, fit_map
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.points import Objective, maximise_together, pays_together
from bayesnn.posterior import WeightPosterior
from bayesnn.starts import restarts, started_at
from bayesnn.training import Callback
from bayesnn.warned import warn

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
            20 if left out. Where they are no multiple of M, the seed says which members have one more. Plain networks
            are one draw each.
        num_epochs: Passes over the data; the member's own default if left out.
        batch_size: Data in a minibatch.
        learning_rate: Adam's step size at the start; the member's own default if left out.
        device: Where to fit; where the network is, if left out.
        seed: Seed of the first member; the m-th has ``seed + m``.
        progress: Whether to show a progress bar.
        callback: Called after each epoch with its number and the mean of each term (over members trained together).
        beta: See `fit_map`.
        adversarial: Adversarial training, see `fit_map`; 0.01 in the paper, 0 for none.
        member: What fits a member: ``fit_map``, ``fit_svi`` (the ensemble is then a mixture of variational
            posteriors), ``fit_dropout``, ``fit_swag`` or ``fit_sghmc``, or a ``functools.partial`` of one, whose
            settings count as if they were given here (``num_samples`` are those of one member). Draws must be weights
            of the whole network, so ``fit_last_layer`` and ``fit_laplace`` are none.
        starts: Weights by name, or networks, for each member to start from instead.
        vectorised: Whether plain networks are trained side by side; if left out, small ones of layers that torch can
            vectorise are.
        **options: Handed on to ``member``.

    Returns:
        A posterior of M draws, or of ``num_samples`` where the members have draws of their own. Its ``resample`` shares
        draws out evenly; the seed chooses the members that have one more, or any where there are fewer draws than
        members, so that each draw is one of the equally weighted mixture.

    Raises:
        TypeError: If model, data or member are of the wrong kind.
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
    if starts is not None and (not isinstance(starts, Sized) or len(starts) != num_members):
        raise ValueError(
            f"starts must hold one start for each of the {num_members} members; got "
            f"{len(starts) if isinstance(starts, Sized) else repr(starts)}. Write starts=[network, ...]."
        )
    if not isinstance(model, BayesianNeuralNetwork):
        prepared(model, x, y, device)  # which says what is wrong
    given: dict[str, Any] = {"num_epochs": num_epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    given |= {"device": device, "seed": seed, "progress": progress, "callback": callback, "num_samples": num_samples}
    given |= {"beta": beta, "adversarial": adversarial}
    if isinstance(member, partial):
        given, options = _with_settings_of(member, num_members, given, options)
        member = member.func
    check_seed(given["seed"])
    num_samples, beta, adversarial = (given.pop(name) for name in ("num_samples", "beta", "adversarial"))
    if given["learning_rate"] is None:
        del given["learning_rate"]
    if member is not fit_map:
        has_draws = _checked_member(member)
        unused = {"beta": beta != _DEFAULT["beta"], "adversarial": adversarial != 0, "vectorised": bool(vectorised)}
        if any(unused.values()):
            names = ", ".join(name for name, is_given in unused.items() if is_given)
            raise TypeError(
                f"{names} belong to plain networks, which fit_map trains; this ensemble's members are fitted by "
                f"{_name(member)}. Leave them out."
            )
        shares = _shares(num_samples, num_members, given["seed"], has_draws)
        return _of_posteriors(member, _starts(model, num_members, given["seed"], starts), x, y, shares, given | options)
    if options or num_samples is not None:
        unknown = ", ".join([*options, *(["num_samples"] if num_samples is not None else [])])
        raise TypeError(
            f"plain networks have no {unknown}; each is one draw. Write member=fit_svi for members with draws."
        )
    members = _starts(model, num_members, given["seed"], starts)
    given |= {"beta": beta, "adversarial": adversarial}
    together = num_members > 1 and pays_together(model.network) if vectorised is None else vectorised
    alone: list[int | None] = [None] * num_members
    if not together:
        return _of_posteriors(fit_map, members, x, y, alone, given)
    try:
        return _together(members, model, x, y, given)
    except RuntimeError as error:  # what torch cannot vectorise: branches on values and the like
        if vectorised:
            raise ValueError(
                f"vectorised=True needs a network that torch can vectorise; it said: {str(error).splitlines()[0]} "
                "Leave vectorised out, and members are trained one after another."
            ) from error
        return _of_posteriors(fit_map, members, x, y, alone, given)


def _with_settings_of(
    member: partial, num_members: int, given: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and options with those that a partial holds, as if they were given beside it."""
    if member.args:
        raise TypeError(
            f"a partial as member must hold its settings by name; got {len(member.args)} without. Write "
            f"partial({_name(member.func)}, batch_size=64), say."
        )
    held = dict(member.keywords)
    if "num_samples" in held:
        check_count("num_samples", held["num_samples"])
        held["num_samples"] *= num_members
    kept = {name: (_DEFAULT[name], value) for name, value in held.items() if name in given}
    twice = [name for name in held if name in options or (name in given and given[name] not in kept[name])]
    if twice:
        raise TypeError(
            f"each setting must be given once; got {', '.join(twice)} both to fit_ensemble and in the partial that is "
            "its member. Leave one of them out."
        )
    beside = {name: value for name, value in held.items() if name not in given}
    return {**given, **{name: value for name, (_, value) in kept.items()}}, {**options, **beside}


def _checked_member(member: Callable[..., WeightPosterior]) -> bool:
    """Whether what fits a member is asked for a number of draws; refuses what fits none."""
    advice = "Write member=fit_map, fit_svi, fit_dropout, fit_swag or fit_sghmc."
    if not callable(member):
        raise TypeError(f"member must be a function that fits one, as fit_svi is; got {member!r}. {advice}")
    if member is fit_ensemble:
        raise TypeError(f"members must be single fits; got fit_ensemble. Raise num_members for more of them. {advice}")
    signature = inspect.signature(member)
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    wanted = ("num_epochs", "batch_size", "device", "seed", "progress", "callback")
    missing = [name for name in wanted if not takes_all and name not in signature.parameters]
    if missing:
        raise TypeError(
            f"what fits a member must take {', '.join(wanted)}; {_name(member)} takes no {', '.join(missing)}. {advice}"
        )
    if signature.return_annotation not in (signature.empty, WeightPosterior, "WeightPosterior"):
        raise TypeError(
            f"members must be draws of the whole network's weights, to be joined; {_name(member)} gives a "
            f"{signature.return_annotation}. {advice}"
        )
    return "num_samples" in signature.parameters


def _name(fit: Callable) -> str:
    return getattr(fit, "__name__", repr(fit))


def _shares(num_samples: int | None, num_members: int, seed: int, has_draws: bool = True) -> list[int | None]:
    """How many draws each member has: the same number, and the rest by the seed. None where they are not asked for."""
    if num_samples is None and not has_draws:
        return [None] * num_members
    total = 20 * num_members if num_samples is None else num_samples
    check_count("num_samples", total)
    if total < num_members:
        raise ValueError(f"num_samples must be {num_members} or more, one for each member; got {num_samples}.")
    return [*even_shares(total, num_members, seed)]


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
            learning_rate=given.get("learning_rate", inspect.signature(fit_map).parameters["learning_rate"].default),
            progress=given["progress"],
            callback=given["callback"],
            label="ensemble",
        )
    return WeightPosterior(known, weights, "ensemble", history, {"final_loss": final_loss(history)})


_DEFAULT = {name: setting.default for name, setting in inspect.signature(fit_ensemble).parameters.items()}


def _starts(
    model: BayesianNeuralNetwork, number: int, seed: int, starts: Sequence[Mapping[str, Tensor] | nn.Module] | None
) -> list[BayesianNeuralNetwork]:
    """The model at each member's start."""
    if starts is None:
        return restarts(model, number, seed, "starts=[network, ...]")
    return started_at(model, starts)


def _of_posteriors(
    fit: Callable[..., WeightPosterior],
    members: Sequence[BayesianNeuralNetwork],
    x: Any,
    y: Any,
    shares: Sequence[int | None],
    options: dict[str, Any],
) -> WeightPosterior:
    """Members one after another, their draws joined."""
    fits: list[WeightPosterior] = []
    for number, (one, share) in enumerate(zip(members, shares, strict=True)):
        own = {"num_samples": share} if share is not None else {}
        fits.append(fit(one, x, y, **{**options, **own, "seed": options["seed"] + number}))
        if not isinstance(getattr(fits[-1], "model", None), BayesianNeuralNetwork):
            raise TypeError(
                f"members must be draws of the whole network's weights, to be joined; those of "
                f"{getattr(fits[-1], 'method', fits[-1])} are not. Write member=fit_svi, fit_dropout or fit_swag."
            )
        if (last := fits[-1].history) is not None and last.interrupted:
            warn(
                f"stopped by hand in member {len(fits)} of {len(members)}: the ensemble has no more, the last one as "
                "far as it came."
            )
            break
    return joined(fits, "ensemble" if fit is fit_map else f"ensemble of {fits[0].method}")
