"""What was published on the UCI sets' standard splits, to stand beside our own figures."""

from __future__ import annotations

__all__ = ["DECIMALS", "PUBLISHED", "Figures"]

Figures = tuple[float, float, float, float]
"""Root mean squared error and its spread, mean test log-likelihood in nats and its spread."""

PUBLISHED: dict[str, dict[str, Figures]] = {
    "Graves' VI, 40 epochs": {
        "boston": (4.32, 0.29, -2.90, 0.07),
        "concrete": (7.19, 0.12, -3.39, 0.02),
        "energy": (2.65, 0.08, -2.39, 0.03),
        "kin8nm": (0.10, 0.00, 0.90, 0.01),
        "power": (4.33, 0.04, -2.89, 0.01),
        "wine-red": (0.65, 0.01, -0.98, 0.01),
        "yacht": (6.89, 0.67, -3.43, 0.16),
    },
    "PBP, 40 epochs": {
        "boston": (3.01, 0.18, -2.57, 0.09),
        "concrete": (5.67, 0.09, -3.16, 0.02),
        "energy": (1.80, 0.05, -2.04, 0.02),
        "kin8nm": (0.10, 0.00, 0.90, 0.01),
        "power": (4.12, 0.03, -2.84, 0.01),
        "wine-red": (0.64, 0.01, -0.97, 0.01),
        "yacht": (1.02, 0.05, -1.63, 0.02),
    },
    "MC dropout, grid search": {
        "boston": (2.904, 0.177, -2.402, 0.042),
        "concrete": (4.826, 0.161, -2.937, 0.025),
        "energy": (0.539, 0.014, -1.212, 0.005),
        "kin8nm": (0.0789, 0.0006, 1.136, 0.007),
        "power": (4.014, 0.037, -2.808, 0.009),
        "wine-red": (0.622, 0.008, -0.928, 0.013),
        "yacht": (0.666, 0.049, -1.250, 0.015),
    },
    "MC dropout, 2 hidden layers": {
        "boston": (2.80, 0.13, -2.34, 0.02),
        "concrete": (4.50, 0.18, -2.82, 0.02),
        "energy": (0.47, 0.01, -1.48, 0.00),
        "kin8nm": (0.08, 0.00, 1.10, 0.00),
        "power": (3.63, 0.04, -2.67, 0.01),
        "wine-red": (0.60, 0.01, -0.90, 0.01),
        "yacht": (0.66, 0.06, -1.37, 0.02),
    },
    "ensemble of 5, 40 epochs": {
        "boston": (3.28, 1.00, -2.41, 0.25),
        "concrete": (6.03, 0.58, -3.06, 0.18),
        "energy": (2.09, 0.29, -1.38, 0.22),
        "kin8nm": (0.09, 0.00, 1.20, 0.02),
        "power": (4.11, 0.17, -2.79, 0.04),
        "wine-red": (0.64, 0.04, -0.94, 0.12),
        "yacht": (1.58, 0.48, -1.18, 0.21),
    },
}
"""By method and set. One hidden layer of 50 ReLU units where the name does not say otherwise.

VI and PBP: Gal and Ghahramani (2016), arXiv:1506.02142, table 1, after Hernández-Lobato and Adams (2015),
arXiv:1502.05336; spreads are standard errors. MC dropout: the results beside that paper's code, standard errors; the
grid search (4000 epochs, rate and precision on held-out rows) from its files for each split. Ensemble:
Lakshminarayanan et al. (2017), arXiv:1612.01474, table 1, whose spreads are standard deviations.
"""

DECIMALS = dict.fromkeys(PUBLISHED, 2) | {"MC dropout, grid search": 4}
"""Decimals of a published root mean squared error below 0.2."""
