"""The table of methods: its figures are those of evaluation, its ranks scipy's, its marks a paired test."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from made_up import CLASSES, ELSEWHERE, LABELS, LOC, LOGITS, OTHER_LOGITS, REALS, SCALE, TARGETS, N, random
from scipy.stats import norm, t, ttest_ind, ttest_rel
from torch.distributions import Categorical, Normal, StudentT
from torch.utils.data import DataLoader, TensorDataset

from bayesnn import BayesianNeuralNetwork, comparison, evaluation, fit_map, likelihoods, networks
from bayesnn.comparison import compare
from bayesnn.evaluation import evaluate
from bayesnn.predictive import Predictive
from bayesnn.tasks import misclassification, out_of_distribution
from bayesnn.uncertainty import scores


def test_compare_puts_every_score_in_the_row_of_its_method():
    inputs = {len(CLASSES): CLASSES, len(ELSEWHERE): ELSEWHERE}
    sure = Predictive(Categorical(logits=LOGITS[:1])), Predictive(Categorical(logits=OTHER_LOGITS[:1]))
    methods = {"many": lambda x: inputs[len(x)], "one": lambda x: sure[len(x) != N]}
    table = compare(methods, torch.zeros(N, 2), LABELS, torch.zeros(25, 2))
    assert [row["method"] for row in table.rows] == ["many", "one"]
    for row, (inside, outside) in zip(table.rows, [(CLASSES, ELSEWHERE), sure], strict=True):
        expected = evaluate(inside, LABELS)
        expected["misclassification_auroc"] = misclassification(inside, LABELS).auroc["max_probability"]
        for name in scores(inside):
            expected[f"ood_auroc_{name}"] = out_of_distribution(inside, outside).auroc[name]
        assert {name: row[name] for name in expected} == expected
        assert set(row) == {*expected, "method", "rank", "elbo_per_datum", "fit_seconds", "predict_seconds"}
        assert math.isnan(row["elbo_per_datum"])  # a plain function tells nothing of its fit
        assert row["predict_seconds"] >= 0
        for name in expected:
            assert f"{row[name]:.3f}" in repr(table)


def test_compare_leaves_out_what_there_is_not():
    row = compare({"reals": lambda x: REALS}, torch.zeros(N, 1), TARGETS).rows[0]
    own = {"method", "large_error_auroc", "elbo_per_datum", "fit_seconds", "predict_seconds"}
    assert set(row) == {*evaluate(REALS, TARGETS), *own}
    assert row["large_error_auroc"] == misclassification(REALS, TARGETS).auroc["total"]
    loader = DataLoader(TensorDataset(torch.zeros(N, 1), TARGETS), batch_size=7)
    found = compare({"reals": lambda x: REALS}, loader).rows[0]
    assert {name: found[name] for name in ("nll", "rmse")} == {name: row[name] for name in ("nll", "rmse")}


@pytest.mark.parametrize(
    "source", [lambda data: data, lambda data: DataLoader(data, shuffle=True)], ids=["set", "loader"]
)
def test_data_that_bring_their_targets_come_alone(source):
    data = source(TensorDataset(torch.zeros(N, 1), TARGETS))
    with pytest.raises(TypeError, match="brings its own targets; pass it alone, without y"):
        compare({"reals": lambda x: REALS}, data, TARGETS)


def test_rows_of_pandas_in_another_order_are_refused():
    x, y = pd.DataFrame(torch.zeros(N, 2).numpy(), columns=["a", "b"]), pd.Series(TARGETS.numpy())
    seen = []
    compare({"reals": lambda x: seen.append(x) or REALS}, x, y)
    assert seen[0] is x  # with its columns
    with pytest.raises(ValueError, match=r"same labels in another one. Write y.loc\[x.index\]"):
        compare({"reals": lambda x: REALS}, x, y[::-1])


def test_compare_takes_fitted_methods_and_becomes_a_frame():
    x = random(40, 2).float()
    model = BayesianNeuralNetwork(networks.mlp(2, 2, hidden=(3,)), likelihood=likelihoods.categorical)
    posterior = fit_map(model, x, (x[:, 0] > 0).long(), num_epochs=2, progress=False)
    table = compare({"map": posterior}, x, (x[:, 0] > 0).long(), x + 5)
    frame = table.to_pandas()
    assert frame.index.tolist() == ["map"]
    assert frame.loc["map"].to_dict() == pytest.approx(
        {name: value for name, value in table.rows[0].items() if name != "method"}, nan_ok=True
    )
    assert frame.loc["map", "fit_seconds"] == posterior.history.seconds


@pytest.mark.parametrize("methods", [[lambda x: CLASSES], {"svi": CLASSES}])
def test_compare_wants_methods_by_name(methods):
    with pytest.raises(TypeError, match="fitted methods by name"):
        compare(methods, LABELS, LABELS)


def test_compare_wants_one_method_at_least():
    with pytest.raises(ValueError, match="one fitted method at least"):
        compare({}, LABELS, LABELS)


X, X_OOD = torch.zeros(N, 2), torch.zeros(25, 2)


def answering(inside, outside=None):
    """A fitted method with its answers at hand."""
    return lambda x: inside if len(x) == len(inside) else outside


def test_a_method_beside_itself_is_no_different_and_shares_its_rank():
    table = compare(dict.fromkeys("ab", answering(CLASSES, ELSEWHERE)), X, LABELS, X_OOD)
    assert all(tied == ("a", "b") for tied in table.no_different.values())
    assert [row["rank"] for row in table.rows] == [1.5, 1.5]
    assert "0.0*" not in repr(table).splitlines()[0]
    assert repr(table).count("*") == 2 * len(table.no_different) + 1  # and the footnote


def test_what_is_worse_beyond_chance_has_no_mark():
    """Means moved by many standard errors of the paired difference, and by none."""
    off = Predictive(Normal(LOC + 5, SCALE))
    table = compare({"off": answering(off), "right": answering(REALS)}, X, TARGETS)
    both = {"large_error_auroc": ("off", "right")}  # each of its own errors
    assert table.no_different == {"nll": ("right",), "rmse": ("right",), "crps": ("right",)} | both
    assert [row["rank"] for row in table.rows] == [2.0, 1.0]


def test_equal_methods_are_rarely_called_different():
    """200 pairs of predictions of the same law: two standard errors are missed by 4.6 %; 5 standard errors of that."""
    generator, missed = torch.Generator().manual_seed(0), dict.fromkeys(("nll", "crps"), 0)
    y = torch.randn(N, generator=generator).double()
    for _ in range(200):
        one, other = (Predictive(Normal(torch.randn(1, N, generator=generator).double(), 1.0)) for _ in range(2))
        marks = compare({"one": answering(one), "other": answering(other)}, X, y).no_different
        missed = {column: number + (len(marks[column]) == 1) for column, number in missed.items()}
    assert max(missed.values()) / 200 < 0.046 + 5 * (0.046 * 0.954 / 200) ** 0.5


@pytest.mark.parametrize("off", [0.05, 5.0])
def test_marks_of_the_brier_score_are_those_of_its_paired_difference(off):
    worse = (LOGITS + off * random(*LOGITS.shape, seed=5)).double()
    both = {"one": CLASSES, "other": Predictive(Categorical(logits=worse))}
    table = compare({name: answering(predictive) for name, predictive in both.items()}, X, LABELS)
    right = torch.eye(CLASSES.probs.shape[1])[LABELS]
    one, other = (((predictive.probs - right) ** 2).sum(1).numpy() for predictive in both.values())
    t = ttest_rel(one, other).statistic
    assert (len(table.no_different["brier"]) == 2) == (abs(t) <= 2) == (off < 1)
    assert "ece" not in table.no_different
    assert "ECE and calibration error, which are no means over inputs, have no mark" in repr(table)


def test_the_crps_of_each_input_is_found_once(monkeypatch):
    calls, honest = [], evaluation.crps_of_each
    monkeypatch.setattr(evaluation, "crps_of_each", lambda *a: calls.append(1) or honest(*a))
    compare(dict.fromkeys("ab", answering(REALS)), X, TARGETS)
    assert len(calls) == 2


def test_differences_of_areas_are_those_of_paired_resamples():
    """A little noise on the scores: the areas' own intervals are wide, the paired difference tells them apart."""
    generator = torch.Generator().manual_seed(0)
    strength = torch.cat([torch.rand(300, generator=generator), torch.rand(300, generator=generator) + 0.3]).double()

    def method(noise):
        doubt = (strength / 3 + noise * torch.rand(600, generator=generator)).clamp(0.01, 0.49)
        both = Predictive(Categorical(torch.stack([1 - doubt, doubt], 1)[None]))
        return lambda x: both[:300] if bool((x == 0).all()) else both[300:]

    methods = {"clear": method(0.0), "a little noise": method(0.001), "much noise": method(0.3)}
    table = compare(methods, torch.zeros(300, 1), torch.zeros(300).long(), torch.ones(300, 1))
    assert table.no_different["ood_auroc_entropy"] == ("clear", "a little noise")


def test_few_inputs_are_too_few_for_marks():
    table = compare(dict.fromkeys("ab", answering(REALS[:10])), X[:10], TARGETS[:10])
    assert table.no_different == {}
    assert "*" not in repr(table)


def test_the_table_becomes_json_and_html():
    table = compare(dict.fromkeys("ab", answering(CLASSES, ELSEWHERE)), X, LABELS, X_OOD)
    read = json.loads(table.to_json())
    assert read["rows"][0]["nll"] == table.rows[0]["nll"]
    assert read["rows"][0]["elbo_per_datum"] is None
    assert read["no_different"]["nll"] == ["a", "b"]
    assert "<td>a</td>" in table._repr_html_()


@pytest.mark.parametrize("number", [1, 4, 15])
def test_few_mistakes_mark_the_best_and_its_like(number):
    """A resample without a mistake has no area."""
    torch.manual_seed(0)
    y = torch.zeros(200, dtype=torch.long)
    logits = torch.stack([3 + torch.rand(200), torch.zeros(200)], 1)
    logits[:number, 0] = -0.5
    worse = logits.clone()
    worse[number : number + 60, 0] = 0.1
    answers = {"one": logits, "like": 1.0001 * logits, "worse": worse}
    found = compare(
        {n: lambda x, a=a: Predictive(Categorical(logits=a[None])) for n, a in answers.items()}, y[:, None], y
    )
    assert found.no_different["misclassification_auroc"] == ("one", "like")


# Several fits of a method


SEVERAL = [Predictive(Normal(LOC + shift, SCALE)) for shift in (0.0, 0.3, -0.1)]


def test_figures_of_several_fits_are_means_and_sample_deviations():
    table = compare({"a": [answering(fit) for fit in SEVERAL], "b": [answering(REALS)]}, X, TARGETS)
    first, second = table.rows
    for name, expected in evaluate(REALS, TARGETS).items():
        values = [evaluate(fit, TARGETS)[name] for fit in SEVERAL]
        assert first[name]["values"] == values
        assert first[name]["mean"] == pytest.approx(np.mean(values))
        assert first[name]["sd"] == pytest.approx(np.std(values, ddof=1))
        assert second[name] == expected
    assert f"{first['nll']['mean']:.3f} ± {first['nll']['sd']:.3f}" in repr(table)
    frame = table.to_pandas()
    assert frame.loc["a", "rmse_sd"] == first["rmse"]["sd"]
    assert frame.loc["b", "rmse"] == second["rmse"]
    assert json.loads(table.to_json())["rows"][0]["nll"]["values"] == first["nll"]["values"]
    assert [row["rank"] for row in table.rows] == [2.0, 1.0] or second["nll"] > first["nll"]["mean"]


def test_a_list_of_one_fit_is_that_fit():
    other = answering(Predictive(Normal(LOC + 0.2, SCALE)))
    alone = compare({"a": answering(REALS), "b": other}, X, TARGETS)
    listed = compare({"a": [answering(REALS)], "b": (other,)}, X, TARGETS)
    assert listed.no_different == alone.no_different
    assert [row["rank"] for row in listed.rows] == [row["rank"] for row in alone.rows]


def test_marks_weigh_the_fits_and_the_inputs():
    """Three fits each that differ by their starts alone, moved apart: Welch's test, at the level of two errors."""
    torch.manual_seed(0)
    starts = 0.15 * torch.randn(2, 3, dtype=torch.float64)
    for gap in torch.linspace(0, 1.5, 16, dtype=torch.float64).tolist():
        fits = {
            name: [Predictive(Normal(TARGETS + 1 + gap * (name == "b") + start, torch.ones(1, N))) for start in own]
            for name, own in zip("ab", starts, strict=True)
        }
        table = compare({name: [answering(fit) for fit in own] for name, own in fits.items()}, X, TARGETS)
        a, b = (torch.stack([-fit.log_prob(TARGETS) for fit in own]).numpy() for own in fits.values())
        welch = ttest_ind(a.mean(1), b.mean(1), equal_var=False)  # over the inputs the differences here are all equal
        assert (set(table.no_different["nll"]) == {"a", "b"}) == (welch.pvalue >= 2 * norm.sf(2)), gap
        if gap == 0:
            assert set(table.no_different["nll"]) == {"a", "b"}
            assert (a.mean(0) - b.mean(0)).std() < 1e-9  # over the inputs alone there is no noise here
    assert len(table.no_different["nll"]) == 1


def test_equal_methods_of_several_fits_are_rarely_called_different():
    """400 pairs of three fits of the same law, whose starts are all their difference: 4.6 %, and 5 errors of that."""
    generator, missed = torch.Generator().manual_seed(0), 0
    for _ in range(400):
        starts = torch.randn(2, 3, generator=generator, dtype=torch.float64)
        fits = [[answering(Predictive(Normal(TARGETS + 3 + s, torch.ones(1, N)))) for s in own] for own in starts]
        missed += len(compare(dict(zip("ab", fits, strict=True)), X, TARGETS).no_different["rmse"]) < 2
    assert 0 < missed / 400 < 0.0455 + 5 * (0.0455 * 0.9545 / 400) ** 0.5


def test_marks_of_fits_whose_inputs_differ_too_weigh_both():
    torch.manual_seed(1)
    noise, starts = 0.3 * torch.randn(2, N, dtype=torch.float64), 0.05 * torch.randn(2, 3, dtype=torch.float64)
    seen = set()
    for gap in torch.linspace(0, 0.6, 25, dtype=torch.float64).tolist():
        fits = [
            [Predictive(Normal(TARGETS + 1 + gap * k + wave + start, torch.ones(1, N))) for start in own]
            for k, (wave, own) in enumerate(zip(noise, starts, strict=True))
        ]
        table = compare({"a": list(map(answering, fits[0])), "b": list(map(answering, fits[1]))}, X, TARGETS)
        a, b = (torch.stack([-fit.log_prob(TARGETS) for fit in own]).numpy() for own in fits)
        d = a.mean(0) - b.mean(0)
        own = [each.mean(1).var(ddof=1) / 3 for each in (a, b)]
        square = d.var(ddof=1) / N + sum(own)
        errors = t.ppf(norm.cdf(2), square**2 / sum(v**2 / 2 for v in own))
        alike = set(table.no_different["nll"]) == {"a", "b"}
        assert alike == (abs(d.mean()) <= errors * np.sqrt(square)), gap
        seen.add(alike)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("fits", "came"),
    [([], "no fit"), ([REALS], "Predictive"), ([lambda x: REALS, 3], "int"), (REALS, "Predictive")],
    ids=["none", "predictive in a list", "number", "predictive"],
)
def test_a_list_of_fits_holds_fitted_methods(fits, came):
    with pytest.raises(TypeError, match=f"fitted methods by name: .*several fits of one in a list; got {came} for 'a'"):
        compare({"a": fits}, X, TARGETS)


def test_fits_may_come_in_any_order_of_things():
    fits = [answering(fit) for fit in SEVERAL]
    listed = compare({"a": fits}, X, TARGETS).rows[0]["nll"]
    assert compare({"a": dict(enumerate(fits)).values()}, X, TARGETS).rows[0]["nll"] == listed
    assert compare({"a": (fit for fit in fits)}, X, TARGETS).rows[0]["nll"] == listed


def of_logits(moved, mistakes):
    """Sure and right of every label, but for a few inputs; those it says another of, as sure as ``moved`` says."""
    logits = 8.0 * torch.nn.functional.one_hot(LABELS, LOGITS.shape[-1])
    for at in mistakes:
        logits[at] = logits[at].roll(1) * moved
    return answering(Predictive(Categorical(logits=logits[None] + 1e-3 * random(1, *logits.shape, seed=len(mistakes)))))


def test_a_fit_without_mistakes_is_left_out_of_its_methods_mean():
    some, none = of_logits(0.5, [3, 7, 20, 31]), of_logits(0.5, [])
    table = compare({"a": [some, none, some], "b": [some, some]}, X, LABELS)
    found = table.rows[0]["misclassification_auroc"]
    assert math.isnan(found["values"][1])
    assert found["mean"] == found["values"][0] == table.rows[1]["misclassification_auroc"]["mean"]
    assert table.no_different["misclassification_auroc"] == ("a", "b")


@pytest.mark.parametrize(("area", "alike"), [(0.49, True), (0.1, False)])
def test_resamples_without_the_mistakes_of_some_fits_count_by_the_others(area, alike):
    """Eight fits of one mistake each, which is in 63 % of the resamples: hardly one resample holds all of them."""
    generator = torch.Generator().manual_seed(0)
    a, b = (
        torch.where(torch.rand(8, 400, generator=generator) < 0.63, mean + 0.05 * random(8, 400, seed=8), torch.nan)
        for mean in (area, 0.5)
    )
    assert comparison._within_noise("misclassification_auroc", a, b) is alike


def test_a_handful_of_resamples_tells_nothing_apart():
    a = torch.full((2, 400), torch.nan)
    a[:, :19] = random(2, 19).float() / 100
    assert comparison._within_noise("misclassification_auroc", a, a + 0.5)
    a[:, 19] = 0.0
    assert not comparison._within_noise("misclassification_auroc", a, a + 0.5)


def test_one_fit_beside_several_is_taken_to_vary_as_they_do():
    """400 pairs of the same law, one fit against three: called different in 4.6 %, and 5 errors of that."""
    generator, missed = torch.Generator().manual_seed(0), 0
    for _ in range(400):
        starts = torch.randn(4, generator=generator, dtype=torch.float64)
        one, *three = [answering(Predictive(Normal(TARGETS + 4 + s, torch.ones(1, N)))) for s in starts]
        missed += len(compare({"one": one, "three": three}, X, TARGETS).no_different["rmse"]) < 2
    assert 0 < missed / 400 < 0.0455 + 5 * (0.0455 * 0.9545 / 400) ** 0.5


def test_columns_that_some_fits_lack_are_left_out():
    student = answering(Predictive(StudentT(5.0, LOC, SCALE)))
    for fits in ([answering(REALS), student], [student, answering(REALS)]):
        row = compare({"a": fits, "b": answering(REALS)}, X, TARGETS).rows[0]
        assert "crps" not in row
        assert row["nll"]["values"]


def test_the_footnote_tells_of_few_fits():
    several = compare({"a": list(map(answering, SEVERAL)), "b": answering(REALS)}, X, TARGETS)
    assert "more where few fits tell them" in repr(several)
    assert "more where few fits tell them" in several._repr_html_()
    assert "few fits" not in repr(compare({"a": answering(SEVERAL[1]), "b": answering(REALS)}, X, TARGETS))
