"""diagnose: did it work? A fitted method put to the questions whose answers tell, and the answers put into words."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bayesnn.arviz_data import inference_data, loo, pareto_k
from bayesnn.checks import check_count, check_seed
from bayesnn.continued import continued
from bayesnn.data import as_training_data
from bayesnn.diagnosis import Diagnosis, Finding, in_order
from bayesnn.guides import AutoNormal
from bayesnn.held_out_checks import held_out_findings, held_out_pair
from bayesnn.inspected import Inspection, expect_inspectable, member_log_likelihood
from bayesnn.learnt import against_a_constant, all_alike
from bayesnn.mixing import FEWEST_EFFECTIVE, HIGHEST_RHAT
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.sensitivity import sensitivities
from bayesnn.site_divergences import site_divergences
from bayesnn.warned import warn

__all__ = ["diagnose"]

_COLLAPSED = 1.0
"""Nats from its prior within which a whole posterior, or a matrix of weights, has learnt nothing."""

_GAIN = 0.1
"""Nats per datum that a fit may still gain by going on: good fits of default length gain 0.03 at most, fits of a tenth
of that length 0.1 to 3 (docs/inspection.md)."""

_HIGHEST_K = 0.7
_MANY = 0.1
"""Share of data with a bad Pareto shape beyond which leave-one-out figures are said not to be reliable."""

_FEWEST_DRAWS = 25
_MOST_NUMBERS = 3_000_000
_MOST_IN_FULL = 10_000
"""Data of which all are run at every draw; of more some must do, and the ratio of all of them is not taken."""

_MOST_DATA = 2000


def diagnose(
    posterior: Any,
    x: Any,
    y: Any = None,
    *,
    held_out: Any = None,
    num_samples: int = 1000,
    num_steps: int = 500,
    refit: Callable[..., Any] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Diagnosis:
    r"""Did it work? A report in figures and words, and a warning where a fit should not be trusted as it is.

    It asks, of whatever method has an answer:

    - *Has it settled?* A variational fit goes on for some steps, in a copy, with a step size that falls to nothing;
      what its ELBO gains then (``elbo_gain``) it was short of. ``elbo_rise`` is what it rose from 65 % to 85 % of its
      own epochs, ``elbo_noise`` the standard deviation of one epoch's ELBO at the end.
    - *Has it learnt anything?* ``kl`` is the divergence from the prior, by site in ``sites``; a collapsed posterior has
      none, and its ELBO is no better than the log-likelihood of a prediction that ignores the inputs (``constant``).
      Fits without an ELBO are asked for their own data, of which they should say more than that (``train_nll``).
    - *Is the guide the posterior?* ``pareto_k`` is the Pareto shape of the ratios :math:`p(y, \theta_s) / q(\theta_s)`
      of the draws: below 0.7 they could be weighted to the posterior itself. Of networks it seldom is, for their
      weights have many equivalent maxima of which the guide sits on one. What draws say of the function is judged datum
      by datum: ``bad_loo_k`` is the share of data whose leave-one-out ratios
      :math:`1 / p(y_n \mid \theta_s)` have a shape above 0.7, ``elpd_loo`` in nats per datum, and ``p_loo``, how many
      numbers were effectively fitted. Of more than 10 000 data ``pareto_k`` is left out, and 2000 are left out in turn.
    - *Is it calibrated?* On held-out data: the coverage of 90 % intervals, or accuracy against confidence, within what
      chance allows; and the score against that of the plain network with the same prior, the maximum a posteriori.
    - *Have the chains met?* Of chains R-hat, effective sample size and divergences.
    - *How much does it hang on the prior?* With ``refit``, from fits with half and twice the prior scales and, where it
      takes a ``temperature``, at half of it.

    Args:
        posterior: What a ``fit_*`` gave.
        x: The inputs it was fitted to ``(N, ...)``, in raw units; or a ``Dataset`` or ``DataLoader`` of ``(x, y)``.
        y: Their targets ``(N,)`` or ``(N, D)``.
        held_out: Other data ``(x, y)``, never fitted to; or a ``Dataset`` or ``DataLoader`` of them.
        num_samples: Draws that the ratios are taken of, fewer for many data; of a fit that has no others, its own.
        num_steps: Steps that a variational fit goes on for; 0 for none.
        refit: A function ``(model, x, y, **options) -> posterior``, as ``partial(fit_svi, progress=False)``.
        seed: Of draws and fits.
        progress: Whether fits show a progress bar.

    Returns:
        A record with a readable report; ``is_well`` tells whether there is nothing to warn of.

    Raises:
        TypeError: If the posterior is none of this package, or data are none.
        ValueError: If the data are not those of the fit, by their number, or do not suit it.

    Warns:
        UserWarning: For each thing that should be mended before predictions are trusted; that a fit has not arrived
            comes first, as other faults may go with it.

    References:
        Yao et al. (2018), Yes, but Did It Work?: Evaluating Variational Inference, arXiv:1802.02538, section 2, for the
        Pareto shape; Vehtari, Gelman and Gabry (2017), arXiv:1507.04544, for leave-one-out.

    Example:
        >>> from bayesnn import BayesianNeuralNetwork, fit_svi, likelihoods, networks
        >>> x = torch.randn(100, 2)
        >>> y = x.sum(1) + 0.1 * torch.randn(100)
        >>> model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=()), likelihood=likelihoods.gaussian)
        >>> posterior = fit_svi(model, x, y, num_epochs=2000, learning_rate=0.03, progress=False)
        >>> diagnose(posterior, x, y, progress=False).is_well
        True
    """
    expect_inspectable(posterior, "diagnose")
    check_count("num_samples", num_samples)
    check_seed(seed)
    if num_steps != 0:
        check_count("num_steps", num_steps)
    inputs, targets = as_training_data(x, y)
    known = getattr(getattr(posterior, "model", None), "num_data", None)
    if known is not None and known != len(inputs):
        raise ValueError(
            f"x and y must be the {known} data of the fit; got {len(inputs)}. Pass other data as held_out=(x, y)."
        )
    apart = None if held_out is None else held_out_pair(posterior, held_out)
    of_apart: tuple[dict[str, float], list[Finding]] = ({}, [])
    if apart is not None:  # first, as it refuses what does not suit the fit
        of_apart = held_out_findings(posterior, inputs, targets, apart, seed=seed, progress=progress)
    figures = {name: float(value) for name, value in posterior.summary.items()}
    sites: dict[str, dict[str, float]] = {}
    findings: list[Finding] = []
    if posterior.method == "svi":
        figures |= _noise(posterior)
        if isinstance(posterior.guide, AutoNormal) and isinstance(posterior.model, BayesianNeuralNetwork):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                sites = site_divergences(posterior.model, posterior.guide)
        figures |= continued(posterior, inputs, targets, num_steps, seed=seed, progress=progress) if num_steps else {}
    if "kl_per_datum" in figures:
        findings += _of_the_elbo(posterior, figures, sites, len(inputs), targets)
    elif not _without_draws(figures):
        more, found = against_a_constant(posterior, inputs, targets)
        figures |= more
        findings += found
    more, found = _of_draws(posterior, inputs, targets, num_samples, seed)
    figures |= more
    findings += found + _of_chains(figures) + of_apart[1]
    figures |= of_apart[0]
    if refit is not None:
        more, found = sensitivities(posterior, inputs, targets, apart or (inputs, targets), refit)
        figures |= more
        findings += found
    told = in_order(findings)
    for one in told:
        if one.is_warning:
            warn(str(one))
    return Diagnosis(posterior.method, figures, sites, told)


def _noise(posterior: Any) -> dict[str, float]:
    """The standard deviation of one epoch's ELBO over the last tenth of the epochs."""
    history = posterior.history
    if history is None or len(history.epochs) < 20 or "kl" not in history.epochs[0]:
        return {}
    last = len(history.epochs) // 10
    elbo = -torch.tensor(history["misfit"][-last:]) - torch.tensor(history["kl"][-last:])
    return {"elbo_noise": float(elbo.std()), "epochs": float(len(history.epochs))}


def _of_the_elbo(
    posterior: Any, figures: dict[str, float], sites: dict[str, dict[str, float]], num_data: int, targets: Tensor
) -> list[Finding]:
    findings = []
    model = getattr(posterior.model, "model", posterior.model)  # of a last layer the whole one
    constant = model.constant_log_likelihood(targets)
    if math.isfinite(constant):
        figures["constant"] = constant + 0.0  # no -0
    elbo, kl = figures.get("elbo_per_datum", math.nan), figures.get("kl_per_datum", math.nan)
    advice = 'raise num_epochs or warmup, write start="map", take a prior that suits, or a smaller network'
    if constant == 0:
        findings.append(all_alike())
    elif kl * num_data < _COLLAPSED:
        words = f"the posterior is within {kl * num_data:.2g} nats of its prior: it has learnt nothing from the data."
        findings.append(Finding("collapsed", words, advice))
    else:
        dead = [name for name, found in sites.items() if "weight" in name and found["kl"] < _COLLAPSED]
        if dead:
            words = f"{', '.join(dead)} are at their prior: what they read does not reach the outputs."
            findings.append(Finding("partly collapsed", words, advice))
        if elbo < constant < math.inf:
            words = (
                f"the ELBO, {elbo:.3g} nats per datum, is below {constant:.3g}, what the best prediction that ignores "
                "the inputs reaches. Either x says little about y for the size of the network, or the fit failed."
            )
            findings.append(Finding("below a constant", words, advice))
    gain = figures.get("elbo_gain", 0.0)
    if gain > _GAIN:
        words = (
            f"going on for {figures['steps_more']:.0f} steps raised the ELBO by {gain:.2g} nats per datum (wanted: "
            f"{_GAIN} at most): the fit had not settled."
        )
        advice = "raise num_epochs" + (f", now {len(posterior.history.epochs)}" if posterior.history else "")
        findings.append(Finding("unconverged", words, advice))
    return findings


def _of_draws(
    posterior: Any, x: Tensor, y: Tensor, num_samples: int, seed: int
) -> tuple[dict[str, float], list[Finding]]:
    """Pareto shapes: of the guide as a proposal, and of each datum's leave-one-out ratios."""
    in_full = hasattr(posterior, "weights") and len(x) <= _MOST_IN_FULL  # a process takes a covariance of all inputs
    some = torch.linspace(0, len(x) - 1, min(len(x), _MOST_DATA)).round().long().unique()
    chosen = torch.arange(len(x)) if in_full else some
    number = min(num_samples, max(100, _MOST_NUMBERS // len(chosen)))
    if number > posterior.num_samples and (getattr(posterior, "draws", None) or not hasattr(posterior, "weights")):
        posterior = posterior.resample(number, seed=seed)
    if posterior.num_samples < _FEWEST_DRAWS:
        return {}, []
    found: Inspection = posterior.inspection(x[chosen])
    assert found.predictive is not None
    log_likelihood = member_log_likelihood(found.predictive, found.predictive.checked(y[chosen])).cpu()
    figures, findings = {}, []
    if found.log_density is not None and found.log_priors and in_full:
        prior = torch.stack([value.double().cpu() for value in found.log_priors.values()]).sum(0)
        k = pareto_k((log_likelihood.sum(0) + prior - found.log_density.double().cpu()).numpy())
        figures["pareto_k"] = k
        if k > _HIGHEST_K:
            words = (
                f"as a proposal for the whole posterior the guide has a Pareto k of {k:.2g} (wanted: below "
                f"{_HIGHEST_K}): it is not the posterior of the weights, and no weighting of its draws makes it that; "
                "too narrow a guide looks so, and one maximum among many. Usual for networks; judge by what they "
                "predict: leave-one-out, coverage, held-out data."
            )
            findings.append(Finding("far from the posterior of the weights", words, is_warning=False))
    rows = torch.linspace(0, len(chosen) - 1, min(len(chosen), _MOST_DATA)).round().long().unique()
    drawn = log_likelihood[rows].T[None].numpy()
    axes = ["chain", "draw"]
    data = {"posterior": {"lp": (axes, drawn.sum(-1))}, "log_likelihood": {"y": ([*axes, "datum"], drawn)}}
    elpd, error, shapes = loo(inference_data(data))
    whole = float(log_likelihood[rows].logsumexp(1).sum()) - len(rows) * math.log(log_likelihood.shape[1])
    bad = float((shapes > _HIGHEST_K).mean())
    figures |= {"elpd_loo": elpd / len(rows), "elpd_loo_error": error / len(rows), "bad_loo_k": bad}
    figures["p_loo"] = (whole - elpd) * len(x) / len(rows)
    if bad > _MANY:
        words = (
            f"of {bad:.0%} of the data the leave-one-out ratios have a Pareto k above {_HIGHEST_K}: elpd_loo, and "
            "that of az.loo, is not to be relied on. Hold data out, or cross-validate."
        )
        findings.append(Finding("leave-one-out not reliable", words, is_warning=False))
    return figures, findings


def _without_draws(figures: dict[str, float]) -> bool:
    return any(math.isnan(figures.get(name, 0.0)) for name in ("num_divergences", "temperature"))


def _of_chains(figures: dict[str, float]) -> list[Finding]:
    if _without_draws(figures):
        words = "stopped by hand before the chains had a draw; it holds their places, no draws of the posterior."
        return [Finding("no draws", words, "fit again, to the end")]
    complaints = []
    if figures.get("rhat", 1.0) > HIGHEST_RHAT or figures.get("ess", math.inf) < FEWEST_EFFECTIVE:
        complaints.append(
            f"R-hat is {figures['rhat']:.3g} (wanted: {HIGHEST_RHAT} or less) and the effective sample size "
            f"{figures['ess']:.0f} (wanted: {FEWEST_EFFECTIVE} or more)"
        )
    if figures.get("num_divergences", 0):
        complaints.append(f"{figures['num_divergences']:.0f} steps diverged")
    advice = "raise num_warmup and num_samples, raise target_accept, or use a smaller network"
    return [Finding("chains apart", f"{'; '.join(complaints)}.", advice)] if complaints else []
