"""The bundled sets against scikit-learn's own: nothing lost, nothing twice, nothing leaked."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from bayesnn.datasets import breast_cancer, diabetes, digits, wine, with_ambiguous

PIXELS, LABELS = load_digits(return_X_y=True)


def rows(x, labels):
    """Pictures and what they are, in an order of their own."""
    return sorted((int(label), *picture) for picture, label in zip(x.flatten(1).tolist(), labels, strict=True))


@pytest.mark.parametrize("hold_out", [0, 4, 9])
def test_every_picture_is_in_one_part_under_its_own_name(hold_out):
    split = digits(hold_out)
    named = [[int(split.classes[label]) for label in y] for y in (split.y_train, split.y_test)]
    assert hold_out not in {*named[0], *named[1]}
    parts = torch.cat([split.x_train, split.x_test, split.x_ood])
    assert rows(parts, named[0] + named[1] + [hold_out] * len(split.x_ood)) == rows(torch.tensor(PIXELS), LABELS)


@pytest.mark.parametrize("hold_out", [0, 4, 9])
def test_labels_count_from_zero_and_classes_name_them(hold_out):
    split = digits(hold_out)
    assert split.classes == tuple(str(digit) for digit in range(10) if digit != hold_out)
    for y in (split.y_train, split.y_test):
        assert y.dtype == torch.int64
        assert y.unique().tolist() == list(range(9))
    assert f"without {hold_out}" in split.name


def test_without_a_digit_held_out_all_ten_are_classes():
    split = digits(None)
    assert (split.x_ood, split.name, split.classes) == (None, "digits", tuple(map(str, range(10))))
    parts, labels = torch.cat([split.x_train, split.x_test]), split.y_train.tolist() + split.y_test.tolist()
    assert rows(parts, labels) == rows(torch.tensor(PIXELS), LABELS)
    assert with_ambiguous(split).x_ood is None
    assert digits(np.int64(4), seed=np.int64(3)).x_test.equal(digits(4, seed=3).x_test)


@pytest.mark.parametrize("fraction", [9 / 1617, 1 - 10 / 1617])
def test_a_row_of_each_class_is_enough(fraction):
    split = digits(test_fraction=fraction)
    assert min(len(split.x_train), len(split.x_test)) >= 9


def test_no_picture_is_both_trained_on_and_tested_on():
    split = digits()
    seen = {tuple(picture) for picture in split.x_train.flatten(1).tolist()}
    assert not seen & {tuple(picture) for picture in torch.cat([split.x_test, split.x_ood]).flatten(1).tolist()}


@pytest.mark.parametrize("test_fraction", [0.1, 0.3, 0.75])
def test_parts_have_the_size_asked_for_in_each_class(test_fraction):
    split = digits(test_fraction=test_fraction)
    whole = np.bincount(LABELS, minlength=10)[:9]
    assert len(split.x_test) == pytest.approx(test_fraction * whole.sum(), abs=1)
    assert split.y_test.bincount().numpy() == pytest.approx(test_fraction * whole, abs=1)
    assert len(split.x_train) == len(split.y_train)
    assert len(split.x_test) == len(split.y_test)


def test_pictures_are_in_raw_units():
    split = digits()
    for x in (split.x_train, split.x_test, split.x_ood):
        assert x.dtype == torch.float32
        assert x.shape[1:] == (8, 8)
        assert (x.min(), x.max()) == (0, 16)


def test_the_seed_decides_the_split_and_nothing_else():
    torch.manual_seed(1)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - it must not move
    first, again, other = digits(seed=3), digits(seed=3), digits(seed=4)
    for part in ("x_train", "y_train", "x_test", "y_test", "x_ood"):
        assert getattr(first, part).equal(getattr(again, part))
    assert not first.x_train.equal(other.x_train)
    assert first.x_ood.equal(other.x_ood)
    assert torch.get_rng_state().equal(state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_repr_tells_the_sizes():
    split = digits(2)
    for words in (
        "digits without 2",
        f"{len(split.x_train)} train",
        f"{len(split.x_test)} test",
        "177 out",
        "9 classes",
    ):
        assert words in repr(split)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hold_out": 10}, "hold_out must be a digit from 0 to 9, or None; got 10"),
        ({"hold_out": 9.0}, "hold_out must be a digit from 0 to 9, or None; got 9.0"),
        ({"hold_out": True}, "got True"),
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295; got -1"),
        ({"seed": 1.5}, "got 1.5"),
        ({"seed": None}, "got None"),
        (
            {"test_fraction": 0.001},
            r"leave 9 rows, one of each class, in either part; got 0.001, which makes 1615 train and 2 test",
        ),
        ({"test_fraction": 0.999}, "which makes 1 train and 1616 test"),
        ({"hold_out": -1}, "got -1"),
        ({"hold_out": "9"}, "got '9'"),
        ({"test_fraction": 0}, "test_fraction must lie between 0 and 1; got 0"),
        ({"test_fraction": 1.0}, "got 1.0"),
    ],
)
def test_bad_settings_get_one_clear_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        digits(**options)


LOADERS = {breast_cancer: load_breast_cancer, wine: load_wine, diabetes: partial(load_diabetes, scaled=False)}


@pytest.mark.parametrize(("ours", "theirs"), LOADERS.items(), ids=["breast_cancer", "wine", "diabetes"])
def test_tables_hold_every_row_of_scikit_learn_once(ours, theirs):
    split, bunch = ours(), theirs()
    x, y = torch.cat([split.x_train, split.x_test]), torch.cat([split.y_train, split.y_test])
    found = sorted(zip(x.tolist(), y.tolist(), strict=True))
    assert found == sorted(zip(bunch.data.tolist(), bunch.target.tolist(), strict=True))
    assert x.dtype == torch.float64
    assert split.features == tuple(bunch.feature_names)
    assert split.classes == tuple(getattr(bunch, "target_names", ()))
    assert len(split.x_test) == np.ceil(0.3 * len(y))


@pytest.mark.parametrize("ours", [breast_cancer, wine])
def test_classes_of_tables_are_split_alike(ours):
    split = ours(test_fraction=0.25, seed=3)
    whole = torch.cat([split.y_train, split.y_test]).bincount()
    assert split.y_test.bincount().numpy() == pytest.approx(0.25 * whole.numpy(), abs=1)


def test_the_papers_counts_are_found():
    """Street et al.: 212 malignant, 357 benign. Forina et al.: 59, 71 and 48 wines. Efron et al.: 442 patients."""
    tumours, wines, patients = breast_cancer(), wine(), diabetes()
    assert torch.cat([tumours.y_train, tumours.y_test]).bincount().tolist() == [212, 357]
    assert torch.cat([wines.y_train, wines.y_test]).bincount().tolist() == [59, 71, 48]
    assert len(patients.y_train) + len(patients.y_test) == 442


def test_diabetes_is_in_raw_units():
    """Scikit-learn's own scaled copy is what comes of centring ours and dividing by sd sqrt(N)."""
    split = diabetes(seed=2)
    x = torch.cat([split.x_train, split.x_test])
    scaled = (x - x.mean(0)) / (x.std(0, correction=0) * len(x) ** 0.5)
    reference = torch.tensor(load_diabetes().data)
    for column in range(10):
        assert torch.allclose(scaled[:, column].sort().values, reference[:, column].sort().values, atol=1e-12)
    assert 19 <= x[:, 0].min() < x[:, 0].max() <= 79


@pytest.mark.parametrize("hold_out", [0, 1, 2])
def test_a_grower_held_out_is_the_other_world(hold_out):
    split, bunch = wine(hold_out), load_wine()
    assert sorted(split.x_ood.tolist()) == sorted(bunch.data[bunch.target == hold_out].tolist())
    assert split.classes == tuple(name for name in bunch.target_names if name != f"class_{hold_out}")
    for x, y in ((split.x_train, split.y_train), (split.x_test, split.y_test)):
        for label, name in enumerate(split.classes):
            rows = bunch.data[bunch.target == int(name[-1])].tolist()
            assert all(row in rows for row in x[y == label].tolist())


@pytest.mark.parametrize("ours", LOADERS, ids=lambda ours: ours.__name__)
def test_the_seed_of_a_table_decides_its_split(ours):
    assert ours(seed=1).x_test.equal(ours(seed=1).x_test)
    assert not ours(seed=1).x_test.equal(ours(seed=2).x_test)


@pytest.mark.parametrize("ours", LOADERS, ids=lambda ours: ours.__name__)
def test_bad_settings_of_tables_get_one_clear_sentence(ours):
    with pytest.raises(ValueError, match="test_fraction must lie between 0 and 1; got 1"):
        ours(test_fraction=1)
    with pytest.raises(ValueError, match="which makes 0 train"):
        ours(test_fraction=0.9999)
    with pytest.raises(ValueError, match="seed must be a whole number"):
        ours(seed=-1)
    with pytest.raises(ValueError, match="hold_out must be a grower from 0 to 2, or None; got 3"):
        wine(3)
