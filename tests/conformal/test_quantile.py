"""The conformal quantile against a count of the scores."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch

from bayesnn.conformal import conformal_quantile


@pytest.mark.parametrize("level", [0.07, 0.1, 0.5, 0.55, 0.9, 0.95])
def test_it_is_the_smallest_score_that_enough_scores_do_not_exceed(level):
    exact = Fraction(str(level))
    for num in (19, 20, 39, 99, 100, 199):
        scores = torch.randn(num, generator=torch.Generator().manual_seed(num))
        enough = [s for s in scores if int((scores <= s).sum()) >= exact * (num + 1)]
        assert conformal_quantile(scores, level) == min(enough)
        assert conformal_quantile(scores, np.float64(level)) == min(enough)


def test_columns_are_each_for_itself():
    scores = torch.randn(50, 3)
    assert torch.equal(conformal_quantile(scores), torch.stack([conformal_quantile(column) for column in scores.T]))


def test_so_many_rows_as_it_asks_for_are_enough():
    for level, num in ((0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1), (0.8, 4), (0.7, 3)):
        assert conformal_quantile(torch.arange(num), level) == num - 1
        with pytest.raises(ValueError, match=rf"level of {level} needs {num} calibration rows at least; got {num - 1}"):
            conformal_quantile(torch.arange(num - 1), level)


@pytest.mark.parametrize("level", [0.0, 1.0, 90])
def test_a_level_is_a_fraction(level):
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        conformal_quantile(torch.arange(100), level)


def test_scores_are_numbers():
    with pytest.raises(ValueError, match="scores must be numbers; got 2 NaN"):
        conformal_quantile(torch.tensor([0.0, float("nan"), 1.0, float("nan")]), 0.5)
    assert conformal_quantile(torch.tensor([0.0, 1.0, float("inf")]), 0.5) == 1


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, lambda v: pd.Series(v, index=v, dtype="Float64")])
def test_scores_of_all_kinds(kind):
    scores = torch.randn(50, generator=torch.Generator().manual_seed(0)).double()
    assert conformal_quantile(kind(scores.tolist()), 0.8) == conformal_quantile(scores, 0.8)
    frame = pd.DataFrame({"a": scores.tolist(), "b": (-scores).tolist()})
    assert conformal_quantile(frame).tolist() == [conformal_quantile(scores), conformal_quantile(-scores)]


@pytest.mark.parametrize("scores", [["a"] * 20, [None] * 20, [[1.0], [2.0, 3.0]]])
def test_what_is_no_numbers_is_refused(scores):
    with pytest.raises(TypeError, match=r"scores must be numbers, one for each row; got list \("):
        conformal_quantile(scores)
    with pytest.raises(ValueError, match=r"scores must be one for each row, .* got the number 3.0"):
        conformal_quantile(3.0)
    with pytest.raises(ValueError, match="scores must have no masked entries"):
        conformal_quantile(np.ma.array([1.0, 2.0], mask=[True, False]))
