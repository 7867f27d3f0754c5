"""The comparison: a run over seeds against runs of one seed each, put together by numpy."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bayesnn import benchmark
from bayesnn.benchmark import Settings, run
from bayesnn.datasets import digits
from bayesnn.evaluation import figures

TINY = Settings(hidden=(5,), num_epochs=2, num_samples=5, seeds=(0, 1))
SECONDS = {"fit_seconds", "predict_seconds"}


@pytest.fixture(scope="module")
def both():
    return run(TINY, progress=False)


@pytest.fixture(scope="module")
def singles():
    return [run(replace(TINY, seeds=(seed,)), progress=False) for seed in TINY.seeds]


def test_figures_are_mean_and_sample_sd_of_runs_of_one_seed(both, singles):
    for number, row in enumerate(both.rows):
        assert row["method"] == TINY.methods[number]
        for name in set(row) - {"method"} - SECONDS:
            values = [single.rows[number][name]["mean"] for single in singles]
            expected = {"mean": np.mean(values), "sd": np.std(values, ddof=1)}
            assert row[name] == pytest.approx(expected, rel=1e-6, nan_ok=True), name
    assert any(row["nll"]["sd"] > 0 for row in both.rows)


def test_one_seed_has_no_spread(singles):
    assert all(row[name]["sd"] is None for row in singles[0].rows for name in row if name != "method")


def test_times_are_measured(both):
    assert all(row[name]["mean"] > 0 for row in both.rows for name in SECONDS)


def test_what_is_kept_is_of_the_first_seed(both, singles):
    assert both.split.x_train.equal(digits(seed=0).x_train)
    for name in TINY.methods:
        inside, outside = both.inside[name], both.outside[name]
        assert inside.probs.equal(both.posteriors[name](both.split.x_test).probs)
        assert outside.probs.equal(both.posteriors[name](both.split.x_ood).probs)
        row = next(row for row in singles[0].rows if row["method"] == name)
        found = figures(inside, both.split.y_test, outside)
        assert found == pytest.approx({score: row[score]["mean"] for score in found}, rel=1e-6)


def test_settings_reach_the_fits(both):
    assert [both.posteriors[name].num_samples for name in ("map", "svi")] == [1, 5]
    assert all(len(posterior.history.epochs) == 2 for posterior in both.posteriors.values())
    for posterior in both.posteriors.values():
        assert {tuple(w.shape[1:]) for name, w in posterior.weights.items() if name.endswith("weight")} == {
            (5, 64),
            (9, 5),
        }


def test_results_are_plain_strict_json(both):
    found = both.to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["data"], found["seeds"]) == ("digits", [0, 1])
    plain = found["rows"][TINY.methods.index("map")]
    assert plain["elbo_per_datum"] == {"mean": None, "sd": None}
    for row, told in zip(both.rows, found["rows"], strict=True):
        nothing = {name for name, value in row.items() if name != "method" and math.isnan(value["mean"])}
        assert {name: told[name] for name in row.keys() - nothing} == {name: row[name] for name in row.keys() - nothing}


def test_a_line_is_told_before_each_fit_and_nothing_is_printed(capfd):
    told = []
    torch.manual_seed(5)
    state = torch.get_rng_state()
    run(replace(TINY, methods=("map",), num_epochs=1), progress=False, tell=told.append)
    assert told == ["map, seed 0 (1 of 2)", "map, seed 1 (2 of 2)"]
    assert capfd.readouterr() == ("", "")
    assert torch.get_rng_state().equal(state)


def test_a_method_named_twice_is_one_row_with_one_fit_per_seed():
    found = run(replace(TINY, methods=("map", "map"), seeds=(0,), num_epochs=1), progress=False)
    assert [row["method"] for row in found.rows] == ["map"]
    assert found.rows[0]["fit_seconds"]["sd"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"methods": ("map", "magic")}, f"method must be one of {', '.join(benchmark.METHODS)}; got 'magic'"),
        ({"data": "letters"}, "data set must be one of digits; got 'letters'"),
        ({"methods": ()}, "one method and one seed at least"),
        ({"seeds": ()}, "one method and one seed at least"),
        ({"num_epochs": 0}, "num_epochs must be 1 or more; got 0"),
        ({"methods": ("svi",), "num_samples": 0}, "num_samples must be a whole number, 1 or more; got 0"),
        ({"activation": "wiggle"}, "activation"),
        ({"device": "banana"}, "device must be one that is here .*; got 'banana'"),
    ],
)
def test_bad_settings_get_one_clear_sentence(change, words):
    with pytest.raises(ValueError, match=words):
        run(replace(TINY, **change), progress=False)
