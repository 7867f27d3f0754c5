"""UCI splits: the rows they name, from either layout; and, where the data lie, the figures of least squares."""

import os

import numpy as np
import pytest
import torch

from bayesnn.datasets import UCI, uci

# Test RMSE of ordinary least squares with an intercept: mean and standard error over the 20 splits, as told by whoever
# prepared the data, by other code than ours.
LEAST_SQUARES = {
    "boston": (4.588, 0.210),
    "concrete": (10.314, 0.144),
    "energy": (3.056, 0.054),
    "kin8nm": (0.202, 0.001),
    "power": (4.613, 0.029),
    "wine-red": (0.654, 0.008),
    "yacht": (8.969, 0.273),
}


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
    with pytest.raises(FileNotFoundError, match=r"must hold uci/boston\.npz; there is no .* no .*bostonHousing"):
        uci("boston", folder=folder)
    with pytest.raises(FileNotFoundError, match="To download it, leave folder out and unset BAYESNN_DATA"):
        uci("boston", folder=folder)


@pytest.fixture
def clone(tmp_path):
    """The layout of the repository the splits are published in: three splits, target in the middle column."""
    data = tmp_path / "UCI_Datasets" / "power-plant" / "data"
    data.mkdir(parents=True)
    np.savetxt(data / "data.txt", np.arange(15.0).reshape(5, 3) / 4)
    np.savetxt(data / "index_features.txt", [0, 2])
    np.savetxt(data / "index_target.txt", [1])
    for split in range(3):
        np.savetxt(data / f"index_train_{split}.txt", [row for row in range(5) if row != split])
        np.savetxt(data / f"index_test_{split}.txt", [split])
    return tmp_path


def test_a_clone_of_the_repository_is_read(clone):
    split = uci("power", seed=2, folder=clone)
    assert split.x_test.tolist() == [[1.5, 2.0]]
    assert split.y_test.tolist() == [1.75]
    assert split.x_train.tolist() == [[0.0, 0.5], [0.75, 1.25], [2.25, 2.75], [3.0, 3.5]]
    assert split.y_train.tolist() == [0.25, 1.0, 2.5, 3.25]
    assert split.x_train.dtype == split.y_test.dtype == torch.float64
    with pytest.raises(ValueError, match="power has 3 splits, from 0 to 2; got 3"):
        uci("power", seed=3, folder=clone)


@pytest.mark.skipif("BAYESNN_DATA" not in os.environ, reason="needs the real data: set BAYESNN_DATA")
@pytest.mark.parametrize("name", UCI)
def test_least_squares_has_the_figures_it_should(name):
    found = []
    for seed in range(20):
        split = uci(name, seed=seed)
        sd, mean = torch.std_mean(split.x_train, 0)
        x_train, x_test = (
            torch.cat([(x - mean) / torch.where(sd > 0, sd, 1), torch.ones(len(x), 1, dtype=x.dtype)], 1)
            for x in (split.x_train, split.x_test)
        )
        weights = torch.linalg.lstsq(x_train, split.y_train[:, None], driver="gelsd").solution
        found.append((x_test @ weights - split.y_test[:, None]).square().mean().sqrt().item())
    mean, error = LEAST_SQUARES[name]
    assert np.mean(found) == pytest.approx(mean, abs=0.0006)
    assert np.std(found) / 20**0.5 == pytest.approx(error, abs=0.0006 + 0.03 * error)  # either convention for the sd
