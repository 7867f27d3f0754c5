"""The door to ArviZ. Needs no torch: `make test-arviz` runs it on ArviZ 1.x too, without the tests' common part."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from bayesnn.arviz_data import group_names, inference_data, loo, pareto_k, read, write

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz as az  # adds filters when it is first used

pytestmark = [
    pytest.mark.filterwarnings("ignore:Passing a dict or None as alias_mapping"),  # ArviZ 0.23 with matplotlib 3.11
    pytest.mark.filterwarnings("ignore:The inplace keyword"),  # and with pandas 3
]
OLD = az.__version__.startswith("0.")
S, N = 200, 12


def made():
    rng = np.random.default_rng(0)
    draws = ("chain", "draw")
    return inference_data(
        {
            "posterior": {
                "0.weight": ((*draws, "0_out", "0_in"), rng.normal(size=(2, S, 2, 3))),
                "noise_scale": (draws, rng.gamma(5.0, size=(2, S))),
            },
            "log_likelihood": {"y": ((*draws, "datum"), rng.normal(-1, 0.1, size=(2, S, N)))},
            "posterior_predictive": {"y": ((*draws, "datum"), rng.normal(size=(2, S, N)))},
            "observed_data": {"y": (("datum",), rng.normal(size=N))},
            "fit_history": {"elbo": (("epoch",), np.arange(7.0))},
            "predictions": {},
        },
        {"0_in": ["age", "height", "weight"], "datum": [f"row {n}" for n in range(N)]},
        {"method": "svi", "elbo_per_datum": -0.5},
    )


def test_groups_axes_and_labels_are_there():
    data = made()
    assert group_names(data) == (
        ["posterior", "posterior_predictive", "log_likelihood", "observed_data", "fit_history"]
        if OLD
        else ["posterior", "log_likelihood", "posterior_predictive", "observed_data", "fit_history"]
    )
    assert data.posterior["0.weight"].dims == ("chain", "draw", "0_out", "0_in")
    assert list(data.posterior["0_in"].values) == ["age", "height", "weight"]
    assert list(data.posterior["0_out"].values) == [0, 1]
    assert data.attrs["elbo_per_datum"] == -0.5
    assert float(data.fit_history["elbo"].sel(epoch=3)) == 3.0
    assert data.posterior["0.weight"].sel({"0_in": "age"}).shape == (2, S, 2)


def test_labels_must_be_as_many_as_the_axis_is_long():
    values = {"posterior": {"a": (("chain", "draw", "target"), np.zeros((1, 5, 2)))}}
    with pytest.raises(ValueError, match="coords must label all of target, which is 2 long; got 3 labels"):
        inference_data(values, {"target": ["a", "b", "c"]})


@pytest.mark.parametrize("name", ["data.nc", "data.zarr"])
def test_files_go_round(name, tmp_path):
    if name.endswith("zarr"):
        pytest.importorskip("zarr")
    data = made()
    for _ in range(2):  # the second time over the first
        write(data, tmp_path / name)
        again = read(tmp_path / name)
        assert sorted(group_names(again)) == sorted(group_names(data))
        for group in group_names(data):
            left, right = (one[group] if OLD else one[group].to_dataset() for one in (data, again))
            assert left.equals(right.assign_coords({c: v.astype(left[c].dtype) for c, v in right.coords.items()}))
        assert again.attrs["method"] == "svi"


def test_arviz_takes_it():
    data = made()
    assert len(az.summary(data, var_names=["noise_scale", "0.weight"])) == 7
    az.loo(data)
    (az.plot_trace if OLD else az.plot_trace_dist)(data, var_names=["noise_scale"])
    az.plot_forest(data, var_names=["0.weight"])
    (az.plot_ppc if OLD else az.plot_ppc_dist)(data)
    (az.plot_posterior if OLD else az.plot_dist)(data, var_names=["noise_scale"])
    assert len(az.compare({"one": made(), "other": made()})) == 2


def test_loo_is_that_of_a_conjugate_model():
    r"""y_n ~ N(m, 1), m ~ N(0, 10^2): the draws' error of each term is far below a thousandth of a nat."""
    rng = np.random.default_rng(1)
    y = rng.normal(2.0, 1.0, size=N)

    def posterior(values):
        precision = len(values) + 0.01
        return values.sum() / precision, 1 / precision

    mean, variance = posterior(y)
    draws = rng.normal(mean, variance**0.5, size=(1, 20_000))
    log_density = -0.5 * np.log(2 * np.pi) - 0.5 * (y - draws[..., None]) ** 2
    exact = 0.0
    for n in range(N):
        m, v = posterior(np.delete(y, n))
        exact += -0.5 * np.log(2 * np.pi * (1 + v)) - 0.5 * (y[n] - m) ** 2 / (1 + v)
    axes = ("chain", "draw")
    data = inference_data({
        "posterior": {"m": (axes, draws)}, "log_likelihood": {"y": ((*axes, "datum"), log_density)},
    })  # fmt: skip
    value, error, k = loo(data)
    assert value == pytest.approx(exact, abs=0.02)
    assert 0 < error < 5
    assert k.shape == (N,)
    assert k.max() < 0.5


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_pareto_k_of_pareto_ratios(k):
    """The tail has 1341 ratios, so that the estimate's standard error is about (1 + k) / 37; five of them."""
    u = np.random.default_rng(2).uniform(size=200_000)
    ratios = ((1 - u) ** -k - 1) / k + 1
    assert pareto_k(np.log(ratios)) == pytest.approx(k, abs=5 * (1 + k) / 37)


def test_pareto_k_of_ratios_without_a_tail():
    assert pareto_k(np.full(50, 3.0) + 1e-6 * np.arange(50)) == 0.0
    assert pareto_k(np.r_[np.zeros(50), np.inf]) == np.inf
    with pytest.raises(ValueError, match=r"25 ratios at least, \(S,\); got shape \(24,\)"):
        pareto_k(np.zeros(24))


EXPORTS = sorted(Path(os.environ.get("BAYESNN_EXPORTS", "/nowhere")).glob("*, *.nc"))


@pytest.mark.skipif(not EXPORTS, reason="needs exports: `make test-arviz` writes them")
@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: path.stem)
def test_exports_of_every_method_are_taken_by_this_arviz(path):
    """Written where torch is, by tests/exported.py. Warnings of Pareto k are findings about fits cut short."""
    data = read(path)
    groups = set(group_names(data))
    assert {"posterior", "posterior_predictive", "log_likelihood", "observed_data", "constant_data"} <= groups
    assert {"prior", "prior_predictive", "predictions", "predictions_constant_data", "fit_history"} <= groups
    name = list(data.posterior.data_vars)[-1]
    if data.posterior.sizes["draw"] * data.posterior.sizes["chain"] == 1:
        return  # one network: nothing to summarise
    assert np.isfinite(az.summary(data, var_names=[name], kind="stats")["mean"]).all()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Estimated shape parameter of Pareto|Your data appears to have a single"
        )
        found = az.loo(data)
        assert np.isfinite(found.elpd_loo if OLD else found.elpd)
        if "svi" in path.stem:
            az.plot_forest(data, var_names=[name])
            (az.plot_trace if OLD else az.plot_trace_dist)(data, var_names=[name])
            (az.plot_ppc if OLD else az.plot_ppc_dist)(data)
            (az.plot_posterior if OLD else az.plot_dist)(data, var_names=[name])


@pytest.mark.skipif(OLD or not EXPORTS, reason="ArviZ 0.x has no loo_approximate_posterior")
def test_leave_one_out_is_corrected_for_a_guide_that_is_too_wide():
    """A guide of twice the right scales: weighted by lp and log_q its leave-one-out is the exact one."""
    data = read(EXPORTS[0].parent / "wide.nc")
    exact, stats = data.attrs["exact_loo"], data.sample_stats
    plain = az.loo(data).elpd
    corrected = az.loo_approximate_posterior(
        data, log_p=stats["lp"].values.ravel(), log_q=stats["log_q"].values.ravel()
    )
    assert abs(corrected.elpd - exact) < 0.2
    assert abs(plain - exact) > 5 * abs(corrected.elpd - exact)
