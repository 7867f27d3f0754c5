r"""Conformal prediction: sets and intervals that hold the truth as often as they say, whatever the model.

Split conformal prediction takes a fitted method as it is, and asks held-out data how wrong it may be. The promise,
:math:`P(y \in C(x)) \ge` ``level``, needs no model to be right; only the held-out rows and the new one must be
exchangeable, and the fit must not have seen them. It is a promise on average over inputs and held-out data, not for
each input.
"""

from bayesnn.conformal.classes import ConformalSets, PredictionSets, conformal_sets
from bayesnn.conformal.quantile import conformal_quantile
from bayesnn.conformal.reals import ConformalIntervals, PredictionIntervals, conformal_intervals

__all__ = [
    "ConformalIntervals",
    "ConformalSets",
    "PredictionIntervals",
    "PredictionSets",
    "conformal_intervals",
    "conformal_quantile",
    "conformal_sets",
]
