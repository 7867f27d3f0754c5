"""Every public name is told: the sections of its docstring, and its place in the API reference."""

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest
import torch

import bayesnn
from bayesnn import plots
from bayesnn.predictive import Predictive

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "api.md").read_text(encoding="utf-8")
PARTS = ("datasets", "likelihoods", "networks", "priors")
PUBLIC = {name: getattr(bayesnn, name) for name in bayesnn.__all__ if name not in PARTS}
SHOWN = {f"{part}.{name}": getattr(import_module(f"bayesnn.{part}"), name)
         for part in PARTS for name in import_module(f"bayesnn.{part}").__all__}  # fmt: skip
SHOWN |= {f"plots.{name}": getattr(plots, name) for name in plots.__all__}


def told(name):
    """Names that the reference has an entry for."""
    return re.search(rf"^\.\. auto(function|class|data):: bayesnn\.[\w.]*\b{re.escape(name)}$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("name", [*PUBLIC, *SHOWN])
def test_it_has_its_place_in_the_reference(name):
    assert told(name.rpartition(".")[2]), f"docs/api.md must have an entry for {name}"


@pytest.mark.parametrize("name", PUBLIC)
def test_its_docstring_has_its_sections(name):
    value = PUBLIC[name]
    text = inspect.getdoc(value)
    arguments = inspect.signature(value).parameters if inspect.isfunction(value) else {}
    sections = re.findall(r"^(Args|Attributes|Returns|Raises|References|Example):$", text, re.MULTILINE)
    if inspect.isfunction(value):
        assert {"Args", "Returns", "Example"} <= set(sections) or not arguments
        named = re.search(r"^Args:\n((?:    .*\n|\n)+)", text, re.MULTILINE).group(1)
        missing = [key for key in arguments if not re.search(rf"^    \*{{0,2}}{key}:", named, re.MULTILINE)]
        assert missing == [], f"{name} does not tell {missing}"
    else:
        assert {"Args", "Attributes"} & set(sections)


@pytest.mark.parametrize("name", SHOWN)
def test_what_stands_in_a_part_is_told_too(name):
    value = SHOWN[name]
    assert inspect.getdoc(value) or not inspect.isfunction(value) | inspect.isclass(value)  # names of types have none
    if inspect.isfunction(value):
        missing = [
            key for key in inspect.signature(value).parameters if not re.search(rf"\b{key}\b", inspect.getdoc(value))
        ]
        assert missing == [], f"{name} does not tell {missing}"


def test_every_page_has_its_place_in_the_site():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    pages |= {f"notebooks/{path.stem}" for path in (DOCS.parent / "notebooks").glob("*.py")}
    assert {page for page in pages if not re.search(rf"^{re.escape(page)}$", index, re.MULTILINE)} == set()


METHOD_PAGES = sorted((DOCS / "methods").glob("*.md"))


def test_every_method_has_its_page():
    names = {name.removeprefix("fit_") for name in PUBLIC if name.startswith("fit_")}
    assert {page.stem for page in METHOD_PAGES} == names
    overview = (DOCS / "methods.md").read_text(encoding="utf-8")
    for page in METHOD_PAGES:
        assert re.search(rf"^methods/{page.stem}$", overview, re.MULTILINE)
        told = re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert told == ["What it does", "Its knobs", "What it costs", "When not to use it"]
        assert (DOCS / "pictures" / "methods" / f"{page.stem}.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("page", METHOD_PAGES, ids=lambda page: page.stem)
@pytest.mark.filterwarnings("ignore:the chains may not show the posterior:UserWarning")
def test_the_example_on_its_page_runs(page, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    if page.stem == "nuts":  # a quarter of an hour as it stands
        code = code.replace("(60)", "(20)").replace("num_samples=200, num_warmup=200", "num_samples=4, num_warmup=4")
    torch.manual_seed(0)
    exec(code, {})
    assert "nll" in capsys.readouterr().out


@pytest.mark.slow
def test_a_table_of_ones_own_with_text_headers_and_raw_units(tmp_path, monkeypatch, capsys):
    """The page that new users copy from, verbatim."""
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "install.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    generator = torch.Generator().manual_seed(0)
    area, rooms = 40 + 120 * torch.rand(300, generator=generator), torch.randint(1, 7, (300,), generator=generator)
    year = torch.randint(1900, 2024, (300,), generator=generator)
    price = 3000 * area + 20_000 * rooms + 1500 * (year - 1900) + 30_000 * torch.randn(300, generator=generator)
    lines = [f"{a:.1f},{r},{t},{p:.0f}" for a, r, t, p in zip(area, rooms, year, price, strict=True)]
    (tmp_path / "houses.csv").write_text("\n".join(["area_m2,rooms,year,price_eur", *lines]))
    monkeypatch.chdir(tmp_path)
    world = {}
    exec(code, world)
    assert "nothing to warn of" in capsys.readouterr().out
    error = world["posterior"](world["x"]).mean - torch.tensor(world["y"].to_numpy())
    assert 20_000 < float(error.square().mean().sqrt()) < 40_000


def test_inputs_to_distrust_are_those_beyond_a_quantile_of_held_out_scores():
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "faq.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    logits = 2 * torch.randn(5, 1000, 3, generator=torch.Generator().manual_seed(0))
    predictive = Predictive(torch.distributions.Categorical(logits=logits))
    assert plots.risk_coverage_curve(predictive, predictive.mode).lines  # the line beneath
    world = {"posterior": lambda x: predictive, "x_held_out": None, "x_new": None}
    exec(code, world)
    assert world["distrusted"].sum() == 100
    least = predictive.probs.max(1).values
    assert least[world["distrusted"]].max() < least[~world["distrusted"]].min()
