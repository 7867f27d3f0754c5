"""Pictures. Each takes an ``Axes`` (or makes one) and returns it.

Sheets are figures of their own: `uncertain_pictures` and `decision_maps`. A part has the same colour everywhere.
"""

from bayesnn.plots.calibration import pit_histogram, reliability_diagram
from bayesnn.plots.canvas import COLOURS
from bayesnn.plots.detection import detection_histogram, risk_coverage_curve, roc
from bayesnn.plots.fit import elbo_curve
from bayesnn.plots.maps import decision_map, decision_maps
from bayesnn.plots.parts import aleatoric_epistemic
from bayesnn.plots.pictures import uncertain_pictures
from bayesnn.plots.prior import prior_functions, prior_targets
from bayesnn.plots.ranks import rank_histogram
from bayesnn.plots.regression import predicted_against_true, regression_bands

__all__ = [
    "COLOURS",
    "aleatoric_epistemic",
    "decision_map",
    "decision_maps",
    "detection_histogram",
    "elbo_curve",
    "pit_histogram",
    "predicted_against_true",
    "prior_functions",
    "prior_targets",
    "rank_histogram",
    "regression_bands",
    "reliability_diagram",
    "risk_coverage_curve",
    "roc",
    "uncertain_pictures",
]
