"""Have Markov chains converged? R-hat and effective sample size, as Vehtari et al. (2021) define them."""

from __future__ import annotations

import math

import torch
from pyro.ops import stats
from torch import Tensor

__all__ = ["effective_sample_size", "rank_normalised", "rhat"]

_AT_ONCE = 2**20
"""Numbers whose autocorrelations are held at once."""

_FEWEST = 4
"""Draws a chain must have to be halved, with a variance in each half."""


def rhat(chains: Tensor) -> Tensor:
    r"""How much wider all chains together are than each half of one: 1 if they have converged, more if they have not.

    .. math:: \hat R = \sqrt{\frac{\frac{n-1}{n} W + \frac1n B}{W}},

    with :math:`W` the mean variance within half-chains of :math:`n` draws and :math:`B / n` the variance of their
    means. It is computed of the draws' normal scores, and of those of their distances from the median; the larger one
    is given, so that different means and different spreads are both seen, and heavy tails do no harm.

    Args:
        chains: Draws ``(C, T, Q)``: C chains of T draws, 4 at least, of Q quantities.

    Returns:
        ``(Q,)``; not a number where a quantity never changes.

    Raises:
        ValueError: If chains have fewer than four draws.

    References:
        Vehtari et al. (2021), Rank-Normalization, Folding, and Localization: An Improved R-hat for Assessing
        Convergence of MCMC, arXiv:1903.08008, sections 3.1 and 4.

    Example:
        >>> bool(rhat(torch.randn(4, 500, 1)) < 1.05)
        True
    """
    _check(chains)
    median = chains.flatten(0, 1).median(0).values
    folded = (chains - median).abs()
    found = [stats.split_gelman_rubin(rank_normalised(part)) for part in (chains, folded)]
    return torch.maximum(*found)


def effective_sample_size(chains: Tensor) -> Tensor:
    r"""How many independent draws would tell as much of a quantity's centre ("bulk").

    .. math:: S_\mathrm{eff} = \frac{C T}{1 + 2 \sum_t \hat\rho_t},

    with :math:`\hat\rho_t` the autocorrelation at lag :math:`t` of the draws' normal scores, which counts what
    half-chains differ by as correlation, summed as long as pairs of neighbours are positive, none of them taken for
    larger than the one before. It is at most :math:`C T \log_{10} C T`, and ArviZ's ``ess(method="bulk")``.
    Chains of fewer draws than some ten such lags cannot tell how long they are, and it is too large then: see `rhat`.

    Args:
        chains: Draws ``(C, T, Q)``: C chains of T draws, 4 at least, of Q quantities.

    Returns:
        ``(Q,)``; not a number where a quantity never changes.

    Raises:
        ValueError: If chains have fewer than four draws.

    References:
        Vehtari et al. (2021), arXiv:1903.08008, sections 3.2 and 4; Geyer (1992), Practical Markov Chain
        Monte Carlo, Statistical Science 7(4), section 3.3, for the sum, and section 3.1 for autocovariances divided by
        the number of draws at every lag: by the number of pairs, long lags of short chains are noise, and the sum ends
        early.

    Example:
        >>> bool(effective_sample_size(torch.randn(4, 500, 1)) > 1000)
        True
    """
    _check(chains)
    half = chains.shape[1] // 2
    halves = torch.cat([chains[:, :half], chains[:, -half:]])
    scores = rank_normalised(halves)
    size = max(1, _AT_ONCE // scores[..., 0].numel())
    found = torch.cat([_independent_draws(part) for part in scores.split(size, dim=-1)])
    return torch.where((halves == halves[:1, :1]).flatten(0, 1).all(0), math.nan, found)


def _independent_draws(scores: Tensor) -> Tensor:
    """Of chains ``(C, T, Q)``, two draws at least: as many independent draws would have a mean of that variance."""
    num_chains, length, _ = scores.shape
    within = scores.var(1).mean(0)
    both = within * (length - 1) / length + (scores.mean(1).var(0) if num_chains > 1 else 0.0)
    rho = 1 - (within - _autocovariance(scores).mean(0)) / both
    rho[0] = 1
    pairs = rho[: 2 * max(1, (length - 1) // 2)].unflatten(0, (-1, 2))
    even, pairs = pairs[:, 0], pairs.sum(1)
    positive = (pairs > 0).long().cumprod(0)  # up to the first pair that is not
    if len(pairs) > 1:
        positive[-1] = 0  # which has none behind it to say whether it is noise
    last = positive.sum(0, keepdim=True).clamp(max=len(pairs) - 1)
    # The pair that ends the sum counts by its first lag, once: if that is positive, or the pair is.
    rest, pair = even.gather(0, last)[0], pairs.gather(0, last)[0]
    rest = torch.where((rest > 0) | (pair > 0), rest, 0.0) if len(pairs) > 1 else torch.zeros_like(within)
    time = -1 + 2 * (pairs.cummin(0).values * positive).sum(0) + rest
    total = num_chains * length
    return total / time.clamp_min(1 / math.log10(total))


def _autocovariance(scores: Tensor) -> Tensor:
    """At every lag, over the number of draws, ``(C, T, Q)``."""
    length = scores.shape[1]
    spectrum = torch.fft.rfft(scores - scores.mean(1, keepdim=True), n=2 * length, dim=1)
    return torch.fft.irfft(spectrum.abs().square(), n=2 * length, dim=1)[:, :length] / length


def rank_normalised(chains: Tensor) -> Tensor:
    r"""Normal scores of draws, :math:`\Phi^{-1}((r - 3/8) / (S + 1/4))` of the rank :math:`r` among all S.

    Equal draws share the mean of their ranks. The offsets are Blom's (1958).

    Args:
        chains: Draws ``(C, T, Q)``.

    Returns:
        Scores ``(C, T, Q)`` in double precision.
    """
    columns = chains.flatten(0, 1).T.contiguous()
    ordered = columns.sort(-1).values
    below, upto = (torch.searchsorted(ordered, columns, right=right) for right in (False, True))
    ranks = (below + 1 + upto).double() / 2
    scores = torch.special.ndtri((ranks - 0.375) / (columns.shape[-1] + 0.25))
    return scores.T.reshape(chains.shape)


def _check(chains: Tensor) -> None:
    if chains.ndim != 3 or chains.shape[1] < _FEWEST:
        raise ValueError(
            f"chains must have shape (C, T, Q) with T = {_FEWEST} draws or more; got {tuple(chains.shape)}. Of one "
            "quantity pass chains[..., None]."
        )
