"""The curve of a fit, read back from its lines."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drawn import FITS, history
from matplotlib.colors import to_rgb

from bayesnn import BayesianNeuralNetwork, fit_map, likelihoods, networks
from bayesnn.plots import elbo_curve
from bayesnn.training import History


def fitted(history):
    return SimpleNamespace(history=history)


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_the_curve_is_the_sum_of_its_terms_and_every_line_can_be_seen(fit):
    ax = elbo_curve(fit)
    lines = {line.get_label(): np.array(line.get_ydata()) for line in ax.lines}
    assert lines["ELBO"] == pytest.approx(-np.array(fit["loss"]))
    assert lines["expected log-likelihood"] + lines["−KL"] == pytest.approx(lines["ELBO"])
    assert all(list(line.get_xdata()) == list(range(1, len(fit.epochs) + 1)) for line in ax.lines)
    assert "nats" in ax.get_ylabel()
    bottom, top = ax.get_ylim()
    for line in ax.lines:
        inside = (bottom < np.array(line.get_ydata())) & (np.array(line.get_ydata()) < top)
        assert inside[len(inside) // 2 :].any(), line.get_label()
        assert len(inside) > 1 or line.get_marker() not in ("None", "", None)


@pytest.mark.parametrize("epochs", [1, 2, 3, 60])
def test_epochs_are_whole_numbers(epochs):
    ax = elbo_curve(history([1.0 / (i + 1) for i in range(epochs)], [0.5] * epochs))
    ticks = ax.get_xticks()
    assert len(ticks) > 0
    assert (ticks == ticks.round()).all()


def test_a_term_that_was_higher_at_first_is_not_cut_off():
    ax = elbo_curve(history([0.3 + 0.5 * i / 60 for i in range(60)], [4 * 0.9**i + 0.5 for i in range(60)]))
    assert all(max(line.get_ydata()) < ax.get_ylim()[1] for line in ax.lines)
    steep = elbo_curve(history([-50.0] + [1.0] * 59, [0.5] * 60))
    assert steep.get_ylim()[1] < 10  # nor is the rest flattened by one epoch


def test_the_terms_of_the_curve_are_told_by_the_line_not_by_a_colour_of_some_part():
    ax = elbo_curve(FITS["settling"])
    assert len(ax.lines) == len({line.get_linestyle() for line in ax.lines}) == 3
    assert len({to_rgb(line.get_color()) for line in ax.lines}) == 1
    told = [text.get_text() for text in ax.get_legend().get_texts()]
    assert told == [line.get_label() for line in ax.lines] == ["ELBO", "expected log-likelihood", "−KL"]
    assert [key.get_linestyle() for key in ax.get_legend().get_lines()] == [line.get_linestyle() for line in ax.lines]


def test_a_posterior_is_taken_for_its_history():
    model = BayesianNeuralNetwork(networks.mlp(1, 1, hidden=(3,)), likelihood=likelihoods.gaussian)
    posterior = fit_map(model, torch.rand(8, 1), torch.rand(8), num_epochs=2, progress=False)
    with pytest.raises(ValueError, match="elbo_curve needs the history of a variational fit"):
        elbo_curve(posterior)
    drawn, expected = elbo_curve(fitted(FITS["settling"])), elbo_curve(FITS["settling"])
    for line, other in zip(drawn.lines, expected.lines, strict=True):
        np.testing.assert_array_equal(line.get_xydata(), other.get_xydata())


@pytest.mark.parametrize("posterior", [None, fitted(None)])
def test_a_fit_without_a_history_has_no_curve(posterior):
    with pytest.raises(ValueError, match="elbo_curve needs the history of a variational fit"):
        elbo_curve(posterior)


@pytest.mark.parametrize(("value", "name"), [([1.0, 0.5], "list"), (fitted({"kl": [1.0]}), "dict")])
def test_what_is_no_fit_has_no_curve(value, name):
    with pytest.raises(TypeError, match=f"needs a fitted posterior or its history; got {name}"):
        elbo_curve(value)


@pytest.mark.parametrize("epochs", [[{"loss": 1.0, "misfit": 1.0}], []], ids=["map", "no epoch"])
def test_a_fit_without_a_kl_has_no_curve(epochs):
    with pytest.raises(ValueError, match=r"elbo_curve needs the history of a variational fit"):
        elbo_curve(History(epochs, 1.0, False))
