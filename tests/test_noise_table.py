"""Numbers read from a table several times: normal, independent within a reading, and nearly so from one to the next."""

import pytest
import torch
from scipy import stats

from bayesnn.fitting import isolated
from bayesnn.noise_table import _READINGS, NoiseTable

NUMBER = 400


@pytest.fixture
def readings():
    with isolated(0, torch.device("cpu")):
        noise = NoiseTable(torch.zeros((), dtype=torch.float64))
        return torch.stack([noise(torch.Size([NUMBER])).clone() for _ in range(50 * _READINGS)])


def test_each_reading_is_standard_normal(readings):
    assert min(stats.kstest(reading, "norm").pvalue for reading in readings) > 1e-6  # the least of 400
    for table in readings.view(50, _READINGS, NUMBER).unbind(1):  # readings of different tables are independent
        assert stats.kstest(table.flatten(), "norm").pvalue > 1e-4


def test_a_place_meets_other_numbers_in_each_reading(readings):
    assert all(len(place.unique()) == len(place) for place in readings.T)
    means = readings.mean(0)  # each of 400 independent numbers, if they are
    assert stats.kstest(means * len(readings) ** 0.5, "norm").pvalue > 1e-4


@pytest.mark.parametrize("width", [1, 2, 7, 8, 10, 50, 61, 122])
def test_no_column_meets_its_own_numbers_again(width):
    """Sums over a column, as a unit's bias meets them in a minibatch, are of independent numbers."""
    with isolated(0, torch.device("cpu")):
        noise = NoiseTable(torch.zeros((), dtype=torch.float64))
        sums = torch.stack([noise(torch.Size([128, width])).sum(0) for _ in range(100 * _READINGS)]) / 128**0.5
    sums = sums.view(100, _READINGS, width)
    for lag in range(1, _READINGS):
        products = (sums[:, lag:] * sums[:, :-lag]).flatten()
        assert abs(float(products.mean())) < 5 / (100 * (_READINGS - lag)) ** 0.5


def test_the_first_reading_is_what_the_generator_gives_at_once():
    with isolated(0, torch.device("cpu")):
        torch.manual_seed(3)
        found = NoiseTable(torch.zeros(()))(torch.Size([4, 5]))
        torch.manual_seed(3)
        assert torch.equal(found, torch.randn(4, 5))


def test_shapes_in_turn_read_on_through_one_table():
    """As a last minibatch of fewer rows does in every epoch."""
    with isolated(0, torch.device("cpu")):
        noise = NoiseTable(torch.zeros((), dtype=torch.float64))
        shapes = [torch.Size([30, 8]), torch.Size([10, 8])] * (_READINGS // 2)
        seen = [noise(shape).clone() for shape in shapes]
        assert [found.shape for found in seen] == shapes
        assert len({tuple(found[0].tolist()) for found in seen}) == len(seen)  # each begins at another place
        numbers = set(torch.cat([found.flatten() for found in seen]).tolist())
        assert not numbers & set(noise(shapes[0]).flatten().tolist())  # the ninth is of a table drawn anew


def test_fewer_are_the_first_and_more_make_a_new_table():
    with isolated(0, torch.device("cpu")):
        noise = NoiseTable(torch.zeros((), dtype=torch.float64))
        many = noise(torch.Size([100]))
        assert noise(torch.Size([7, 10])).shape == (7, 10)
        more = noise(torch.Size([300]))
        assert more.dtype == torch.float64
        assert not set(many.tolist()) & set(more.tolist())
        assert noise(torch.Size([0])).shape == (0,)
