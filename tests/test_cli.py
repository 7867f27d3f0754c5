"""The command line, called in this process: what it prints where, what it writes, and how it says no."""

import contextlib
import inspect
import io
import json
import os
import re
import sys
from functools import partial
from importlib.metadata import entry_points

import numpy as np
import pytest

import bayesnn
from bayesnn import benchmark, catalogue, datasets, report
from bayesnn.cli import main

pytestmark = pytest.mark.filterwarnings("ignore:the ELBO, .* is below")  # fits of a few epochs

TINY = [
    "compare",
    "digits",
    "--hidden",
    "5",
    "--epochs",
    "2",
    "--seeds",
    "1",
    "--samples",
    "5",
    "--methods",
    "map",
    "svi",
]
ONE = [*TINY, "--methods", "map"]
KEYS = {
    "accuracy",
    "nll",
    "ece",
    "misclassification_auroc",
    "ood_auroc_max_probability",
    "ood_auroc_entropy",
    "ood_auroc_mutual_information",
    "elbo_per_datum",
    "fit_seconds",
    "predict_seconds",
}
SETTINGS = catalogue.Settings()
DEFAULTS = {
    "methods": " ".join(SETTINGS.methods),
    "seeds": str(len(SETTINGS.seeds)),
    "data": "the environment's BAYESNN_DATA",
    "hidden": "400; uci: 50; mnist: a convolutional network instead",
    "jobs": "as many as there are seeds and cores; 1 on a GPU",
    "activation": "silu; uci: relu",
    "protocol": "converged",
    "epochs": "by the protocol",
    "samples": str(SETTINGS.num_samples),
    "out": "results/DATA",
    "device": "cpu",
}
OPTIONS = [
    "methods",
    "seeds",
    "data",
    "hold-out",
    "ambiguous",
    "ood",
    "hidden",
    "activation",
    "protocol",
    "epochs",
    "samples",
    "out",
    "fresh",
    "device",
    "jobs",
    "json",
    "quiet",
]


def strict(text):
    return json.loads(text, parse_constant=pytest.fail)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Status, output, progress and folder of a run that prints JSON, over two seeds."""
    folder = tmp_path_factory.mktemp("cli") / "deep" / "out"
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main([*TINY, "--seeds", "2", "--jobs", "1", "--json", "--out", str(folder)])
    return status, out.getvalue(), err.getvalue(), folder


def test_json_is_all_that_is_printed(spoken):
    status, out, err, folder = spoken
    assert status == 0
    assert strict(out) == strict((folder / "results.json").read_text())
    assert "map, seed 0 (1 of 2)" in err
    assert "svi, seed 1 (2 of 2)" in err


def test_json_has_the_promised_keys(spoken):
    found = strict(spoken[1])
    assert {"data", "seeds", "settings", "sizes", "versions", "interrupted", "rows"} <= set(found)
    assert (found["data"], found["seeds"], found["interrupted"]) == ("digits", [0, 1], False)
    assert [row.pop("method") for row in found["rows"]] == ["map", "svi"]
    for row in found["rows"]:
        assert set(row) >= KEYS
        assert all(set(figure) == {"mean", "sd", "values"} for figure in row.values())
        assert all(len(figure["values"]) == 2 for figure in row.values())
        for name in KEYS - {"elbo_per_datum"}:
            assert {type(part) for part in (row[name]["mean"], row[name]["sd"], *row[name]["values"])} == {float}, name
    assert found["rows"][0]["elbo_per_datum"] == {"mean": None, "sd": None, "values": [None, None]}
    assert found["rows"][1]["elbo_per_datum"]["mean"] < 0


def test_figures_stay_in_their_ranges(spoken):
    for row in strict(spoken[1])["rows"]:
        for name in KEYS:
            if "auroc" in name or name in ("accuracy", "ece"):
                assert all(0 <= value <= 1 for value in (row[name]["mean"], *row[name]["values"])), name
        assert row["nll"]["mean"] > 0
        assert row["accuracy"]["mean"] > 0.15  # chance is 0.11
    assert strict(spoken[1])["rows"][0]["ood_auroc_mutual_information"] == {
        "mean": 0.5,
        "sd": 0,
        "values": [0.5, 0.5],
    }


def test_the_table_goes_to_the_folder_asked_for(tmp_path, capsys):
    assert main([*TINY, "--quiet", "--out", str(tmp_path / "here")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    rows = strict((tmp_path / "here" / "results.json").read_text())["rows"]
    assert "digits without 9: 1131 train" in out
    for row in rows:
        line = next(line for line in lines if line.startswith(row["method"]))
        assert all(f"{row[name]['mean']:.3f}" in line for name in ("accuracy", "nll", "ece", "ood_auroc_entropy"))
        assert "brier" in row
    headings = re.split(r"\s{2,}", next(line for line in lines if line.startswith("method")))
    assert {"mistakes", "OOD max p", "OOD entropy", "OOD mut inf", "ELBO", "fit s"} <= set(headings)
    assert "brier" not in out
    assert str(tmp_path / "here" / "report.html") in out
    written = {path.name for path in (tmp_path / "here").iterdir()}
    assert written == {"cells.jsonl", "fits", "report.html", "results.json"}


def test_one_method_is_one_row_and_results_has_a_default_place(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*ONE, "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    found = strict(out)
    assert [row["method"] for row in found["rows"]] == ["map"]
    assert {figure["sd"] for name, figure in found["rows"][0].items() if name != "method"} == {None}
    assert err == ""
    assert (tmp_path / "results" / "digits" / "report.html").is_file()


def test_the_same_words_give_the_same_figures(spoken, tmp_path, capsys):
    main([*TINY, "--seeds", "2", "--jobs", "1", "--json", "--quiet", "--out", str(tmp_path)])
    again, first = strict(capsys.readouterr().out)["rows"], strict(spoken[1])["rows"]
    for row, other in zip(first, again, strict=True):
        assert {name: row[name] for name in row if "seconds" not in name} == {
            name: other[name] for name in other if "seconds" not in name
        }


def test_a_finished_fit_is_not_made_again_unless_asked_for(tmp_path, capsys, monkeypatch):
    words = [*TINY, "--seeds", "2", "--jobs", "1", "--json", "--out", str(tmp_path)]
    assert main([*words, "--methods", "map"]) == 0
    (alone,) = strict(capsys.readouterr().out)["rows"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")

    def again(*arguments, **options):
        raise AssertionError("it is fitted again")

    monkeypatch.setitem(benchmark.METHODS, "map", again)
    assert main([*words, "--methods", "map"]) == 0
    out, err = capsys.readouterr()
    assert strict(out)["rows"] == [alone]
    assert f"2 of 2 fits stand in {tmp_path}; --fresh makes them anew" in err
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert strict(out)["rows"][0] == alone
    assert strict(out)["rows"][1]["method"] == "svi"
    assert "2 of 4 fits stand in" in err
    with pytest.raises(AssertionError, match="it is fitted again"):
        main([*words, "--fresh"])


def test_the_protocols_say_how_long_the_fits_are(tmp_path, capsys, monkeypatch):
    seen = []

    def stop(settings, **options):
        seen.append(settings.num_epochs)
        raise ValueError("seen")

    monkeypatch.setattr(benchmark, "run", stop)
    for words in (["--protocol", "short"], ["--protocol", "converged"], []):
        main(["compare", "digits", *words, "--out", str(tmp_path)])
    assert seen == [40, None, None]
    with pytest.raises(SystemExit):
        main(["compare", "digits", "--protocol", "short", "--epochs", "3"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_options_reach_the_settings(tmp_path, monkeypatch):
    seen = []

    def stop(settings, **options):
        seen.append(settings)
        raise ValueError("seen")

    monkeypatch.setattr(benchmark, "run", stop)
    words = "compare digits --methods svi map --seeds 2 --hidden 7 6 --activation tanh --epochs 3 --samples 4"
    assert (
        main([*words.split(), "--device", "cpu", "--hold-out", "0", "--jobs", "5", "--out", str(tmp_path / "a")]) == 2
    )
    assert main(["compare", "digits", "--hidden", "--out", str(tmp_path / "b")]) == 2
    assert seen == [
        catalogue.Settings("digits", ("svi", "map"), (0, 1), (7, 6), "tanh", 3, 4, "cpu", 0, jobs=5),
        catalogue.Settings(hidden=(), jobs=min(3, os.cpu_count())),
    ]


@pytest.fixture
def fails(monkeypatch):
    """Let the run, or the writing after it, end with an error."""

    def arrange(module, name, error):
        def fail(*arguments, **options):
            raise error

        monkeypatch.setattr(module, name, fail)

    return arrange


def test_the_folder_is_there_before_anything_is_fitted(tmp_path, monkeypatch):
    there = []

    def look(settings, **options):
        there.append((tmp_path / "deep" / "out").is_dir())
        raise ValueError("seen")

    monkeypatch.setattr(benchmark, "run", look)
    assert main([*ONE, "--out", str(tmp_path / "deep" / "out")]) == 2
    assert there == [True]


def test_a_file_that_cannot_be_written_is_said_in_one_line(tmp_path, capsys, fails):
    fails(report, "write", OSError(28, "No space left on device", "results.json"))
    assert main([*ONE, "--quiet", "--out", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"bayesnn: .*No space left on device.*results.json.*\n", err)


def test_a_fault_of_ours_is_not_passed_off_as_the_users(tmp_path, fails):
    fails(benchmark, "run", TypeError("ours"))
    with pytest.raises(TypeError, match="ours"):
        main([*ONE, "--out", str(tmp_path)])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: command"),
        (["compare"], "the following arguments are required: DATA"),
        (["compare", "letters"], "invalid choice: 'letters'.*digits"),
        ([*TINY, "--methods", "magic"], "invalid choice: 'magic'.*map.*svi"),
        ([*TINY, "--methods"], "expected at least one argument"),
        ([*TINY, "--activation", "wiggle"], "invalid choice: 'wiggle'.*relu"),
        ([*TINY, "--frobnicate"], "unrecognized arguments: --frobnicate"),
        *(
            ([*TINY, f"--{option}", count], f"--{option}.*: must be a whole number, 1 or more; got '{count}'")
            for option in ("seeds", "hidden", "epochs", "samples", "jobs")
            for count in ("0", "two", "1.5")
        ),
        ([*TINY, "--hold-out", "nine"], "--hold-out: .*'nine'"),
        ([*TINY, "--hold-out"], "--hold-out: expected one argument"),
        ([*TINY, "--samples", "²"], "must be a whole number, 1 or more; got '²'"),
        ([*TINY, "--seeds", "-1"], "must be a whole number, 1 or more; got '-1'"),
    ],
)
def test_words_that_do_not_fit_end_with_status_2_and_a_line_that_says_why(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    assert re.search(said, err.splitlines()[-1])


@pytest.mark.parametrize("device", ["banana", "cuda:99", "meta:x"])
def test_a_device_that_is_not_there_is_said_in_one_line(device, tmp_path, capsys):
    assert main([*ONE, "--device", device, "--quiet", "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(
        rf"bayesnn: device must be one that is here \(cpu.*\); got '{device}'\. Leave device out\.\n", err
    )


@pytest.mark.parametrize("taken", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_is_said_before_anything_is_fitted(taken, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main([*ONE, "--out", str(tmp_path / taken)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"bayesnn: .*file.*\n", err)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("hold_out", ["10", "-1"])
def test_a_class_that_is_not_there_is_said_in_one_line(hold_out, tmp_path, capsys):
    assert main([*ONE, "--hold-out", hold_out, "--quiet", "--out", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"bayesnn: hold_out must be a digit from 0 to 9, or None; got {hold_out}\.\n", err)


@pytest.fixture
def stop_in(monkeypatch):
    """Ctrl-C after the first epoch of every fit by this method."""

    def press_ctrl_c(epoch, terms):
        raise KeyboardInterrupt

    def arrange(method):
        monkeypatch.setitem(benchmark.METHODS, method, partial(benchmark.METHODS[method], callback=press_ctrl_c))

    return arrange


def test_a_run_stopped_by_hand_does_not_pass_for_a_finished_one(tmp_path, capsys, stop_in):
    stop_in("map")
    assert main([*TINY, "--quiet", "--out", str(tmp_path)]) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"bayesnn: stopped by hand.*\n", err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("as_json", [True, False])
def test_stopped_by_hand_what_is_finished_is_written_and_that_is_said(as_json, tmp_path, capsys, stop_in):
    stop_in("svi")
    assert main([*TINY, "--quiet", "--out", str(tmp_path), *["--json"] * as_json]) == 130
    out, err = capsys.readouterr()
    assert re.fullmatch(r"bayesnn: stopped by hand.*finished.*\n", err)
    written = strict((tmp_path / "results.json").read_text())
    assert written["interrupted"] is True
    assert [row["method"] for row in written["rows"]] == ["map"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Stopped by hand" in page
    assert "svi: " not in page
    if as_json:
        assert strict(out) == written
    else:
        assert f"{written['rows'][0]['nll']['mean']:.3f}" in out
        assert str(tmp_path / "results.json") in out


def test_help_tells_every_option_once_and_no_default_of_none(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["compare", "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert re.findall(r"^  --([\w-]+)", told, re.MULTILINE) == OPTIONS
    assert all(name in told for name in [*benchmark.METHODS, *catalogue.DATA])
    assert "None" not in told
    parts = re.split(r"^  --([\w-]+)", told, flags=re.MULTILINE)[1:]
    texts = {name: " ".join(text.split()) for name, text in zip(parts[::2], parts[1::2], strict=True)}
    found = {name: re.findall(r"\(default: ([^)]*)\)", text) for name, text in texts.items()}
    assert found == {name: [DEFAULTS[name]] if name in DEFAULTS else [] for name in OPTIONS}


def test_the_defaults_the_help_tells_in_words_are_those_of_the_settings():
    assert set(SETTINGS.methods) < set(benchmark.METHODS)
    assert SETTINGS.network == catalogue.PICTURES
    assert catalogue.Settings(data="uci/yacht").network == catalogue.TABLES
    assert (catalogue.PICTURES.hidden, catalogue.PICTURES.activation) == ((400,), "silu")
    assert (catalogue.TABLES.hidden, catalogue.TABLES.activation) == ((50,), "relu")
    assert (SETTINGS.num_epochs, SETTINGS.device, SETTINGS.hold_out) == (None, None, None)
    assert inspect.signature(datasets.digits).parameters["hold_out"].default == 9
    assert catalogue.Settings(data="mnist").network.channels


def test_version_and_help_need_no_command(capsys):
    for word, said in (("--version", f"bayesnn {bayesnn.__version__}\n"), ("--help", "compare")):
        with pytest.raises(SystemExit) as ended:
            main([word])
        assert ended.value.code == 0
        assert said in capsys.readouterr().out


def test_the_command_is_installed():
    assert {script.value for script in entry_points(group="console_scripts", name="bayesnn")} == {"bayesnn.cli:main"}


@pytest.fixture
def uci_folder(tmp_path):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, 3))
    order = np.stack([generator.permutation(40) for _ in range(20)]).astype(np.uint16)
    (tmp_path / "uci").mkdir()
    np.savez(tmp_path / "uci" / "yacht.npz", X=x, y=x.sum(1), train_idx=order[:, :36], test_idx=order[:, 36:])
    return tmp_path


def test_a_uci_set_is_compared_on_its_splits(uci_folder, capsys):
    words = ["compare", "uci/yacht", "--data", str(uci_folder), "--splits", "2", "--methods", "map", "own_noise"]
    words += ["--jobs", "1"]
    words += ["--epochs", "2", "--quiet", "--out", str(uci_folder / "out")]
    assert main(words) == 0
    out, _ = capsys.readouterr()
    assert re.search(r"method +NLL +RMSE +90 % coverage +90 % width +calibration error +CRPS", out)
    written = strict((uci_folder / "out" / "results.json").read_text())
    assert [row["method"] for row in written["rows"]] == ["map", "own_noise"]
    assert written["sizes"] == {"x_train": 36, "x_test": 4}
    page = (uci_folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "Trained on 36 rows of 3 features" in page
    assert page.count("data:image/png") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["uci/energy"], r"the folder must hold uci/energy\.npz; there is no .*"),
        (["uci/yacht", "--hold-out", "3"], "a class can be held out of classes only; uci/yacht has real targets."),
        (["uci/yacht", "--ambiguous", "1"], "mixtures of two classes need classes; uci/yacht has real targets."),
        (["digits", "--methods", "own_noise"], "own_noise needs real targets; digits has classes."),
        (
            ["uci/yacht", "--splits", "21"],
            "uci/yacht has 20 standard splits, from 0 to 19; split 20 is not there.",
        ),
        (["mnist"], r"mnist needs another world: pass ood='fashion-mnist' \(--ood\), or hold_out=9 \(--hold-out\)\."),
        (
            ["digits", "--ood", "mnist"],
            "another data set as other world goes with mnist and fashion-mnist; not digits.",
        ),
    ],
    ids=["file", "class", "mixtures", "noise", "splits", "one world", "no other world"],
)
def test_what_does_not_fit_the_data_is_said_in_one_line(words, said, uci_folder, capsys):
    folder = ["--data", str(uci_folder), "--quiet", "--out", str(uci_folder / "out")]
    assert main(["compare", *words, *folder]) == 2
    assert re.fullmatch(rf"bayesnn: {said}\n", capsys.readouterr().err)


def test_without_a_folder_it_says_where_one_goes(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("BAYESNN_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "pooch", None)  # no download from a test
    assert main(["compare", "uci/yacht", "--quiet", "--out", str(tmp_path)]) == 2
    assert "Pass --data FOLDER or folder=..., or set BAYESNN_DATA" in capsys.readouterr().err


def test_all_methods_are_those_the_data_allow(monkeypatch, uci_folder):
    seen = []
    monkeypatch.setattr(benchmark, "run", lambda settings, **_: seen.append(settings.methods) or 1 / 0)
    for data in ("digits", "uci/yacht"):
        with pytest.raises(ZeroDivisionError):
            main(["compare", data, "--methods", "all", "--data", str(uci_folder), "--out", str(uci_folder / "out")])
    assert set(seen[1]) == set(benchmark.METHODS)
    assert set(seen[0]) == set(benchmark.METHODS) - set(catalogue.OWN_NOISE)
