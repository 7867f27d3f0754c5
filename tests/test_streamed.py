"""Predictives that are not held, beside the same held; and what predictions take of memory."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from bayesnn import evaluate, misclassification, out_of_distribution, uncertainty
from bayesnn.memory import memory_limit, words
from bayesnn.metrics.calibration import pit
from bayesnn.metrics.crps import crps
from bayesnn.predictive import Predictive
from bayesnn.recalibration import tempered
from bayesnn.streamed import Streamed, blockwise, planned, predicted
from benchmarks.speed.memory import CODE

S, N = 5, 23


def classes(x):
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(S, 2, 3, dtype=torch.float64, generator=generator)
    return Predictive(Categorical(logits=3 * x @ weights))


def labels(x):
    return Predictive(Independent(Bernoulli(logits=classes(x).member_log_probs[..., :2]), 1))


def reals(x):
    loc = classes(x).member_log_probs
    return Predictive(Normal(loc[..., 0], loc[..., 1].exp() + 0.1))


def columns(x):
    loc = classes(x).member_log_probs
    return Predictive(Independent(Normal(loc, 1 + loc.exp()), 1))


def closed(x):
    members = reals(x).members
    return Predictive(members, Normal(members.mean.mean(0), members.stddev.mean(0)))


KINDS = {"classes": classes, "labels": labels, "reals": reals, "columns": columns, "closed": closed}


@pytest.fixture
def x():
    return torch.randn(N, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def pair(name, x, block=4):
    return Streamed(KINDS[name], x, block, 10**9), KINDS[name](x)


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def targets(name, held):
    torch.manual_seed(3)
    return held.sample()


@pytest.mark.parametrize("name", KINDS)
def test_answers_are_those_of_the_predictive_that_is_held(name, x):
    streamed, held = pair(name, x)
    y = targets(name, held)
    assert repr(streamed) == f"{repr(held)[:-1]}, in blocks of 4)"
    assert (len(streamed), streamed.num_samples, streamed.event_shape) == (N, S, held.event_shape)
    assert streamed.has_enumerate_support is held.has_enumerate_support
    assert streamed.support == held.support or type(streamed.support) is type(held.support)
    same(streamed.checked(y), held.checked(y))
    same(streamed.log_prob(y), held.log_prob(y))
    same(streamed.log_prob(torch.tensor(1)), held.log_prob(torch.tensor(1)))  # of every input
    several = torch.stack([y, y.flip(0), y])
    same(streamed.log_prob(several), held.log_prob(several))
    for index in (3, -1, slice(2, 17), torch.tensor([4, 0, 22]), torch.arange(N) > 7):
        same(streamed[index].log_prob(y[[index] if isinstance(index, int) else index]),
             held[index].log_prob(y[[index] if isinstance(index, int) else index]))  # fmt: skip
    if held.has_enumerate_support:
        same(streamed.probs, held.probs)
        same(streamed.mode, held.mode)
        same(streamed.member_log_probs, held.member_log_probs)
        same(streamed.enumerate_support(), held.enumerate_support())
    else:
        same(streamed.mean, held.mean)
        same(streamed.stddev, held.stddev)
        same(streamed.cdf(y), held.cdf(y))
        same(streamed.cdf(several), held.cdf(several))
        level = torch.linspace(0.1, 0.9, N, dtype=torch.float64)
        level = level[:, None].expand_as(y) if y.ndim > 1 else level
        for at in (0.3, level, torch.stack([level, 1 - level])):
            same(streamed.icdf(at), held.icdf(at))
        for found, expected in zip(streamed.interval(0.8), held.interval(0.8), strict=True):
            same(found, expected)
    if not held.event_shape:
        same(streamed.entropy(), held.entropy())
    drawn = streamed.sample((7,))
    assert drawn.shape == held.sample((7,)).shape


@pytest.mark.parametrize("name", KINDS)
def test_readers_take_it(name, x):
    streamed, held = pair(name, x)
    y = targets(name, held)
    parts, expected = uncertainty.decompose(streamed), uncertainty.decompose(held)
    same(parts.aleatoric, expected.aleatoric)
    same(parts.epistemic, expected.epistemic)
    assert parts.unit == expected.unit
    scores, wanted = uncertainty.all_scores(streamed), uncertainty.all_scores(held)
    assert scores.keys() >= uncertainty.scores(held).keys()
    for score in scores:
        same(scores[score], wanted[score])
    assert evaluate(streamed, y) == pytest.approx(evaluate(held, y))
    if name in ("classes", "reals"):
        own = misclassification(streamed, y, num_bootstrap=20)
        assert own.auroc == pytest.approx(misclassification(held, y, num_bootstrap=20).auroc)
        far = out_of_distribution(streamed, Streamed(KINDS[name], 9 * x, 4, 10**9), num_bootstrap=20)
        assert far.auroc == pytest.approx(out_of_distribution(held, KINDS[name](9 * x), num_bootstrap=20).auroc)
    if name != "labels":
        same(tempered(streamed, 2.0).log_prob(y), tempered(held, 2.0).log_prob(y))
    if not held.has_enumerate_support:
        same(crps(streamed, y), crps(held, y))
        same(pit(streamed, y), pit(held, y))


@pytest.mark.parametrize("name", KINDS)
def test_none_of_the_inputs_can_be_taken(name, x):
    none = torch.zeros(len(x), dtype=torch.bool)
    streamed, held = (predictive[none] for predictive in pair(name, x))
    assert streamed.batch_shape == held.batch_shape == (0,)
    assert streamed.num_samples == held.num_samples
    moment = "probs" if name in ("classes", "labels") else "mean"
    same(getattr(streamed, moment), getattr(held, moment))


def test_an_input_that_is_not_there_is_said(x):
    streamed, held = pair("reals", x)
    for predictive in (streamed, held):
        for last in (-1, np.int64(22), torch.tensor(22)):
            same(predictive[last].mean, held.mean[-1:])
        with pytest.raises(IndexError, match=f"there are {N} inputs; got index {N}"):
            predictive[N]


def test_asking_for_blocks_leaves_gradients_on(x):
    streamed, _ = pair("classes", x)
    next(streamed.blocks())
    assert torch.is_grad_enabled()
    assert all(a.batch_shape == b.batch_shape for a, b in zip(streamed.blocks(), streamed.blocks(), strict=True))
    assert torch.is_grad_enabled()


def test_information_gain_streams_the_candidates(x):
    streamed, held = pair("classes", x)
    gain = uncertainty.expected_predictive_information_gain
    same(gain(streamed, held), gain(held, held))
    same(gain(streamed, streamed), gain(held, held))


def test_members_are_held_where_they_fit(x):
    size = N * S * 3 * 8
    assert not isinstance(predicted(classes, x, size), Streamed)
    streamed = predicted(classes, x, size - 1)
    assert isinstance(streamed, Streamed)
    with pytest.raises(
        MemoryError, match=r'5 draws and 23 inputs take 2\.7 KB, and may take 2\.69 KB\. Ask for .* memory="5'
    ):
        streamed.members  # noqa: B018
    same(streamed.probs, classes(x).probs)
    assert not isinstance(streamed[:4], Streamed)


def test_a_block_has_as_many_inputs_as_memory_allows(x):
    seen = []

    def watched(x):
        seen.append(len(x))
        return classes(x)

    streamed = predicted(watched, x, 8 * 120 * 4)  # an input takes 120 bytes; a block an eighth of the memory
    assert isinstance(streamed, Predictive)
    streamed = predicted(watched, x, 2000)
    seen.clear()
    streamed.probs  # noqa: B018
    assert max(seen) == 2000 // 8 // 120
    assert sum(seen) == N
    seen.clear()
    streamed.log_prob(torch.zeros(N))
    assert not seen  # class probabilities are kept


def test_the_plan_is_what_is_done(x):
    plan = planned(classes, x, 2000, "in turn")
    assert (plan.held, plan.block, plan.bytes, plan.limit) == (False, 2, N * 120, 2000)
    words = "5 draws of 23 inputs take 2.7 KB and are not held: blocks of 2 inputs, for each question anew; the network"
    assert str(plan).startswith(words)
    assert str(planned(classes, x, "1GB", None)) == "5 draws of 23 inputs take 2.7 KB and are held"


def test_functions_of_a_predictive_go_block_by_block(x):
    @blockwise
    def most(predictive, y, *, factor=1.0):
        assert len(predictive) == len(y) <= 4
        return {"most": factor * predictive.probs.amax(-1), "y": y}

    streamed, held = pair("classes", x)
    found = most(streamed, torch.arange(N), factor=2.0)
    same(found["most"], 2 * held.probs.amax(-1))
    same(found["y"], torch.arange(N))


@pytest.mark.parametrize(
    ("given", "size"),
    [("200MB", 200 * 2**20), ("1 gb", 2**30), ("1.5GiB", 3 * 2**29), ("7", 7), (123, 123), ("2k", 2048)],
)
def test_memory_is_given_in_bytes_or_words(given, size):
    assert memory_limit(given, torch.device("cpu")) == size


@pytest.mark.parametrize("given", ["much", "", "-1GB", 0, -5, True, 1.5, "0MB"])
def test_other_memory_is_refused(given):
    with pytest.raises(ValueError, match=r'memory must be a number of bytes, or words such as "200MB"; got'):
        memory_limit(given, torch.device("cpu"))


def test_sizes_in_words():
    assert [words(size) for size in (12, 2048, 3 * 2**20, 5 * 2**30, 5000 * 2**30)] == [
        "12 bytes", "2 KB", "3 MB", "5 GB", "5e+03 GB",
    ]  # fmt: skip
    assert 0 < memory_limit(None, torch.device("cpu")) <= 2**30


@pytest.mark.slow
def test_memory_is_that_of_a_block_and_of_the_answers():
    """In a process of its own: 10 000 inputs, 1000 draws and 10 classes would take 380 MB."""
    code = CODE.replace("posterior(x)", 'posterior(x, memory="100MB")')
    ran = subprocess.run(
        [sys.executable, "-c", code, "1000", "10000", "10"], capture_output=True, text=True, check=True
    )
    told = ran.stdout.splitlines()[-1]
    assert int(re.search(r"(\d+) MB beyond", told)[1]) < 150, told


@pytest.mark.parametrize("name", ["columns", "labels"])
def test_one_target_of_a_streamed_predictive_is_streamed(name, x):
    streamed, held = pair(name, x)
    y, one = targets(name, held)[:, 1], streamed.target(1)
    assert isinstance(one, Streamed)
    same(one.log_prob(y), held.target(1).log_prob(y))
    expected = evaluate(held.target(1), y)
    assert evaluate(one, y) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(IndexError, match=r"there are \d targets, from 0 on; got 7"):
        streamed.target(7)
