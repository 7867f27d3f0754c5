"""Every notebook runs from top to bottom in a fresh kernel, in smoke mode, and lies beside its source with outputs."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))


def runner():
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "docs" / "run_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_it_runs_in_smoke_mode(source, monkeypatch):
    monkeypatch.setenv("BAYESNN_SMOKE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of its own kernel too, or several wait for each other
    monkeypatch.delenv("BAYESNN_DATA", raising=False)
    runner().run(source)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_notebook_beside_it_is_of_this_source_and_has_run(source):
    import jupytext

    shown = json.loads(source.with_suffix(".ipynb").read_text(encoding="utf-8"))
    wanted = jupytext.read(source, fmt="py:percent")
    assert ["".join(cell["source"]) for cell in shown["cells"]] == [cell.source for cell in wanted.cells]
    code = [cell for cell in shown["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs) or "declaring" in source.stem
    assert len(source.with_suffix(".ipynb").read_bytes()) < 1_000_000
