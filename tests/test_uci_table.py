"""The UCI benchmark: each cell is run once, is what a comparison says, and stands beside what was published."""

import json
import math
import sys
from concurrent.futures import BrokenExecutor

import numpy as np
import pytest

from bayesnn import BayesianNeuralNetwork, benchmark, evaluate, likelihoods, networks, priors, uci_table
from bayesnn.cli import main
from bayesnn.datasets import UCI, uci
from bayesnn.published import PUBLISHED
from bayesnn.roster import METHODS
from bayesnn.seeding import seeded
from bayesnn.settings import PRIOR_SCALE
from bayesnn.uci_table import Cell, finished, rows, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    (folder / "uci").mkdir()
    for name in ("yacht", "boston"):
        x = generator.normal(size=(40, 3))
        order = np.stack([generator.permutation(40) for _ in range(20)]).astype(np.uint16)
        np.savez(folder / "uci" / f"{name}.npz", X=x, y=x.sum(1), train_idx=order[:, :36], test_idx=order[:, 36:])
    return folder


CELLS = [Cell(data, "map", split, "short", (3,)) for data in ("yacht", "boston") for split in (0, 1)]


def test_a_finished_cell_is_not_run_again(folder, tmp_path, monkeypatch):
    path = tmp_path / "deep" / "cells.jsonl"
    first = run(CELLS[:2], path, folder=str(folder))
    ran, told = [], []
    honest = uci_table.figures_of
    monkeypatch.setattr(uci_table, "figures_of", lambda *a: ran.append(a[1].data) or honest(*a))
    found = run(CELLS, path, folder=str(folder), tell=told.append)
    assert ran == ["uci/boston", "uci/boston"]
    assert told[0] == f"2 of 4 cells stand in {path}"
    assert told[1].startswith("1 of 2: map on boston, split 0: RMSE ")
    for cell in CELLS[:2]:
        assert found[cell] == pytest.approx(first[cell], nan_ok=True)
    read = finished(path)
    for cell in CELLS:
        assert read[cell] == pytest.approx(found[cell], nan_ok=True)
    assert len(path.read_text().splitlines()) == 4


def test_a_cell_is_what_a_comparison_says(folder, tmp_path):
    found = run(CELLS[:1], tmp_path / "cells.jsonl", folder=str(folder))[CELLS[0]]
    settings = benchmark.Settings(
        data="uci/yacht", methods=("map",), seeds=(0,), hidden=(3,), num_epochs=40, folder=str(folder)
    )
    expected = benchmark.run(settings, progress=False).rows[0]
    for name in ("nll", "rmse", "coverage_90"):
        assert found[name] == expected[name]["mean"]


def test_stopped_by_hand_the_file_holds_what_was_finished(folder, tmp_path, monkeypatch):
    path, honest = tmp_path / "cells.jsonl", uci_table.figures_of

    def once(*arguments):
        if path.read_text():
            raise KeyboardInterrupt
        return honest(*arguments)

    monkeypatch.setattr(uci_table, "figures_of", once)
    with pytest.raises(KeyboardInterrupt):
        run(CELLS, path, folder=str(folder))
    assert list(finished(path)) == CELLS[:1]


COMMAND = ["benchmark", "uci", "--methods", "map", "--splits", "2", "--hidden", "3", "--protocols", "short"]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_cell_that_fails_is_told_of_and_the_others_go_on(jobs, folder, tmp_path, capsys):
    """The second split of one set has test rows that are not there."""
    broken = tmp_path / "uci"
    broken.mkdir()
    for name in ("yacht", "boston"):
        with np.load(folder / "uci" / f"{name}.npz") as arrays:
            parts = dict(arrays)
        if name == "yacht":
            parts["test_idx"][1] = 999
        np.savez(broken / f"{name}.npz", **parts)
    words = [*COMMAND, "--sets", "yacht", "boston", "--data", str(tmp_path), "--jobs", jobs, "--quiet"]
    assert main([*words, "--out", str(tmp_path / "cells.jsonl")]) == 1
    out, err = capsys.readouterr()
    first, heading, again = err.splitlines()
    assert " of 4 failed: map on yacht, split 1 (short): IndexError: index 999 is out of bounds" in first
    assert heading == "1 of 4 cells failed, which the next run tries again:"
    assert first.endswith(again)
    assert "map, short, 3" in out
    assert len(finished(tmp_path / "cells.jsonl")) == 3
    told = []
    found = run(CELLS, tmp_path / "cells.jsonl", folder=str(tmp_path), tell=told.append)
    assert list(found) == [cell for cell in CELLS if (cell.data, cell.split) != ("yacht", 1)]
    assert told[0].startswith("3 of 4 cells stand in")
    assert told[1].startswith("1 of 1 failed: map on yacht, split 1 (short): IndexError")


def test_a_process_that_died_ends_the_run(folder, tmp_path, monkeypatch):
    def died(*arguments):
        raise BrokenExecutor

    monkeypatch.setattr(uci_table, "figures_of", died)
    with pytest.raises(BrokenExecutor):
        run(CELLS, tmp_path / "cells.jsonl", folder=str(folder))


def test_cells_of_another_version_are_told_of_and_used(folder, tmp_path):
    path, told = tmp_path / "cells.jsonl", []
    run(CELLS[:3], path, folder=str(folder))
    own, lines = json.loads(path.read_text().splitlines()[0])["version"], path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "".join(lines[1:]).replace(f'"version": "{own}"', '"version": "0.0.9"'))
    assert len(run(CELLS[:3], path, folder=str(folder), tell=told.append)) == 3
    assert told == [
        f"3 of 3 cells stand in {path}",
        f"2 of them are of version 0.0.9, not {own}, and used as they are",
    ]


def test_a_line_cut_short_is_run_again_and_another_file_is_refused(folder, tmp_path):
    path = tmp_path / "cells.jsonl"
    run(CELLS[:2], path, folder=str(folder))
    whole = path.read_text()
    path.write_text(whole[:-20])
    assert list(finished(path)) == CELLS[:1]
    assert list(run(CELLS[:2], path, folder=str(folder))) == CELLS[:2]
    assert len(path.read_text().splitlines()) == 2
    path.write_text(whole[:-1])  # the end of a line alone is missing
    run(CELLS[:3], path, folder=str(folder))
    assert list(finished(path)) == CELLS[:3]
    for diary in ("dear diary", "dear diary\n", whole + '{"a": 1}\n', whole + "[]", '{"data": "notes"}'):
        path.write_text(diary)
        with pytest.raises(ValueError, match="is no cell of this benchmark"):
            finished(path)
        assert path.read_text() == diary
    path.write_text("a diary\n" + whole)
    with pytest.raises(ValueError, match=r"line 1 of .* is no cell of this benchmark. Write --out with another file"):
        finished(path)


def test_rows_are_means_and_standard_errors_beside_the_published():
    cells = {Cell("yacht", "svi", split): {"rmse": value, "nll": -value} for split, value in enumerate([1.0, 2.0, 4.5])}
    table = rows(cells)
    assert [row["method"] for row in table] == ["svi, converged", *(f"published: {name}" for name in PUBLISHED)]
    error = np.std([1.0, 2.0, 4.5]) / math.sqrt(3)
    assert table[0] == {
        "set": "yacht", "method": "svi, converged", "splits": 3, "starts": 1,
        "RMSE": f"2.500 ± {error:.3f}", "log-likelihood": f"2.500 ± {error:.3f}",
    }  # fmt: skip
    assert table[2]["RMSE"] == "1.020 ± 0.050"
    assert table[2]["log-likelihood"] == "-1.630 ± 0.020"


def test_starts_are_averaged_within_their_split():
    """A split with one start more weighs no more, and the error is that of the splits."""
    figures = {(0, 0): 1.0, (0, 1): 2.0, (0, 2): 6.0, (1, 0): 5.0, (1, 1): 5.0}
    cells = {Cell("yacht", "svi", split, start=start): {"rmse": v, "nll": v} for (split, start), v in figures.items()}
    (first, *published) = rows(cells)
    assert (first["RMSE"], first["log-likelihood"]) == ("4.000 ± 0.707", "-4.000 ± 0.707")
    assert (first["splits"], first["starts"], published[0]["starts"]) == (2, 2, None)


def test_another_start_is_another_fit_to_the_same_split(folder, tmp_path):
    path = tmp_path / "cells.jsonl"
    cells = [Cell("yacht", "map", split, "short", (3,), start) for split in (0, 1) for start in (0, 1)]
    found = run(cells, path, folder=str(folder))
    assert len({figures["rmse"] for figures in found.values()}) == 4
    split = uci("yacht", seed=0, folder=folder)
    with seeded(100):
        network = networks.mlp(3, 1, hidden=3, dropout=0.01)
    model = BayesianNeuralNetwork(network, prior=priors.fan_in_normal(PRIOR_SCALE), likelihood=likelihoods.gaussian)
    posterior = METHODS["map"](
        model, split.x_train, split.y_train, num_samples=100, num_epochs=40, device=None, seed=100, progress=False
    )
    assert found[cells[1]]["rmse"] == evaluate(posterior(split.x_test), split.y_test)["rmse"]
    assert finished(path).keys() == set(cells)


def test_cells_of_a_file_without_starts_are_of_the_first(folder, tmp_path):
    path = tmp_path / "cells.jsonl"
    run(CELLS[:1], path, folder=str(folder))
    path.write_text(path.read_text().replace('"start": 0, ', ""))
    assert "start" not in path.read_text()
    assert list(finished(path)) == CELLS[:1]


def test_small_errors_have_the_decimals_of_their_source():
    shown = {row["method"]: row["RMSE"] for row in rows({Cell("kin8nm", "svi", 0): {"rmse": 0.07861, "nll": -1.0}})}
    assert shown == {
        "svi, converged": "0.0786",
        "published: Graves' VI, 40 epochs": "0.10 ± 0.00",
        "published: PBP, 40 epochs": "0.10 ± 0.00",
        "published: MC dropout, grid search": "0.0789 ± 0.0006",
        "published: MC dropout, 2 hidden layers": "0.08 ± 0.00",
        "published: ensemble of 5, 40 epochs": "0.09 ± 0.00",
    }


def test_one_split_has_no_standard_error():
    (first, *_) = rows({Cell("yacht", "svi", 0): {"rmse": 1.0, "nll": 2.0}})
    assert (first["RMSE"], first["log-likelihood"], first["splits"]) == ("1.000", "-2.000", 1)


def test_every_set_has_its_published_figures():
    assert all(set(by_set) == set(UCI) for by_set in PUBLISHED.values())


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_command_prints_the_table_and_goes_on_from_its_file(jobs, folder, tmp_path, capsys):
    words = ["benchmark", "uci", "--sets", "yacht", "--methods", "map", "own_noise", "--splits", "1", "--hidden", "3"]
    words += ["--protocols", "short", "--data", str(folder), "--out", str(tmp_path / "cells.jsonl"), "--jobs", jobs]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "map, short, 3" in out
    assert "published: PBP, 40 epochs" in out
    assert "2 of 2: " in err
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)[1]["method"] == "own_noise, short, 3"
    assert err == f"2 of 2 cells stand in {tmp_path / 'cells.jsonl'}\n"


def test_the_command_fits_from_several_starts(folder, tmp_path, capsys):
    path = tmp_path / "cells.jsonl"
    words = [*COMMAND, "--sets", "yacht", "--data", str(folder), "--out", str(path), "--jobs", "1"]
    assert main([*words, "--starts", "2"]) == 0
    out, err = capsys.readouterr()
    assert out.split("\n")[1].split() == ["set", "method", "RMSE", "log-likelihood", "splits", "starts"]
    assert "4 of 4: map on yacht, split 1, start 1: RMSE " in err
    assert "2 of 4: map on yacht, split 1: RMSE " in err  # every split once, then every split anew
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)[0]["splits"], json.loads(out)[0]["starts"]) == (2, 1)
    assert err == f"2 of 2 cells stand in {path}\n"


def test_ctrl_c_says_where_the_finished_cells_stand(folder, tmp_path, monkeypatch, capsys):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(uci_table, "run", stop)
    assert main(["benchmark", "uci", "--out", str(tmp_path / "cells.jsonl")]) == 130
    assert "stopped by hand; what is finished stands in" in capsys.readouterr().err


def test_without_the_data_it_says_where_they_go(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("BAYESNN_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "pooch", None)  # no download from a test
    words = ["benchmark", "uci", "--sets", "yacht", "--methods", "map", "--splits", "1", "--jobs", "1"]
    assert main([*words, "--out", str(tmp_path / "cells.jsonl")]) == 2
    assert "--data" in capsys.readouterr().err


def test_a_split_that_is_not_there_is_refused_before_a_fit(folder, tmp_path, capsys):
    words = ["benchmark", "uci", "--splits", "21", "--sets", "yacht", "--methods", "map", "--data", str(folder)]
    assert main([*words, "--out", str(tmp_path / "cells.jsonl")]) == 2
    assert "uci/yacht has 20 standard splits, from 0 to 19; split 20 is not there" in capsys.readouterr().err
    assert not (tmp_path / "cells.jsonl").exists()
