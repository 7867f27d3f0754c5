"""The imports of the package go down only, as docs/architecture.md draws them."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bayesnn

HOUSE = Path(bayesnn.__file__).parent
FLOORS = [
    {"frames"},
    {
        "members",
        "data",
        "tables",
        "training",
        "checks",
        "seeding",
        "denormals",
        "scaling",
        "masks",
        "quantiles",
        "log_densities",
        "chains",
        "convergence",
        "conjugate",
        "workers",
        "published",
        "memory",
        "catalogue",
        "arviz_data",
        "site_names",
        "noise_table",
        "rounding",
        "rows",
        "calls",
        "columns",
        "warned",
    },
    {"diagnosis", "rank_statistics"},
    {"stacked"},
    {"langevin", "at_draws"},
    {"likelihoods", "priors", "predictive"},
    {"streamed"},
    {"inspected"},
    {"model", "uncertainty", "decompositions", "information", "metrics", "reparameterisation"},
    {"held_out", "detected"},
    {"recalibration", "conformal"},
    {"axes", "features", "flat_divergence", "curvature", "heads", "simulated", "written_out"},
    {"guides"},
    {
        "elbo",
        "flat_elbo",
        "flat_points",
        "pyro_model",
        "posterior",
        "guide_density",
        "tasks",
        "kinds",
        "plots",
        "export",
        "reference",
    },
    {"evaluation", "sparsity"},
    {"comparison"},
    {"points", "starts", "fitting", "density", "settled", "site_divergences"},
    {"mixing"},
    {"methods", "prior_draws"},
    {"continued", "held_out_checks", "learnt", "sensitivity"},
    {"diagnostics"},
    {"roster"},
    {"settings", "cells"},
    {"benchmark"},
    {"uci_table"},
    {"report"},
    {"cli", "__init__"},
    {"__main__"},
]
APART = {"networks", "datasets"}
MAKERS = {
    "at_draws",
    "stacked",
    "model",
    "axes",
    "guides",
    "guide_density",
    "elbo",
    "flat_elbo",
    "flat_points",
    "flat_divergence",
    "noise_table",
    "reparameterisation",
    "written_out",
    "pyro_model",
    "points",
    "starts",
    "calls",
    "masks",
    "features",
    "chains",
    "convergence",
    "conjugate",
    "curvature",
    "heads",
    "density",
    "settled",
    "langevin",
    "mixing",
    "fitting",
    "posterior",
    "methods",
    "training",
}
READERS = {
    "uncertainty",
    "decompositions",
    "information",
    "metrics",
    "detected",
    "tasks",
    "kinds",
    "evaluation",
    "comparison",
    "reference",
    "export",
}
ONLY_IN = {"matplotlib": {"plots", "report"}, "arviz": {"arviz_data"}, "gpytorch": {"methods"}}
FILES = sorted(path.relative_to(HOUSE) for path in HOUSE.rglob("*.py"))


def room(path):
    return path.parts[0].removesuffix(".py")


def imports(path):
    found = set()
    for node in ast.walk(ast.parse((HOUSE / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "bayesnn":
            found |= {f"bayesnn.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


def rooms_used(path):
    return {name.split(".")[1] for name in imports(path) if name.startswith("bayesnn.")}


def floor(name):
    return next(level for level, names in enumerate(FLOORS) if name in names)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_go_down(path):
    here = room(path)
    if here in APART:
        assert rooms_used(path) <= {here}
    else:
        above = {used for used in rooms_used(path) - APART - {here} if floor(used) > floor(here)}
        assert above == set(), f"{path} climbs to {above}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_nothing_imports_in_a_circle(path):
    seen, waiting = set(), rooms_used(path) - {room(path)}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        file = HOUSE / f"{name}.py"
        waiting |= (rooms_used(Path(f"{name}.py")) if file.exists() else set()) - seen
    assert room(path) not in seen


@pytest.mark.parametrize("path", FILES, ids=str)
def test_makers_and_readers_do_not_import_each_other(path):
    assert not (room(path) in MAKERS and rooms_used(path) & READERS)
    assert not (room(path) in READERS and rooms_used(path) & MAKERS)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_some_libraries_have_one_door(path):
    for library, rooms in ONLY_IN.items():
        if room(path) not in rooms:
            assert not any(name.split(".")[0] == library for name in imports(path))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_file_says_its_job_and_stays_small(path):
    text = (HOUSE / path).read_text()
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 300


def test_importing_changes_nothing_elsewhere():
    code = (
        "import warnings, logging, torch, pyro; settings = pyro.settings.get(); state = torch.get_rng_state();"
        "filters = list(warnings.filters); level = logging.root.level; import bayesnn;"
        "assert pyro.settings.get() == settings and torch.equal(torch.get_rng_state(), state);"
        "assert list(warnings.filters) == filters and logging.root.level == level;"
        "assert list(pyro.get_param_store().keys()) == []"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_public_name_is_there_and_told():
    for name in bayesnn.__all__:
        assert getattr(bayesnn, name).__doc__
