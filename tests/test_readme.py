"""The README's examples run as printed, without a warning."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_first_example_has_twenty_lines_at_most():
    assert len([line for line in EXAMPLES[0].splitlines() if line.strip()]) <= 20


@pytest.mark.slow
def test_regression_in_raw_units_with_its_bands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    world = {}
    exec(EXAMPLES[0], world)
    assert (tmp_path / "bands.png").stat().st_size > 10_000
    scores = world["evaluate"](world["posterior"](world["x"]), world["y"])
    # The noise has a standard deviation of 30 + x / 5, 50 on the left and 200 on the right; 400 targets in the 90 %
    # interval have a standard error of 0.015.
    assert 120 < scores["rmse"] < 190
    assert abs(scores["coverage_90"] - 0.9) < 5 * 0.015


@pytest.mark.slow
def test_a_hierarchical_pyro_model():
    world = {}
    exec(EXAMPLES[1], world)
    assert world["posterior"](world["x"]).batch_shape == (200,)


@pytest.mark.slow
def test_the_model_in_a_hand_written_loop():
    world = {}
    exec(EXAMPLES[2], world)
    error = world["predictive"].mean - world["y"]
    assert error.square().mean().sqrt() < 0.6


@pytest.mark.slow
def test_classes_mistakes_and_another_world(capsys):
    world = {}
    exec(EXAMPLES[3], world)
    printed = capsys.readouterr().out
    assert all(words in printed for words in ("misclassification", "out-of-distribution", "plain", "bayesian"))
    assert world["out_of_distribution"](world["inside"], world["outside"]).best > 0.9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Passing a dict or None as alias_mapping")  # ArviZ 0.23 with matplotlib 3.11
def test_before_the_fit_and_after_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    world = {}
    exec(EXAMPLES[4], world)
    printed = capsys.readouterr().out
    assert all(words in printed for words in ("nothing to warn of", "elbo_gain", "noise_scale", "elpd_loo"))
    assert (tmp_path / "fit.nc").stat().st_size > 10_000
    plt.close("all")
