"""What an import loads: nothing that is not used."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import bayesnn
from bayesnn import catalogue, datasets, roster, settings

HEAVY = ("torch", "pyro", "gpytorch", "arviz", "matplotlib", "sklearn", "scipy", "pandas")


def loaded(code):
    """Heavy packages that a fresh process has after some code."""
    show = f"import sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()[-1].split()


def test_help_needs_no_torch():
    code = "import bayesnn.cli\ntry: bayesnn.cli.main(['compare', '--help'])\nexcept SystemExit: pass"
    assert loaded(code) == []
    assert loaded("import bayesnn; bayesnn.__version__; dir(bayesnn)") == []


def test_a_fit_needs_no_plots_and_no_processes():
    assert loaded("from bayesnn import *") == ["torch", "pyro"]


@pytest.mark.parametrize("name", [*bayesnn.__all__, "__version__"])
def test_every_name_is_where_type_checkers_look_for_it(name):
    tree = ast.parse(Path(bayesnn.__file__).read_text())
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    homes = {alias.name: node.module for node in checked.body for alias in node.names}
    assert homes.keys() == set(bayesnn.__all__)
    assert name in dir(bayesnn)
    value = getattr(bayesnn, name)
    if homes.get(name, "bayesnn") == "bayesnn":
        assert name == "__version__" or value is import_module(f"bayesnn.{name}")
    else:
        assert value is getattr(import_module(homes[name]), name)


def test_other_names_are_none():
    with pytest.raises(AttributeError, match="module 'bayesnn' has no attribute 'fit_everything'"):
        bayesnn.fit_everything  # noqa: B018


def test_the_catalogue_names_what_there_is():
    assert tuple(roster.METHODS) == catalogue.METHODS
    assert tuple(settings.DATA) == catalogue.DATA
    assert catalogue.UCI == datasets.UCI
    assert {*catalogue.QUICK, *catalogue.OWN_NOISE, *catalogue.UCI_METHODS} <= {*catalogue.METHODS}
