"""The roster: every method by name, with one way to call it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bayesnn.methods.dropout import fit_dropout
from bayesnn.methods.ensemble import fit_ensemble
from bayesnn.methods.gp import fit_gp
from bayesnn.methods.laplace import fit_laplace
from bayesnn.methods.last_layer import fit_last_layer
from bayesnn.methods.map import fit_map
from bayesnn.methods.sghmc import fit_sghmc
from bayesnn.methods.svi import fit_svi
from bayesnn.methods.swag import fit_swag

__all__ = ["COSTS", "METHODS", "Fit"]

Fit = Callable[..., Any]
"""``(model, x, y, *, num_samples, num_epochs, device, seed, progress) -> posterior``."""


def _one_draw(fit: Fit, **settings: Any) -> Fit:
    """A method whose draws cannot be chosen."""

    def run(model: Any, x: Any, y: Any, *, num_samples: int, **options: Any) -> Any:
        return fit(model, x, y, **settings, **options)

    return run


def _draws(fit: Fit, **settings: Any) -> Fit:
    """A method with draws."""

    def run(model: Any, x: Any, y: Any, **options: Any) -> Any:
        return fit(model, x, y, **settings, **options)

    return run


METHODS: dict[str, Fit] = {
    "map": _one_draw(fit_map),
    "own_noise": _one_draw(fit_map),
    "dropout": _draws(fit_dropout),
    "concrete_dropout": _draws(fit_dropout, concrete=True),
    "ensemble": _one_draw(fit_ensemble),
    "adversarial_ensemble": _one_draw(fit_ensemble, adversarial=0.01),
    "own_noise_ensemble": _one_draw(fit_ensemble, adversarial=0.01),
    "gp": _draws(fit_gp),
    "gp_best": _draws(fit_gp, kernel="best"),
    "last_layer": _draws(fit_last_layer),
    "laplace": _draws(fit_laplace),
    "sghmc": _draws(fit_sghmc),
    "svi": _draws(fit_svi),
    "swag": _draws(fit_swag),
    "svi_ensemble": _draws(fit_ensemble, member=fit_svi),
    "svi_own_noise": _draws(fit_svi),
    "svi_own_noise_ensemble": _draws(fit_ensemble, member=fit_svi),
}
"""Every method by the name of its row, but NUTS, whose cost on networks of this size is no matter of minutes."""

COSTS: dict[str, float] = {
    "map": 1, "own_noise": 1, "dropout": 2, "concrete_dropout": 3, "ensemble": 5, "adversarial_ensemble": 10,
    "own_noise_ensemble": 10, "gp": 2, "gp_best": 12, "last_layer": 1, "laplace": 1, "sghmc": 30, "svi": 4,
    "swag": 2, "svi_ensemble": 20, "svi_own_noise": 5, "svi_own_noise_ensemble": 25,
}  # fmt: skip
"""How many plain fits one takes, roughly: processes side by side begin with the longest."""
