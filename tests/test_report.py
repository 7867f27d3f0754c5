"""The report, read by a parser: one file, every figure of the table, every picture it speaks of."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib.image
import pytest

from bayesnn import benchmark, report
from bayesnn.benchmark import Settings
from bayesnn.tables import figure_text

pytestmark = pytest.mark.filterwarnings("ignore:the ELBO, .* is below")  # fits of a few epochs

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Tags with their attributes, the text, and whether every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.cells, self.open = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if "style" not in self.open:
            self.words.append(text)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(text)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def run():
    return benchmark.run(
        Settings(methods=("map", "svi"), hidden=(5, 4), num_epochs=2, num_samples=5, seeds=(0, 1)), progress=False
    )


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "new" / "folder"
    report.write(run, folder)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_two_files_are_written(run, folder):
    assert {path.name for path in folder.iterdir()} == {"report.html", "results.json"}
    assert json.loads((folder / "results.json").read_text(), parse_constant=pytest.fail) == json.loads(
        json.dumps(run.to_json())
    )


def test_nothing_is_fetched_from_elsewhere(folder, page):
    assert not page.all("script")
    assert not page.all("link")
    links = [a[name] for _, a in page.tags for name in ("src", "href", "srcset", "data", "action") if name in a]
    assert links
    assert all(link.startswith("data:image/png;base64,") for link in links)
    text = re.sub(r"base64,[^\"]*", "", (folder / "report.html").read_text(encoding="utf-8"))
    assert not re.search(r"https?:|url\(|@import", text)


def test_the_table_holds_every_figure(run, page):
    figures = [[figure_text(value) for value in row.values()] for row in run.rows]
    assert page.cells[len(figures[0]) :] == [text for row in figures for text in row]
    headings = page.cells[: len(figures[0])]
    assert len(set(headings)) == len(headings)
    assert {"brier", "mistakes", "OOD max p", "OOD entropy", "OOD mut inf", "ELBO"} <= set(headings)
    text = " ".join(page.words)
    explained = text[text.index(page.cells[-1]) :]
    for heading in set(headings) - {"method", "accuracy"}:
        assert heading.split()[0] in explained, heading


def test_every_picture_it_speaks_of_is_there_and_told(run, page):
    told = [image["alt"] for image in page.all("img")]
    assert len(set(told)) == len(told)
    for name, posterior in run.posteriors.items():
        subjects = ["uncertainty", "most uncertain"] + ["ELBO"] * ("elbo_per_datum" in posterior.summary)
        alts = [alt for alt in told if alt.startswith(f"{name}: ")]
        assert len(alts) == len(subjects)
        assert all(subject in alt for subject, alt in zip(subjects, alts, strict=True))
    assert len(told) == 5


def test_pictures_are_png_of_a_readable_size(page):
    for image in page.all("img"):
        picture = matplotlib.image.imread(io.BytesIO(base64.b64decode(image["src"].split(",")[1])), format="png")
        assert picture.shape[0] > 200
        assert picture.shape[1] > 400
        assert picture.std() > 0


def test_words_tell_what_was_compared(run, page):
    text = " ".join(page.words)
    assert len(page.all("title")) == len(page.all("h1")) == 1
    assert page.all("html") == [{"lang": "en"}]
    expected = (
        "1131 pictures of 9 classes",
        "on 486 others",
        "on 180 pictures",
        "hidden layers of 5 and 4 units, silu",
        "Seeds 0, 1",
        "mean ± standard deviation over them",
        *map(repr, run.posteriors.values()),
        *run.to_json()["versions"].values(),
    )
    assert [words for words in expected if words not in text] == []
    assert "Stopped by hand" not in text


def test_a_run_stopped_by_hand_says_so(run, tmp_path):
    report.write(replace(run, interrupted=True, posteriors={}), tmp_path)
    assert "Stopped by hand" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "results.json").read_text())["interrupted"] is True


def test_no_figure_is_a_stray_nan(page):
    assert not [cell for cell in page.cells if re.search(r"\bnan\b|\bnone\b|\binfinity\b", cell, re.IGNORECASE)]


def test_names_are_escaped_and_files_are_replaced(run, tmp_path):
    strange = replace(run, split=replace(run.split, name="<b>5 & 6</b>"), posteriors={})
    report.write(run, tmp_path)
    report.write(strange, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;5 &amp; 6&lt;/b&gt;" in text
    assert not Page(text).all("img")


def test_a_network_without_hidden_layers_is_linear(run, tmp_path):
    report.write(replace(run, settings=replace(run.settings, hidden=()), posteriors={}), tmp_path)
    assert "Network: linear" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_unseen_and_the_ambiguous_pictures_are_shown(tmp_path):
    settings = Settings(methods=("map",), hidden=(3,), num_epochs=1, seeds=(0,), ambiguous=0.1)
    report.write(benchmark.run(settings, progress=False), tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    told = [image["alt"] for image in page.all("img")]
    for kind in ("never seen", "ambiguous"):
        assert f"map: {kind} pictures, aleatoric and epistemic part in nats" in told
    assert "map: aleatoric against epistemic part of each picture" in told
    text = " ".join(page.words)
    assert "Some of the training pictures are mixtures of two." in text
    headings = set(page.cells[: page.cells.index("map")])
    assert {"unknown / ambiguous", "unknown alea", "unknown epis", "ambiguous alea", "ambiguous epis"} <= headings
    assert "epistemic part less the aleatoric one" in text
