"""What every picture promises: it is drawn where told, has labels, and leaves no figure open."""

import runpy
import sys
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from drawn import CLASSES, FITS, LOC, REALS, SCORES, N, X
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from bayesnn import plots
from bayesnn.predictive import Predictive
from bayesnn.rank_statistics import RankStatistics
from bayesnn.uncertainty import scores

LABELS, TARGETS, TWO = torch.arange(N) % 3, LOC[0], torch.randn(N, 2, generator=torch.Generator().manual_seed(0))


RANKS = RankStatistics(torch.arange(200)[:, None] % 100, ("slope",), 99)


def classifier(x):
    weights = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1))
    return Predictive(torch.distributions.Categorical(logits=x @ weights))


PLOTS = {
    "regression_bands": lambda ax: plots.regression_bands(X, REALS, data=(X, LOC[0]), ax=ax),
    "predicted_against_true": lambda ax: plots.predicted_against_true(REALS, TARGETS, ax=ax),
    "detection_histogram": lambda ax: plots.detection_histogram(*SCORES, score="entropy", ax=ax),
    "roc": lambda ax: plots.roc(scores(CLASSES), LABELS == 0, ax=ax),
    "risk_coverage_curve": lambda ax: plots.risk_coverage_curve(CLASSES, LABELS, ax=ax),
    "reliability_diagram": lambda ax: plots.reliability_diagram(CLASSES, LABELS, ax=ax),
    "pit_histogram": lambda ax: plots.pit_histogram(REALS, TARGETS, ax=ax),
    "aleatoric_epistemic": lambda ax: plots.aleatoric_epistemic({"one": CLASSES, "two": CLASSES[:5]}, ax=ax),
    "elbo_curve": lambda ax: plots.elbo_curve(FITS["settling"], ax=ax),
    "prior_functions": lambda ax: plots.prior_functions(X, REALS, data=(X, LOC[0]), ax=ax),
    "prior_targets": lambda ax: plots.prior_targets(REALS, TARGETS, ax=ax),
    "rank_histogram": lambda ax: plots.rank_histogram(RANKS, ax=ax),
}
MAPS = {"decision_map": lambda ax: plots.decision_map(classifier, TWO, LABELS, resolution=9, ax=ax)}


@pytest.mark.parametrize("plot", (PLOTS | MAPS).values(), ids=PLOTS | MAPS)
def test_a_plot_is_drawn_where_told_with_labels_and_a_legend(plot):
    ax = Figure().subplots()
    assert plot(ax) is ax
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    assert plot in MAPS.values() or len(ax.get_legend().get_texts()) > 1
    ax.figure.canvas.draw()


@pytest.mark.parametrize("plot", (PLOTS | MAPS).values(), ids=PLOTS | MAPS)
def test_a_plot_of_its_own_leaves_no_figure_open(plot):
    ax = plot(None)
    assert ax.figure.axes[0] is ax
    assert len(ax.figure.axes) == (2 if plot in MAPS.values() else 1)  # a colour bar
    assert plt.get_fignums() == []


WITH_GRADIENT = {
    "regression_bands": lambda reals, classes: plots.regression_bands(X, reals),
    "predicted_against_true": lambda reals, classes: plots.predicted_against_true(reals, TARGETS),
    "risk_coverage_curve": lambda reals, classes: plots.risk_coverage_curve(classes, LABELS),
    "risk_coverage_curve of reals": lambda reals, classes: plots.risk_coverage_curve(reals, TARGETS),
    "reliability_diagram": lambda reals, classes: plots.reliability_diagram(classes, LABELS),
    "pit_histogram": lambda reals, classes: plots.pit_histogram(reals, TARGETS),
    "aleatoric_epistemic": lambda reals, classes: plots.aleatoric_epistemic({"one": classes}),
    "prior_functions": lambda reals, classes: plots.prior_functions(X, reals),
    "prior_targets": lambda reals, classes: plots.prior_targets(reals),
    "prior_targets of classes": lambda reals, classes: plots.prior_targets(classes),
    "roc": lambda reals, classes: plots.roc(scores(classes), LABELS == 0),
}


@pytest.mark.parametrize("draw", WITH_GRADIENT.values(), ids=WITH_GRADIENT)
def test_predictives_that_carry_a_gradient_are_drawn(draw):
    """By the numbers of their artists they are drawn as the same without one."""

    def kept(carries):
        loc, logits = LOC.clone().requires_grad_(carries), CLASSES.members.logits.clone().requires_grad_(carries)
        reals = Predictive(torch.distributions.Normal(loc, REALS.members.scale))
        ax = draw(reals, Predictive(torch.distributions.Categorical(logits=logits)))
        return [np.asarray(line.get_xydata()) for line in ax.lines], [bar.get_height() for bar in ax.patches]

    np.testing.assert_equal(kept(True), kept(False))


def test_every_picture_is_tested():
    assert {*PLOTS, *MAPS, "COLOURS", "uncertain_pictures", "decision_maps"} == set(plots.__all__)


EYES = {
    "full sight": np.eye(3),
    "no red cones": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green cones": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no blue cones": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""What is seen of linear RGB: Machado et al. (2009), A Physiologically-based Model for Simulation of Color Vision
Deficiency, severity 1."""


def lab(linear):
    """CIE 1976 L*a*b* of linear sRGB, white D65."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    part = to_xyz @ np.clip(linear, 0, 1) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(part > (6 / 29) ** 3, np.cbrt(part), part / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", EYES.values(), ids=EYES)
def test_colours_are_told_apart_by_every_eye(eye):
    seen = {}
    for name, colour in plots.COLOURS.items():
        value = np.array(to_rgb(colour))
        seen[name] = lab(eye @ np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4))
    distances = {pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in combinations(seen, 2)}
    assert min(distances.values()) > 15, distances  # about 2 can just be told apart


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the ELBO", "ignore:the fit ended")  # fits of two epochs
def test_the_gallery_shows_every_picture_that_its_command_draws(tmp_path, monkeypatch):
    root = Path(__file__).parents[2]
    monkeypatch.setattr(sys, "argv", ["gallery.py", "--smoke", "--out", str(tmp_path)])
    runpy.run_path(str(root / "benchmarks" / "gallery.py"), run_name="__main__")
    drawn = {path.name for path in tmp_path.iterdir()}
    page = (root / "docs" / "gallery.md").read_text(encoding="utf-8")
    assert {name for name in drawn if f"pictures/{name}" not in page} == set()
    assert {name for name in drawn if not (root / "docs" / "pictures" / name).exists()} == set()
    assert {path.name for path in tmp_path.iterdir() if path.stat().st_size > 60_000} == set()
    assert {name for name in plots.__all__ if name != "COLOURS" and f"plots.{name}(" not in page} == set()


def test_a_notebook_shows_an_axes_and_a_sheet_of_ones_own():
    for made in (plots.elbo_curve(FITS["settling"]), plots.uncertain_pictures(torch.rand(3, 4, 4), CLASSES[:3])):
        assert made._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n"
    assert not hasattr(plots.elbo_curve(FITS["settling"], ax=Figure().subplots()), "_repr_png_")
