"""Cells: what one run keeps another finds, for the same settings alone."""

import json
import math
from concurrent.futures import Future
from dataclasses import replace

import pytest
import torch

from bayesnn import benchmark, datasets
from bayesnn.benchmark import Settings, run
from bayesnn.cells import Cells

pytestmark = pytest.mark.filterwarnings("ignore:the ELBO, .* is below")  # fits of a few epochs

TINY = Settings(methods=("map", "svi"), hidden=(5,), num_epochs=2, num_samples=5, seeds=(0, 1))
ROW = {"nll": 0.5, "elbo_per_datum": math.nan}


def test_a_line_is_a_cell_for_the_same_settings_alone(tmp_path):
    Cells(tmp_path, TINY).keep("map", 1, ROW)
    found = Cells(tmp_path, replace(TINY, methods=("svi",), seeds=(3,), jobs=2, folder="elsewhere")).figures("map", 1)
    assert found == pytest.approx(ROW, nan_ok=True)
    for other in (replace(TINY, num_epochs=3), replace(TINY, hidden=None), replace(TINY, device="cpu")):
        assert Cells(tmp_path, other).figures("map", 1) is None
    assert Cells(tmp_path, TINY).figures("map", 2) is None
    assert Cells(tmp_path, TINY, fresh=True).figures("map", 1) is None
    (line,) = (tmp_path / "cells.jsonl").read_text().splitlines()
    assert json.loads(line)["figures"] == {"nll": 0.5, "elbo_per_datum": None}


def test_of_another_version_it_is_none(tmp_path, monkeypatch):
    Cells(tmp_path, TINY).keep("map", 1, ROW)
    monkeypatch.setattr("bayesnn.cells.version", lambda name: "9.9")
    assert Cells(tmp_path, TINY).figures("map", 1) is None


def test_a_line_cut_short_is_none_and_the_next_one_is_whole(tmp_path):
    cells = Cells(tmp_path, TINY)
    cells.keep("map", 0, ROW)
    cells.keep("map", 1, ROW)
    path = tmp_path / "cells.jsonl"
    path.write_text(path.read_text()[:-20])
    again = Cells(tmp_path, TINY)
    assert again.figures("map", 0) is not None
    assert again.figures("map", 1) is None
    again.keep("svi", 0, ROW)
    assert Cells(tmp_path, TINY).figures("svi", 0) is not None


def test_the_later_of_two_lines_counts(tmp_path):
    cells = Cells(tmp_path, TINY)
    cells.keep("map", 0, ROW)
    cells.keep("map", 0, ROW | {"nll": 0.25})
    assert Cells(tmp_path, TINY).figures("map", 0)["nll"] == 0.25


def test_without_a_folder_nothing_is_kept():
    cells = Cells(None, TINY)
    cells.keep("map", 0, ROW)
    assert cells.figures("map", 0) == ROW
    assert cells.fit("map", 0) is None


def test_a_fit_that_cannot_be_read_is_made_again(tmp_path):
    first = run(replace(TINY, seeds=(0,)), progress=False, folder=tmp_path)
    for path in (tmp_path / "fits").iterdir():
        path.write_bytes(b"no fit")
    told = []
    again = run(replace(TINY, seeds=(0,)), progress=False, folder=tmp_path, tell=told.append)
    assert told == ["map, seed 0 (1 of 1)", "svi, seed 0 (1 of 1)"]
    assert [row["nll"] for row in again.rows] == [row["nll"] for row in first.rows]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_goes_on_where_one_ended(tmp_path, monkeypatch, jobs):
    whole = run(replace(TINY, jobs=jobs), progress=False, folder=tmp_path)
    x = datasets.digits(seed=0).x_test
    monkeypatch.setattr(benchmark, "_fit", pytest.fail)
    told = []
    again = run(replace(TINY, jobs=jobs), progress=False, folder=tmp_path, tell=told.append)
    assert told == [f"4 of 4 fits stand in {tmp_path}; --fresh makes them anew"]
    assert again.to_json()["rows"] == whole.to_json()["rows"]
    for name, posterior in whole.posteriors.items():
        torch.testing.assert_close(again.posteriors[name](x).probs, posterior(x).probs, rtol=0, atol=0)
        torch.testing.assert_close(again.outside[name].probs, whole.outside[name].probs, rtol=0, atol=0)


def test_what_was_finished_before_an_error_is_kept(tmp_path, monkeypatch):
    def fails(*arguments, **options):
        raise RuntimeError("no memory")

    monkeypatch.setitem(benchmark.METHODS, "svi", fails)
    with pytest.raises(RuntimeError, match="no memory"):
        run(TINY, progress=False, folder=tmp_path)
    assert Cells(tmp_path, TINY).figures("map", 0) is not None
    assert Cells(tmp_path, TINY).fit("map", 0) is not None


def test_of_another_process_only_what_it_found_is_kept(tmp_path):
    cells = Cells(tmp_path, TINY)
    for number, ended in enumerate((Future(), Future(), Future())):
        if number == 0:
            ended.cancel()
        elif number == 1:
            ended.set_exception(RuntimeError("no memory"))
        else:
            ended.set_result(ROW)
        benchmark._keep(cells, ("map", number), ended)
    found = [Cells(tmp_path, TINY).figures("map", number) is not None for number in range(3)]
    assert found == [False, False, True]
