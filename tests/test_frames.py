"""Frames and series that are not numbers as they stand are told by the names of their columns."""

import numpy as np
import pandas as pd
import pytest
import torch

from bayesnn.data import as_inputs, as_targets, as_training_data

NUMBERS = [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"city": list("uvw"), "a": NUMBERS},
            r"column 'city' is text\. Write pd\.get_dummies\(x, columns=\['city'\], d",
        ),
        (
            {"city": list("uvw"), "of": pd.Categorical(list("uvw"))},
            r"'city', 'of' is text\. .*columns=\['city', 'of'\]",
        ),
    ],
)
def test_columns_of_text_are_named(columns, words):
    frame = pd.DataFrame(columns)
    with pytest.raises(TypeError, match=f"x must be numbers; .*{words}"):
        as_inputs(frame)
    written = pd.get_dummies(frame, columns=[name for name in columns if name != "a"], dtype=float)
    assert as_inputs(written).shape[0] == 3


def test_text_that_spells_numbers_is_numbers():
    assert as_inputs(pd.DataFrame({"a": ["1", "2"], "b": [3, 4]}, dtype=object)).tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize("values", [pd.Series(list("uvu")), list("uvu"), np.array(list("uvu"))], ids=type)
def test_labels_of_text_are_told_how_to_become_codes(values):
    with pytest.raises(
        TypeError, match=r"y must be numbers; got text\. Classes are whole numbers .*pd\.factorize\(y\)"
    ):
        as_targets(values)
    codes, _ = pd.factorize(np.asarray(values))
    assert as_targets(codes).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    "columns",
    [
        {"a": NUMBERS, "b": pd.array([1, 2, None], dtype="Int64")},
        {"a": NUMBERS, "b": [1.0, 2.0, np.nan]},
        {"a": NUMBERS, "b": pd.array([1, 2, None], dtype="object")},
    ],
    ids=["nullable", "floating", "objects"],
)
def test_columns_with_missing_values_are_named(columns):
    with pytest.raises(
        ValueError, match=r"x must be finite; got .* in 1 row\(s\), the first at row 2, in column 'b'\. D"
    ):
        as_inputs(pd.DataFrame(columns))


def test_dates_are_no_text():
    dates = pd.DataFrame({"a": NUMBERS, "day": pd.date_range("2020", periods=3)})
    with pytest.raises(TypeError, match="x must be a tensor, array or frame of numbers; got DataFrame"):
        as_inputs(dates)


@pytest.mark.parametrize(("name", "words"), [("area", r"x\[\['area'\]\] for one column"), (None, r"x\[\['a'\]\]")])
def test_a_series_is_no_table_of_inputs(name, words):
    with pytest.raises(ValueError, match=rf"got \(3,\)\. A series is no table: write {words}.*frame\.iloc\[\[0\]\]"):
        as_inputs(pd.Series(NUMBERS, name=name))


# Rows in another order

X = pd.DataFrame({"a": NUMBERS}, index=["p", "q", "r"])


@pytest.mark.parametrize("kind", [pd.Series, lambda y: pd.DataFrame({"y": y})], ids=["series", "frame"])
def test_the_same_rows_in_another_order_are_refused(kind):
    y = kind(pd.Series(NUMBERS, index=X.index)).loc[["q", "r", "p"]]
    with pytest.raises(ValueError, match=r"rows in the same order; .*y\.loc\[x\.index\]; or y\.to_numpy\(\)"):
        as_training_data(X, y)
    for mended in (y.loc[X.index], y.to_numpy()):
        as_training_data(X, mended)


def test_targets_that_are_shifted_against_their_inputs_are_refused():
    """As lagged columns lose their first rows, and targets are then cut to their number."""
    series = pd.Series(range(20), index=pd.date_range("2026-01-01", periods=20), dtype=float)
    lagged = pd.DataFrame({"a week ago": series.shift(7)}).dropna()
    with pytest.raises(ValueError, match="rows in the same order; they have 8 of 12 labels in common, but in another"):
        as_training_data(lagged.iloc[:12], series.iloc[3:15])
    assert as_training_data(lagged, series.loc[lagged.index])[1].tolist() == list(range(7, 20))


def test_targets_numbered_anew_go_by_their_place():
    table, y = pd.DataFrame({"a": NUMBERS}, index=[1, 2, 3]), pd.Series(NUMBERS)
    assert as_training_data(table, y)[1].tolist() == NUMBERS
    with pytest.raises(ValueError, match="they have the same labels in another one"):
        as_training_data(table.set_axis([1, 2, 0]), y)


@pytest.mark.parametrize(
    "y",
    [
        pd.Series(NUMBERS, index=["p", "q", "r"]),
        pd.Series(NUMBERS, index=["s", "q", "t"]),
        pd.Series(NUMBERS, index=["s", "q", "r"]),
        pd.Series(NUMBERS),
        NUMBERS,
        torch.tensor(NUMBERS),
    ],
    ids=["same order", "other labels", "one other label", "numbered", "list", "tensor"],
)
def test_other_rows_go_by_their_place(y):
    assert as_training_data(X, y)[1].tolist() == NUMBERS


def test_rows_drawn_twice_go_by_their_place():
    again = X.loc[["p", "p", "q"]]
    assert as_training_data(again, pd.Series(NUMBERS, index=["q", "p", "p"]))[1].tolist() == NUMBERS
