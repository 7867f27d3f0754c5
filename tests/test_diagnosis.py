"""The record of a diagnosis: what it shows and what it is turned into."""

import json
import math
from dataclasses import replace

import pandas as pd

from bayesnn.arviz_data import inference_data
from bayesnn.diagnosis import Diagnosis, Finding, in_order

SITES = {
    "0.weight": {"size": 6.0, "kl": 1.5, "kl_per_weight": 0.25, "at_prior": 0.5, "signal_to_noise": 2.0},
    "noise_scale": {"size": 1.0, "kl": 3.0, "kl_per_weight": 3.0, "at_prior": math.nan, "signal_to_noise": math.nan},
}
BAD = Finding("unconverged", "it rose & rose.", "raise num_epochs")
NOTE = Finding("far", "as is usual.", is_warning=False)
FOUND = Diagnosis("svi", {"elbo_per_datum": -0.5, "pareto_k": math.inf, "elbo_rise": math.nan}, SITES, (BAD, NOTE))


WORSE, NO_DRAWS = Finding("miscalibrated", "too sure.", "recalibrate it"), Finding("no draws", "stopped.", "fit again")


def test_that_a_fit_has_not_arrived_comes_first_and_other_advice_after_it():
    told = in_order([NOTE, WORSE, BAD])
    assert [one.name for one in told] == ["unconverged", "miscalibrated", "far"]
    assert [one.advice for one in told] == ["raise num_epochs", "first mend the above; then recalibrate it", ""]
    assert "To mend it, first mend the above; then recalibrate it." in str(told[1])
    assert in_order([WORSE, NO_DRAWS])[0] == NO_DRAWS


def test_findings_of_a_fit_that_has_arrived_stay_as_they_are():
    assert in_order([NOTE, WORSE]) == (WORSE, NOTE)
    assert in_order([replace(BAD, is_warning=False), WORSE])[0] == WORSE
    assert in_order([]) == ()


def test_the_report_tells_figures_sites_and_findings():
    assert repr(FOUND).splitlines() == [
        "svi: unconverged",
        "  elbo_per_datum  -0.5",
        "  pareto_k        inf",
        "  elbo_rise       –",
        "",
        "site         size  KL (nats)  per weight  at prior  signal / noise",
        "0.weight        6      1.500       0.250       50%           2.000",
        "noise_scale     1      3.000       3.000         –               –",
        "",
        "! unconverged: it rose & rose. To mend it, raise num_epochs.",
        "",
        "- far: as is usual.",
    ]
    assert "<b>unconverged: it rose &amp; rose." in FOUND._repr_html_()
    assert repr(Diagnosis("gp")) == "gp: nothing to warn of"


def test_only_warnings_make_it_ill():
    assert not FOUND.is_well
    assert FOUND.warnings == (BAD,)
    assert Diagnosis("svi", findings=(NOTE,)).is_well


def test_it_goes_to_json_pandas_and_arviz():
    record = json.loads(FOUND.to_json())
    assert record["figures"] == {"elbo_per_datum": -0.5, "pareto_k": None, "elbo_rise": None}
    assert record["findings"][0]["name"] == "unconverged"
    assert isinstance(FOUND.to_pandas(), pd.DataFrame)
    assert FOUND.to_pandas().loc["0.weight", "kl"] == 1.5
    group = inference_data({"diagnosis": FOUND.variables()}).diagnosis
    assert float(group["elbo_per_datum"]) == -0.5
    assert list(group["site"].values) == ["0.weight", "noise_scale"]
    assert list(group["site_kl"].values) == [1.5, 3.0]
    assert list(group["finding"].values) == [str(BAD), str(NOTE)]
    assert inference_data({"diagnosis": Diagnosis("svi").variables()}).diagnosis["finding"].shape == (0,)
