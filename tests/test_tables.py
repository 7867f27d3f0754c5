"""Tables: aligned text, HTML a parser agrees with, and figures rounded as Python rounds."""

import json
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from bayesnn.tables import figure_text, html_table, json_text, text_table

ROWS = [
    {"method": "map", "nll": {"mean": 0.5, "sd": 0.25}, "fit_seconds": {"mean": 12.34, "sd": 0.5}},
    {"method": "a longer <name> & more", "nll": {"mean": 123.456, "sd": None}, "elbo_per_datum": math.nan},
]
CELLS = [
    ["method", "NLL", "fit s", "ELBO"],
    ["map", "0.500 ± 0.250", "12.3 ± 0.5", "–"],
    ["a longer <name> & more", "123.5", "–", "–"],
]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"),
        (-0.71, "-0.710"),
        (12.345, "12.3"),
        (-12.345, "-12.3"),
        (np.float64(0.5), "0.500"),
        (7, "7"),
        ("svi", "svi"),
        (None, "–"),
        (math.nan, "–"),
        ({"mean": 0.5, "sd": 0.0125}, "0.500 ± 0.013"),
        ({"mean": 0.5, "sd": None}, "0.500"),
        ({"mean": 50.0, "sd": 0.26}, "50.0 ± 0.3"),
        ({"mean": None, "sd": None}, "–"),
        ({"mean": math.nan, "sd": math.nan}, "–"),
    ],
)
def test_a_figure_is_rounded_and_carries_its_spread(value, text):
    assert figure_text(value) == text


def test_text_columns_are_aligned():
    lines = text_table(ROWS).splitlines()
    assert [re.split(r"\s{2,}", line) for line in lines] == CELLS
    for column in range(1, 4):
        assert len({cell_end(line, column) for line in lines}) == 1
    assert {line.index(row[0]) for line, row in zip(lines, CELLS, strict=True)} == {0}


def cell_end(line, column):
    return [match.end() for match in re.finditer(r"\S+( \S+)*", line)][column]


def test_html_holds_the_same_cells():
    table = ElementTree.fromstring(html_table(ROWS))
    assert [[cell.text for cell in row] for row in table.iter("tr")] == CELLS
    assert {cell.tag for cell in table.find("tr")} == {"th"}


def test_a_table_without_rows_is_empty():
    assert text_table([]) == ""


def test_json_has_null_for_what_is_not_finite():
    record = {"a": math.nan, "b": [1, math.inf, {"c": -math.inf, "d": 0.5}], "e": ("f", None, True)}
    assert json.loads(json_text(record), parse_constant=pytest.fail) == {
        "a": None,
        "b": [1, None, {"c": None, "d": 0.5}],
        "e": ["f", None, True],
    }
