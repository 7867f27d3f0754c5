"""Mixtures: the rows they are made of, found again by brute force; and what a model that learnt them says."""

import pytest
import torch
from scipy.stats import chisquare

from bayesnn import (
    BayesianNeuralNetwork,
    decompose,
    fit_svi,
    likelihoods,
    networks,
    priors,
)
from bayesnn.datasets import Split, ambiguous_digits, diabetes, digits, two_moons, with_ambiguous

LABELS = torch.tensor([1, 0, 2, 1, 2, 2])  # row by row: one of class 0, two of 1, three of 2


@pytest.fixture
def rows():
    """Row i of the test part is the i-th unit vector, so that a mixture tells what it is made of."""
    x = torch.eye(6)
    return Split("rows", 10 + x, LABELS, x, LABELS, ("a", "b", "c"))


def test_a_mixture_is_half_of_each_of_two_digits():
    split = digits(3)
    pictures, labels = ambiguous_digits(20, split=split, seed=1)
    assert pictures.shape == (20, 8, 8)
    tests = {tuple(x.flatten().tolist()): int(y) for x, y in zip(split.x_test, split.y_test, strict=True)}
    for picture, pair in zip(pictures.flatten(1), labels.tolist(), strict=True):
        partners = [(label, tests.get(tuple((2 * picture - torch.tensor(x)).tolist()))) for x, label in tests.items()]
        assert tuple(pair) in partners
        assert pair[0] != pair[1]


def test_digits_are_what_is_mixed_by_default():
    ours, theirs = ambiguous_digits(5), ambiguous_digits(5, split=digits())
    assert ours[0].equal(theirs[0])
    assert ours[1].equal(theirs[1])


def test_every_pair_of_classes_comes_as_often_as_its_rows_say(rows):
    """First a row of six, then a row of the other classes; chi-squared, chance of failing 1e-6."""
    number = 6000
    pictures, labels = ambiguous_digits(number, split=rows)
    assert (pictures[pictures != 0] == 0.5).all()
    pair = pictures.nonzero()[:, 1].view(number, 2)
    assert LABELS[pair].sort(-1).values.equal(labels.sort(-1).values)
    expected = torch.zeros(6, 6)
    for a in range(6):
        others = LABELS[a] != LABELS
        expected[a, others] += 1 / 6 / others.sum()
    expected = (expected + expected.T).triu()
    found = torch.zeros(6, 6).index_put_((pair[:, 0], pair[:, 1]), torch.ones(number), accumulate=True)
    possible = expected > 0
    assert (found[~possible] == 0).all()
    assert chisquare(found[possible].double(), number * expected[possible].double(), sum_check=False).pvalue > 1e-6


def test_a_share_of_mixtures_is_trained_on_and_another_kept(rows):
    mixed = with_ambiguous(rows, fraction=0.5)
    assert mixed.x_train[:6].equal(rows.x_train)
    assert mixed.y_train[:6].equal(rows.y_train)
    assert (mixed.x_test.equal(rows.x_test), mixed.y_test.equal(rows.y_test)) == (True, True)
    assert (len(mixed.x_train), len(mixed.y_train), len(mixed.x_ambiguous)) == (9, 9, 3)
    assert mixed.classes == rows.classes
    assert (mixed.x_train[6:].min(), mixed.x_ambiguous.max()) == (10, 0.5)  # of training rows, of test rows
    assert repr(mixed) == "Split(rows, with mixtures: 9 train, 6 test, 3 ambiguous; inputs (6,), 3 classes)"


def test_the_label_of_a_mixture_is_the_toss_of_a_fair_coin(rows):
    many = 500
    split = Split("many", rows.x_test.repeat(many, 1), LABELS.repeat(many), rows.x_test, LABELS, rows.classes)
    mixed = with_ambiguous(split, fraction=1)
    made_of = LABELS[mixed.x_train[6 * many :].nonzero()[:, 1].view(-1, 2)].sort(-1).values
    chosen = mixed.y_train[6 * many :, None]
    assert (made_of == chosen).any(-1).all()
    for low, high in ((0, 1), (0, 2), (1, 2)):
        here = (made_of == torch.tensor([low, high])).all(-1)
        assert abs((chosen[here] == high).float().mean() - 0.5) < 5 * 0.5 / here.sum() ** 0.5


def test_the_seed_decides_and_nothing_else():
    split, state = two_moons(40), torch.get_rng_state()
    first, again, other = with_ambiguous(split), with_ambiguous(split), with_ambiguous(split, seed=1)
    assert torch.get_rng_state().equal(state)
    for part in ("x_train", "y_train", "x_ambiguous"):
        assert getattr(first, part).equal(getattr(again, part))
    assert not first.x_ambiguous.equal(other.x_ambiguous)
    assert first.x_ood.equal(split.x_ood)


def test_bad_settings_get_one_clear_sentence(rows):
    with pytest.raises(ValueError, match="num_pictures must be 1 or more; got 0"):
        ambiguous_digits(0)
    for fraction in (0, 1.1):
        with pytest.raises(ValueError, match=f"fraction must be above 0 and up to 1; got {fraction}"):
            with_ambiguous(rows, fraction=fraction)
    one = Split("one", rows.x_train, 0 * LABELS, rows.x_test, 0 * LABELS, ("a", "b"))
    for split in (diabetes(), one):
        for mix in (with_ambiguous, lambda split: ambiguous_digits(split=split)):
            with pytest.raises(ValueError, match=r"needs two classes at least, .*; got Split\(.*Pass a split with"):
                mix(split)


@pytest.mark.slow
def test_ambiguity_is_learnt_as_noise_and_a_stranger_stays_unknown():
    """The ordering that the data are for; no figure of ours is held, only which is larger."""
    split = with_ambiguous(digits(hold_out=9), fraction=0.5)
    model = BayesianNeuralNetwork(
        networks.mlp((8, 8), 9, hidden=100), prior=priors.fan_in_normal(), likelihood=likelihoods.categorical
    )
    posterior = fit_svi(model, split.x_train, split.y_train, num_epochs=100, num_samples=50, progress=False)
    test, mixed, strange = (decompose(posterior(x)) for x in (split.x_test, split.x_ambiguous, split.x_ood))
    assert mixed.aleatoric.mean() > 3 * test.aleatoric.mean()
    assert strange.epistemic.mean() > 1.5 * mixed.epistemic.mean()
    share_mixed, share_strange = ((u.epistemic / u.total).mean() for u in (mixed, strange))
    assert share_strange > share_mixed
