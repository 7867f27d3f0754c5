"""What every picture promises: it is drawn where told, has labels, and leaves no figure open."""

import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from drawn import CLASSES, FITS, LOC, REALS, SCORES, N, X
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from bayesnn import plots
from bayesnn.predictive import Predictive
from bayesnn.uncertainty import scores

LABELS, TARGETS, TWO = torch.arange(N) % 3, LOC[0], torch.randn(N, 2, generator=torch.Generator().manual_seed(0))


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


def test_every_picture_is_tested():
    assert {*PLOTS, *MAPS, "COLOURS", "uncertain_pictures"} == set(plots.__all__)


def test_colours_are_told_apart():
    assert len({to_rgb(colour) for colour in plots.COLOURS.values()}) == len(plots.COLOURS)


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
