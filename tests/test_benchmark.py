"""The comparison: a run over seeds against runs of one seed each, put together by numpy."""

import json
import math
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

import bayesnn
from bayesnn import benchmark, datasets, decompose, roster, settings, unknown_from_ambiguous
from bayesnn.benchmark import Settings, run
from bayesnn.catalogue import OWN_NOISE
from bayesnn.datasets import digits
from bayesnn.evaluation import figures

pytestmark = pytest.mark.filterwarnings("ignore:the ELBO, .* is below")  # fits of a few epochs

TINY = Settings(methods=("map", "svi"), hidden=(5,), num_epochs=2, num_samples=5, seeds=(0, 1))
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
            spread = {part: row[name][part] for part in row[name] if part != "values"}
            assert spread == pytest.approx(expected, rel=1e-6, nan_ok=True), name
            assert row[name]["values"] == pytest.approx(values, rel=1e-6, nan_ok=True), name
        for name in SECONDS:
            values = row[name]["values"]
            assert len(values) == 2
            assert row[name] == {"mean": np.mean(values), "sd": np.std(values, ddof=1), "values": values}
    assert any(row["nll"]["sd"] > 0 for row in both.rows)


def test_one_seed_has_no_spread(singles):
    figures_of_one = [row[name] for row in singles[0].rows for name in row if name != "method"]
    assert all(figure["sd"] is None for figure in figures_of_one)
    for figure in figures_of_one:
        assert figure["values"] == pytest.approx([figure["mean"]], nan_ok=True, rel=0, abs=0)


def test_times_are_measured(both):
    assert all(value > 0 for row in both.rows for name in SECONDS for value in row[name]["values"])


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
    read = json.loads(json.dumps(found, allow_nan=False))
    assert {name: read[name] for name in read if name != "settings"} == {
        name: found[name] for name in found if name != "settings"
    }
    assert read["settings"] == {
        "data": "digits",
        "methods": ["map", "svi"],
        "seeds": [0, 1],
        "hidden": [5],
        "activation": "silu",
        "dropout": 0.1,
        "folder": None,
        "num_epochs": 2,
        "num_samples": 5,
        "device": None,
        "hold_out": None,
        "ambiguous": None,
        "ood": None,
        "jobs": 1,
        "channels": [],
        "prior": f"fan_in_normal({benchmark.PRIOR_SCALE:g})",
    }
    assert (found["data"], found["seeds"], found["interrupted"]) == ("digits", [0, 1], False)
    assert found["sizes"] == {"x_train": 1131, "x_test": 486, "x_ood": 180}
    assert found["versions"] == {"bayesnn": bayesnn.__version__, "torch": torch.__version__}
    plain = found["rows"][TINY.methods.index("map")]
    assert plain["elbo_per_datum"] == {"mean": None, "sd": None, "values": [None, None]}
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
    assert len(found.rows[0]["fit_seconds"]["values"]) == 1


def press_ctrl_c(*anything):
    raise KeyboardInterrupt


@pytest.fixture
def stop_in(monkeypatch):
    """Ctrl-C after the first epoch of the fit of this number, counted from 1."""

    def arrange(number):
        started = []

        def wrapped(fit):
            def fit_until(*arguments, **options):
                started.append(fit)
                return fit(*arguments, **options, callback=press_ctrl_c if len(started) == number else None)

            return fit_until

        for name, fit in list(benchmark.METHODS.items()):
            monkeypatch.setitem(benchmark.METHODS, name, wrapped(fit))
        return started

    return arrange


@pytest.mark.parametrize(
    ("number", "finished"), [(2, {"map": 1}), (3, {"map": 1, "svi": 1}), (4, {"map": 2, "svi": 1})]
)
def test_stopped_by_hand_the_finished_fits_are_kept_and_no_other(number, finished, singles, stop_in, capfd):
    started = stop_in(number)
    found = run(TINY, progress=False)
    assert len(started) == number
    assert found.interrupted
    assert found.to_json()["interrupted"] is True
    json.dumps(found.to_json(), allow_nan=False)
    assert {row["method"]: len(row["nll"]["values"]) for row in found.rows} == finished
    assert set(found.posteriors) == set(found.inside) == set(found.outside) == set(finished)
    for row in found.rows:
        place, count = TINY.methods.index(row["method"]), finished[row["method"]]
        for name in set(row) - {"method"} - SECONDS:
            values = [single.rows[place][name]["mean"] for single in singles[:count]]
            assert row[name]["values"] == pytest.approx(values, rel=1e-6, nan_ok=True), name
            assert row[name]["mean"] == pytest.approx(np.mean(values), rel=1e-6, nan_ok=True), name
            assert (row[name]["sd"] is None) == (count == 1)
        assert not found.posteriors[row["method"]].history.interrupted
    assert capfd.readouterr() == ("", "")


def test_stopped_by_hand_between_two_fits_the_finished_ones_are_kept():
    told = []

    def tell(line):
        told.append(line)
        if len(told) == 2:
            raise KeyboardInterrupt

    found = run(replace(TINY, num_epochs=1), progress=False, tell=tell)
    assert found.interrupted
    assert [row["method"] for row in found.rows] == ["map"]


def test_stopped_by_hand_before_a_fit_is_finished_there_is_no_result(stop_in):
    stop_in(1)
    with pytest.raises(KeyboardInterrupt):
        run(TINY, progress=False)


@pytest.mark.parametrize("hold_out", [0, 4])
def test_the_class_held_out_is_the_one_asked_for_at_every_seed(hold_out, monkeypatch):
    loaded = []

    def load(**options):
        loaded.append(options)
        return digits(**options)

    monkeypatch.setitem(settings.DATA, "digits", load)
    found = run(replace(TINY, methods=("map",), num_epochs=1, hold_out=hold_out), progress=False)
    assert loaded == [{"seed": 0, "hold_out": hold_out}, {"seed": 1, "hold_out": hold_out}]
    expected = digits(hold_out)
    assert found.split.x_ood.equal(expected.x_ood)
    assert found.split.classes == expected.classes
    assert len(found.outside["map"]) == len(expected.x_ood)
    assert found.to_json()["settings"]["hold_out"] == hold_out


def test_mixtures_are_trained_on_and_set_against_the_unseen_class():
    found = run(replace(TINY, methods=("svi",), num_epochs=1, ambiguous=0.5), progress=False)
    expected = datasets.with_ambiguous(digits(), fraction=0.5)
    assert found.split.x_train.equal(expected.x_train)
    assert found.split.x_ambiguous.equal(expected.x_ambiguous)
    unknown, ambiguous = found.outside["svi"], found.ambiguous["svi"]
    assert (len(unknown), len(ambiguous)) == (len(expected.x_ood), len(expected.x_ambiguous))
    row = {name: figure["values"][0] for name, figure in found.rows[0].items() if name != "method"}
    told = unknown_from_ambiguous(unknown, ambiguous).auroc
    assert row["unknown_from_ambiguous_auroc"] == told["epistemic_less_aleatoric"]
    for kind, predictive in (("unknown", unknown), ("ambiguous", ambiguous)):
        parts = decompose(predictive)
        assert row[f"{kind}_aleatoric"] == pytest.approx(float(parts.aleatoric.mean()))
        assert row[f"{kind}_epistemic"] == pytest.approx(float(parts.epistemic.mean()))
    assert found.to_json()["sizes"]["x_ambiguous"] == len(expected.x_ambiguous)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"methods": ("map", "magic")}, f"method must be one of {', '.join(benchmark.METHODS)}; got 'magic'"),
        ({"data": "letters"}, "data set must be one of digits, .*; got 'letters'"),
        ({"methods": ()}, "one method and one seed at least"),
        ({"seeds": ()}, "one method and one seed at least"),
        ({"num_epochs": 0}, "num_epochs must be 1 or more; got 0"),
        ({"methods": ("svi",), "num_samples": 0}, "num_samples must be a whole number, 1 or more; got 0"),
        ({"activation": "wiggle"}, "activation"),
        ({"hold_out": 10}, "hold_out must be a digit from 0 to 9, or None; got 10"),
        ({"ambiguous": 0.0}, "ambiguous must be a fraction of the training pictures, above 0 and up to 1; got 0.0"),
        ({"data": "uci/yacht", "ambiguous": 0.5}, "mixtures of two classes need classes; uci/yacht has real targets"),
        ({"jobs": 0}, "jobs must be a whole number, 1 or more; got 0"),
        ({"ood": "mnist"}, "another data set as other world goes with mnist and fashion-mnist; not digits"),
        ({"data": "mnist"}, "mnist needs another world: pass ood='fashion-mnist'"),
        ({"device": "banana"}, "device must be one that is here .*; got 'banana'"),
    ],
)
def test_bad_settings_get_one_clear_sentence(change, words):
    with pytest.raises(ValueError, match=words):
        run(replace(TINY, **change), progress=False)


def test_processes_side_by_side_give_the_same_figures(both):
    """The first seed's fits are made here, the second's in a process of its own: but for rounding nothing changes."""
    found = run(replace(TINY, jobs=2), progress=False)
    for row, alone in zip(found.rows, both.rows, strict=True):
        for name in set(alone) - {"method"} - SECONDS:
            assert row[name]["values"] == pytest.approx(alone[name]["values"], rel=1e-4, nan_ok=True), name
    assert set(found.posteriors) == set(TINY.methods)


def test_the_longest_fits_are_begun_first_by_others_and_the_shortest_here(monkeypatch):
    """The other process is busy until this one has taken the shortest, and then gets the last."""
    begun, told, futures = [], [], []

    class Pool:
        def submit(self, function, *arguments):
            begun.append(f"{arguments[0]}, seed {arguments[2]}")
            futures.append(Future())
            if len(begun) == 2:
                futures[1].set_result(function(*arguments))
            return futures[-1]

    def tell(line):
        told.append(line.split(" (")[0])
        if told[-1] == "map, seed 1":
            futures[0].set_result(benchmark.figures_of("ensemble", settings, 1))

    settings = replace(TINY, methods=("map", "ensemble", "dropout"), jobs=2)
    monkeypatch.setattr(benchmark, "workers", lambda number: nullcontext(Pool()))
    found = run(settings, progress=False, tell=tell)
    assert begun == ["ensemble, seed 1", "dropout, seed 1"]
    assert told[3:] == ["map, seed 1"]
    assert all(len(row["nll"]["values"]) == 2 for row in found.rows)
    assert set(roster.COSTS) == set(roster.METHODS)


def test_an_error_in_another_process_reaches_this_one():
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="num_epochs must be 1 or more"):
        run(replace(TINY, methods=("map",), num_epochs=0, jobs=2), progress=False)


@pytest.mark.parametrize("name", ["svi_own_noise", "svi_own_noise_ensemble"])
def test_a_variational_network_may_predict_its_noise(name):
    """Four times the noise to the right: a scale of 150 rows has a standard error of 6 %."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(300, 1, generator=generator) * 2 - 1
    right = x[:, 0] > 0
    true = torch.where(right, 1.0, 0.25)
    split = datasets.Split("step", x, 3 * x[:, 0] + true * torch.randn(300, generator=generator), x[:2], x[:2, 0])
    chosen = Settings(data="uci/yacht", methods=(name,), hidden=(20,))
    model = settings.model_for(split, chosen, 0, own_noise=name in OWN_NOISE)
    options = {"num_samples": 20, "num_epochs": 400, "device": None, "seed": 0, "progress": False}
    posterior = roster.METHODS[name](model, split.x_train, split.y_train, **options)
    found = decompose(posterior(x)).aleatoric.sqrt()
    edge = x[:, 0].abs() < 0.2  # the network cannot jump
    for side in (right & ~edge, ~right & ~edge):
        assert 0.75 < float(found[side].mean() / true[side].mean()) < 1.35
