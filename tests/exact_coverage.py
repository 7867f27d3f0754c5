"""Coverage in split conformal prediction as it must be, exactly, and a quantile that is planted to break it."""

import math

from scipy.stats import betabinom

NUM, NEW, SPLITS, LEVEL = 20, 200, 100, 0.9


def is_exact(counts):
    """Whether each of SPLITS counts, of NEW targets covered after NUM calibration rows, is in its band, and their mean.

    Right code leaves the bands with a chance of 5e-6 in all, and 4.9 standard errors of the mean with 1e-6. That counts
    are beta-binomial over the calibrations is Marques (2023), arXiv:2303.02770.
    """
    rank = math.ceil((NUM + 1) * LEVEL)
    law = betabinom(NEW, rank, NUM + 1 - rank)
    low, high = law.ppf([2.5e-6 / SPLITS, 1 - 2.5e-6 / SPLITS])
    in_band = bool(((counts >= low) & (counts <= high)).all())
    return in_band and abs(counts.mean() - law.mean()) < 4.9 * law.std() / math.sqrt(SPLITS)


def without_the_new_one(scores, level):
    """The planted fault: the rank of n scores, not of n + 1."""
    return scores.kthvalue(math.ceil(len(scores) * level), dim=0).values
