"""Prediction sets: their coverage against its exact law, adaptive sets against their own first definition."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from exact_coverage import LEVEL, NEW, NUM, SPLITS, is_exact, without_the_new_one
from scipy.stats import betabinom, kstest
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from bayesnn.conformal import PredictionSets, conformal_sets
from bayesnn.conformal.classes import _uniform
from bayesnn.predictive import Predictive

C = 5
AT = torch.randn(2, C, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def wrong(x):
    """A model that is too sure, and of two minds."""
    return Predictive(Categorical(logits=torch.stack([3 * x @ AT + 1, 5 * (x + 0.3) @ AT])))


def data(num, generator):
    x = torch.randn(num, 2, dtype=torch.float64, generator=generator)
    return x, torch.multinomial((2 * x @ AT).softmax(-1), 1, generator=generator)[:, 0]


def covered(score):
    """How many of NEW sets hold the true class, in each of SPLITS calibrations."""
    counts = []
    for split in range(SPLITS):
        generator = torch.Generator().manual_seed(split)
        sets = conformal_sets(wrong, *data(NUM, generator), level=LEVEL, score=score, seed=1000 + split)
        x, y = data(NEW, generator)
        counts.append(round(float(sets(x).coverage(y)) * NEW))
    return np.array(counts)


@pytest.mark.parametrize("score", ["adaptive", "threshold"])
def test_coverage_is_what_it_must_be_of_a_wrong_model(score, monkeypatch):
    assert is_exact(covered(score))
    monkeypatch.setattr("bayesnn.conformal.classes.conformal_quantile", without_the_new_one)
    assert not is_exact(covered(score))


def test_threshold_sets_are_those_of_one_minus_the_probability():
    x, y = data(50, torch.Generator().manual_seed(0))
    probs = wrong(x).probs
    worst = (1 - probs[torch.arange(50), y]).sort().values[math.ceil(51 * 0.9) - 1]
    new, _ = data(30, torch.Generator().manual_seed(1))
    found = conformal_sets(wrong, x, y, score="threshold")(new).contains
    assert torch.equal(found, 1 - wrong(new).probs <= worst + 1e-12)


@pytest.mark.parametrize(("score", "words"), [("threshold", "no class is probable"), ("adaptive", "mostly the surest")])
def test_empty_sets_say_why(score, words):
    x, y = data(200, torch.Generator().manual_seed(0))
    new, _ = data(400, torch.Generator().manual_seed(1))
    sets = conformal_sets(wrong, x, y, level=0.4, score=score)(new)
    empty, largest = sets.sizes == 0, wrong(new).probs.max(1).values
    assert 0 < int(empty.sum()) < 400
    assert f"empty {int(empty.sum())}: {words}" in repr(sets)
    assert (largest[empty].mean() > largest[~empty].mean()) == (score == "adaptive")
    assert repr(PredictionSets(torch.ones(2, 3, dtype=torch.bool), 0.9, score)).endswith("empty 0)")


def first_definition(probs, uniform, level):
    """Romano et al. (2020): the fewest most probable classes that reach a level, the last left out at random."""
    order = np.argsort(-probs, kind="stable")
    total = np.cumsum(probs[order])
    num = int(np.argmax(total >= level)) + 1
    left_out = uniform <= (total[num - 1] - level) / probs[order[num - 1]]
    return set(order[: num - 1 if left_out else num].tolist())


def test_adaptive_sets_are_those_of_their_first_definition():
    generator = torch.Generator().manual_seed(0)
    x, y = data(50, generator)
    new, _ = data(100, generator)
    sets = conformal_sets(wrong, x, y, score="adaptive", seed=3)
    assert 0 < sets.quantile < 1
    uniform = _uniform(wrong(new).log_probs, 3)
    found = sets(new)
    for row in range(100):  # its random number is one minus ours
        wanted = first_definition(wrong(new).probs[row].numpy(), 1 - float(uniform[row]), sets.quantile)
        assert set(found[row]) == wanted


def test_inputs_that_come_one_by_one_are_covered_as_often_as_together():
    """The chance that right code leaves the band of the exact law is 1e-5; a u that all calls share leaves it."""
    generator = torch.Generator().manual_seed(0)
    (x, y), (new, true) = data(4999, generator), data(800, generator)
    sets = conformal_sets(wrong, x, y)
    alone = torch.cat([sets(new[row : row + 1]).contains for row in range(800)])
    law = betabinom(800, 4500, 500)
    assert law.ppf(5e-6) <= round(float(PredictionSets(alone, 0.9).coverage(true)) * 800) <= law.ppf(1 - 5e-6)
    assert torch.equal(alone, sets(new).contains)
    assert torch.equal(alone.flip(0), sets(new.flip(0)).contains)


def test_the_random_part_is_uniform_and_goes_by_what_a_row_says():
    """By chance a test of uniformity fails once in 1e5, and so do 4.5 standard errors of no correlation."""
    log_probs = wrong(data(4000, torch.Generator().manual_seed(0))[0]).log_probs
    uniform, other = _uniform(log_probs, 0), _uniform(log_probs, 1)
    assert kstest(uniform.numpy(), "uniform").pvalue > 1e-5
    largest = log_probs.max(1).values
    for against in (other, largest, log_probs[:, 0]):
        assert abs(float(torch.corrcoef(torch.stack([uniform, against]))[0, 1])) < 4.5 / math.sqrt(4000)
    assert float((_uniform(log_probs.float().double(), 0) == uniform).double().mean()) > 0.99
    alike = _uniform(torch.tensor([[0.0, -math.inf], [0.0, -math.inf]], dtype=torch.float64), 0)
    assert alike[0] == alike[1]


def test_a_model_that_says_one_thing_alone_covers_no_less():
    x, y = data(199, torch.Generator().manual_seed(0))
    probs = torch.bincount(y, minlength=C) / len(y)
    sets = conformal_sets(lambda x: Predictive(Categorical(probs=probs.expand(1, len(x), C))), x, y)
    new, true = data(2000, torch.Generator().manual_seed(1))
    assert float(sets(new).coverage(true)) > 0.9 - 5 * math.sqrt(0.09 / 200)


def test_without_a_seed_a_set_depends_on_its_input_alone():
    x, y = data(50, torch.Generator().manual_seed(0))
    sets = conformal_sets(wrong, x, y, seed=None)
    assert torch.equal(sets(x.flip(0)).contains.flip(0), sets(x).contains)
    first = conformal_sets(wrong, x, y, seed=1)
    assert torch.equal(first(x).contains, first(x).contains)


def test_yes_or_no_has_two_classes():
    x = torch.linspace(-3, 3, 40)[:, None]
    sets = conformal_sets(lambda x: Predictive(Bernoulli(logits=x.mT)), x, x[:, 0] > 0.5, score="threshold")
    assert sets(torch.tensor([[-5.0], [5.0]])).listed(["no", "yes"]) == [["no"], ["yes"]]


def test_the_record():
    sets = PredictionSets(torch.tensor([[True, False, True], [False, False, False]]), 0.9)
    assert sets.sizes.tolist() == [2, 0]
    assert sets.listed() == [[0, 2], []]
    assert sets.listed(("a", "b", "c")) == [["a", "c"], []]
    assert float(sets.coverage([[2], [2]])) == 0.5
    assert repr(sets) == "PredictionSets(N=2, C=3, level=0.9, mean size 1, empty 1)"
    with pytest.raises(ValueError, match="names must be one for each class, C = 3; got 2"):
        sets.listed(["a", "b"])
    with pytest.raises(ValueError, match="one class for each set, N = 2; got shape"):
        sets.coverage([0])
    with pytest.raises(ValueError, match="whole numbers from 0 to 2; got values from 0 to 3"):
        sets.coverage([0, 3])
    with pytest.raises(ValueError, match="whole numbers from 0 to 2"):
        sets.coverage([0.5, 1])


SEVERAL = [slice(1, None), [1, 2], torch.tensor([1, 2]), np.array([False, True, True]), pd.Series([1, 2]), range(1, 3)]


@pytest.mark.parametrize("index", SEVERAL, ids=lambda index: type(index).__name__)
def test_several_rows_are_sets_again(index):
    sets = PredictionSets(torch.tensor([[True, False], [False, True], [True, True]]), 0.9, "adaptive")
    some = sets[index]
    assert (some.listed(), some.level, some.score) == ([[1], [0, 1]], 0.9, "adaptive")
    assert sets[np.int64(-1)] == sets[torch.tensor(2)] == [0, 1]
    assert len(list(sets)) == 3
    with pytest.raises(IndexError, match="there are 3 inputs; got index 3"):
        sets[3]
    with pytest.raises(TypeError, match="predictions are indexed along their inputs, by a whole number"):
        sets[0, 1]


def test_the_record_in_other_forms():
    sets = PredictionSets(torch.tensor([[True, False], [False, False]]), 0.9, "threshold")
    assert json.loads(sets.to_json()) == {"sets": [[0], []], "level": 0.9, "score": "threshold"}
    assert sets.to_pandas(["cat", "dog"])["cat"].tolist() == [True, False]
    assert sets.to_pandas().columns.tolist() == [0, 1]
    with pytest.raises(ValueError, match="names must be one for each class, C = 2; got 1"):
        sets.to_pandas(["cat"])


def test_what_it_says_and_refuses():
    x, y = data(50, torch.Generator().manual_seed(0))
    assert repr(conformal_sets(wrong, x, y)).startswith("ConformalSets(level=0.9, adaptive score <= 0.")
    with pytest.raises(ValueError, match="score must be one of 'adaptive', 'threshold'; got 'raps'"):
        conformal_sets(wrong, x, y, score="raps")
    with pytest.raises(ValueError, match=r"a level of 0.99 needs 99 calibration rows at least; got 50"):
        conformal_sets(wrong, x, y, level=0.99)
    with pytest.raises(NotImplementedError, match=r"prediction sets are of one class .* write conformal_intervals"):
        conformal_sets(lambda x: Predictive(Normal(x[:, 0][None], 1.0)), x, y)
    with pytest.raises(NotImplementedError, match="several labels are not supported: fit a model for each"):
        conformal_sets(lambda x: Predictive(Independent(Bernoulli(logits=x[None]), 1)), x, (x > 0).double())
