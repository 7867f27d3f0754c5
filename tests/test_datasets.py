"""The digits against scikit-learn's own: nothing lost, nothing twice, nothing leaked."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from bayesnn.datasets import UCI, digits, uci

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
        ({"hold_out": 10}, "hold_out must be a digit from 0 to 9; got 10"),
        ({"hold_out": -1}, "got -1"),
        ({"hold_out": "9"}, "got '9'"),
        ({"test_fraction": 0}, "test_fraction must lie between 0 and 1; got 0"),
        ({"test_fraction": 1.0}, "got 1.0"),
    ],
)
def test_bad_settings_get_one_clear_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        digits(**options)


@pytest.fixture
def folder(tmp_path):
    """Two splits of ten rows, told apart by their numbers."""
    (tmp_path / "uci").mkdir()
    rows = np.arange(20.0).reshape(10, 2)
    order = np.array([np.arange(10), np.arange(10)[::-1]], dtype=np.uint16)
    arrays = {"X": rows, "y": rows[:, 0] / 2, "train_idx": order[:, :9], "test_idx": order[:, 9:]}
    np.savez(tmp_path / "uci" / "yacht.npz", **arrays)
    return tmp_path


def test_a_uci_split_holds_the_rows_it_names(folder, monkeypatch):
    first, second = uci("yacht", folder=folder), uci("yacht", seed=1, folder=folder)
    assert first.y_train.tolist() == list(range(9))
    assert (first.y_test.tolist(), second.y_test.tolist()) == ([9], [0])
    assert torch.equal(second.x_test, torch.tensor([[0.0, 1.0]], dtype=torch.float64))
    assert repr(second) == "Split(uci/yacht, split 1: 9 train, 1 test; inputs (2,), real targets)"
    monkeypatch.setenv("BAYESNN_DATA", str(folder))
    assert torch.equal(uci("yacht").x_train, first.x_train)


def test_a_uci_set_that_is_not_there_gets_a_sentence(folder, monkeypatch):
    with pytest.raises(ValueError, match=f"name must be one of {', '.join(UCI)}; got 'iris'"):
        uci("iris", folder=folder)
    with pytest.raises(ValueError, match="yacht has 2 splits, from 0 to 1; got 2"):
        uci("yacht", seed=2, folder=folder)
    with pytest.raises(FileNotFoundError, match=r"must hold uci/boston\.npz"):
        uci("boston", folder=folder)
    monkeypatch.delenv("BAYESNN_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="set BAYESNN_DATA"):
        uci("yacht")
